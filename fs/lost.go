package fs

import (
	"io"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// neverWritten reports whether a header could not be read because a crash came before it: the file
// was made and never fsynced, and the store kept its name only. Other filesystems show such a file
// as empty. On a volume whose mounts all ended cleanly the same is an attack or a fault.
func (v *volume) neverWritten(err error) bool {
	return envelope.KindOf(err) == envelope.KindTruncated && v.mounts.AnyUnclean()
}

// renew puts a new empty file, with a data key of its own, in the place of one that was never
// written. Its other names are given files of their own when they are used. The answer is ESTALE,
// upon which the kernel looks the name up again and finds the new file.
func (s *fileSystem) renew(in *inode) error {
	p, ok := s.tree.where(in)
	if !ok {
		return syscall.ESTALE
	}
	path, seq := s.tree.path(p.dir, p.name)
	key, slot, err := s.vol.generate(path, seq)
	if err != nil {
		return err
	}
	defer key.Wipe()
	d, err := s.dir(p.dir)
	if err != nil {
		return err
	}
	defer s.dirs.release(d)
	temp := tempName()
	if err := s.makeEmpty(d, p, temp, key, slot); err != nil {
		d.Unlink(temp)
		return err
	}
	s.log.Warn("file was never written before a crash: empty", "volume", s.vol.id.String(), "path", path)
	return s.putInPlace(in, d, p, temp)
}

// makeEmpty makes an empty file with the owner, mode and times of the one at p.
func (s *fileSystem) makeEmpty(d *dirHandle, p place, temp string, key *envelope.DataKey, slot envelope.Slot) error {
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
	id := newFileID()
	area, err := s.vol.crypto.SealSlots(id, envelope.SlotTable{Version: 1, Slots: []envelope.Slot{slot}})
	if err != nil {
		return err
	}
	file, err := envelope.CreateFile(s.fileOptions(f, key), s.vol.id, id, area, 0)
	if err != nil {
		return err
	}
	file.Wipe()
	return f.Utimens(st.Atim, st.Mtim)
}

// putInPlace renames temp over the name p of in, unless that has become another file's meanwhile.
func (s *fileSystem) putInPlace(in *inode, d *dirHandle, p place, temp string) error {
	s.names.Lock()
	defer s.names.Unlock()
	var st unix.Stat_t
	err := d.Stat(p.store, &st)
	if err == nil && st.Ino != in.ino {
		err = syscall.ESTALE
	}
	if err == nil {
		err = d.Rename(temp, d.Dir, p.store, 0)
	}
	if err != nil {
		d.Unlink(temp)
		return err
	}
	s.tree.mu.Lock()
	s.tree.detach(in)
	s.tree.mu.Unlock()
	return syscall.ESTALE
}

// openNeverWritten opens a file that was never written. A mount that only reads shows it as empty
// and leaves the store alone; it asks the key service all the same.
func (s *fileSystem) openNeverWritten(in *inode) error {
	if !s.vol.ro {
		return s.renew(in)
	}
	paths, seq := s.tree.paths(in)
	key, slot, err := s.vol.generate(first(paths), seq)
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
