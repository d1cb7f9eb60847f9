// Package audit writes and reads the key service's audit trail: one line of JSON
// per call, in the shape of an AWS CloudTrail record, failed calls included.
//
// A record is in the file before the call is answered, and a call whose record
// can't be written fails. By default the file reaches the disk within a second;
// with [SyncAlways] it does before the answer, concurrent calls sharing one
// flush.
//
// Records form a chain. Each line ends in a "chain" member with its sequence
// number, the hash of the line before ("prev") and its own ("hash": SHA-256 of
// the line's bytes up to that member). [Verify] finds records that were edited,
// dropped, inserted or reordered. It can't find records cut off the end, nor a
// chain that somebody with write access has computed anew: the trail is
// protected by the mode of its directory, and a copy elsewhere is the evidence
// against its owner.
//
// Several processes append to one file. An appender takes the file's lock (flock)
// and keeps it for up to a millisecond; each of its writes takes along the records
// of this process's other callers that came meanwhile. It looks for the end of the
// file when it takes the lock. Those who wait say so in a word beside the trail
// (.wanted), and whoever had the lock lets them go first. A process that is stopped
// (not killed) while it has the lock makes the others' calls fail after LockTimeout.
// A line that a crash left unfinished is moved to a file of its own beside the
// trail, and a record says so.
//
// When the file is moved or removed, each process begins a new trail at the path
// within a second.
//
// Concurrency: a [File] may be used by any number of goroutines.
package audit
