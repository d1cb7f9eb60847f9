// Package sharedword is a 64-bit number in a file that several processes map: what
// one of them stores, all of them see at the cost of reading memory.
//
// It trusts whoever may write the file. The number says nothing that couldn't be
// found out otherwise: it is no lock, survives no power failure, and a file that is
// replaced leaves those behind who have mapped the old one.
//
// Concurrency: Load and Store are atomic, across processes too. Close must not run
// while another call does.
package sharedword
