// Package sqlite keeps the key service's state in one SQLite file that several
// processes on one host use at once. The tables are those of keysvc/store/sqltx.
//
// The database runs in WAL mode with synchronous=FULL: a committed change, such
// as a key that was just created or disabled, survives a power failure. Updates
// begin with BEGIN IMMEDIATE and so wait for each other instead of failing half
// way. The file must be on a local filesystem, as WAL mode needs shared memory.
//
// Beside the database lies a file of eight bytes, the generation word, which
// every process maps into memory. An update stores its new generation there
// while it still holds SQLite's write lock and just before it commits. A reader
// trusts what it has cached from generation g only while the word is g, so it
// notices a commit of another process with one memory load, and a crash between
// the store and the commit only makes readers ask the database until the next
// commit.
//
// Trust: the files are created with mode 0600; who can write them can change
// key states.
package sqlite
