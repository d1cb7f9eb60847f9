package postgres_test

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"
	"github.com/kmsfs/kmsfs/keysvc/store/postgres"
	"github.com/kmsfs/kmsfs/keysvc/store/postgres/pgtest"
	"github.com/kmsfs/kmsfs/keysvc/store/storetest"
)

// lag is how long these tests give an announcement. It is more than the bound that the package promises
// because other tests take processor time.
const lag = 3 * time.Second

// server is shared by the tests; each has a database or a schema of its own.
var server *pgtest.Server

func TestMain(m *testing.M) {
	var err error
	if server, err = pgtest.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := server.Remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func open(t testing.TB, conninfo string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), conninfo, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, lag, func(t *testing.T) storetest.Open {
		conninfo := server.Schema(t)
		return func(t *testing.T) store.Store { return open(t, conninfo) }
	})
}
