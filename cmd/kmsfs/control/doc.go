// Package control is how other commands talk to the daemon that serves a mount: one unix socket per
// mount in a runtime directory, found by the mount point.
//
// A daemon claims its mount point with [Claim] before it mounts; the claim is a lock on a file that
// the kernel drops with the process. So a socket without a locked file belongs to a daemon that
// died, and whoever meets it removes it. [Find] and [List] give [Client]s for daemons that live.
//
// Wire format: the client sends one JSON object in one line ({"request":"status"}), the daemon
// answers with one line. To "rewrap" it answers with a line for each report, and stops when the client
// goes away. After "unmount" the connection stays open until the daemon is gone, so its
// end of file tells that everything is written and the keys are wiped.
//
// Trust: the runtime directory belongs to one user and has mode 0700; both sides refuse any other.
// Whoever can connect has that user's rights already.
//
// Concurrency: a [Server] answers connections in parallel; its Handler must allow that.
//
// Not here: what the answers mean (command kmsfs) and the mount itself (package fs).
package control
