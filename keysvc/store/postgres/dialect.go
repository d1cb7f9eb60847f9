package postgres

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
)

// conn turns the statements of sqltx into PostgreSQL's. They run until the deadline of the
// transaction, whose context is the caller's with that deadline.
type conn struct {
	tx  *sql.Tx
	ctx context.Context
}

// ExecContext implements [sqltx.Conn].
func (c conn) ExecContext(_ context.Context, statement string, args ...any) (sql.Result, error) {
	return c.tx.ExecContext(c.ctx, translate(statement), args...)
}

// QueryContext implements [sqltx.Conn].
func (c conn) QueryContext(_ context.Context, query string, args ...any) (*sql.Rows, error) {
	return c.tx.QueryContext(c.ctx, translate(query), args...)
}

// QueryRowContext implements [sqltx.Conn].
func (c conn) QueryRowContext(_ context.Context, query string, args ...any) *sql.Row {
	return c.tx.QueryRowContext(c.ctx, translate(query), args...)
}

// translate numbers the placeholders, and has new columns of text compare bytes, as SQLite does: lists
// then have one order everywhere, and no update of the system's locales can disorder an index.
func translate(statement string) string {
	if isDefinition(statement) {
		return strings.ReplaceAll(statement, " TEXT ", ` TEXT COLLATE "C" `)
	}
	pieces := strings.Split(statement, "?") // no statement has one in a text
	var b strings.Builder
	b.WriteString(pieces[0])
	for i, piece := range pieces[1:] {
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(i + 1))
		b.WriteString(piece)
	}
	return b.String()
}

func isDefinition(statement string) bool {
	return strings.HasPrefix(statement, "CREATE ") || strings.HasPrefix(statement, "ALTER ")
}
