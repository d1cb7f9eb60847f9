package fs

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// FileInfo is what an encrypted file tells without any key. Nothing of it is authenticated.
type FileInfo struct {
	VolumeID   string
	FileID     string
	Suite      uint16
	Compressed bool   // later writes are
	Sequence   uint64 // of the newest commit
	Revision   uint32 // changes of the slots since
	MountID    uint64 // that made the commit
	Commitment []byte // of the data key
	OtherRoot  string // of the root page that is not the newest: "commit N", "empty", or what is wrong with it
	Slots      envelope.SlotTable
	Staged     bool  // Slots stand in the attribute, which is newer than the header
	Stored     int64 // length of the backing file, bytes
	Allocated  int64 // what it takes on the disk, bytes
}

// ReadFileInfo reads what an encrypted file in a backing directory tells.
func ReadFileInfo(dir, name string) (FileInfo, error) {
	d, err := backing.OpenRoot(dir)
	if err != nil {
		return FileInfo{}, newError("read header", dir, err)
	}
	defer d.Close()
	f, err := d.Open(name, true)
	if err != nil {
		return FileInfo{}, newError("read header", name, err)
	}
	defer f.Close()
	info, err := readFileInfo(f)
	if err != nil {
		return FileInfo{}, newError("read header", name, err)
	}
	return info, nil
}

func readFileInfo(f *backing.File) (FileInfo, error) {
	roots, err := envelope.ReadRoots(f)
	if err != nil {
		return FileInfo{}, err
	}
	var st unix.Stat_t
	if err := f.Stat(&st); err != nil {
		return FileInfo{}, err
	}
	h := roots.Newest()
	info := FileInfo{
		VolumeID: h.VolumeID.String(), FileID: h.FileID.String(), Suite: h.Suite, Compressed: h.Flags&envelope.FlagCompress != 0,
		Sequence: h.Sequence, Revision: h.Revision, MountID: h.MountID, Commitment: h.Commitment[:], OtherRoot: otherRoot(roots),
		Stored: st.Size, Allocated: st.Blocks * 512,
	}
	if info.Slots, err = envelope.ReadSlots(h.SlotArea); err != nil {
		return FileInfo{}, err
	}
	var buf [maxSlotsAttr]byte
	if n, err := f.GetXattr(slotsAttr, buf[:]); err == nil {
		if t, err := envelope.ReadSlots(buf[:n]); err == nil && t.Version > info.Slots.Version {
			info.Slots, info.Staged = t, true
		}
	}
	return info, nil
}

// otherRoot describes the root page that is not the newest.
func otherRoot(r *envelope.Roots) string {
	if h := r.Other(); h != nil {
		return fmt.Sprintf("commit %d", h.Sequence)
	}
	if err := r.SpareDamage(); err != nil {
		return err.Error()
	}
	return "empty"
}
