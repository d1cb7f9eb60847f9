package principals

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// FileName is the file's name in a state directory.
const FileName = "principals.json"

// Store is the principals in one file.
type Store struct {
	path string

	mu   sync.Mutex // protects what follows; held while the file is read
	seen version
	keys map[string]Principal // by access key id
}

// NewStore names the file. It does no I/O; the file is made with the first
// principal.
func NewStore(path string) *Store { return &Store{path: path} }

// List returns all principals in the order of their names.
func (s *Store) List() ([]Principal, error) { return s.read("list principals") }

// Find returns the principal with an access key. It reads the file only if it
// has changed.
func (s *Store) Find(accessKeyID string) (p Principal, ok bool, err error) {
	const op = "find the access key"
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := versionOf(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return Principal{}, false, nil
	}
	if err != nil {
		return Principal{}, false, unreadable(op, &fs.PathError{Op: "stat", Path: s.path, Err: err}, "")
	}
	if now != s.seen {
		if err := s.reload(op, now); err != nil {
			return Principal{}, false, err
		}
	}
	p, ok = s.keys[accessKeyID]
	return p, ok, nil
}

// version tells a file, and each state that it was in, from others. Every request
// asks for it.
type version struct {
	device, inode   uint64
	size            int64
	mode            uint32
	written, change unix.Timespec
}

func versionOf(path string) (version, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	for errors.Is(err, unix.EINTR) {
		err = unix.Stat(path, &st)
	}
	return version{st.Dev, st.Ino, st.Size, st.Mode, st.Mtim, st.Ctim}, err
}

// reload reads the file again. The caller holds mu. If the file changes meanwhile,
// now is the older version and the next Find reads again.
func (s *Store) reload(op string, now version) error {
	list, err := s.read(op)
	if err != nil {
		return err
	}
	s.seen, s.keys = now, make(map[string]Principal, len(list))
	for _, p := range list {
		s.keys[p.AccessKeyID] = p
	}
	return nil
}

// Create makes a principal with a new access key. The name must be free.
func (s *Store) Create(ctx context.Context, name string, admin bool) (Principal, error) {
	op := "create principal " + name
	if !namePattern.MatchString(name) {
		return Principal{}, &Error{Op: op, Kind: KindInvalid, Err: errName}
	}
	p := newPrincipal(name, admin)
	return p, s.change(ctx, op, func(list []Principal) ([]Principal, error) {
		if at(list, name) >= 0 {
			return nil, &Error{Op: op, Kind: KindExists, Err: errTaken,
				Help: "choose another name; for a new access key delete the principal first: kmsfs principal delete " + name}
		}
		return append(list, p), nil
	})
}

// Delete removes a principal. Its access key is refused from then on.
func (s *Store) Delete(ctx context.Context, name string) error {
	op := "delete principal " + name
	return s.change(ctx, op, func(list []Principal) ([]Principal, error) {
		i := at(list, name)
		if i < 0 {
			return nil, &Error{Op: op, Kind: KindMissing, Err: errUnknown, Help: "see who there is: kmsfs principal list"}
		}
		return slices.Delete(list, i, i+1), nil
	})
}

func at(list []Principal, name string) int {
	return slices.IndexFunc(list, func(p Principal) bool { return p.Name == name })
}

// change replaces the file while no other process changes it.
func (s *Store) change(ctx context.Context, op string, edit func([]Principal) ([]Principal, error)) error {
	lock, err := os.OpenFile(s.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return unreadable(op, err, "check that the state directory belongs to you")
	}
	defer lock.Close() // unlocks
	if err := flock(ctx, lock); err != nil {
		return unreadable(op, err, "another process is changing the principals; try again")
	}
	list, err := s.read(op)
	if err != nil {
		return err
	}
	if list, err = edit(list); err != nil {
		return err
	}
	text, err := format(list)
	if err == nil {
		err = replace(s.path, text)
	}
	clear(text)
	if err != nil {
		return unreadable(op, err, "check the disk and who owns the state directory")
	}
	return nil
}

// read returns the principals in the file, in the order of their names.
func (s *Store) read(op string) ([]Principal, error) {
	info, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unreadable(op, err, "")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, unreadable(op, fmt.Errorf("others than its owner can use %s (mode %04o)", s.path, mode), "chmod 600 "+s.path)
	}
	text, err := os.ReadFile(s.path)
	if err != nil {
		return nil, unreadable(op, err, "the file belongs to the user who runs the key service")
	}
	defer clear(text)
	list, err := parse(text)
	if err != nil {
		return nil, damaged(op, fmt.Errorf("%s: %w", s.path, err))
	}
	slices.SortFunc(list, func(a, b Principal) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func flock(ctx context.Context, f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// replace writes a file of mode 0600: after a crash it is the old or the new one.
func replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
