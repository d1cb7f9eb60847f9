package fs

import (
	"context"
	"crypto/rand"
	"errors"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// Create implements fuse.RawFileSystem: a new file with a data key of its own, open.
func (s *fileSystem) Create(cancel <-chan struct{}, input *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	defer s.changes.Add(1)
	dir := s.tree.get(input.NodeId)
	if dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	in, err := s.createFile(request(cancel), dir, name, input.Mode, &input.Caller, &out.EntryOut)
	if err != nil {
		return status(err)
	}
	if input.Flags&unix.O_ACCMODE != unix.O_RDONLY {
		in.mu.Lock()
		in.open.Load().writers++
		in.mu.Unlock()
	}
	out.OpenFlags = s.openFlags()
	return fuse.OK
}

// createFile makes a file and leaves it in use with one handle.
func (s *fileSystem) createFile(ctx context.Context, dir *inode, name string, mode uint32, caller *fuse.Caller, out *fuse.EntryOut) (*inode, error) {
	defer s.wraps.enter()()
	p, d, long, err := s.newPlace(dir, name)
	if err != nil {
		return nil, err
	}
	defer s.dirs.release(d)
	path, seq := s.tree.path(dir, name)
	k, err := s.vol.newFileKey(ctx, []string{path}, seq)
	if err != nil {
		s.dropLongName(d, p, long)
		return nil, err
	}
	defer k.Wipe()
	in, err := s.createAt(d, p, mode, k, caller, out)
	if err != nil {
		s.dropLongName(d, p, long)
	}
	return in, err
}

// createAt makes the file in the store.
func (s *fileSystem) createAt(d *dirHandle, p place, mode uint32, k *fileKey, caller *fuse.Caller, out *fuse.EntryOut) (*inode, error) {
	note, err := s.noteNames(p.dir, d)
	if err != nil {
		return nil, err
	}
	defer note.end()
	f, err := d.Create(p.store, mode&0o7777)
	if err != nil {
		return nil, err
	}
	in, err := s.newFile(d, p, f, k, caller, out)
	if err != nil {
		note.doubt()
		f.Close()
		d.Unlink(p.store)
		return nil, err
	}
	note.added(p.name, unix.S_IFREG, "")
	return in, nil
}

// newFile writes the first root page of a fresh file and makes its inode known.
func (s *fileSystem) newFile(d *dirHandle, p place, f *backing.File, k *fileKey, caller *fuse.Caller, out *fuse.EntryOut) (*inode, error) {
	if err := s.giveFile(d, f, caller); err != nil {
		return nil, err
	}
	file, err := s.firstPage(p.dir, f, k)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := f.Stat(&st); err != nil {
		file.Wipe()
		return nil, err
	}
	in := s.tree.enter(p, &st, envelope.DirID{})
	s.tree.pin(in)
	in.mu.Lock()
	in.file = fileState{id: k.id, sizeKnown: true, hinted: -1, fresh: true, slots: k.slots, slotsKnown: true}
	in.since = time.Now()
	of := &openFile{file: file, store: f, handles: 1}
	of.mtime.Store(&st.Mtim)
	in.open.Store(of)
	in.mu.Unlock()
	s.committer.opened(in)
	in.xattrs.Store(xattrNone)
	return in, s.describe(in, d, p, &st, out)
}

// firstPage writes the root page of a new empty file in dir.
func (s *fileSystem) firstPage(dir *inode, f *backing.File, k *fileKey) (*envelope.File, error) {
	area, err := s.vol.crypto.SealSlots(k.id, k.slots)
	if err != nil {
		return nil, err
	}
	file, err := envelope.CreateFile(s.fileOptions(f, k.key), s.vol.id, k.id, area, s.newFileFlags(dir))
	if err == nil {
		s.vol.ledger.Written(k.id, 0, 0)
	}
	return file, err
}

// newPlace computes where a new name goes and writes the companion of a long one.
func (s *fileSystem) newPlace(dir *inode, name string) (place, *dirHandle, string, error) {
	if !dir.isDir() {
		return place{}, nil, "", syscall.ENOTDIR
	}
	sn, err := s.vol.storeName(dir.dirID, name)
	if err != nil {
		return place{}, nil, "", err
	}
	d, err := s.dir(dir)
	if err != nil {
		return place{}, nil, "", err
	}
	if err := writeLongName(d, sn); err != nil {
		s.dirs.release(d)
		return place{}, nil, "", err
	}
	return place{dir: dir, name: name, store: sn.name}, d, sn.long, nil
}

// writeLongName makes the companion link of a name that did not fit, before the name itself.
func writeLongName(d *dirHandle, sn storedName) error {
	if sn.long == "" {
		return nil
	}
	err := d.Symlink(sn.long, sn.name+longNameSuffix)
	if errors.Is(err, syscall.EEXIST) {
		return nil // the name is there already, or a crash left its companion: same content
	}
	return err
}

// dropLongName removes the companion of a name that is gone, unless the name exists after all.
func (s *fileSystem) dropLongName(d *dirHandle, p place, long string) {
	var st unix.Stat_t
	if long != "" && errors.Is(d.Stat(p.store, &st), syscall.ENOENT) {
		if err := d.Unlink(p.store + longNameSuffix); err != nil {
			s.log.Warn("companion of a long name left behind", "store-name", p.store, "err", err)
		}
	}
}

// dropLong is dropLongName for a place whose name was removed.
func (s *fileSystem) dropLong(d *dirHandle, p place) {
	if len(p.store) > len(longPrefix) && p.store[:len(longPrefix)] == longPrefix {
		s.dropLongName(d, p, p.store)
	}
}

// giveFile makes a new file its creator's, as the kernel would.
func (s *fileSystem) giveFile(d *dirHandle, f *backing.File, caller *fuse.Caller) error {
	uid, gid, err := s.owner(d, caller)
	if err != nil || uid < 0 && gid < 0 {
		return err
	}
	return f.Chown(uid, gid)
}

// owner returns the ids that a new object in d must be given, -1 where it has them already. Only
// root can give files away; an ordinary user's mount serves that user alone.
func (s *fileSystem) owner(d *dirHandle, caller *fuse.Caller) (uid, gid int, err error) {
	if s.euid != 0 || caller.Uid == 0 && caller.Gid == 0 {
		return -1, -1, nil
	}
	var st unix.Stat_t
	if err := d.Stat("", &st); err != nil {
		return -1, -1, err
	}
	uid, gid = int(caller.Uid), int(caller.Gid)
	if st.Mode&unix.S_ISGID != 0 {
		gid = -1 // the store took it from the directory
	}
	return uid, gid, nil
}

// giveName is giveFile for an object that is not open.
func (s *fileSystem) giveName(d *dirHandle, store string, caller *fuse.Caller) error {
	uid, gid, err := s.owner(d, caller)
	if err != nil || uid < 0 && gid < 0 {
		return err
	}
	return d.Chown(store, uid, gid)
}

func newFileID() envelope.FileID {
	var id envelope.FileID
	rand.Read(id[:]) // never fails (crypto/rand)
	return id
}

func (s *fileSystem) fileOptions(f *backing.File, key *envelope.DataKey) envelope.FileOptions {
	return envelope.FileOptions{Store: f, Key: key, Stat: s.vol.crypto, MountID: s.vol.mountID, Workers: s.workers}
}

// Mknod implements fuse.RawFileSystem.
func (s *fileSystem) Mknod(cancel <-chan struct{}, input *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	defer s.changes.Add(1)
	dir := s.tree.get(input.NodeId)
	if dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if input.Mode&unix.S_IFMT == unix.S_IFREG || input.Mode&unix.S_IFMT == 0 {
		in, err := s.createFile(request(cancel), dir, name, input.Mode, &input.Caller, out)
		if err == nil {
			s.release(in, false)
		}
		return status(err)
	}
	return status(s.makeName(dir, name, &input.Caller, out, func(d *dirHandle, p place) error {
		return d.Mknod(p.store, input.Mode, int(input.Rdev))
	}))
}

// Mkdir implements fuse.RawFileSystem.
func (s *fileSystem) Mkdir(_ <-chan struct{}, input *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	defer s.changes.Add(1)
	dir := s.tree.get(input.NodeId)
	if dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	return status(s.makeName(dir, name, &input.Caller, out, func(d *dirHandle, p place) error {
		return s.mkdir(d, p, input.Mode)
	}))
}

// mkdir makes a directory and gives it its identity. A crash in between leaves an empty directory,
// which is given one at its next lookup.
func (s *fileSystem) mkdir(d *dirHandle, p place, mode uint32) error {
	if err := d.Mkdir(p.store, mode&0o7777|0o700); err != nil {
		return err
	}
	id := envelope.NewDirID()
	s.vol.ledger.Made(id)
	sub, err := d.OpenDir(p.store)
	if err == nil {
		err = sub.Symlink(s.vol.crypto.SealDir(p.dir.dirID, p.name, id), dirLink)
		if err == nil && mode&0o700 != 0o700 {
			err = narrow(sub, mode&0o7777)
		}
		sub.Close()
	}
	if err != nil {
		s.vol.ledger.Removed(id)
		d.Rmdir(p.store)
	}
	return err
}

// narrow gives a new directory its mode and leaves it the setgid bit that it took from its parent.
func narrow(sub *backing.Dir, mode uint32) error {
	var st unix.Stat_t
	if err := sub.Stat("", &st); err != nil {
		return err
	}
	return sub.Chmod("", mode|st.Mode&unix.S_ISGID)
}

// makeName makes an object that is not a regular file and enters it.
func (s *fileSystem) makeName(dir *inode, name string, caller *fuse.Caller, out *fuse.EntryOut, make func(*dirHandle, place) error) error {
	p, d, long, err := s.newPlace(dir, name)
	if err != nil {
		return err
	}
	defer s.dirs.release(d)
	note, err := s.noteNames(dir, d)
	if err == nil {
		defer note.end()
		err = make(d, p)
	}
	if err != nil {
		s.dropLongName(d, p, long)
		return err
	}
	if err = s.giveName(d, p.store, caller); err == nil {
		err = s.enterNew(d, p, note, out)
	}
	if err != nil {
		note.doubt()
	}
	return err
}

// enterNew enters an object that was just made.
func (s *fileSystem) enterNew(d *dirHandle, p place, note *nameNote, out *fuse.EntryOut) error {
	in, err := s.enter(d, p, out)
	if err != nil || note == nil {
		return err
	}
	target, err := s.linkTarget(d, p, in.kind)
	note.added(p.name, in.kind, target)
	return err
}
