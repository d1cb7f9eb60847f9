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
func TestWaitingRecordsAreWrittenTogether(t *testing.T) {
	l := newTrail(t, Config{LockTimeout: time.Minute})
	release := holdLock(t, l.config.Path)
	recorded := appendTogether(t, l, 3*maxBatch)
	time.Sleep(20 * time.Millisecond) // for some of them to come
	release()
	wantRecorded(t, l, recorded(), 3*maxBatch)
}

func TestRecordsOfFailedCallsAreNotWritten(t *testing.T) {
	l := newTrail(t, Config{LockTimeout: 50 * time.Millisecond})
	release := holdLock(t, l.config.Path)
	recorded := appendTogether(t, l, 3*maxBatch)
	ids := recorded()
	release()
	wantRecorded(t, l, ids, 0)
	appendAll(t, l, "after")
	wantIntact(t, l.config.Path, 1)
}

// appendTogether appends records in as many goroutines; the function that it returns waits
// for them and returns the ids of those that succeeded.
func appendTogether(t *testing.T, l *File, n int) (recorded func() []string) {
	t.Helper()
	var mu sync.Mutex
	var ids []string
	var calls sync.WaitGroup
	for i := range n {
		calls.Go(func() {
			id := fmt.Sprint(i)
			if err := l.Append(t.Context(), event(id)); err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids = append(ids, id)
		})
	}
	return func() []string { calls.Wait(); return ids }
}

// wantRecorded fails the test unless the trail has the records whose calls succeeded, and
// no others.
func wantRecorded(t *testing.T, l *File, recorded []string, want int) {
	t.Helper()
	inTrail := readIDs(t, l.config.Path)
	slices.Sort(inTrail)
	slices.Sort(recorded)
	if len(recorded) != want || !slices.Equal(inTrail, recorded) {
		t.Errorf("%d calls succeeded, %d are in the trail, want %d", len(recorded), len(inTrail), want)
	}
	wantIntact(t, l.config.Path, uint64(want))
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
