package fs

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/backing"
)

// held returns the file in use at a node id. The kernel orders what it asks of an open file before
// the last close, so nothing has to be locked.
func (s *fileSystem) held(nodeid uint64) (*inode, *openFile, syscall.Errno) {
	in := s.tree.get(nodeid)
	if in == nil {
		return nil, nil, syscall.ESTALE
	}
	of := in.open.Load()
	if of == nil {
		return nil, nil, syscall.EBADF
	}
	return in, of, 0
}

// Read implements fuse.RawFileSystem: blocks are decrypted straight into the answer.
func (s *fileSystem) Read(_ <-chan struct{}, input *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	in, of, no := s.held(input.NodeId)
	if no != 0 {
		return nil, fuse.Status(no)
	}
	n, err := of.file.ReadAt(buf[:min(len(buf), int(input.Size))], int64(input.Offset))
	if err != nil {
		return nil, s.contentError(in, "read", err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// contentError logs what EIO does not tell: which file, which block, and why.
func (s *fileSystem) contentError(in *inode, op string, err error) fuse.Status {
	paths, _ := s.tree.paths(in)
	s.log.Error("content failed", "op", op, "volume", s.vol.id.String(), "path", first(paths), "cause", err)
	return status(err)
}

// Write implements fuse.RawFileSystem.
func (s *fileSystem) Write(_ <-chan struct{}, input *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	in, of, no := s.held(input.NodeId)
	if no != 0 {
		return 0, fuse.Status(no)
	}
	n, err := of.file.WriteAt(data, int64(input.Offset))
	if n > 0 {
		s.wrote(of, input.WriteFlags&fuse.WRITE_CACHE == 0)
	}
	if err != nil && n == 0 {
		return 0, s.contentError(in, "write", err)
	}
	if input.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if err := dropPrivileges(of.store); err != nil {
			return 0, status(err)
		}
	}
	return uint32(n), fuse.OK
}

// wrote notes a change. touch says that it happens now; the kernel's delayed writes carry a time
// of their own, which the kernel sets by itself.
func (s *fileSystem) wrote(of *openFile, touch bool) {
	if touch {
		now := unix.NsecToTimespec(time.Now().UnixNano())
		of.mtime.Store(&now)
	}
	of.dirty.Store(true)
}

// dropPrivileges clears setuid and setgid after a write by a user who may not keep them
// (CAP_HANDLE_KILLPRIV_V2 makes that the filesystem's duty).
func dropPrivileges(f *backing.File) error {
	var st unix.Stat_t
	if err := f.Stat(&st); err != nil {
		return err
	}
	mode := st.Mode &^ unix.S_ISUID
	if mode&unix.S_IXGRP != 0 {
		mode &^= unix.S_ISGID
	}
	if mode == st.Mode {
		return nil
	}
	return f.Chmod(mode & 0o7777)
}

// Flush implements fuse.RawFileSystem: close(2) tells the application whether its data was taken.
func (s *fileSystem) Flush(_ <-chan struct{}, input *fuse.FlushIn) fuse.Status {
	in, of, no := s.held(input.NodeId)
	if no != 0 {
		return fuse.Status(no)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	return status(s.commit(in, of))
}

// fsyncDataOnly is FUSE_FSYNC_FDATASYNC.
const fsyncDataOnly = 1

// Fsync implements fuse.RawFileSystem: one device flush.
func (s *fileSystem) Fsync(_ <-chan struct{}, input *fuse.FsyncIn) fuse.Status {
	in, of, no := s.held(input.NodeId)
	if no != 0 {
		return fuse.Status(no)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if input.FsyncFlags&fsyncDataOnly != 0 {
		return status(s.sync(in, of))
	}
	return status(s.fsync(in, of))
}

// Lseek implements fuse.RawFileSystem for SEEK_DATA and SEEK_HOLE. Data that the kernel has not
// written yet would look like a hole, so it is asked to write first.
func (s *fileSystem) Lseek(_ <-chan struct{}, input *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	in, of, no := s.held(input.NodeId)
	if no != 0 {
		return fuse.Status(no)
	}
	in.mu.Lock()
	writers := of.writers
	in.mu.Unlock()
	if writers > 0 {
		s.committer.kick()
	}
	seek := of.file.SeekData
	if input.Whence == unix.SEEK_HOLE {
		seek = of.file.SeekHole
	}
	off, err := seek(int64(input.Offset))
	if err != nil {
		return status(err)
	}
	out.Offset = uint64(off)
	return fuse.OK
}

// Fallocate implements fuse.RawFileSystem. Space is not reserved: copy-on-write needs new pages for
// every write anyway.
func (s *fileSystem) Fallocate(_ <-chan struct{}, input *fuse.FallocateIn) fuse.Status {
	_, of, no := s.held(input.NodeId)
	if no != 0 {
		return fuse.Status(no)
	}
	const known = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_ZERO_RANGE
	if input.Mode&^known != 0 {
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	off, n := int64(input.Offset), int64(input.Length)
	if off < 0 || n <= 0 || off+n < 0 {
		return fuse.EINVAL
	}
	err := s.fallocate(of, input.Mode, off, n)
	s.wrote(of, true)
	return status(err)
}

func (s *fileSystem) fallocate(of *openFile, mode uint32, off, n int64) error {
	if mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0 {
		if held := min(off+n, of.file.Size()); held > off {
			if err := of.file.Punch(off, held-off); err != nil {
				return err
			}
		}
	}
	if mode&unix.FALLOC_FL_KEEP_SIZE == 0 && off+n > of.file.Size() {
		return of.file.Truncate(off + n)
	}
	return nil
}
