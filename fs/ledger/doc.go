// Package ledger remembers, outside the store, what a volume's files and directories were like when
// they were last known durable, so that the rollback or deletion of whole objects is noticed.
//
// A ledger is one file per volume: a log of records in frames with checksums, replayed at Open. It
// holds for each file the newest durable commit and slot table, for each directory a keyed digest of
// its entries, the newest entry of the rename log, the volume files that were seen, and the mounts.
//
// The ledger may lag the store and never leads it. What is recorded was durable before (Checkpoint,
// Durable). Before the first change of a recorded directory it is marked as in flux (BeginChange): durably
// for the first few, then for all directories at once. After a kill in the same boot the marks in the
// file are exact, and after a power cut the durable ones suffice. A directory in flux is learned anew.
//
// Trust: the file and its directory are trusted, as the key service's state is; the checksums find
// accidents only. The digests are keyed by the caller and show nothing of names.
//
// Concurrency: a Ledger is safe for concurrent use. One lock guards all of it; it is held for writes
// to the file and not while the store or the ledger's file is flushed, except for durable marks and while
// the file is written anew, which happens when most of it is old. A nil *Ledger remembers nothing and
// finds nothing wrong.
//
// A full filesystem stops no change: what could not be written is written later, and until then the
// header says that every directory is in flux.
//
// Not here: what a name's digest is made of and when the store is flushed (package fs).
package ledger
