package audit

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Records that arrive while the trail is busy are written together, and those
// whose calls have failed meanwhile are not written at all.
func TestWaitingRecordsAreWrittenTogetherOrNotAtAll(t *testing.T) {
	for _, held := range []time.Duration{20 * time.Millisecond, 600 * time.Millisecond} {
		t.Run(held.String(), func(t *testing.T) {
			l := newTrail(t, Config{LockTimeout: 200 * time.Millisecond})
			release := holdLock(t, l.config.Path)
			var mu sync.Mutex
			var recorded []string
			var calls sync.WaitGroup
			for i := range 3 * maxBatch {
				calls.Go(func() {
					id := fmt.Sprint(i)
					if err := l.Append(t.Context(), event(id)); err != nil {
						return
					}
					mu.Lock()
					defer mu.Unlock()
					recorded = append(recorded, id)
				})
			}
			time.Sleep(held)
			release()
			calls.Wait()
			wantIntact(t, l.config.Path, uint64(len(recorded)))
			inTrail := readIDs(t, l.config.Path)
			slices.Sort(inTrail)
			slices.Sort(recorded)
			if !slices.Equal(inTrail, recorded) {
				t.Errorf("%d calls succeeded, %d are in the trail", len(recorded), len(inTrail))
			}
			if wantAll := held < l.config.LockTimeout; wantAll != (len(recorded) == 3*maxBatch) || !wantAll && len(recorded) != 0 {
				t.Errorf("%d of %d calls succeeded", len(recorded), 3*maxBatch)
			}
		})
	}
}

// holdLock takes the trail's lock as another process would.
func holdLock(t *testing.T, path string) (release func()) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
			t.Error(err)
		}
	}
}
