package ledger

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// crashWorld is a store and a ledger whose latest writes may be lost: a model of what fs does.
type crashWorld struct {
	*desk
	rng *rand.Rand
	l   *Ledger

	now, durable map[byte]Sum    // the store's directories
	seq, flushed map[byte]uint64 // the store's files
	synced       []byte          // the ledger's file when it was flushed last
}

// step changes a directory or a file, flushes the store, or makes a checkpoint.
func (w *crashWorld) step() {
	d := byte(w.rng.IntN(20))
	switch w.rng.IntN(12) {
	case 0:
		w.flushStore()
	case 1:
		w.must(w.l.Checkpoint(func() error { w.flushStore(); return nil }))
		w.remember()
	case 2, 3, 4:
		w.seq[d]++
		w.l.Written(id(d), w.seq[d], 1)
	case 5:
		w.seq[d]++
		w.flushed[d] = w.seq[d]
		w.l.Durable(id(d), w.seq[d], 1)
	default:
		w.check(d)
		w.must(w.l.BeginChange(id(100 + d)))
		if !w.l.state.fluxAll || w.l.marks == maxMarks+1 {
			w.remember() // the mark was flushed
		}
		delta := sumOf(w.rng.Uint64())
		sum := w.now[d]
		sum.merge(delta)
		w.now[d] = sum
		w.l.EndChange(id(100+d), delta, true)
	}
}

func (w *crashWorld) flushStore() {
	w.durable, w.flushed = maps.Clone(w.now), maps.Clone(w.seq)
}

func (w *crashWorld) remember() {
	b, err := os.ReadFile(w.path)
	w.must(err)
	w.synced = b
}

// check uses a directory and a file as the store has them.
func (w *crashWorld) check(d byte) {
	w.t.Helper()
	if !w.l.Known(id(100 + d)) {
		w.use(w.l, id(100+d), w.now[d])
	}
	w.must(w.l.Opened(id(d), w.seq[d], 1, false))
}

// crash kills the process, or cuts the power: then the store and the ledger may lose what was not
// flushed, each its own part.
func (w *crashWorld) crash() {
	w.must(w.l.Flush())
	w.must(w.l.Close())
	if w.rng.IntN(2) == 0 {
		return
	}
	w.boot[1]++
	for d := range w.now {
		if w.rng.IntN(2) == 0 {
			w.now[d] = w.durable[d]
		}
	}
	for d := range w.seq {
		w.seq[d] = w.flushed[d] + w.rng.Uint64N(w.seq[d]-w.flushed[d]+1)
	}
	b, err := os.ReadFile(w.path)
	w.must(err)
	if !bytes.HasPrefix(b, w.synced) {
		w.t.Fatal("the ledger was rewritten")
	}
	cut := len(w.synced) + w.rng.IntN(len(b)-len(w.synced)+1)
	w.must(os.WriteFile(w.path, b[:cut], 0o600))
	w.flushStore()
}

func TestNoCrashCausesAFalseAlarmAndNoRollbackGoesUnnoticed(t *testing.T) {
	rounds := 15
	if testing.Short() {
		rounds = 4
	}
	for seed := range rounds {
		w := &crashWorld{desk: newDesk(t), rng: rand.New(rand.NewPCG(uint64(seed), 7)),
			now: map[byte]Sum{}, durable: map[byte]Sum{}, seq: map[byte]uint64{}, flushed: map[byte]uint64{}}
		for range 12 {
			w.l = w.mount()
			w.remember()
			for d := range byte(20) {
				w.check(d)
			}
			for range 1 + w.rng.IntN(60) {
				w.step()
			}
			if w.rng.IntN(3) == 0 {
				w.flushStore()
				w.unmount(w.l)
				w.rollBack()
				continue
			}
			w.crash()
		}
	}
}

// rollBack looks at an older state of everything that has changed since the last clean end.
func (w *crashWorld) rollBack() {
	l, err := Open(Options{Path: w.path, Volume: id(1), Boot: w.boot, ReadOnly: true})
	w.must(err)
	defer l.Close()
	for _, d := range slices.Sorted(maps.Keys(w.now)) {
		_, err := l.Directory(id(100+d), sumOf(w.rng.Uint64()), false)
		wantViolation(w.t, err)
	}
	for d, seq := range w.seq {
		if seq > 0 {
			wantViolation(w.t, l.Opened(id(d), seq-1, 1, false))
		}
	}
}
