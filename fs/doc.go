// Package fs is the encrypted filesystem: it attaches a volume and serves it through FUSE.
//
// Every regular file has a data key of its own. The key service wraps it with the volume's CMK
// under the encryption context {volume id, path}; the wrapped key is a slot in the file's header.
// Each open(2) asks the key service to unwrap it, so a disabled key blocks the next open, while
// files in use go on working. The last close wipes the key.
//
// Reading order: mount.go and server.go (attach and detach), volume.go (what is held while
// attached), inode.go and tree.go (what is known of names), then one file per operation: lookup.go,
// create.go, open.go, io.go, rename.go, …; dekeys.go talks to the key service, ask.go says how long, slots.go decides
// which wrapped key belongs to a path, commit.go writes in the background. offline.go opens a volume
// without a mount, walk.go visits every object of its store, check.go
// authenticates them all (faults.go has what it may find), salvage.go saves what can be read.
//
// rewrap.go and the files beside it wrap all keys anew, rekey.go replaces them, recovery.go opens a volume
// without its CMK; keylist.go says which CMKs a volume has.
//
// Trust: the key service and the memory of this process. The backing directory is not trusted:
// whatever is read from it is authenticated under the volume key or the file's key before it is
// used. What a change behind the mount's back leads to is in docs/threat-model.md.
//
// Concurrency: FUSE requests run in parallel. Lock order: rewrapping, volume.fileMu, renames.mu,
// folding, dirStream.mu, fileSystem.names, inode.mu, foldQueue.mu, tree.mu, then the leaf locks
// (dirCache.mu, committer.mu, dirStreams.mu, grants.mu, wrapGate.mu, linkSet.mu). Two inodes are never
// locked at once. Only fileMu, renames.mu, folding, dirStream.mu, names and inode.mu are held across
// system calls. None that a request waits for is held across a call to the key service, but for renames.mu
// in one pass of a rewrap while directories are renamed all the time. What wraps a key is inside wrapGate, which holds
// nothing back: a rewrap waits there for what began before it.
//
// Not here: key policy, audit and the HSM (package keysvc), the format of a file (package
// envelope), the command line.
package fs
