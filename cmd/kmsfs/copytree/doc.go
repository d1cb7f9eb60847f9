// Package copytree copies files and directories between a directory of this machine and a volume
// that is open offline, in either direction, and within one of them.
//
// A file is written under a temporary name and renamed, so that nothing partial ever has the name of
// the destination. Holes stay holes. A symbolic link is copied as it is, unless a single file is
// copied through it. Names that are hard links of one file become files of their own.
//
// Trust: the sources and destinations that it is given. Nothing is decrypted here.
//
// Concurrency: a Copier is for one goroutine.
//
// Not here: what an argument names, printing, the key service.
package copytree
