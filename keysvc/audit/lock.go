package audit

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/keysvc/sharedword"
)

// How processes share the trail. Taking the file's lock and asking how long the
// file is cost as much as writing a record, so whoever has the lock keeps it for a
// moment. Those who wait for it say so in a word that all processes map: a time,
// so that what a killed process has said is void soon. Who sees it waits in turn.
const (
	holdFor  = time.Millisecond       // how long the lock is kept at most, beyond the write under way
	claimFor = 5 * time.Millisecond   // how long a word counts
	giveWay  = 200 * time.Microsecond // how long others are let go first
	maxPause = time.Millisecond       // between two attempts
)

// fileLock is the lock of one trail's file. Its user has the turn.
type fileLock struct {
	wanted *sharedword.Word // until when somebody waits, in nanoseconds since 1970
	held   bool
	timer  *time.Timer // lets the lock go
}

func openFileLock(path string, letGo func()) (fileLock, error) {
	wanted, err := sharedword.Open(path + ".wanted")
	if err != nil {
		return fileLock{}, err
	}
	timer := time.AfterFunc(holdFor, letGo)
	timer.Stop()
	return fileLock{wanted: wanted, timer: timer}, nil
}

// take takes the file's lock, which isn't held. It waits for other processes until the
// deadline, and gives context.DeadlineExceeded then.
func (k *fileLock) take(f *os.File, timeout time.Duration) error {
	now := time.Now()
	deadline := now.Add(timeout)
	if k.claimed(now) {
		time.Sleep(giveWay)
	}
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, maxPause) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			if k.wanted.Load() != 0 {
				_ = k.wanted.Store(0) // claims end by themselves, too
			}
			k.held = true
			k.timer.Reset(holdFor)
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return os.NewSyscallError("flock", err)
		}
		if now = time.Now(); now.After(deadline) {
			return context.DeadlineExceeded
		}
		_ = k.wanted.Store(uint64(now.Add(claimFor).UnixNano())) // without it others are merely luckier
		time.Sleep(pause)
	}
}

// claimed tells whether another process waits for the lock.
func (k *fileLock) claimed(now time.Time) bool {
	until, at := k.wanted.Load(), uint64(now.UnixNano())
	return until > at && until <= at+uint64(claimFor)
}

// letGo gives the lock up.
func (k *fileLock) letGo(f *os.File) {
	if k.held {
		k.held = false
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	}
}

// close gives the lock up for good.
func (k *fileLock) close(f *os.File) error {
	k.timer.Stop()
	k.letGo(f)
	return k.wanted.Close()
}
