// Package embedded opens a key service on a state directory, which it makes on
// first use. Nothing needs to be set up before.
//
//	DIR/               0700
//	  config.json      account, region, which token, where its PIN comes from, which store
//	  pin              0600, the token's PIN, unless it comes from elsewhere
//	  token/           SoftHSM's configuration and objects, unless another
//	                   PKCS#11 module is used
//	  clusters.json    the tokens that custom key stores may use, if any
//	  keys.db          the key store, see keysvc/store/sqlite, unless a database
//	                   has it, see keysvc/store/postgres
//	  audit/           the audit trail, see keysvc/audit
//	  lock             held while the directory is made, a process logs in, or a backup copies it
//
// Any number of processes may open one directory, at the same time and for the
// first time too. config.json is written last: a directory without it was never
// in use.
//
// [Backup] writes what is needed to make the directory again, and [Restore] does.
//
// Directories of several hosts that name one database and one token are one key
// service. Each has an audit trail, clusters.json and, for kmsfs serve,
// principals of its own. A directory whose token doesn't have the keys in the
// database is refused.
//
// Trust: with SoftHSM the directory holds the keys, encrypted under the PIN, and
// by default the PIN beside them. So whoever can read the directory can decrypt;
// its mode is the protection. A PIN from a prompt, a file on another disk or a
// command protects against the theft of the disk or of a backup, not against
// root on a running machine. Keys in a hardware token don't leave it.
//
// Concurrency: an [Embedded] may be used by any number of goroutines; Close comes
// after all calls of its Service have ended. A process has one SoftHSM
// configuration, so it can open one directory with a SoftHSM token at a time.
package embedded
