package fs

import (
	"errors"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// checkStore checks what belongs to the volume as a whole.
func (c *checker) checkStore() {
	if c.logErr == nil {
		c.logErr = c.tornLog()
	}
	if c.logErr != nil {
		c.report(fault(FaultRenameLog, &Object{Store: envelope.RenameLogFile}, c.logErr))
	}
	v := c.s.vol
	f, err := v.root.Open(envelope.MountsFile, true)
	if err == nil {
		defer f.Close()
		var b []byte
		if b, err = readAll(f, 1<<20); err == nil {
			_, err = v.crypto.ParseMounts(b)
		}
	}
	if err != nil {
		c.report(fault(FaultMountStates, &Object{Store: envelope.MountsFile}, err))
	}
}

// tornLog tells of a last entry in the rename log that is not whole although no mount ended without a
// word, so that no crash can have cut it off.
func (c *checker) tornLog() error {
	r := c.s.renames
	if r.file == nil || c.s.vol.mounts.AnyUnclean() {
		return nil
	}
	size, err := r.file.Size()
	if err == nil && size != r.size {
		err = errors.New("the last entry is damaged, but every mount ended cleanly")
	}
	return err
}

// checkOwn checks the volume's own names. Identities and whole names are checked with what they
// belong to.
func (c *checker) checkOwn(o *Object) {
	name := o.storeName()
	var st unix.Stat_t
	long, companion := strings.CutSuffix(name, longNameSuffix)
	switch {
	case name == dirLinkNew && !c.renaming(o.dir.path):
		c.checkStaged(o)
	case companion && errors.Is(o.dir.Stat(long, &st), syscall.ENOENT):
		c.orphan(FaultLongLeft, o)
	case strings.HasPrefix(name, lostPrefix):
		c.report(fault(FaultRemains, o, nil)) // the only copy of what it holds: no repair removes it
	case strings.HasPrefix(name, movedPrefix) && !c.waiting(o):
		c.orphan(FaultStagedLink, o)
	}
}

// waiting reports whether a link waits to take the place of one that a crash has left there. Where that
// cannot be told, it does.
func (c *checker) waiting(o *Object) bool {
	waits := false
	err := o.dir.Each(func(some []backing.Entry) error {
		for _, e := range some {
			if movedName(place{store: e.Name}) == o.storeName() {
				waits = !c.linkFits(o.dir, e.Name)
			}
		}
		return nil
	})
	return waits || err != nil
}

// linkFits reports whether the link at a name of the store is the one that belongs there.
func (c *checker) linkFits(d *walkDir, store string) bool {
	name, _, err := c.s.vol.plainName(d.id, store, d.Readlink)
	if err != nil {
		return false
	}
	sealed, err := d.Readlink(store)
	if err == nil {
		_, err = c.s.vol.crypto.OpenSymlink(d.id, name, sealed)
	}
	return err == nil
}

// renaming reports whether the rename log's last entry concerns the directory at a path: then the
// next mount needs its staged identity to know whether the rename happened.
func (c *checker) renaming(path string) bool {
	entries := c.s.renames.log().Entries()
	if c.logErr != nil || len(entries) == 0 {
		return c.logErr != nil
	}
	e := entries[len(entries)-1]
	return path == e.Old || path == e.New
}

// checkStaged reports the identity of a rename that did not happen: beside one that fits.
func (c *checker) checkStaged(o *Object) {
	here, err := ownLink(o.dir.Dir, dirLink)
	if err != nil {
		return
	}
	if _, err := c.s.vol.crypto.OpenDir(o.dir.parent, o.dir.name, here); err == nil {
		c.orphan(FaultStagedDir, o)
	}
}

// checkSymlink authenticates the target of a symbolic link.
func (c *checker) checkSymlink(o *Object) {
	p := place{dir: &inode{dirID: o.Parent}, name: o.name, store: o.storeName()}
	_, err := c.s.targetAt(o.dir.Dir, p, p.store)
	if err == nil {
		return
	}
	if _, waits := c.s.targetAt(o.dir.Dir, p, movedName(p)); waits == nil {
		return // a crash came before the last step of its rename
	}
	if errors.As(err, new(syscall.Errno)) {
		c.report(fault(FaultUnreadable, o, err))
		return
	}
	c.report(fault(FaultSymlink, o, err))
}

// checkXattrs authenticates the user's extended attributes of a file or directory.
func (c *checker) checkXattrs(o *Object, id [16]byte) {
	dir, name := c.s.vol.root, ""
	if o.dir != nil {
		dir, name = o.dir.Dir, o.storeName()
	}
	names, err := dir.ListXattr(name)
	if err != nil && !errors.Is(err, syscall.ENOTSUP) {
		c.report(fault(FaultUnreadable, o, err))
		return
	}
	var buf []byte
	for _, attr := range names {
		enc, ours := strings.CutPrefix(attr, xattrPrefix)
		if !ours {
			continue
		}
		if buf == nil {
			buf = make([]byte, maxXattr+256)
		}
		n, err := dir.GetXattr(name, attr, buf)
		if err == nil {
			err = c.openXattr(id, enc, buf[:n])
		}
		if err != nil {
			c.report(fault(FaultXattr, o, err))
		}
	}
}

func (c *checker) openXattr(id [16]byte, enc string, sealed []byte) error {
	plain, err := c.s.vol.crypto.DecryptXattrName(enc)
	if err == nil {
		_, err = c.s.vol.crypto.OpenXattr(id, plain, sealed)
	}
	return err
}
