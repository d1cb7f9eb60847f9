package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// errNeverWritten: a file cannot be read because a crash came before its first fsync. The store kept its
// name, and of its content not all. Other filesystems show such a file as empty or cut off.
var errNeverWritten = errors.New("the file was never synced before a crash")

// readRoots reads the root pages of a file. A header that is not there, or damaged when it is the only one
// that was ever written, is errNeverWritten after a crash; on a volume whose mounts all ended cleanly, or on
// a file of which a commit was durable, it is an attack or a fault.
func (v *volume) readRoots(f *backing.File) (*envelope.Roots, error) {
	roots, err := envelope.ReadRoots(f)
	if err == nil || envelope.KindOf(err) != envelope.KindTruncated && !errors.Is(err, envelope.ErrLoneRoot) {
		return roots, err
	}
	blank := envelope.KindOf(err) == envelope.KindTruncated
	if !v.mounts.AnyUnclean() || v.proven(f, !blank) {
		return roots, err
	}
	return nil, fmt.Errorf("%w: %w", errNeverWritten, err)
}

// proven reports whether a commit of the file was durable once: it says so itself, or a mount that is live
// or ended cleanly has made one. Where the store has no attributes to say so in, the answer is mute.
func (v *volume) proven(f *backing.File, mute bool) bool {
	var buf [256]byte
	n, err := f.GetXattr(hintAttr, buf[:])
	if err != nil {
		return mute && noXattrs(err)
	}
	h, err := v.crypto.OpenHint(buf[:n])
	return err == nil && (h.Durable || v.believable(h.MountID))
}

func neverWritten(err error) bool { return errors.Is(err, errNeverWritten) }

// renew puts a new empty file, with a data key of its own, in the place of one that was never
// written, under all names that are known; a further name gets one of its own when it is used.
func (s *fileSystem) renew(ctx context.Context, in *inode) error {
	places, paths, seq := s.tree.places(in)
	if len(places) == 0 {
		return syscall.ESTALE
	}
	if err := s.checkNew("file", places[0].dir, paths[0]); err != nil {
		return err
	}
	defer s.wraps.enter()()
	k, err := s.vol.newFileKey(ctx, paths, seq)
	if err != nil {
		return err
	}
	defer k.Wipe()
	d, err := s.dir(places[0].dir)
	if err != nil {
		return err
	}
	defer s.dirs.release(d)
	temp := tempName()
	defer d.Unlink(temp) // gone, unless something failed
	if err := s.makeEmpty(d, places[0], temp, k); err != nil {
		return err
	}
	if err := s.keepRemains(d, places[0]); err != nil {
		return err
	}
	s.log.Warn("file was never synced before a crash: it is empty", "volume", s.vol.id.String(), "path", paths[0])
	return s.putInPlace(in, d, temp, places)
}

// makeEmpty makes an empty file with the owner, mode and times of the one at p.
func (s *fileSystem) makeEmpty(d *dirHandle, p place, temp string, k *fileKey) error {
	var st unix.Stat_t
	if err := d.Stat(p.store, &st); err != nil {
		return err
	}
	f, err := d.Create(temp, st.Mode&0o7777)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.euid == 0 {
		if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if err := f.Chmod(st.Mode & 0o7777); err != nil {
		return err
	}
	file, err := s.firstPage(p.dir, f, k)
	if err != nil {
		return err
	}
	file.Wipe()
	return f.Utimens(st.Atim, st.Mtim)
}

// putInPlace gives temp the names at places as far as they still lead to in, which stands for the
// new file from then on.
func (s *fileSystem) putInPlace(in *inode, d *dirHandle, temp string, places []place) error {
	s.names.Lock()
	defer s.names.Unlock()
	var st unix.Stat_t
	if err := d.Stat(temp, &st); err != nil {
		return err
	}
	replaced := false
	for _, p := range places {
		err := s.linkOver(in, d, temp, p)
		if err != nil && !errors.Is(err, syscall.ESTALE) {
			return err
		}
		replaced = replaced || err == nil
	}
	if !replaced {
		return syscall.ESTALE
	}
	s.tree.renumber(in, st.Ino)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.file = fileState{hinted: -1, closes: in.file.closes + 1}
	return nil
}

// maxRemains is the size in the store, in bytes, up to which what is left of a file is not worth keeping.
const maxRemains = 2 * envelope.PageSize

// keepRemains gives what is left of a larger file another name in the store, for who wants to save parts.
func (s *fileSystem) keepRemains(d *dirHandle, p place) error {
	var st unix.Stat_t
	if err := d.Stat(p.store, &st); err != nil || st.Size <= maxRemains {
		return err
	}
	name := lostPrefix + strings.TrimPrefix(tempName(), tempPrefix)
	s.log.Warn("what is left of it was kept", "store-name", name)
	return d.Link(p.store, d.Dir, name)
}

// linkOver puts a link to temp in the place p of in.
func (s *fileSystem) linkOver(in *inode, d *dirHandle, temp string, p place) error {
	to, err := s.dir(p.dir)
	if err != nil {
		return err
	}
	defer s.dirs.release(to)
	var st unix.Stat_t
	if err := to.Stat(p.store, &st); err != nil || st.Ino != in.ino {
		return syscall.ESTALE
	}
	link := tempName()
	if err := d.Link(temp, to.Dir, link); err != nil {
		return err
	}
	if err := to.Rename(link, to.Dir, p.store, 0); err != nil {
		to.Unlink(link)
		return err
	}
	return nil
}

// openNeverWritten opens a file that was never written. A mount that only reads shows it as empty
// and leaves the store alone; it asks the key service all the same.
func (s *fileSystem) openNeverWritten(ctx context.Context, in *inode) (again bool, err error) {
	in.mu.Lock()
	told := in.file.sizeKnown && in.file.size != 0
	in.mu.Unlock()
	switch {
	case s.vol.ro && told:
		s.sizes.put(in.ino, 0)
		s.tree.giveUp(in)
		return false, syscall.ESTALE
	case s.vol.ro:
		return false, s.openNothing(ctx, in)
	}
	if err := s.renew(ctx, in); err != nil {
		return false, err
	}
	if told {
		s.tree.giveUp(in)
		return false, syscall.ESTALE
	}
	return true, nil
}

func (s *fileSystem) openNothing(ctx context.Context, in *inode) error {
	places, paths, seq := s.tree.places(in)
	if len(places) == 0 {
		return syscall.ESTALE
	}
	if err := s.checkNew("file", places[0].dir, paths[0]); err != nil {
		return err
	}
	key, slot, err := s.vol.generate(ctx, first(paths), seq)
	if err != nil {
		return err
	}
	defer key.Wipe()
	store, err := s.openStore(in, true)
	if err != nil {
		return err
	}
	if err := s.holdEmpty(in, store, key, slot); err != nil {
		store.Close()
		return err
	}
	return nil
}

// holdEmpty takes a handle on an empty file that exists in memory only.
func (s *fileSystem) holdEmpty(in *inode, store *backing.File, key *envelope.DataKey, slot envelope.Slot) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if of := in.open.Load(); of != nil {
		of.handles++
		store.Close()
		return nil
	}
	var st unix.Stat_t
	if err := store.Stat(&st); err != nil {
		return err
	}
	o := s.fileOptions(store, key)
	o.Store = &memoryStore{}
	file, err := envelope.CreateFile(o, s.vol.id, newFileID(), nil, 0)
	if err != nil {
		return err
	}
	of := &openFile{file: file, store: store, handles: 1}
	of.mtime.Store(&st.Mtim)
	in.file.slots, in.file.slotsKnown = envelope.SlotTable{Version: 1, Slots: []envelope.Slot{slot}}, true
	in.since = time.Now()
	in.open.Store(of)
	s.tree.pin(in)
	s.committer.opened(in)
	return nil
}

// memoryStore is an envelope.Store that is lost with the process.
type memoryStore struct{ b []byte }

func (m *memoryStore) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(m.b)) {
		return 0, io.EOF
	}
	n := copy(p, m.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memoryStore) WriteAt(p []byte, off int64) (int, error) {
	if end := int(off) + len(p); end > len(m.b) {
		m.b = append(m.b, make([]byte, end-len(m.b))...)
	}
	return copy(m.b[off:], p), nil
}

func (m *memoryStore) Truncate(size int64) error {
	m.b = append(m.b[:min(int(size), len(m.b))], make([]byte, max(0, int(size)-len(m.b)))...)
	return nil
}

func (m *memoryStore) Sync() error          { return nil }
func (m *memoryStore) Size() (int64, error) { return int64(len(m.b)), nil }
