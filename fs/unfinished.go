package fs

import (
	"errors"
	"path"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// settleRenames cancels the rename log's last entry when a crash came between the entry and its
// rename. Left alone, an exchange that never happened would give the keys below both directories
// paths that they never had. Nothing else uses the file system yet.
func (s *fileSystem) settleRenames() error {
	entries := s.renames.log().Entries()
	if len(entries) == 0 {
		return nil
	}
	e := entries[len(entries)-1]
	if e.Cancel || e.Old == "" || !s.stagedOnly(e) {
		return nil
	}
	s.log.Warn("a crash interrupted the rename of a directory: it did not happen", "old", e.Old, "new", e.New)
	if err := s.cancelRename(e); err != nil {
		return newError("correct rename log", envelope.RenameLogFile, err)
	}
	s.unstagePath(e.Old)
	if e.Exchange {
		s.unstagePath(e.New)
	}
	return nil
}

// cancelRename logs that e did not happen; a mount that only reads keeps that in memory.
func (s *fileSystem) cancelRename(e envelope.RenameEntry) (err error) {
	e.Cancel = true
	if s.vol.ro {
		e.Seq = s.renames.log().Seq() + 1
		_, err = s.renames.log().Append(e)
	} else {
		e.Seq, err = s.renames.append(s.vol.root, e)
	}
	s.tree.seq = s.renames.log().Seq()
	return err
}

// stagedOnly reports whether the directory of e stands at its old place with the identity for the
// new one beside its own, made for that very entry: the last step before the rename. A rename that
// happened, and any trouble on the way, answers no.
func (s *fileSystem) stagedOnly(e envelope.RenameEntry) bool {
	staged := false
	err := s.withDir(e.Old, func(sub *backing.Dir, parent envelope.DirID) error {
		here, err := ownLink(sub, dirLink)
		if err != nil {
			return err
		}
		next, err := ownLink(sub, dirLinkLog)
		if err != nil {
			return err
		}
		if _, err := s.vol.crypto.OpenDir(parent, path.Base(e.Old), here); err != nil {
			return err
		}
		return s.atParent(e.New, func(_ *dirHandle, to *inode) error {
			_, err := s.vol.crypto.OpenDir(to.dirID, logName(path.Base(e.New), e.Seq), next)
			staged = err == nil
			return err
		})
	})
	if err != nil && !errors.Is(err, syscall.ENOENT) && kindOf(err) != KindKeyRejected {
		s.log.Warn("last rename of a directory not checked", "old", e.Old, "new", e.New, "err", err)
	}
	return staged
}

// unstagePath removes the identity that was staged in the directory at p. It serves nobody any more.
func (s *fileSystem) unstagePath(p string) {
	if s.vol.ro {
		return
	}
	err := s.withDir(p, func(sub *backing.Dir, _ envelope.DirID) error {
		return sub.AsOwner(func() error { return sub.Unlink(dirLinkNew) })
	})
	if err != nil && !errors.Is(err, syscall.ENOENT) {
		s.log.Warn("identity of an interrupted directory rename left behind", "path", p, "err", err)
	}
}

// withDir opens the directory of the store that keeps the plaintext path p, whatever its identity.
func (s *fileSystem) withDir(p string, use func(sub *backing.Dir, parent envelope.DirID) error) error {
	return s.atParent(p, func(d *dirHandle, parent *inode) error {
		at, err := s.place(parent, path.Base(p))
		if err != nil {
			return err
		}
		sub, err := d.OpenDir(at.store)
		if err != nil {
			return err
		}
		defer sub.Close()
		return use(sub, parent.dirID)
	})
}

// atParent resolves the directory above the plaintext path p.
func (s *fileSystem) atParent(p string, use func(d *dirHandle, parent *inode) error) error {
	in := s.tree.root
	for name := range strings.SplitSeq(strings.Trim(path.Dir(p), "/"), "/") {
		if name == "" {
			continue
		}
		var out fuse.EntryOut
		next, err := s.lookup(in, name, &out)
		if err != nil {
			return err
		}
		defer s.tree.forget(next.id, 1)
		in = next
	}
	if !in.isDir() {
		return syscall.ENOTDIR
	}
	d, err := s.dir(in)
	if err != nil {
		return err
	}
	defer s.dirs.release(d)
	return use(d, in)
}
