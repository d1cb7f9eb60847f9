package fs

import (
	"context"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// visit is the Visit of the walk.
func (r *rekey) visit(ctx context.Context, o *Object) {
	switch {
	case o.Class == ObjectOwn || o.Class == ObjectTemporary || o.Path != "" && !r.wanted(o.Path):
		return
	case o.Err != nil:
		r.doneAt(shownPath(o), o.Err)
		return
	case !o.Regular():
		return
	}
	r.files.Add(1)
	in, err := r.s.reach(o.Path)
	if err == nil && !r.links.complete(r.s, in, o) {
		return // the walk comes by under another name
	}
	if err != nil {
		r.doneAt(o.Path, err)
		return
	}
	r.done(in, r.inode(ctx, in))
	r.s.tree.forget(in.id, 1)
}

// inode gives one file a new data key, unless a killed run has.
func (r *rekey) inode(ctx context.Context, in *inode) error {
	src, err := r.open(in)
	if neverWritten(err) {
		return r.s.renew(ctx, in)
	}
	if err != nil {
		return err
	}
	defer src.close()
	did := slices.Contains(r.runs, src.head.header.MountID)
	if pathSlots(&src.head.slots) > len(src.paths) {
		if !r.settleTwins(in, src, did) {
			return nil // when the walk is over
		}
	}
	if did {
		r.skipped.Add(1)
		r.progress(1, 0)
		return nil
	}
	if src.links > len(src.paths) {
		return errUnknownNames
	}
	return r.copy(ctx, in, src)
}

// rekeySource is a file that is to be copied. It is opened apart from the handles of a mount, so that
// nothing is written to it.
type rekeySource struct {
	store *backing.File
	head  *fileHead
	file  *envelope.File // nil until unlock
	st    unix.Stat_t
	links int // names in the store
	slot  *envelope.Slot
	at    string // path that slot was wrapped under

	places []place
	paths  []string
	seq    uint64 // rename log sequence that paths stand for
}

func (src *rekeySource) close() {
	if src.file != nil {
		src.file.Wipe()
	}
	src.store.Close()
}

// open reads the header of a closed file.
func (r *rekey) open(in *inode) (*rekeySource, error) {
	store, err := r.s.openStore(in, true)
	if err != nil {
		return nil, err
	}
	src := &rekeySource{store: store}
	src.places, src.paths, src.seq = r.s.tree.places(in)
	if src.head, err = r.s.vol.readHead(store); err == nil {
		err = store.Stat(&src.st)
	}
	if err == nil {
		src.links = int(src.st.Nlink)
		src.slot, src.at = r.s.match(&src.head.slots, src.paths, src.seq)
		if src.slot == nil {
			err = r.s.misplaced(in, src.paths)
		}
	}
	if err != nil {
		store.Close()
		return nil, err
	}
	return src, nil
}

// unlock opens the content with the old key. A file that was rolled back is refused as an open refuses it:
// its copy would be a later commit than the one that the ledger knows.
func (r *rekey) unlock(ctx context.Context, in *inode, src *rekeySource) error {
	key, err := r.s.vol.unwrap(ctx, src.slot, src.at)
	if err != nil {
		return err
	}
	defer key.Wipe()
	in.mu.Lock()
	defer in.mu.Unlock()
	trust := r.s.vol.trust(src.head.roots, &in.file)
	src.file, err = envelope.OpenFile(r.s.fileOptions(src.store, key), src.head.roots, trust)
	if err != nil {
		return err
	}
	return r.s.checkFile(in, src.file, src.head.slots.Version)
}

// copy encrypts a file anew and gives it its names. The new one is durable before.
func (r *rekey) copy(ctx context.Context, in *inode, src *rekeySource) error {
	s := r.s
	if err := r.unlock(ctx, in, src); err != nil {
		return err
	}
	defer s.wraps.enter()()
	k, err := s.vol.newKeyFor(ctx, src.head.header.FileID, src.paths, src.seq)
	if err != nil {
		return err
	}
	defer k.Wipe()
	k.slots.Version = src.head.slots.Version + 1 // what is staged for the old file does not count
	d, err := s.dir(src.places[0].dir)
	if err != nil {
		return err
	}
	defer s.dirs.release(d)
	temp := tempName()
	defer d.Unlink(temp) // gone, unless something failed
	if err := r.write(ctx, d, temp, src, k); err != nil {
		return err
	}
	if err := s.putInPlace(in, d, temp, src.places); err != nil {
		return err
	}
	r.rekeyed.Add(1)
	r.progress(1, 0)
	return nil
}

// write makes the new file of the store, flushed, with everything but the name.
func (r *rekey) write(ctx context.Context, d *dirHandle, temp string, src *rekeySource, k *fileKey) error {
	f, err := d.Create(temp, src.st.Mode&0o7777)
	if err != nil {
		return err
	}
	defer f.Close()
	area, err := r.s.vol.crypto.SealSlots(k.id, k.slots)
	if err != nil {
		return err
	}
	o := r.s.fileOptions(f, k.key)
	o.After, _ = src.file.State()
	file, err := envelope.CreateFile(o, r.s.vol.id, k.id, area, src.head.header.Flags)
	if err != nil {
		return err
	}
	defer file.Wipe()
	if err := r.copyContent(ctx, file, src.file); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	seq, _ := file.State()
	r.s.vol.ledger.Written(k.id, seq, k.slots.Version)
	return r.copyMeta(f, file, src)
}

// rekeyBlock is how much is copied at once, in bytes.
const rekeyBlock = 1 << 20

// copyContent copies data and leaves holes out.
func (r *rekey) copyContent(ctx context.Context, to, from *envelope.File) error {
	size, buf := from.Size(), make([]byte, min(rekeyBlock, max(from.Size(), 1)))
	defer clear(buf)
	for off := int64(0); off < size; {
		start, err := from.SeekData(off)
		if envelope.KindOf(err) == envelope.KindNoData {
			break
		}
		if err != nil {
			return err
		}
		end, err := from.SeekHole(start)
		if err != nil {
			return err
		}
		for off = start; off < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			part := buf[:min(int64(len(buf)), end-off)]
			n, err := from.ReadAt(part, off)
			if err == nil {
				_, err = to.WriteAt(part[:n], off)
			}
			if err != nil {
				return err
			}
			off += int64(n)
			r.progress(0, int64(n))
		}
	}
	return to.Truncate(size)
}

// copyMeta gives the new file owner, mode, attributes and times of the old one. The user's attributes are
// sealed for the file id, which stays, so they are copied as they are.
func (r *rekey) copyMeta(f *backing.File, file *envelope.File, src *rekeySource) error {
	if r.s.euid == 0 {
		if err := f.Chown(int(src.st.Uid), int(src.st.Gid)); err != nil {
			return err
		}
	}
	if err := f.Chmod(src.st.Mode & 0o7777); err != nil {
		return err
	}
	if err := cloneXattrs(f, src.store); err != nil {
		return err
	}
	seq, _ := file.State()
	hint := r.s.vol.crypto.SealHint(file.ID(), seq, r.s.vol.mountID, uint64(file.Size()))
	if err := f.SetXattr(hintAttr, hint, 0); err != nil && !noXattrs(err) {
		return err
	}
	return f.Utimens(src.st.Atim, src.st.Mtim)
}

// cloneXattrs copies the store's attributes but the hint and the staged slots, which are of the old file.
// Those that the system keeps by itself and does not let this process set stay what they are.
func cloneXattrs(to, from *backing.File) error {
	names, err := from.ListXattr()
	if noXattrs(err) {
		return nil
	}
	if err != nil {
		return err
	}
	buf := make([]byte, maxXattr+256)
	for _, name := range names {
		if name == hintAttr || name == slotsAttr {
			continue
		}
		n, err := from.GetXattr(name, buf)
		if err == nil {
			err = to.SetXattr(name, buf[:n], 0)
		}
		if err != nil && (strings.HasPrefix(name, "user.") || err != syscall.EPERM && err != syscall.EOPNOTSUPP) {
			return err
		}
	}
	return nil
}
