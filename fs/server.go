package fs

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// fileSystem serves one attached volume to the kernel. It implements fuse.RawFileSystem; what it
// does not define is answered with ENOSYS.
type fileSystem struct {
	fuse.RawFileSystem

	vol  *volume
	tree *tree

	// names is held for reading by whoever resolves an inode to a place and then uses that place in
	// the store, and for writing from a change of names in the store until the tree knows of it.
	names sync.RWMutex

	dirs       *dirCache
	rootDir    *dirHandle // held for the whole mount
	renames    *renames
	wraps      wrapGate
	rewrapping sync.Mutex // held by a rewrap; first in the lock order, nothing waits for it
	streams    dirStreams
	folds      foldQueue
	folding    sync.Mutex // held by foldAll; before names and inode.mu
	sizes      sizes
	committer  *committer
	changes    atomic.Uint64 // counts changes of names and attributes, after each
	recorded   time.Time     // when the ledger was written last; used by the committer only
	suspect    atomic.Bool   // a device flush failed: the end of this mount is not a clean one
	log        *slog.Logger
	mountpoint string
	timeout    time.Duration // how long the kernel may keep names and attributes
	writeback  bool          // the kernel keeps dirty pages
	euid       int
	workers    int
}

// maxOpenDirs bounds the directories of the store that are kept open.
const maxOpenDirs = 4096

func newFileSystem(v *volume, o *MountOptions) (*fileSystem, error) {
	s := &fileSystem{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		vol:           v, log: o.Logger, mountpoint: o.Mountpoint, timeout: time.Hour, recorded: time.Now(),
		writeback: !o.NoWriteback && !o.ReadOnly, euid: os.Geteuid(), workers: o.workers(),
	}
	root, err := s.rootInode()
	if err != nil {
		return nil, err
	}
	s.renames, err = v.openRenames()
	if err != nil && o.badLog != nil && kindOf(err) == KindBadVolume {
		o.badLog(err)
		s.renames, err = new(renames), nil
		s.renames.logs.Store(&renameLogs{now: v.crypto.NewRenameLog()})
	}
	if err != nil {
		return nil, err
	}
	s.dirs = newDirCache(maxOpenDirs)
	if err := s.checkRenames(); err != nil {
		s.letGo()
		return nil, err
	}
	s.tree = newTree(root, s.renames.log().Seq(), s.dirs.drop)
	s.folds.tree = s.tree
	s.committer = newCommitter(s)
	if err = s.keepRoot(root); err == nil {
		err = s.checkDir(root, s.rootDir)
	}
	if err == nil {
		err = s.settleRenames()
	}
	if err != nil {
		s.letGo()
		return nil, err
	}
	return s, nil
}

// letGo closes what is open in the store.
func (s *fileSystem) letGo() {
	s.renames.close()
	if s.rootDir != nil {
		s.dirs.release(s.rootDir)
	}
	s.dirs.closeAll()
}

func (s *fileSystem) rootInode() (*inode, error) {
	var st unix.Stat_t
	if err := s.vol.root.Stat("", &st); err != nil {
		return nil, newError("mount", s.vol.info.Backing, err)
	}
	id, err := s.vol.rootID()
	if err != nil {
		return nil, newError("mount", s.vol.info.Backing, err)
	}
	return &inode{ino: st.Ino, dirID: id}, nil
}

// keepRoot puts the root into the directory cache for good: it has no name to find it by.
func (s *fileSystem) keepRoot(root *inode) error {
	d, err := s.vol.root.OpenDir(".")
	if err != nil {
		return newError("mount", s.vol.info.Backing, err)
	}
	s.rootDir = s.dirs.put(root, d)
	return nil
}

// String implements fuse.RawFileSystem.
func (s *fileSystem) String() string { return "kmsfs" }

// Server is a mounted volume.
type Server struct {
	fs      *fileSystem
	fuse    *fuse.Server
	grants  *grants
	mounted time.Time
	opts    MountOptions

	stop context.CancelFunc // ends what works on the volume beside the kernel
	live context.Context

	err  error
	done chan struct{}
}

// Mount attaches the volume and returns when the mount point serves it. The key service is asked
// for the volume key, and a grant limited to this volume is made for the time of the mount.
func Mount(ctx context.Context, o MountOptions) (*Server, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	v, err := attach(ctx, &o)
	if err != nil {
		return nil, err
	}
	srv, err := serve(ctx, v, o)
	if err != nil {
		if !v.ro {
			v.end()
		}
		v.close()
		return nil, err
	}
	return srv, nil
}

// serve mounts an attached volume.
func serve(ctx context.Context, v *volume, o MountOptions) (*Server, error) {
	fsys, err := newFileSystem(v, &o)
	if err != nil {
		return nil, err
	}
	srv, err := fsys.serve(ctx, o)
	if err != nil {
		fsys.letGo()
	}
	return srv, err
}

// serve makes the mount's grant and gives the mount point to the kernel.
func (s *fileSystem) serve(ctx context.Context, o MountOptions) (*Server, error) {
	if o.Principal != nil {
		s.vol.caller = o.Principal(ctx)
	}
	g, err := s.vol.grantMount(ctx)
	if err != nil {
		return nil, err
	}
	unix.Umask(0) // the kernel has applied the caller's
	fserver, err := fuse.NewServer(s, o.Mountpoint, o.fuseOptions(s))
	if err != nil {
		g.retain()
		return nil, mountError(o.Mountpoint, err)
	}
	srv := &Server{fs: s, fuse: fserver, grants: g, mounted: time.Now(), opts: o, done: make(chan struct{})}
	srv.live, srv.stop = context.WithCancel(context.Background())
	go fserver.Serve()
	if err := fserver.WaitMount(); err != nil {
		g.retain()
		return nil, mountError(o.Mountpoint, err)
	}
	go s.committer.run()
	tuneReadahead(o.Mountpoint)
	go srv.finish()
	return srv, nil
}

// Wait returns when the volume is unmounted, everything is written, the keys are wiped and the
// grant is retired. The error tells what could not be written.
func (s *Server) Wait() error {
	<-s.done
	return s.err
}

// Unmount asks the kernel to unmount. EBUSY is returned while files are open on the mount.
func (s *Server) Unmount() error {
	s.fs.committer.pause.Lock()
	defer s.fs.committer.pause.Unlock()
	err := s.fuse.Unmount()
	if err != nil && strings.Contains(err.Error(), "busy") {
		return unix.EBUSY // fusermount3 says it in words only
	}
	return err
}

// finish detaches the volume after the kernel has let go of it.
func (s *Server) finish() {
	s.fuse.Wait()
	s.stop()
	s.fs.rewrapping.Lock() // for good: none begins any more
	s.err = s.fs.detach()
	s.grants.retain()
	s.fs.vol.close()
	close(s.done)
}

// detach writes everything back and records a clean end.
func (s *fileSystem) detach() error {
	err := s.committer.finish()
	if foldErr := s.foldAll(); err == nil {
		err = foldErr
	}
	if syncErr := s.vol.syncStore(); err == nil {
		err = syncErr
	}
	if err == nil && s.suspect.Load() {
		err = errFlushFailed
	}
	s.letGo()
	if err != nil {
		s.log.Error("not everything was written: files are checked at the next mount", "err", err)
		return err
	}
	if err := s.endLedger(); err != nil {
		s.log.Error("ledger not written", "ledger", s.vol.ledger.Path(), "err", err)
	}
	return s.vol.end()
}

// errFlushFailed: what a failed flush has dropped is not reported by a later one.
var errFlushFailed = errors.New("a flush of the store failed while the volume was mounted")

// syncStore flushes the store's filesystem, so that a clean end means a durable one.
func (v *volume) syncStore() error {
	if v.ro {
		return nil
	}
	return v.root.SyncFS()
}
