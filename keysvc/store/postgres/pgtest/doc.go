// Package pgtest runs a PostgreSQL server for tests: a real one, of the machine's own installation, with
// its data in a directory of its own. No cluster of the system is touched or needed.
//
// Trust: the server takes anybody over its unix socket, which is in a private directory, and asks for
// [Password] on the loopback address. Its data isn't flushed to the device.
//
// Concurrency: a [Server] is stopped and started by one goroutine at a time; everybody may connect.
//
// Not here: skipping. A machine without PostgreSQL fails the tests (package postgresql of Debian).
package pgtest
