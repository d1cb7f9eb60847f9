// Package principals keeps who may call the key service over the network: named
// principals, each with one access key, in one file of the state directory.
//
// The file is JSON with mode 0600 and is replaced as a whole. Signature Version 4
// needs the secrets themselves, not hashes of them, so whoever can read the file
// can act as any principal; a file that others than its owner can use is
// refused. The state directory's other files need the same care.
//
// Concurrency: a [Store] may be used by any number of goroutines, and any number
// of processes may have one on the same file. A change made by one is seen by
// the next [Store.Find] of every other. Changes exclude each other by a lock on
// a file beside it.
//
// Not here: what a principal may do, which package keysvc decides.
package principals
