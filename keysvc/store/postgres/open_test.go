package postgres_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kmsfs/kmsfs/keysvc/store"
	"github.com/kmsfs/kmsfs/keysvc/store/postgres"
	"github.com/kmsfs/kmsfs/keysvc/store/postgres/pgtest"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/jackc/pgx/v5"
)

// tcp is the connection string of a role over the loopback address.
func tcp(role, database string) string {
	host, port, _ := strings.Cut(server.Address(), ":")
	return fmt.Sprintf("host=%s port=%s user=%s dbname=%s", host, port, role, database)
}

func TestOpenSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	t.Setenv("PGPASSWORD", "wrong")
	nobody, database := closedPort(t), server.Database(t)
	latin, newer, frozen, narrow := server.Database(t), server.Database(t), server.Database(t), server.Database(t)
	server.Exec(t, "postgres", "DROP DATABASE "+latin,
		"CREATE DATABASE "+latin+" TEMPLATE template0 ENCODING LATIN1 LOCALE_PROVIDER libc LOCALE 'C'",
		"ALTER DATABASE "+frozen+" SET default_transaction_read_only = on",
		"ALTER DATABASE "+narrow+" SET search_path = nowhere")
	open(t, server.Socket(newer))
	server.Exec(t, newer, "UPDATE kms_store SET schema_version = 1000")
	for _, c := range []struct{ name, conninfo, message, hint string }{
		{"no server", "host=127.0.0.1 port=" + nobody + " user=u dbname=d", "connection refused", "check that PostgreSQL runs"},
		{"no such host", "host=nowhere.invalid user=u dbname=d", "nowhere.invalid", "check that PostgreSQL runs"},
		{"wrong password", tcp(pgtest.User, database), "password authentication failed", "~/.pgpass"},
		{"no such database", server.Socket("missing"), `database "missing" does not exist`, "createdb --owner=postgres"},
		{"replica", server.Socket(frozen), "read only", "name the primary"},
		{"encoding", server.Socket(latin), "not UTF8 but LATIN1", "--encoding=UTF8"},
		{"newer schema", server.Socket(newer), "newer kmsfs", "version of kmsfs that the other hosts use"},
		{"no schema", server.Socket(narrow), "no schema has been selected", "search_path"},
		{"untrusted certificate", tcp(pgtest.User, database) + " sslmode=verify-full", "x509", "sslrootcert"},
		{"no setting", "host=a bar", "parse", "such as 'host=db.example.org"},
		{"misspelt setting", "hist=a", "hist", "such as 'host=db.example.org"},
		{"bad TLS mode", "host=a sslmode=perhaps", "sslmode", "such as 'host="},
		{"unknown service", "service=missing", "missing", "such as 'host="},
		{"password in words", "host=a password=geheim", "has a password", "PGPASSWORD"},
		{"password in a URL", "postgres://u:geheim@a/d", "has a password", "PGPASSWORD"},
		{"password of the client's key", "host=a sslpassword=geheim", "has a password", "PGPASSWORD"},
		{"password in a URL's query", "postgresql://u@a/d?password=geheim", "has a password", "PGPASSWORD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := postgres.Open(t.Context(), c.conninfo, slog.New(slog.DiscardHandler))
			if err == nil {
				t.Fatal("opened", s.Close())
			}
			hinted, ok := err.(*postgres.Error)
			if !ok {
				t.Fatalf("%T: %v", err, err)
			}
			if !strings.Contains(err.Error(), c.message) || !strings.Contains(hinted.Hint(), c.hint) {
				t.Errorf("%v\nhint: %s", err, hinted.Hint())
			}
			if text := err.Error() + hinted.Hint(); strings.Contains(text, "geheim") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q tells the password or has several lines", text)
			}
		})
	}
}

// closedPort is a port on which nobody listens.
func closedPort(t *testing.T) string {
	n := startNetwork(t, "")
	_, port, _ := strings.Cut(n.listen.Addr().String(), ":")
	n.listen.Close()
	return port
}

func TestPasswordsComeFromWhereLibpqTakesThem(t *testing.T) {
	database := server.Database(t)
	file := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(file, []byte("*:*:*:*:"+pgtest.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, tcp(pgtest.User, database)+" passfile="+file)
	t.Setenv("PGPASSFILE", file)
	open(t, tcp(pgtest.User, database))
	service := filepath.Join(t.TempDir(), "service.conf")
	text := "[keys]\n" + strings.ReplaceAll(tcp(pgtest.User, database), " ", "\n") + "\npassword=" + pgtest.Password + "\n"
	if err := os.WriteFile(service, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGPASSFILE", "/nonexistent")
	t.Setenv("PGSERVICEFILE", service)
	open(t, "service=keys")
}

func TestTheServersCertificateIsChecked(t *testing.T) {
	t.Setenv("PGPASSWORD", pgtest.Password)
	conninfo := tcp(pgtest.User, server.Database(t)) + " sslrootcert=" + server.CertificateFile()
	open(t, conninfo+" sslmode=verify-ca")
	if s, err := postgres.Open(t.Context(), conninfo+" sslmode=verify-full", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("the certificate for localhost was taken for 127.0.0.1:", s.Close())
	}
	open(t, strings.Replace(conninfo, "host=127.0.0.1", "host=localhost", 1)+" sslmode=verify-full")
}

func TestManyProgramsMayMakeTheTablesAtOnce(t *testing.T) {
	conninfo := server.Schema(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			s, err := postgres.Open(t.Context(), conninfo, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// One role makes the tables and another one, which may not, uses them.
func TestARoleThatMayNotMakeTablesUsesThem(t *testing.T) {
	t.Setenv("PGPASSWORD", "p")
	database := server.Database(t)
	server.Exec(t, database, "CREATE ROLE clerk LOGIN PASSWORD 'p'", "REVOKE CREATE ON SCHEMA public FROM public")
	s, err := postgres.Open(t.Context(), tcp("clerk", database), slog.New(slog.DiscardHandler))
	if err == nil {
		t.Fatal("the tables were made:", s.Close())
	}
	if hint := err.(*postgres.Error).Hint(); !strings.Contains(hint, `GRANT USAGE, CREATE ON SCHEMA public TO "clerk"`) {
		t.Errorf("%v, hint: %s", err, hint)
	}
	setState(t, open(t, server.Socket(database)), types.KeyStateEnabled)
	server.Exec(t, database, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clerk")
	setState(t, open(t, tcp("clerk", database)), types.KeyStateDisabled)
}

func TestSchemasOfOneDatabaseAreKeyServicesOfTheirOwn(t *testing.T) {
	database := server.Database(t)
	server.Exec(t, database, "CREATE SCHEMA one", "CREATE SCHEMA two")
	one, two := open(t, server.Socket(database)+" search_path=one"), open(t, server.Socket(database)+" search_path=two")
	setState(t, one, types.KeyStateEnabled)
	err := two.View(t.Context(), func(tx store.Tx) error {
		_, err := tx.Key(t.Context(), scope, "a")
		return err
	})
	if err != store.ErrNotFound {
		t.Error(err)
	}
}

func TestEveryColumnOfTextComparesBytes(t *testing.T) {
	database := server.Database(t)
	open(t, server.Socket(database))
	conn, err := pgx.Connect(t.Context(), server.Socket(database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var columns, other int
	err = conn.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE collation_name IS DISTINCT FROM 'C')
		FROM information_schema.columns WHERE table_schema = 'public' AND data_type = 'text'`).Scan(&columns, &other)
	if err != nil || columns < 40 || other > 0 {
		t.Errorf("%d of %d columns have another collation (%v)", other, columns, err)
	}
}

func TestCommitsSurviveACrashWhateverTheDefaultIs(t *testing.T) {
	database := server.Database(t)
	server.Exec(t, "postgres", "ALTER DATABASE "+database+" SET synchronous_commit = off")
	s := open(t, server.Socket(database))
	server.Exec(t, database, `CREATE TABLE seen (setting text)`,
		`CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$`,
		`CREATE TRIGGER note AFTER UPDATE ON kms_store FOR EACH ROW EXECUTE FUNCTION note()`)
	setState(t, s, types.KeyStateEnabled)
	server.Exec(t, database, `DO $$ BEGIN ASSERT (SELECT count(*) FROM seen WHERE setting = 'on') = 1; END $$`)
}

func TestAClosedStoreNamesNoState(t *testing.T) {
	s := open(t, server.Schema(t))
	setState(t, s, types.KeyStateEnabled)
	before := settled(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s.Generation() == before {
		t.Error("it confirms what was cached")
	}
	none := func(store.Tx) error { return nil }
	if err := s.View(t.Context(), none); err != postgres.ErrClosed {
		t.Error(err)
	}
	if err := s.Update(t.Context(), none); err != postgres.ErrClosed {
		t.Error(err)
	}
}

func BenchmarkGeneration(b *testing.B) {
	s := open(b, server.Schema(b))
	for b.Loop() {
		s.Generation()
	}
}

func BenchmarkReload(b *testing.B) {
	s := open(b, server.Schema(b))
	for b.Loop() {
		err := s.View(b.Context(), func(tx store.Tx) error {
			_, _ = tx.Key(b.Context(), scope, "none")
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
