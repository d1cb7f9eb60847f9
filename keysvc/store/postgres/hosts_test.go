package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"
	"github.com/kmsfs/kmsfs/keysvc/store/postgres"
	"github.com/kmsfs/kmsfs/keysvc/store/postgres/pgtest"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// bound is how long a host goes on naming a state that another one has changed: what the package
// promises, and what a loaded machine adds.
const bound = time.Second + 500*time.Millisecond

var scope = store.Scope{Account: "111122223333", Region: "us-east-1"}

func setState(t *testing.T, s *postgres.Store, state types.KeyState) {
	t.Helper()
	err := s.Update(t.Context(), func(tx store.Tx) error {
		return tx.PutKey(t.Context(), store.Key{Scope: scope, ID: "a", State: state})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// read returns the key's state and the generation that it is of.
func read(t *testing.T, s *postgres.Store) (state types.KeyState, generation uint64) {
	t.Helper()
	err := s.View(t.Context(), func(tx store.Tx) error {
		key, err := tx.Key(t.Context(), scope, "a")
		state, generation = key.State, tx.Generation()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return state, generation
}

func eventually(t *testing.T, atMost time.Duration, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(atMost); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", atMost, what)
		}
	}
}

// settled waits until what the store reads is what it names as the newest, and returns it.
func settled(t *testing.T, s *postgres.Store) uint64 {
	t.Helper()
	var generation uint64
	eventually(t, lag, "the store trusts what it reads", func() bool {
		_, generation = read(t, s)
		return s.Generation() == generation
	})
	return generation
}

// network is between a host and the server. It can stop carrying anything, without closing a
// connection, as networks do.
type network struct {
	t      *testing.T
	listen net.Listener
	to     string

	mu    sync.Mutex
	cut   bool
	upTo  string // a text that is the last thing to be carried; then connections are closed
	open  []net.Conn
	wires sync.WaitGroup
}

func startNetwork(t *testing.T, to string) *network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{t: t, listen: l, to: to}
	n.wires.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.carry(c)
		}
	})
	t.Cleanup(func() {
		l.Close()
		n.drop()
		n.wires.Wait()
	})
	return n
}

// conninfo reaches a database through the network.
func (n *network) conninfo(database string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=%s sslmode=disable", n.listen.Addr().(*net.TCPAddr).Port, pgtest.User, database)
}

func (n *network) carry(from net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open = append(n.open, from)
	to, err := net.Dial("tcp", n.to)
	if err != nil {
		from.Close()
		return
	}
	n.open = append(n.open, to)
	n.wires.Go(func() { n.copy(to, from) })
	n.wires.Go(func() { n.copy(from, to) })
}

func (n *network) copy(to, from net.Conn) {
	defer to.Close()
	_, _ = io.Copy(wire{n, to}, from)
}

// wire loses what is sent while the network is cut.
type wire struct {
	n  *network
	to net.Conn
}

func (w wire) Write(p []byte) (int, error) {
	w.n.mu.Lock()
	cut, last := w.n.cut, w.n.upTo != "" && bytes.Contains(p, []byte(w.n.upTo))
	if last {
		w.n.cut = true
	}
	w.n.mu.Unlock()
	if cut {
		return len(p), nil
	}
	n, err := w.to.Write(p)
	if last {
		time.Sleep(100 * time.Millisecond) // the server acts on it; what it answers is lost
		w.n.drop()
	}
	return n, err
}

// endAfter closes every connection once it has carried a text.
func (n *network) endAfter(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.upTo = text
}

func (n *network) setCut(cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
}

// drop closes every connection.
func (n *network) drop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.open {
		c.Close()
	}
	n.open = nil
}

func TestADisabledKeyIsNoticedByTheOtherHostAtOnce(t *testing.T) {
	conninfo := server.Schema(t)
	here, there := open(t, conninfo), open(t, conninfo)
	setState(t, here, types.KeyStateEnabled)
	const rounds, askEvery = 20, 250 * time.Millisecond
	var slowest, all time.Duration
	for i := range rounds {
		before := settled(t, there)
		setState(t, here, []types.KeyState{types.KeyStateDisabled, types.KeyStateEnabled}[i%2])
		start := time.Now()
		eventually(t, bound, "the change is noticed", func() bool { return there.Generation() != before })
		slowest, all = max(slowest, time.Since(start)), all+time.Since(start)
	}
	t.Logf("noticed within %v at worst", slowest)
	if all > rounds*askEvery/2 {
		t.Errorf("it took %v, so nothing was announced", all)
	}
}

func TestAHostThatIsCutOffTrustsNothingAfterTheLease(t *testing.T) {
	t.Setenv("PGPASSWORD", pgtest.Password)
	database := server.Database(t)
	n := startNetwork(t, server.Address())
	here, there := open(t, server.Socket(database)), open(t, n.conninfo(database))
	setState(t, here, types.KeyStateEnabled)
	before := settled(t, there)

	n.setCut(true)
	setState(t, here, types.KeyStateDisabled)
	eventually(t, bound, "the cached state is not confirmed any more", func() bool { return there.Generation() != before })
	for range 20 {
		if there.Generation() == before {
			t.Fatal("it is confirmed again")
		}
		time.Sleep(10 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := there.View(ctx, func(store.Tx) error { return nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a view of a host that is cut off gives %v", err)
	}

	n.setCut(false)
	n.drop() // what was lost on the way leaves connections out of step
	eventually(t, 2*lag, "it works again", func() bool {
		return there.View(t.Context(), func(store.Tx) error { return nil }) == nil
	})
	if state, _ := read(t, there); state != types.KeyStateDisabled {
		t.Fatal("the key is", state)
	}
	settled(t, there)
}

func TestALostListeningConnectionIsReplaced(t *testing.T) {
	database := server.Database(t)
	here, there := open(t, server.Socket(database)), open(t, server.Socket(database))
	setState(t, here, types.KeyStateEnabled)
	before := settled(t, there)
	server.Exec(t, database, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kmsfs' AND datname = current_database()`)
	eventually(t, bound, "what was read before is not trusted", func() bool { return there.Generation() != before })
	after := settled(t, there)
	setState(t, here, types.KeyStateDisabled)
	eventually(t, bound, "a change is noticed again", func() bool { return there.Generation() != after })
}

func TestAServerThatIsDownFailsCallsUntilItIsBack(t *testing.T) {
	s := open(t, server.Schema(t))
	setState(t, s, types.KeyStateEnabled)
	before := settled(t, s)
	for round := range 2 {
		server.Stop()
		eventually(t, bound, "what was read is not trusted", func() bool { return s.Generation() != before })
		start := time.Now()
		if err := s.View(t.Context(), func(store.Tx) error { return nil }); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("a view without a server gives %v", err)
		}
		if err := s.Update(t.Context(), func(store.Tx) error { return nil }); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("an update without a server gives %v", err)
		}
		if d := time.Since(start); d > 2*lag {
			t.Errorf("the failures took %v", d)
		}
		if err := server.Run(); err != nil {
			t.Fatal(err)
		}
		setState(t, s, types.KeyStateDisabled) // the first call after it is back
		if state, _ := read(t, s); state != types.KeyStateDisabled {
			t.Fatalf("round %d: the key is %s", round, state)
		}
		before = settled(t, s)
	}
}

func TestAServerThatEndsInAnUpdateFailsIt(t *testing.T) {
	s := open(t, server.Schema(t))
	setState(t, s, types.KeyStateEnabled)
	runs := 0
	err := s.Update(t.Context(), func(tx store.Tx) error {
		if runs++; runs == 1 {
			server.Stop()
		}
		return tx.PutKey(t.Context(), store.Key{Scope: scope, ID: "a", State: types.KeyStateDisabled})
	})
	if !errors.Is(err, store.ErrUnavailable) || runs != 1 {
		t.Fatalf("after %d runs: %v", runs, err)
	}
	if err := server.Run(); err != nil {
		t.Fatal(err)
	}
	if state, _ := read(t, s); state != types.KeyStateEnabled {
		t.Fatal("the key is", state)
	}
}

// A host that stops in the middle of an update, as a suspended machine does, must not hold up the others
// for ever. The server ends its transaction; here sooner than by default.
func TestAHostThatFallsSilentInAnUpdateLosesItsLock(t *testing.T) {
	conninfo := server.Schema(t)
	silent, other := open(t, conninfo+" idle_in_transaction_session_timeout=300"), open(t, conninfo)
	started, updated := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(updated)
		<-started
		err := other.Update(t.Context(), func(tx store.Tx) error {
			return tx.PutKey(t.Context(), store.Key{Scope: scope, ID: "a", State: types.KeyStateDisabled})
		})
		if err != nil {
			t.Error(err)
		}
	}()
	err := silent.Update(t.Context(), func(tx store.Tx) error {
		close(started)
		<-updated
		return tx.PutKey(t.Context(), store.Key{Scope: scope, ID: "a", State: types.KeyStateEnabled})
	})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("the silent host's update gives %v", err)
	}
	if state, _ := read(t, other); state != types.KeyStateDisabled {
		t.Fatal("the key is", state)
	}
}

func TestACommitWithoutAnAnswerIsUncertain(t *testing.T) {
	t.Setenv("PGPASSWORD", pgtest.Password)
	database := server.Database(t)
	n := startNetwork(t, server.Address())
	here, there := open(t, server.Socket(database)), open(t, n.conninfo(database))
	setState(t, here, types.KeyStateEnabled)
	before := settled(t, here)
	n.endAfter("commit\x00")
	runs := 0
	err := there.Update(t.Context(), func(tx store.Tx) error {
		runs++
		return tx.PutKey(t.Context(), store.Key{Scope: scope, ID: "a", State: types.KeyStateDisabled})
	})
	if !errors.Is(err, store.ErrUncertain) || !errors.Is(err, store.ErrUnavailable) || runs != 1 {
		t.Errorf("after %d runs: %v", runs, err)
	}
	eventually(t, bound, "the change is noticed", func() bool { return here.Generation() != before })
	if state, _ := read(t, here); state != types.KeyStateDisabled {
		t.Error("the key is", state)
	}
}

// Whoever asked may give up at any time; what is being committed then is committed and known to be.
func TestACallerWhoGivesUpKnowsWhatWasCommitted(t *testing.T) {
	s := open(t, server.Schema(t))
	for i := range 40 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
		id := fmt.Sprint("key", i)
		err := s.Update(ctx, func(tx store.Tx) error { return tx.PutKey(ctx, store.Key{Scope: scope, ID: id}) })
		cancel()
		there := s.View(t.Context(), func(tx store.Tx) error {
			_, err := tx.Key(t.Context(), scope, id)
			return err
		})
		if (err == nil) != (there == nil) {
			t.Errorf("update: %v, key: %v", err, there)
		}
	}
}

func TestATextThatCantBeStoredIsTold(t *testing.T) {
	s := open(t, server.Schema(t))
	for _, text := range []string{"a\x00b", "\xff"} {
		err := s.Update(t.Context(), func(tx store.Tx) error {
			return tx.PutKey(t.Context(), store.Key{Scope: scope, ID: "a", Description: text})
		})
		if !errors.Is(err, store.ErrText) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
