package fs

import (
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// Lookup implements fuse.RawFileSystem.
func (s *fileSystem) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	dir := s.tree.get(header.NodeId)
	if dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	_, err := s.lookup(dir, name, out)
	if errors.Is(err, syscall.ENOENT) {
		out.NodeId = 0
		out.SetEntryTimeout(s.timeout)
		return fuse.OK // a negative entry that the kernel may keep
	}
	return status(err)
}

// lookup finds name in dir and counts a reference of the kernel's to it.
func (s *fileSystem) lookup(dir *inode, name string, out *fuse.EntryOut) (*inode, error) {
	p, d, err := s.placeIn(dir, name)
	if err != nil {
		return nil, err
	}
	defer s.dirs.release(d)
	if err := s.checkDir(dir, d); err != nil {
		return nil, err
	}
	return s.enter(d, p, out)
}

// place computes where name in dir is kept.
func (s *fileSystem) place(dir *inode, name string) (place, error) {
	if !dir.isDir() {
		return place{}, syscall.ENOTDIR
	}
	sn, err := s.vol.storeName(dir.dirID, name)
	return place{dir: dir, name: name, store: sn.name}, err
}

// placeIn is place with the directory, which the caller releases.
func (s *fileSystem) placeIn(dir *inode, name string) (place, *dirHandle, error) {
	p, err := s.place(dir, name)
	if err != nil {
		return place{}, nil, err
	}
	d, err := s.dir(dir)
	return p, d, err
}

// enter makes the inode at p known and describes it. Names do not change meanwhile: the kernel
// revalidates a name without locking its directory.
func (s *fileSystem) enter(d *dirHandle, p place, out *fuse.EntryOut) (*inode, error) {
	s.names.RLock()
	defer s.names.RUnlock()
	var st unix.Stat_t
	if err := d.Stat(p.store, &st); err != nil {
		return nil, err
	}
	return s.enterStat(d, p, &st, out)
}

func (s *fileSystem) enterStat(d *dirHandle, p place, st *unix.Stat_t, out *fuse.EntryOut) (*inode, error) {
	var id envelope.DirID
	var sub *backing.Dir
	if st.Mode&unix.S_IFMT == unix.S_IFLNK && s.finishLinkMove(d.Dir, p) {
		if err := d.Stat(p.store, st); err != nil {
			return nil, err
		}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		var err error
		if id, sub, err = s.identify(d, p, st); err != nil {
			return nil, err
		}
	}
	in := s.enterInode(d, p, st, id)
	if sub != nil {
		s.dirs.release(s.dirs.put(in, sub))
	}
	if err := s.describe(in, d, p, st, out); err != nil {
		s.tree.forget(in.id, 1)
		return nil, err
	}
	return in, nil
}

// describe fills the answer for an inode that was entered.
func (s *fileSystem) describe(in *inode, d *dirHandle, p place, st *unix.Stat_t, out *fuse.EntryOut) error {
	out.NodeId, out.Generation = in.id, 1
	out.SetEntryTimeout(s.timeout)
	out.SetAttrTimeout(s.timeout)
	return s.complete(in, d.Dir, p, st, &out.Attr)
}

// identify reads and authenticates a directory's identity, unless the directory is known.
func (s *fileSystem) identify(d *dirHandle, p place, st *unix.Stat_t) (envelope.DirID, *backing.Dir, error) {
	if in := s.tree.known(p, st.Ino); in != nil {
		return in.dirID, nil, nil
	}
	sub, err := d.OpenDir(p.store)
	if err != nil {
		return envelope.DirID{}, nil, err
	}
	id, err := s.dirIdentity(sub, p)
	if err != nil {
		sub.Close()
		return envelope.DirID{}, nil, err
	}
	return id, sub, nil
}

// dirIdentity opens the identity link of the directory at p. A second link is there when a crash
// interrupted a rename: the one that fits its present place is the right one.
func (s *fileSystem) dirIdentity(sub *backing.Dir, p place) (envelope.DirID, error) {
	target, err := ownLink(sub, dirLink)
	if errors.Is(err, syscall.ENOENT) {
		return s.healDir(sub, p)
	}
	if err != nil {
		return envelope.DirID{}, err
	}
	id, err := s.vol.crypto.OpenDir(p.dir.dirID, p.name, target)
	if err == nil {
		return id, nil
	}
	if next, nextErr := ownLink(sub, dirLinkNew); nextErr == nil {
		if id, nextErr := s.vol.crypto.OpenDir(p.dir.dirID, p.name, next); nextErr == nil {
			return id, s.finishDirMove(sub)
		}
	}
	path, _ := s.tree.path(p.dir, p.name)
	s.log.Warn("directory does not belong here", "volume", s.vol.id.String(), "path", path, "cause", err)
	return envelope.DirID{}, newError("lookup", path, err)
}

func (s *fileSystem) finishDirMove(sub *backing.Dir) error {
	if s.vol.ro {
		return nil
	}
	return keepTime(sub, func() error { return sub.Rename(dirLinkNew, sub, dirLink, 0) })
}

// ownLink reads an identity link, also in a directory that its owner may not search.
func ownLink(sub *backing.Dir, name string) (target string, err error) {
	err = sub.AsOwner(func() (err error) {
		target, err = sub.Readlink(name)
		return err
	})
	return target, err
}

// ownEntries lists a directory, also one that its owner may not read.
func ownEntries(sub *backing.Dir) (entries []backing.Entry, err error) {
	err = sub.AsOwner(func() (err error) {
		entries, err = sub.List()
		return err
	})
	return entries, err
}

// healDir gives an empty directory without identity a new one: a crash between two steps of mkdir
// or rmdir left it so. A mount that only reads makes one up.
func (s *fileSystem) healDir(sub *backing.Dir, p place) (envelope.DirID, error) {
	entries, err := ownEntries(sub)
	if err != nil {
		return envelope.DirID{}, err
	}
	if _, err := ownNames(entries); err != nil {
		path, _ := s.tree.path(p.dir, p.name)
		return envelope.DirID{}, rejected("lookup", path, "the directory's identity (kmsfs.dir) is missing")
	}
	id, kept := s.vol.keptIdentity(sub, p.dir.dirID, p.name)
	if !kept {
		path, _ := s.tree.path(p.dir, p.name)
		if err := s.checkNew("directory", p.dir, path); err != nil {
			return envelope.DirID{}, err
		}
		id = envelope.NewDirID()
	}
	if s.vol.ro {
		return id, nil
	}
	return id, sub.Symlink(s.vol.crypto.SealDir(p.dir.dirID, p.name, id), dirLink)
}

// keptIdentity is the identity that keepIdentity has saved, if it belongs here.
func (v *volume) keptIdentity(sub *backing.Dir, parent envelope.DirID, name string) (envelope.DirID, bool) {
	var buf [256]byte
	n, err := sub.GetXattr("", dirAttr, buf[:])
	if err != nil {
		return envelope.DirID{}, false
	}
	id, err := v.crypto.OpenDir(parent, name, string(buf[:n]))
	return id, err == nil
}

// Forget implements fuse.RawFileSystem.
func (s *fileSystem) Forget(nodeid, nlookup uint64) { s.tree.forget(nodeid, nlookup) }

// Access implements fuse.RawFileSystem. The kernel checks permissions itself with
// default_permissions; without it only the mounting user has access.
func (s *fileSystem) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status {
	return fuse.ENOSYS
}
