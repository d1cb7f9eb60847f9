// Package envelope holds the encrypted file and everything else that a volume writes to its store:
// formats, keys and names. It works on the Store interface, never on the operating system.
//
// # The file
//
// A file is a small copy-on-write page store (page engine: rootpage.go, tagpage.go, tree.go,
// alloc.go, commit.go, recover.go). Pages are 4096 bytes. Two root pages are written in turn; the
// newest holds the public header with the key slots, the sealed inode record, and either the whole
// content or the top of a tree whose entries pin every tag page and data block by nonce and tag. No
// page that the durable or the last written root names is ever overwritten.
//
// Chunks of 64 KiB of a file with FlagCompress are compressed by zstd where that saves an eighth of their
// pages (chunk.go, pack.go, readchunk.go, zstd.go): the entries of a chunk then name the pages of one
// stream. A chunk stands in the tree whole or not at all; what changes it in part takes it apart first.
//
// # The volume
//
// Names, symlink targets, extended attributes, directory identities, key slots, stat records, the
// volume file, the rename log and the mount list are sealed under subkeys of the volume key
// (Volume).
//
// # Trust
//
// The store is untrusted: whatever is read is authenticated before it is used. The one exception is
// the public header, which serves to find the key. What the format alone can't see is the replay of
// a whole file in an older state. The process's memory is trusted; keys are wiped when dropped as
// far as Go allows, ciphers included.
//
// # Concurrency
//
// File and Volume are safe for concurrent use; the lock order stands at the types. At most one File
// may be open per store, and nobody else may write to that store meanwhile.
//
// # Not here
//
// Wrapping of keys by the key service, paths, open file tables and caching policy: package fs.
package envelope
