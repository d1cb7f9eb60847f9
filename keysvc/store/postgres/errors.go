package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kmsfs/kmsfs/keysvc/store/sqltx"

	"github.com/jackc/pgx/v5/pgconn"
)

// Error is what Open fails with.
type Error struct {
	Op   string // "connect" or "open"
	Err  error
	Help string // see Hint
}

// Error returns what failed and why, on one line.
func (e *Error) Error() string {
	return "PostgreSQL: " + e.Op + ": " + strings.Join(strings.Fields(e.Err.Error()), " ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what to do next.
func (e *Error) Hint() string { return e.Help }

// describe tells what an error of opening means and what to do.
func (s *Store) describe(err error) error {
	var dial *pgconn.ConnectError
	e := &Error{Op: "open", Err: err, Help: s.help(err)}
	if errors.As(err, &dial) {
		e.Op = "connect"
	}
	return e
}

func (s *Store) help(err error) string {
	role, database := s.config.User, s.config.Database
	switch sqlState(err) {
	case "28P01", "28000":
		return fmt.Sprintf("put the password of %s in ~/.pgpass (mode 0600) or another file named by passfile=, or in PGPASSWORD; if it is there, check pg_hba.conf", role)
	case "3D000":
		return fmt.Sprintf("make the database: createdb --owner=%s --encoding=UTF8 %s", role, database)
	case "42501":
		return fmt.Sprintf("let the role make its tables: in the database %s, GRANT USAGE, CREATE ON SCHEMA public TO %q", database, role)
	case "3F000":
		return "the search_path of the role names no schema that exists; make one, or set search_path in the connection string"
	case "53300":
		return fmt.Sprintf("raise max_connections: each key service takes up to %d", maxConnections+1)
	}
	switch {
	case errors.Is(err, pgconn.ErrReadOnlyConnection):
		return "the server is a replica or read-only; name the primary, or all servers as host=A,B"
	case errors.Is(err, errEncoding):
		return fmt.Sprintf("make another one: createdb --template=template0 --encoding=UTF8 --owner=%s NAME", role)
	case errors.Is(err, sqltx.ErrNewerSchema):
		return "use at least the version of kmsfs that the other hosts use"
	case strings.Contains(err.Error(), "tls:"), strings.Contains(err.Error(), "x509:"), strings.Contains(err.Error(), "refused TLS"):
		return "check sslmode, sslrootcert, sslcert and sslkey in the connection string, and the server's certificate"
	case isLost(err), errors.Is(err, context.DeadlineExceeded):
		return "check that PostgreSQL runs and that host, port and network are right"
	}
	return "check the database's log"
}
