package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

// StatFs implements fuse.RawFileSystem: the space of the store.
func (s *fileSystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	var st unix.Statfs_t
	if err := s.vol.root.Statfs(&st); err != nil {
		return status(err)
	}
	*out = space(&st)
	return fuse.OK
}

// space counts in pages. The store counts in fragments of f_frsize bytes; f_bsize is but its
// preferred size of a transfer.
func space(st *unix.Statfs_t) fuse.StatfsOut {
	unit := uint64(st.Frsize)
	return fuse.StatfsOut{
		Blocks: st.Blocks * unit / envelope.PageSize, Bfree: st.Bfree * unit / envelope.PageSize,
		Bavail: st.Bavail * unit / envelope.PageSize, Files: st.Files, Ffree: st.Ffree,
		Bsize: envelope.PageSize, Frsize: envelope.PageSize, NameLen: maxName,
	}
}
