package postgres_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"
	"github.com/kmsfs/kmsfs/keysvc/store/postgres"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// Hosts count in one place while the server crashes again and again. What an update says of itself must
// be true of what is there at the end: made, not made, or not known.
func TestUpdatesTellTheTruthAboutThemselvesWhileTheServerCrashes(t *testing.T) {
	conninfo := server.Schema(t)
	hosts := []*postgres.Store{open(t, conninfo), open(t, conninfo)}
	setState(t, hosts[0], types.KeyStateEnabled)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var made, unknown, failed atomic.Int32
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for ctx.Err() == nil {
				switch err := hosts[w%2].Update(context.WithoutCancel(ctx), increment); {
				case err == nil:
					made.Add(1)
				case errors.Is(err, store.ErrUncertain):
					unknown.Add(1)
				case errors.Is(err, store.ErrUnavailable):
					failed.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		before := made.Load()
		eventually(t, 20*time.Second, "updates are made", func() bool { return made.Load() > before+40 })
		server.Stop()
		if err := server.Run(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	workers.Wait()
	t.Logf("%d updates made, %d failed, of %d it isn't known", made.Load(), failed.Load(), unknown.Load())
	counted := count(t, hosts[1])
	if counted < made.Load() || counted > made.Load()+unknown.Load() {
		t.Errorf("%d were counted", counted)
	}
}

func increment(tx store.Tx) error {
	key, err := tx.Key(context.Background(), scope, "a")
	if err != nil {
		return err
	}
	key.RotationPeriodDays++
	return tx.PutKey(context.Background(), key)
}

func count(t *testing.T, s *postgres.Store) (n int32) {
	t.Helper()
	err := s.View(t.Context(), func(tx store.Tx) error {
		key, err := tx.Key(t.Context(), scope, "a")
		n = key.RotationPeriodDays
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
