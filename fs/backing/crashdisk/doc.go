// Package crashdisk is a store in memory that can lose power: a backing.System for tests of what a crash
// leaves.
//
// It keeps what a journaling filesystem such as ext4 or XFS keeps, and no more. Changes of names,
// attributes and links, and truncations, are journaled: after a crash a prefix of them is there. What was
// written to files is not in the journal: of the pages written since the file's last flush any subset is
// there, each whole or torn at sectors of 512 bytes, and the size is one of those that the file had
// meanwhile, or between two. But the size and the place of a new page are metadata: where a file has grown,
// everything that was journaled before that write is there too. fsync(2) makes the content of a file durable, and the journal up to the last
// change that concerns the file or directory; fdatasync(2), up to the last that is needed to read the
// content; syncfs(2), everything.
//
// A Disk dies at a system call of the test's choice: it fails every one from then on, with EIO.
//
// Trust: none needed. Concurrency: a Disk is safe for concurrent use; what a crash leaves depends on the
// order of the calls and on the source of randomness alone.
//
// Not here: permissions, devices, sockets, times that pass by themselves.
package crashdisk
