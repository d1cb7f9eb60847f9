// Package sqltx holds the key service's tables and statements: a [store.Tx]
// over a database/sql transaction, in SQL that means the same to SQLite and
// PostgreSQL, but for the placeholder of an argument, which is ? here. The
// packages that open a database (keysvc/store/sqlite, keysvc/store/postgres) add
// what differs: connections, locking, durability and the change counter.
//
// Times are stored as milliseconds since 1970, 0 for none. Lists inside a row
// (a grant's operations and constraints) are JSON text.
//
// Concurrency: a Tx belongs to the goroutine that runs the transaction.
package sqltx
