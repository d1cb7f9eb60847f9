package sqltx

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

// ErrNotEmpty says that Copy was to write where there is something already.
var ErrNotEmpty = errors.New("the database has keys already")

// copiedRows is how many rows Copy writes at once.
const copiedRows = 100

// Copy writes everything that one database has into another one of the same schema, which must be empty.
// Both transactions must be of this package.
func Copy(ctx context.Context, from, to store.Tx) error {
	source, ok1 := from.(*Tx)
	target, ok2 := to.(*Tx)
	if !ok1 || !ok2 {
		return errors.New("the store keeps its state in another way")
	}
	for _, table := range tables() {
		if err := copyTable(ctx, source, target, table); err != nil {
			return fmt.Errorf("copy %s: %w", table, err)
		}
	}
	since, err := source.UsageSince(ctx)
	if err != nil {
		return err
	}
	_, err = target.tx.ExecContext(ctx, `UPDATE kms_store SET usage_since = ?`, millis(since))
	return err
}

// tables lists the tables, those first that others refer to.
func tables() (names []string) {
	for _, version := range migrations {
		for _, statement := range version {
			if definition, ok := strings.CutPrefix(statement, "CREATE TABLE "); ok {
				name, _, _ := strings.Cut(definition, " ")
				names = append(names, name)
			}
		}
	}
	return names
}

func copyTable(ctx context.Context, from, to *Tx, table string) error {
	var rows int
	if err := to.tx.QueryRowContext(ctx, `SELECT count(*) FROM `+table).Scan(&rows); err != nil {
		return err
	}
	if rows > 0 {
		return ErrNotEmpty
	}
	source, err := from.tx.QueryContext(ctx, `SELECT * FROM `+table)
	if err != nil {
		return err
	}
	defer source.Close()
	columns, err := source.Columns()
	if err != nil {
		return err
	}
	var values []any // of several rows, one after the other
	for source.Next() {
		row := make([]any, len(columns))
		targets := make([]any, len(columns))
		for i := range row {
			targets[i] = &row[i]
		}
		if err := source.Scan(targets...); err != nil {
			return err
		}
		if values = append(values, row...); len(values) == copiedRows*len(columns) {
			if err := to.insert(ctx, table, columns, values); err != nil {
				return err
			}
			values = nil
		}
	}
	return errors.Join(source.Err(), to.insert(ctx, table, columns, values))
}

// insert adds rows.
func (t *Tx) insert(ctx context.Context, table string, columns []string, values []any) error {
	if len(values) == 0 {
		return nil
	}
	row := "(" + strings.Repeat("?, ", len(columns)-1) + "?)"
	rows := strings.Repeat(row+", ", len(values)/len(columns)-1) + row
	_, err := t.tx.ExecContext(ctx, `INSERT INTO `+table+` (`+strings.Join(columns, ", ")+`) VALUES `+rows, values...)
	return err
}
