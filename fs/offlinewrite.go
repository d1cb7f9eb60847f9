package fs

import (
	"context"
	"errors"
	"path"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// Meta is what SetMeta and Commit change of an object; nil leaves a part alone.
type Meta struct {
	Mode         *uint32 // permission bits, setuid, setgid and sticky
	UID, GID     *uint32
	Atime, Mtime *unix.Timespec
}

// Apply changes t. The owner comes first: chown clears setuid.
func (m *Meta) Apply(t MetaTarget) error {
	if m.UID != nil || m.GID != nil {
		if err := t.Chown(orKeep(m.UID), orKeep(m.GID)); err != nil {
			return err
		}
	}
	if m.Mode != nil {
		if err := t.Chmod(*m.Mode & 0o7777); err != nil {
			return err
		}
	}
	if m.Atime == nil && m.Mtime == nil {
		return nil
	}
	return t.Utimens(orOmit(m.Atime), orOmit(m.Mtime))
}

func orKeep(id *uint32) int {
	if id == nil {
		return -1
	}
	return int(*id)
}

func orOmit(t *unix.Timespec) unix.Timespec {
	if t == nil {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return *t
}

// SetMeta changes owner, mode and times of the object at path itself.
func (o *Offline) SetMeta(path string, m Meta) error {
	return o.at("change", path, func(f *found) error {
		t, done, err := o.fs.target(f.in)
		if err != nil {
			return err
		}
		defer done()
		return m.Apply(t)
	})
}

// SetXattr sets an extended attribute of the user namespace of the object at path itself.
func (o *Offline) SetXattr(path, name string, value []byte) error {
	return o.at("set attribute "+name+" of", path, func(f *found) error {
		in := fuse.SetXAttrIn{InHeader: fuse.InHeader{NodeId: f.in.id}}
		return errOf(o.fs.SetXAttr(nil, &in, name, value))
	})
}

// at runs op on the object at path itself.
func (o *Offline) at(op, path string, run func(*found) error) error {
	f, err := o.fs.find(path, false)
	if err == nil {
		defer f.release()
		err = run(f)
	}
	if err != nil {
		return newError(op, path, err)
	}
	return nil
}

// in runs op in the directory that holds path, with its last component.
func (o *Offline) in(op, p string, run func(dir *inode, name string) error) error {
	dir, name := path.Split(strings.TrimRight(p, "/"))
	if name == "" || name == "." || name == ".." {
		return newError(op, p, syscall.EEXIST)
	}
	f, err := o.fs.find(dir, true)
	if err == nil {
		defer f.release()
		err = run(f.in, name)
	}
	if err != nil {
		return newError(op, p, err)
	}
	return nil
}

// Mkdir makes a directory. mode is subject to the process's umask. EEXIST when there is anything.
func (o *Offline) Mkdir(path string, mode uint32) error {
	return o.in("make directory", path, func(dir *inode, name string) error {
		return o.makeName(dir, name, func(d *dirHandle, p place) error { return o.fs.mkdir(d, p, mode) })
	})
}

// Mknod makes a FIFO, socket or device node; mode has the S_IFMT bits.
func (o *Offline) Mknod(path string, mode uint32, rdev int) error {
	return o.in("make", path, func(dir *inode, name string) error {
		return o.makeName(dir, name, func(d *dirHandle, p place) error { return d.Mknod(p.store, mode, rdev) })
	})
}

func (o *Offline) makeName(dir *inode, name string, make func(*dirHandle, place) error) error {
	var out fuse.EntryOut
	if err := o.fs.makeName(dir, name, &fuse.Caller{}, &out, make); err != nil {
		return err
	}
	o.fs.tree.forget(out.NodeId, 1)
	return nil
}

// Symlink makes a symbolic link, in place of what is at path unless that is a directory.
func (o *Offline) Symlink(target, path string) error {
	return o.in("make symbolic link", path, func(dir *inode, name string) error {
		p, d, long, err := o.fs.newPlace(dir, name)
		if err != nil {
			return err
		}
		defer o.fs.dirs.release(d)
		temp := tempName()
		if err = o.fs.symlink(d, p, target, temp); err == nil {
			err = o.fs.install(d, temp, p)
		}
		if err != nil {
			o.fs.dropLongName(d, p, long)
		}
		return err
	})
}

// install gives the object temp the name p, in place of what has it unless that is a directory. On
// failure temp is removed.
func (s *fileSystem) install(d *dirHandle, temp string, p place) error {
	m := &move{s: s, to: p, td: d}
	note, err := s.noteNames(p.dir, d)
	if err != nil {
		return errors.Join(err, d.Unlink(temp))
	}
	defer note.end()
	m.toNote = note
	if m.dst, err = s.inodeAt(d, p); err == nil {
		defer s.tree.forget(m.dst.id, 1)
		if m.dst.isDir() {
			err = syscall.EISDIR
		}
	}
	if err != nil && !errors.Is(err, syscall.ENOENT) {
		return errors.Join(err, d.Unlink(temp))
	}
	m.dstLast = m.lastName()
	if err := s.replaceBy(m, temp); err != nil {
		m.dstLast.close()
		return errors.Join(err, d.Unlink(temp))
	}
	if m.dst != nil && m.dstLast == nil && m.dst.isRegular() {
		s.dropSlotOf(m.dst, p)
	}
	return nil
}

// replaceBy changes the name in the store and in memory as one step.
func (s *fileSystem) replaceBy(m *move, temp string) error {
	s.names.Lock()
	defer s.names.Unlock()
	var st unix.Stat_t
	if err := m.td.Stat(temp, &st); err != nil {
		return err
	}
	target, err := s.linkTarget(m.td, place{dir: m.to.dir, name: m.to.name, store: temp}, st.Mode)
	if err == nil {
		err = m.td.Rename(temp, m.td.Dir, m.to.store, 0)
	}
	if err != nil {
		return err
	}
	s.tree.remove(m.to, m.dstLast)
	m.noteReplaced()
	m.toNote.added(m.to.name, st.Mode, target)
	return nil
}

// NewFile is a regular file that is being written offline. Nobody sees it before Commit.
type NewFile struct {
	s     *fileSystem
	found *found // the directory
	p     place
	d     *dirHandle
	path  string
	temp  string
	file  *envelope.File
	store *backing.File
}

// Create begins a regular file that takes path at Commit, in place of what is there unless that is a
// directory. The key service is asked for its data key. mode is subject to the process's umask.
func (o *Offline) Create(p string, mode uint32) (*NewFile, error) {
	dir, name := path.Split(p)
	if name == "" || name == "." || name == ".." {
		return nil, newError("create", p, syscall.EISDIR)
	}
	f, err := o.fs.find(dir, true)
	if err != nil {
		return nil, newError("create", p, err)
	}
	n := &NewFile{s: o.fs, found: f, temp: tempName()}
	if err := n.begin(o.ctx, name, mode); err != nil {
		n.Abort()
		return nil, newError("create", p, err)
	}
	return n, nil
}

func (n *NewFile) begin(ctx context.Context, name string, mode uint32) (err error) {
	if n.p, n.d, err = n.s.placeIn(n.found.in, name); err != nil {
		return err
	}
	var seq uint64
	n.path, seq = n.s.tree.path(n.found.in, name)
	k, err := n.s.vol.newFileKey(ctx, []string{n.path}, seq)
	if err != nil {
		return err
	}
	defer k.Wipe()
	if n.store, err = n.d.Create(n.temp, mode&0o7777); err != nil {
		return err
	}
	n.file, err = n.s.firstPage(n.p.dir, n.store, k)
	return err
}

// WriteAt implements io.WriterAt. What is left out up to a later write or Truncate is a hole.
func (n *NewFile) WriteAt(p []byte, off int64) (int, error) {
	done, err := n.file.WriteAt(p, off)
	if err != nil {
		return done, newError("write", n.path, err)
	}
	return done, nil
}

// Truncate sets the size in bytes.
func (n *NewFile) Truncate(size int64) error {
	if err := n.file.Truncate(size); err != nil {
		return newError("write", n.path, err)
	}
	return nil
}

// SetXattr sets an extended attribute of the user namespace.
func (n *NewFile) SetXattr(name string, value []byte) error {
	if !userXattr(name) {
		return newError("set attribute "+name+" of", n.path, syscall.EOPNOTSUPP)
	}
	if name == compressAttr {
		on, err := parseCompress(value)
		if err == nil {
			err = n.file.SetCompress(on)
		}
		if err != nil {
			err = newError("set attribute "+name+" of", n.path, err)
		}
		return err
	}
	sealed := n.s.vol.crypto.SealXattr(n.file.ID(), name, value)
	if err := n.store.SetXattr(n.s.storeXattr(name), sealed, 0); err != nil {
		return newError("set attribute "+name+" of", n.path, err)
	}
	return nil
}

// Commit gives the file its name. What it replaces stays until then, also over a power loss. After an
// error there is nothing new under the name. Either way n must not be used any more.
func (n *NewFile) Commit(m Meta) error {
	if err := n.commit(m); err != nil {
		n.Abort()
		return newError("write", n.path, err)
	}
	temp := n.temp
	n.temp = ""
	sn, err := n.s.vol.storeName(n.p.dir.dirID, n.p.name)
	if err == nil {
		err = writeLongName(n.d, sn)
	}
	if err == nil {
		err = n.s.install(n.d, temp, n.p)
	}
	if err != nil {
		n.s.dropLongName(n.d, n.p, sn.long)
		err = newError("write", n.path, err)
	}
	n.Abort() // of what is left: the key and the descriptors
	return err
}

// commit writes everything but the name. A file that replaces another is flushed before.
func (n *NewFile) commit(m Meta) error {
	write, seal := n.file.Commit, n.s.vol.crypto.SealHint
	var st unix.Stat_t
	if n.d.Stat(n.p.store, &st) == nil {
		write, seal = n.file.Sync, n.s.vol.crypto.SealDurableHint
	}
	if err := write(); err != nil {
		return err
	}
	seq, _ := n.file.State()
	n.s.vol.ledger.Written(n.file.ID(), seq, 1)
	hint := seal(n.file.ID(), seq, n.s.vol.mountID, uint64(n.file.Size()))
	if err := n.store.SetXattr(hintAttr, hint, 0); err != nil && !noXattrs(err) {
		return err
	}
	return m.Apply(n.store)
}

// Abort gives the file up. After Commit it does nothing.
func (n *NewFile) Abort() {
	if n.file != nil {
		n.file.Wipe()
		n.file = nil
	}
	if n.store != nil {
		n.store.Close()
		n.store = nil
		if n.temp != "" {
			n.d.Unlink(n.temp)
		}
	}
	if n.d != nil {
		n.s.dirs.release(n.d)
		n.d = nil
	}
	n.found.release()
}
