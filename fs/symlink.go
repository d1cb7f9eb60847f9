package fs

import (
	"crypto/rand"
	"encoding/hex"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/backing"
)

// Symlink implements fuse.RawFileSystem: the target is sealed under the volume key, bound to the
// link's place.
func (s *fileSystem) Symlink(_ <-chan struct{}, header *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	defer s.changes.Add(1)
	dir := s.tree.get(header.NodeId)
	if dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	return status(s.makeName(dir, name, &header.Caller, out, func(d *dirHandle, p place) error {
		return s.symlink(d, p, target, p.store)
	}))
}

// symlink makes the link that belongs at p under the store name as.
func (s *fileSystem) symlink(d *dirHandle, p place, target, as string) error {
	sealed, err := s.vol.crypto.SealSymlink(p.dir.dirID, p.name, target)
	if err != nil {
		return err
	}
	return d.Symlink(sealed, as)
}

// Readlink implements fuse.RawFileSystem.
func (s *fileSystem) Readlink(_ <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	in := s.tree.get(header.NodeId)
	if in == nil {
		return nil, fuse.Status(syscall.ESTALE)
	}
	p, d, done, err := s.locate(in)
	if err != nil {
		return nil, status(err)
	}
	defer done()
	target, err := s.readlink(d.Dir, p)
	return []byte(target), status(err)
}

// readlink opens the target of the link at p. One that was sealed for another place was put there
// behind the mount's back.
func (s *fileSystem) readlink(d *backing.Dir, p place) (string, error) {
	sealed, err := d.Readlink(p.store)
	if err != nil {
		return "", err
	}
	target, err := s.vol.crypto.OpenSymlink(p.dir.dirID, p.name, sealed)
	if err != nil {
		path, _ := s.tree.path(p.dir, p.name)
		s.log.Warn("symbolic link does not belong here", "volume", s.vol.id.String(), "path", path, "cause", err)
		return "", rejected("readlink", path, err.Error())
	}
	return target, nil
}

// moveSymlink seals the target for the new place, puts that link there and removes the old one. A
// crash in between leaves both names.
func (m *move) moveSymlink() error {
	target, err := m.s.readlink(m.fd.Dir, m.from)
	if err != nil {
		return err
	}
	temp := tempName()
	if err := m.s.symlink(m.td, m.to, target, temp); err != nil {
		return err
	}
	if err := m.likeOld(temp); err != nil {
		m.td.Unlink(temp)
		return err
	}
	return m.replaceSymlink(temp)
}

// replaceSymlink puts the new link in place of what is at to and removes the old one.
func (m *move) replaceSymlink(temp string) error {
	m.dstLast = m.lastName()
	if err := m.swapSymlink(temp); err != nil {
		m.dstLast.close()
		return err
	}
	if m.dst != nil && m.dstLast == nil && m.dst.isRegular() {
		m.s.dropSlotOf(m.dst, m.to)
	}
	return nil
}

// swapSymlink changes the names in the store and in memory as one step.
func (m *move) swapSymlink(temp string) error {
	m.s.names.Lock()
	defer m.s.names.Unlock()
	if err := m.td.Rename(temp, m.td.Dir, m.to.store, m.flags); err != nil {
		m.td.Unlink(temp)
		return err
	}
	var st unix.Stat_t
	if err := m.td.Stat(m.to.store, &st); err != nil {
		return err
	}
	if err := m.fd.Unlink(m.from.store); err != nil {
		return err
	}
	m.s.tree.move(m.from, m.to, false, 0)
	m.s.tree.renumber(m.src, st.Ino)
	if m.dstLast != nil {
		m.s.tree.replaced(m.dst, m.dstLast)
	}
	return nil
}

// likeOld gives the new link the old one's owner and times.
func (m *move) likeOld(temp string) error {
	var st unix.Stat_t
	if err := m.fd.Stat(m.from.store, &st); err != nil {
		return err
	}
	if m.s.euid == 0 {
		if err := m.td.Chown(temp, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return m.td.Utimens(temp, st.Atim, st.Mtim)
}

// tempName returns a name of this package's own that is not in use.
func tempName() string {
	var b [12]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return tempPrefix + hex.EncodeToString(b[:])
}
