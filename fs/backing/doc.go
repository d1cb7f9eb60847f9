// Package backing is the store below a mounted volume: a directory tree on a local filesystem that
// holds nothing but ciphertext.
//
// A Dir is an open directory; every operation names one component below it, so no path is ever
// resolved twice and a symbolic link planted in the store is never followed. A File is what the
// page engine of package envelope reads and writes.
//
// What Dir and File ask of the system goes through an interface, System, so that tests can run on a store
// in memory that loses power (package crashdisk).
//
// Trust: none. Whoever owns the store may change anything at any time; names, sizes and contents
// are checked by the callers, which hold the keys.
//
// Concurrency: Dir and File are safe for concurrent use. Close must not run beside another call on
// the same value.
//
// Not here: encryption, names in plain text, caching.
package backing
