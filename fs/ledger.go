package fs

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/ledger"
)

// ledgerInterval is how often a mount that changes things records them, which takes a flush of the
// store. A clean end records the rest.
const ledgerInterval = time.Minute

// openLedger opens the volume's ledger in dir. Without a directory there is none: nil remembers
// nothing.
func (v *volume) openLedger(dir string, accept bool) error {
	if dir == "" {
		return nil
	}
	path := LedgerPath(dir, v.info.ID)
	l, err := ledger.Open(ledger.Options{Path: path, Volume: v.id, Boot: bootID(path, v.info.Backing), ReadOnly: v.ro})
	switch {
	case errors.Is(err, ledger.ErrInUse):
		return &Error{Op: "open ledger", Kind: KindLocked, Path: path, Err: err,
			hint: "another copy of this volume is mounted; unmount it, or mount this one with -o noledger"}
	case err != nil:
		e := newError("open ledger", path, err)
		e.hint = "mount with -o noledger, or learn the volume anew: kmsfs ledger forget " + v.info.Backing
		return e
	}
	v.ledger = l
	if accept {
		if err := l.Accept(); err != nil {
			return newError("write ledger", path, err)
		}
	}
	return v.checkVolumeFile()
}

// checkVolumeFile compares the volume file, which is locked, with the ledger. One that was not seen
// before is authentic, and the newest from then on.
func (v *volume) checkVolumeFile() error {
	text, err := readAll(v.lock, maxVolumeFile)
	if err != nil {
		return newError("read volume file", v.info.Backing, err)
	}
	return v.known(v.ledger.VolumeFile(v.crypto.LedgerTag("volume-file", string(text))))
}

// LedgerPath is the file of a volume's ledger in a directory of ledgers.
func LedgerPath(dir, volume string) string { return filepath.Join(dir, volume+".ledger") }

// known makes the error of a comparison with the ledger that concerns the volume as a whole.
func (v *volume) known(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: "compare with the ledger", Kind: KindRolledBack, Path: v.info.Backing, Err: err,
		hint: "after a restore from a backup, accept the store as it is: kmsfs ledger accept " + v.info.Backing}
}

// bootID tells one time that a set of mounted filesystems was up from another: while none of them
// went down, what was written is there. It changes with the boot and with a new mount of any of them.
func bootID(paths ...string) (id ledger.ID) {
	h := sha256.New()
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	h.Write(boot)
	for _, p := range paths {
		var st unix.Statx_t
		for unix.Statx(unix.AT_FDCWD, p, 0, unix.STATX_MNT_ID_UNIQUE, &st) != nil && len(p) > 1 {
			p = filepath.Dir(p) // it is about to be made
		}
		h.Write(binary.LittleEndian.AppendUint64(nil, st.Mnt_id))
	}
	return ledger.ID(h.Sum(nil)[:16])
}

// lineage compares the mount states with the ledger, before this mount is among them.
func (v *volume) lineage() error {
	elsewhere, err := v.ledger.Lineage(v.mounts.Last())
	if elsewhere {
		v.log.Warn("the volume was mounted elsewhere or without the ledger since: its directories are learned anew",
			"volume", v.id.String(), "last-mount", v.mounts.Last())
	}
	return v.known(err)
}

// checkRenames compares the rename log with the ledger.
func (s *fileSystem) checkRenames() error {
	log := s.renames.log()
	return s.vol.known(s.vol.ledger.Renames(log.Fingerprint, log.Seq(), log.Base()))
}

// rolledBack reports that an object is not what the ledger knows of it.
func (s *fileSystem) rolledBack(op, path string, cause error) error {
	e := &Error{Op: op, Kind: KindRolledBack, Path: path, Err: cause}
	s.log.Error("the store is not what it was", "op", op, "volume", s.vol.id.String(), "path", path, "cause", cause,
		"hint", "after a restore from a backup: kmsfs ledger accept "+s.vol.info.Backing)
	return e
}

// recordLedger records what has changed, once flush has made it durable.
func (s *fileSystem) recordLedger(flush func() error) error {
	l := s.vol.ledger
	if l == nil || s.vol.ro {
		return nil
	}
	end := s.renames.written.Load()
	return l.Checkpoint(func() error {
		if err := flush(); err != nil {
			return err
		}
		l.RenamesDurable(end.seq, end.id)
		return nil
	})
}

// endLedger records the rest at a clean end of the mount; the store was flushed.
func (s *fileSystem) endLedger() error {
	err := s.recordLedger(func() error { return nil })
	if err == nil {
		err = s.vol.ledger.End()
	}
	return err
}

// tendLedger is called in each round of the committer.
func (s *fileSystem) tendLedger(now time.Time) {
	l := s.vol.ledger
	if l == nil || s.vol.ro {
		return
	}
	err := l.Flush()
	if err == nil && now.Sub(s.recorded) >= ledgerInterval && l.Changed() {
		s.recorded = now
		err = s.recordLedger(s.vol.root.SyncFS)
	}
	if err != nil {
		s.log.Error("ledger not written", "ledger", l.Path(), "err", err)
	}
}

// tag is the digest of one entry of a directory. target is the plaintext target of a symbolic link.
func (v *volume) tag(dir envelope.DirID, name string, kind uint32, target string) ledger.Tag {
	return v.crypto.LedgerTag("entry", string(dir[:]), string([]byte{byte(kind >> 12)}), name, target)
}
