package fs

import (
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/fs/backing"
)

// dirStream is one opendir(3): a listing taken when it is read from the start.
type dirStream struct {
	mu      sync.Mutex
	in      *inode
	entries []streamEntry
	read    bool
}

type streamEntry struct {
	name  string
	store string
	ino   uint64
	kind  uint32
}

// dirStreams numbers the open directory streams.
type dirStreams struct {
	mu   sync.Mutex
	next uint64
	open map[uint64]*dirStream
}

func (t *dirStreams) add(d *dirStream) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = make(map[uint64]*dirStream)
	}
	t.next++
	t.open[t.next] = d
	return t.next
}

func (t *dirStreams) get(fh uint64) *dirStream {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[fh]
}

func (t *dirStreams) remove(fh uint64) *dirStream {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.open[fh]
	delete(t.open, fh)
	return d
}

// OpenDir implements fuse.RawFileSystem.
func (s *fileSystem) OpenDir(_ <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	in := s.tree.get(input.NodeId)
	if in == nil || !in.isDir() {
		return fuse.ENOTDIR
	}
	s.tree.pin(in)
	out.Fh = s.streams.add(&dirStream{in: in})
	return fuse.OK
}

// ReleaseDir implements fuse.RawFileSystem.
func (s *fileSystem) ReleaseDir(input *fuse.ReleaseIn) {
	if d := s.streams.remove(input.Fh); d != nil {
		s.tree.unpin(d.in)
	}
}

// FsyncDir implements fuse.RawFileSystem.
func (s *fileSystem) FsyncDir(_ <-chan struct{}, input *fuse.FsyncIn) fuse.Status {
	in := s.tree.get(input.NodeId)
	if in == nil {
		return fuse.Status(syscall.ESTALE)
	}
	d, err := s.dir(in)
	if err != nil {
		return status(err)
	}
	defer s.dirs.release(d)
	return status(d.Sync())
}

// ReadDir implements fuse.RawFileSystem.
func (s *fileSystem) ReadDir(_ <-chan struct{}, input *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.readDir(input, func(_ *dirHandle, _ *inode, e *streamEntry, off uint64) bool {
		return out.AddDirEntry(fuse.DirEntry{Name: e.name, Ino: e.ino, Mode: e.kind, Off: off})
	})
}

// ReadDirPlus implements fuse.RawFileSystem: each entry is looked up as well.
func (s *fileSystem) ReadDirPlus(_ <-chan struct{}, input *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.readDir(input, func(d *dirHandle, in *inode, e *streamEntry, off uint64) bool {
		entry := out.AddDirLookupEntry(fuse.DirEntry{Name: e.name, Ino: e.ino, Mode: e.kind, Off: off})
		if entry == nil {
			return false
		}
		if d == nil || e.name == "." || e.name == ".." {
			return true
		}
		if _, err := s.enter(d, place{dir: in, name: e.name, store: e.store}, entry); err != nil {
			*entry = fuse.EntryOut{} // it is gone or does not belong here; a lookup will tell
		}
		return true
	})
}

// readDir feeds the entries from an offset on to add, until add says that the answer is full.
func (s *fileSystem) readDir(input *fuse.ReadIn, add func(*dirHandle, *inode, *streamEntry, uint64) bool) fuse.Status {
	ds := s.streams.get(input.Fh)
	if ds == nil {
		return fuse.EBADF
	}
	d, err := s.dir(ds.in)
	if err == errNoEntry {
		return fuse.OK // the directory was removed: it reads as empty
	}
	if err != nil {
		return status(err)
	}
	defer s.dirs.release(d)
	if err := s.checkDir(ds.in, d); err != nil {
		return status(err)
	}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if input.Offset == 0 || !ds.read {
		if err := s.fill(ds, d); err != nil {
			return status(err)
		}
	}
	for i := input.Offset; i < uint64(len(ds.entries)); i++ {
		if !add(d, ds.in, &ds.entries[i], i+1) {
			break
		}
	}
	return fuse.OK
}

// fill takes a listing; ds.mu is held.
func (s *fileSystem) fill(ds *dirStream, d *dirHandle) error {
	raw, err := d.List()
	if err != nil {
		return err
	}
	ds.entries = append(ds.entries[:0],
		streamEntry{name: ".", ino: ds.in.ino, kind: syscall.S_IFDIR},
		streamEntry{name: "..", ino: s.parentIno(ds.in), kind: syscall.S_IFDIR})
	for _, e := range raw {
		if se, ok := s.plainEntry(ds.in, d, e); ok {
			ds.entries = append(ds.entries, se)
		}
	}
	ds.read = true
	return nil
}

// parentIno is the inode number of the directory above dir; the root stands for its own.
func (s *fileSystem) parentIno(dir *inode) uint64 {
	if p, ok := s.tree.where(dir); ok {
		return p.dir.ino
	}
	return dir.ino
}

// plainEntry decrypts one name. What is not ours is left out of the listing and logged.
func (s *fileSystem) plainEntry(dir *inode, d *dirHandle, e backing.Entry) (streamEntry, bool) {
	name, ok, err := s.vol.plainName(dir.dirID, e.Name, d.Readlink)
	if err != nil {
		path, _ := s.tree.path(dir, "")
		s.log.Warn("foreign name in the backing directory left out", "directory", path, "store-name", e.Name, "cause", err)
	}
	return streamEntry{name: name, store: e.Name, ino: e.Ino, kind: e.Type}, ok
}
