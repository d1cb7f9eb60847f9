// Package postgres keeps the key service's state in a PostgreSQL database that
// key services on several hosts use at once. The tables are those of
// keysvc/store/sqltx. The server is reached without a pooler that gives each
// transaction another connection, since those can't LISTEN.
//
// # Transactions
//
// An update locks the one row of kms_store before it reads anything and advances
// the generation in that row at its end. So updates of all hosts run one after
// the other, each on what the one before it has left, and the order of their
// generations is the order of their commits. Read committed isolation is
// therefore enough: nobody else can commit between two statements of an update. A view
// reads one snapshot (repeatable read), which is the state between two updates.
// Together that is serializable, without its aborts. A transaction that the server
// ends all the same, as a failover or a deadlock with somebody else's statements can, is
// tried again a few times; one whose commit got no answer is not, and fails
// with [store.ErrUncertain]. Only the primary is used: a replica that
// lags would show a disabled key as enabled.
//
// Every transaction has a deadline, and the server ends those of a host that
// fell silent, so that its lock holds up the others for seconds only. While the
// database can't be reached, calls fail with [store.ErrUnavailable], and work again when it can.
//
// # What other hosts see, and when
//
// Each store has a connection of its own that LISTENs for commits. An update
// announces its generation with NOTIFY, which PostgreSQL delivers when it commits:
// normally a millisecond or two later no other host trusts what it has cached. An
// update does not wait for that: a host that is down would hold up everybody's
// changes, and the bound holds without it. The bound is a lease: the connection also asks for
// the generation four times a second, and [Store.Generation] names a state only
// for a second (leaseTime) from the time when the last answered question was asked. After that it is a
// number that no state has; whoever has cached something asks the database, and if that doesn't
// answer, fails. So a key that was disabled on one host is used by no call that begins on another
// one more than a second later, whatever happens to the network or to the database between
// them. Time in which a host itself is suspended doesn't count, and where a failover leaves two
// servers that both believe to be the primary, each bounds only the hosts that ask it.
//
// On the host that makes the change it counts as soon as Update returns.
//
// # Trust
//
// Who can write to the database, or answer in its place, can enable a disabled key, so across a
// network the connection should have sslmode=verify-full. There are no secrets in the
// database. Passwords are not taken from the connection string, which is kept in a file, but from where
// libpq takes them: a password file, or PGPASSWORD.
package postgres
