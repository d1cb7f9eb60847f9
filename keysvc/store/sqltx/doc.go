// Package sqltx holds the key service's tables and statements: a [store.Tx]
// over a database/sql transaction, in SQL that SQLite and PostgreSQL both
// accept. The packages that open a database (keysvc/store/sqlite) add what
// differs: connections, locking, durability and the change counter.
//
// Times are stored as milliseconds since 1970, 0 for none. Lists inside a row
// (a grant's operations and constraints) are JSON text.
//
// Concurrency: a Tx belongs to the goroutine that runs the transaction.
package sqltx
