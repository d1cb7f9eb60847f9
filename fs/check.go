package fs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/ledger"
)

// CheckOptions says how a volume is checked.
type CheckOptions struct {
	Backing string
	Keys    KeyService
	Workers int // objects that are checked at once; at least 1
	// Repair reclaims orphans and saves the readable content of damaged files below SalvageDir, which
	// must be empty or not exist yet and is made only if there is anything to save. Nothing else
	// is changed.
	Repair     bool
	SalvageDir string
	Logger     *slog.Logger // nil: none
	LedgerDir  string       // where the ledgers of volumes are; none when empty

	Report   func(Fault)                  // each fault; never two at once
	Progress func(files int, bytes int64) // what was checked and read since; several at once
}

// CheckResult counts what Check found.
type CheckResult struct {
	Files     int64 `json:"files"`     // regular files, hard links as one
	Bytes     int64 `json:"bytes"`     // plaintext that was authenticated
	Damaged   int64 `json:"damaged"`   // faults of class damage
	Orphans   int64 `json:"orphans"`   // of class orphan that are still there
	Repaired  int64 `json:"repaired"`  // of class orphan that were reclaimed
	Salvaged  int64 `json:"salvaged"`  // files of which the rest was saved
	Unchecked int64 `json:"unchecked"` // objects that could not be checked
}

// checker checks one volume.
type checker struct {
	CheckOptions
	s      *fileSystem
	logErr error // the rename log is damaged: another stands in its place

	mu     sync.Mutex // guards result, seen and Report
	result CheckResult
	seen   map[uint64]bool // inode numbers of files with several names

	changing sync.Mutex   // held for each change of a repair
	salvage  salvage      // guarded by changing
	silent   atomic.Int32 // calls that the key service did not answer
}

// Check authenticates everything in a volume that is not mounted. Faults go to Report; the error
// says that the check itself could not be done. Without Repair nothing in the store is changed.
func Check(ctx context.Context, o CheckOptions) (CheckResult, error) {
	c := &checker{CheckOptions: o, seen: map[uint64]bool{}}
	c.salvage.dir = o.SalvageDir
	if err := c.salvage.check(o.Backing, o.Repair); err != nil {
		return c.result, err
	}
	v, err := c.attach(ctx)
	if v == nil {
		return c.result, err
	}
	defer v.close()
	return c.result, c.run(ctx, v)
}

// attach opens the volume as a reader does. What is wrong with it as a whole is reported; the volume
// is nil when nothing more can be done.
func (c *checker) attach(ctx context.Context) (*volume, error) {
	m := MountOptions{Backing: c.Backing, Keys: c.Keys, ReadOnly: true, NoWriteback: true, Logger: c.Logger, LedgerDir: c.LedgerDir, shared: !c.Repair}
	if m.Logger == nil {
		m.Logger = slog.New(slog.DiscardHandler)
	}
	v, err := c.tryAttach(ctx, &m)
	if kindOf(err) == KindRolledBack { // as a whole: the ledger says nothing of its parts then
		c.report(fault(FaultRolledBack, &Object{Path: "/"}, err))
	}
	if kindOf(err) == KindRolledBack || errors.Is(err, ledger.ErrInUse) { // in use: this is a copy of a mounted volume
		m.LedgerDir = ""
		v, err = c.tryAttach(ctx, &m)
	}
	if err != nil {
		return nil, c.badVolume(err)
	}
	return v, nil
}

func (c *checker) tryAttach(ctx context.Context, m *MountOptions) (*volume, error) {
	v, err := attach(ctx, m)
	if err != nil {
		return nil, err
	}
	if err := c.begin(v, m); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// begin reads what an attached volume needs besides its key. A damaged rename log does not keep the rest
// from being checked.
func (c *checker) begin(v *volume, m *MountOptions) (err error) {
	m.badLog = func(err error) { c.logErr = err }
	if c.s, err = newFileSystem(v, m); err != nil {
		return err
	}
	go c.s.committer.run()
	return nil
}

// run checks everything in an attached volume, and detaches it.
func (c *checker) run(ctx context.Context, v *volume) error {
	c.checkStore()
	err := c.compareLedger(ctx)
	if err == nil {
		err = v.walk(ctx, c.Workers, c.visit)
	}
	return errors.Join(err, c.salvage.close(), c.s.detach())
}

// compareLedger reports what is not as the ledger knows it. What is damaged is found by the walk.
func (c *checker) compareLedger(ctx context.Context) error {
	if c.s.vol.ledger == nil {
		return nil
	}
	_, err := (&Offline{fs: c.s, ctx: ctx}).CompareLedger(ctx, func(path string, err error) {
		if v := new(ledger.Violation); errors.As(err, &v) {
			c.report(fault(FaultRolledBack, &Object{Path: path}, v))
		}
	})
	return err
}

// badVolume reports a volume that cannot be opened because of what is in its store.
func (c *checker) badVolume(err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Kind != KindBadVolume {
		return err
	}
	code, store := FaultVolumeFile, volumeName
	if e.Op == checkRoot {
		code, store = FaultRootIdentity, dirLink
	}
	c.report(fault(code, &Object{Path: "/", Store: store}, e.Err))
	return nil
}

// report counts and reports a fault.
func (c *checker) report(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case f.Repaired:
		c.result.Repaired++
	case f.Class == FaultOrphan:
		c.result.Orphans++
	case f.Class == FaultUnchecked:
		c.result.Unchecked++
	default:
		c.result.Damaged++
	}
	if f.Salvaged != "" {
		c.result.Salvaged++
	}
	c.Report(f)
}

// visit checks one object.
func (c *checker) visit(ctx context.Context, o *Object) {
	switch {
	case o.Class == ObjectTemporary && isRekeyState(o):
		c.report(fault(FaultRekey, o, nil))
	case o.Class == ObjectTemporary:
		c.orphan(FaultTemporary, o)
	case o.Class == ObjectForeign:
		c.report(fault(nameFault(o), o, o.Err))
	case o.Class == ObjectOwn:
		c.checkOwn(o)
	case o.Err != nil:
		c.report(fault(objectFault(o.Err), o, o.Err))
	case o.Kind() == unix.S_IFDIR && o.DirID == (envelope.DirID{}):
		return // empty: a crash left it in between two steps, and the next lookup gives it an identity
	case o.Kind() == unix.S_IFDIR:
		c.checkXattrs(o, o.DirID)
	case o.Kind() == unix.S_IFLNK:
		c.checkSymlink(o)
	case o.Kind() == unix.S_IFREG:
		c.checkFile(ctx, o)
	}
}

// nameFault classifies a name that cannot be told.
func nameFault(o *Object) FaultCode {
	switch {
	case len(o.storeName()) < len(longPrefix) || o.storeName()[:len(longPrefix)] != longPrefix:
		return FaultForeignName
	case errors.Is(o.Err, syscall.ENOENT):
		return FaultLongMissing
	}
	return FaultLongName
}

// objectFault classifies why an object of the user's could not be identified.
func objectFault(err error) FaultCode {
	switch {
	case errors.Is(err, errNoIdentity):
		return FaultDirMissing
	case envelope.KindOf(err) == envelope.KindMoved:
		return FaultDirMoved
	case envelope.KindOf(err) == envelope.KindCorrupt:
		return FaultDirIdentity
	}
	return FaultUnreadable
}
