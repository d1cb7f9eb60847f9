package fs

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
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

// readlink opens the target of the link at p. One that was sealed for another place is either being
// renamed, or was put there behind the mount's back.
func (s *fileSystem) readlink(d *backing.Dir, p place) (string, error) {
	target, err := s.targetAt(d, p, p.store)
	if err == nil || errors.As(err, new(syscall.Errno)) {
		return target, err
	}
	if next, nextErr := s.targetAt(d, p, movedName(p)); nextErr == nil {
		return next, nil
	}
	path, _ := s.tree.path(p.dir, p.name)
	s.log.Warn("symbolic link does not belong here", "volume", s.vol.id.String(), "path", path, "cause", err)
	return "", rejected("readlink", path, err.Error())
}

// targetAt opens the target for p of the link that is called as in the store.
func (s *fileSystem) targetAt(d *backing.Dir, p place, as string) (string, error) {
	sealed, err := d.Readlink(as)
	if err != nil {
		return "", err
	}
	return s.vol.crypto.OpenSymlink(p.dir.dirID, p.name, sealed)
}

// movedName is where the link that belongs at p waits while an older one is renamed to p.
func movedName(p place) string {
	return movedPrefix + strings.TrimPrefix(envelope.LongName(p.store), longPrefix)
}

// finishLinkMove puts the link that waits for p into its place, if the one there is of another. A crash
// came in between.
func (s *fileSystem) finishLinkMove(d *backing.Dir, p place) (moved bool) {
	if s.vol.ro || !s.vol.mounts.AnyUnclean() {
		return false
	}
	if _, err := s.targetAt(d, p, p.store); err == nil || errors.As(err, new(syscall.Errno)) {
		return false
	}
	if _, err := s.targetAt(d, p, movedName(p)); err != nil {
		return false
	}
	return keepTime(d, func() error { return d.Rename(movedName(p), d, p.store, 0) }) == nil
}

// moveSymlink renames a link: the one that belongs at the new place is made beside it, the old one is
// renamed there, which is the moment of the rename, and then replaced. A crash in between leaves one name,
// and at the new place both links, of which one fits.
func (m *move) moveSymlink() error {
	target, err := m.s.readlink(m.fd.Dir, m.from)
	if err != nil {
		return err
	}
	if err := m.stageLink(target); err != nil {
		return err
	}
	m.dstLast = m.lastName()
	if err := m.swapSymlink(); err != nil {
		m.td.Unlink(movedName(m.to))
		return err
	}
	m.noteSymlink(target)
	if m.dst != nil && m.dstLast == nil && m.dst.isRegular() {
		m.s.dropSlotOf(m.dst, m.to)
	}
	return nil
}

// stageLink makes the link for the new place, like the old one.
func (m *move) stageLink(target string) error {
	next := movedName(m.to)
	if err := m.td.Unlink(next); err != nil && !errors.Is(err, syscall.ENOENT) {
		return err
	}
	err := m.s.symlink(m.td, m.to, target, next)
	if err == nil {
		err = m.likeOld(next)
	}
	if err != nil {
		m.td.Unlink(next)
	}
	return err
}

// swapSymlink changes the names in the store and in memory as one step.
func (m *move) swapSymlink() error {
	m.s.names.Lock()
	defer m.s.names.Unlock()
	if err := m.fd.Rename(m.from.store, m.td.Dir, m.to.store, m.flags); err != nil {
		m.dstLast.close()
		return err
	}
	m.s.tree.move(m.from, m.to, false, 0)
	if m.dstLast != nil {
		m.s.tree.replaced(m.dst, m.dstLast)
	}
	var st unix.Stat_t
	err := m.td.Rename(movedName(m.to), m.td.Dir, m.to.store, 0)
	if err == nil {
		err = m.td.Stat(m.to.store, &st)
	}
	if err != nil {
		m.s.log.Warn("renamed symbolic link not settled yet", "err", err)
		return nil
	}
	m.s.tree.renumber(m.src, st.Ino)
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
