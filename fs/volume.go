package fs

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
	"github.com/kmsfs/kmsfs/fs/ledger"
)

// VolumeInfo is what the volume file tells without any key.
type VolumeInfo struct {
	ID             string    `json:"volumeId"`
	KeyARNs        []string  `json:"keyArns"` // by the index in key slots; "" for one that has left the volume
	PlaintextNames bool      `json:"plaintextNames"`
	Compress       bool      `json:"compress"`
	Created        time.Time `json:"created"`
	Backing        string    `json:"backing"`
	CurrentKeyARN  string    `json:"currentKeyArn"`  // of KeyARNs, the one that wraps new data keys
	Recovery       string    `json:"recovery"`       // recovery recipient: a key ARN, or RSA; "" without one
	RecoverySHA256 string    `json:"recoverySha256"` // of an RSA recipient's SubjectPublicKeyInfo, in hex
}

// maxVolumeFile bounds the volume file; a real one is about 1 KiB.
const maxVolumeFile = 64 << 10

// volume is an attached volume: its keys are in memory.
type volume struct {
	info    VolumeInfo
	id      envelope.VolumeID
	crypto  *envelope.Volume
	root    *backing.Dir
	mountID uint64
	mounts  *envelope.Mounts
	ledger  *ledger.Ledger // nil: none
	keys    KeyService
	caller  string // principal that calls keys; "" = the root of the CMK's account
	log     *slog.Logger
	ro      bool
	shared  bool // other readers may have the volume open at the same time

	source  *RecoverySource // opens the volume without its CMK; nil for the ordinary way
	recover *recovery       // what source has become

	keyList atomic.Pointer[keyList] // what file says, for whoever wraps or unwraps

	fileMu sync.Mutex           // held while the volume file is changed, also across system calls
	file   *envelope.VolumeFile // the volume file, authenticated
	lock   *backing.File        // the volume file, locked for this mount
}

// ReadVolumeInfo reads what the volume file in backing tells without keys. Nothing of it is
// authenticated.
func ReadVolumeInfo(path string) (VolumeInfo, error) {
	root, err := openBacking("read volume", path)
	if err != nil {
		return VolumeInfo{}, err
	}
	defer root.Close()
	vf, lock, err := readVolumeFile(root, path)
	if err != nil {
		return VolumeInfo{}, err
	}
	lock.Close()
	return volumeInfo(vf, path), nil
}

func volumeInfo(vf *envelope.VolumeFile, path string) VolumeInfo {
	info := VolumeInfo{
		ID: vf.ID.String(), KeyARNs: vf.Keys, Created: vf.Created, Backing: path,
		PlaintextNames: vf.Options.PlaintextNames, Compress: vf.Options.Compress, CurrentKeyARN: vf.Keys[vf.WrappedBy],
	}
	if vf.Recovery == nil {
		return info
	}
	if r, err := envelope.ParseRecipient(vf.Recovery.Recipient); err == nil {
		info.Recovery, info.RecoverySHA256 = r.KeyARN(), r.Fingerprint()
		if info.Recovery == "" {
			info.Recovery = "RSA"
		}
	}
	return info
}

func openBacking(op, path string) (*backing.Dir, error) {
	root, err := backing.OpenRoot(path)
	if err == nil {
		return root, nil
	}
	e := newError(op, path, err)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		e.Kind = KindNotVolume
	case errors.Is(err, syscall.EACCES):
		e.hint = "the backing directory belongs to another user; run this command as its owner"
	}
	return nil, e
}

// readVolumeFile parses the volume file; the open file is returned so that it can be locked.
func readVolumeFile(root *backing.Dir, path string) (*envelope.VolumeFile, *backing.File, error) {
	f, err := root.Open(volumeName, true)
	if errors.Is(err, syscall.ENOENT) {
		return nil, nil, &Error{Op: "open volume", Kind: KindNotVolume, Path: path, Err: errors.New("no kmsfs volume here")}
	}
	if err != nil {
		return nil, nil, newError("open volume", path, err)
	}
	vf, err := parseVolumeFile(f)
	if err != nil {
		f.Close()
		return nil, nil, &Error{Op: "read volume file", Kind: KindBadVolume, Path: path, Err: err}
	}
	return vf, f, nil
}

func parseVolumeFile(f *backing.File) (*envelope.VolumeFile, error) {
	b, err := readAll(f, maxVolumeFile)
	if err != nil {
		return nil, err
	}
	return envelope.ParseVolumeFile(b)
}

// readAll reads a file of at most limit bytes.
func readAll(f *backing.File, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = syscall.EFBIG
	}
	return b, err
}

// attach opens a volume for a mount: it takes the volume's lock, unwraps the volume key and
// records the mount.
func attach(ctx context.Context, o *MountOptions) (*volume, error) {
	root, err := openBacking("mount", o.Backing)
	if err != nil {
		return nil, err
	}
	if o.ReadOnly {
		root.Freeze()
	}
	v := &volume{root: root, keys: o.Keys, log: o.Logger, ro: o.ReadOnly, shared: o.shared, source: o.recovery}
	if err := v.open(ctx, o); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

func (v *volume) open(ctx context.Context, o *MountOptions) error {
	path := o.Backing
	vf, err := v.lockVolumeFile(path)
	if err != nil {
		return err
	}
	v.info, v.id = volumeInfo(vf, absolute(path)), vf.ID
	if v.crypto, err = v.unwrapVolume(ctx, vf); err != nil {
		return err
	}
	if err := v.takeKeys(vf); err != nil {
		return newError("open volume", path, err)
	}
	if err := v.checkIdentity(); err != nil {
		return err
	}
	if err := v.openLedger(o.LedgerDir, o.acceptStore); err != nil {
		return err
	}
	return v.begin(path)
}

// lockVolumeFile opens, locks and parses the volume file. Whoever had the lock may have replaced the
// file meanwhile: then it begins anew.
func (v *volume) lockVolumeFile(path string) (*envelope.VolumeFile, error) {
	for {
		vf, lock, err := readVolumeFile(v.root, path)
		if err != nil {
			return nil, err
		}
		v.lock = lock
		if err := v.takeLock(); err != nil {
			return nil, &Error{Op: "open volume", Kind: KindLocked, Path: path,
				Err: errors.New("it is mounted already, or another kmsfs command works on it")}
		}
		var named, locked unix.Stat_t
		if err := errors.Join(v.root.Stat(volumeName, &named), lock.Stat(&locked)); err != nil {
			return nil, newError("open volume", path, err)
		}
		if named.Ino == locked.Ino {
			return vf, nil
		}
		lock.Close()
		v.lock = nil
	}
}

// takeLock keeps other mounts and offline writers away, unless shared other offline readers not.
func (v *volume) takeLock() error {
	if v.shared {
		return v.lock.LockShared()
	}
	return v.lock.Lock()
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// checkRoot is the Op of errors of checkIdentity.
const checkRoot = "check the root of"

// checkIdentity refuses a root directory whose identity is not this volume's.
func (v *volume) checkIdentity() error {
	if _, err := v.rootID(); err != nil {
		return &Error{Op: checkRoot, Kind: KindBadVolume, Path: v.info.Backing, Err: err,
			hint: "kmsfs.dir in the backing directory does not belong to this volume"}
	}
	return nil
}

// rootID returns the directory id of the volume's root.
func (v *volume) rootID() (envelope.DirID, error) {
	target, err := v.root.Readlink(dirLink)
	if err != nil {
		return envelope.DirID{}, err
	}
	return v.crypto.OpenDir(envelope.DirID{}, "", target)
}

// begin records that a mount is running, so that a later one can tell whether it ended cleanly.
func (v *volume) begin(path string) error {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return newError("mount", path, err)
	}
	v.mountID = binary.LittleEndian.Uint64(b[:])
	var err error
	if v.mounts, err = v.readMounts(); err != nil {
		return err
	}
	if err := v.lineage(); err != nil {
		return err
	}
	if v.ro {
		v.mounts.BeginReadOnly()
		return nil
	}
	if err := v.ledger.Start(v.mountID); err != nil {
		return newError("write ledger", v.ledger.Path(), err)
	}
	err = v.writeMounts(v.mounts.Begin(v.mountID))
	if errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EACCES) {
		return &Error{Op: "begin to write to volume", Kind: KindReadOnlyBacking, Path: path, Err: err,
			hint: "the backing directory cannot be written; mount it read-only: kmsfs mount -o ro BACKING MOUNTPOINT"}
	}
	if err != nil {
		return newError("record mount", path, err)
	}
	return v.ledger.Started()
}

// readMounts reads the mount states. A missing or damaged file means that nothing is known:
// everything counts as unclean, which costs a check at open and loses nothing. init writes the
// file, so a missing one was lost.
func (v *volume) readMounts() (*envelope.Mounts, error) {
	f, err := v.root.Open(envelope.MountsFile, true)
	if errors.Is(err, syscall.ENOENT) {
		v.log.Warn("mount states lost: files are checked at their next open")
		return v.crypto.UnknownMounts(), nil
	}
	if err != nil {
		return nil, newError("read mount states", envelope.MountsFile, err)
	}
	defer f.Close()
	b, err := readAll(f, 1<<20)
	if err != nil {
		return nil, newError("read mount states", envelope.MountsFile, err)
	}
	m, err := v.crypto.ParseMounts(b)
	if err != nil {
		v.log.Warn("mount states damaged: files are checked at their next open", "err", err)
		return v.crypto.UnknownMounts(), nil
	}
	return m, nil
}

// writeMounts replaces the mount states durably.
func (v *volume) writeMounts(content []byte) error {
	return replaceFile(v.root, envelope.MountsFile, content)
}

// replaceFile writes a small file durably under a temporary name and renames it.
func replaceFile(d *backing.Dir, name string, content []byte) error {
	f, err := replaceLocked(d, name, content)
	if err != nil {
		return err
	}
	return f.Close()
}

// replaceLocked is replaceFile; it takes the lock of the new file before it renames it, and returns it
// open.
func replaceLocked(d *backing.Dir, name string, content []byte) (*backing.File, error) {
	temp := tempPrefix + name
	if err := d.Unlink(temp); err != nil && !errors.Is(err, syscall.ENOENT) {
		return nil, err
	}
	f, err := d.Create(temp, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteAt(content, 0)
	for _, step := range []func() error{f.Lock, f.Sync, func() error { return d.Rename(temp, d, name, 0) }, d.Sync} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// end records a clean end of the mount; everything must be durable.
func (v *volume) end() error {
	if v.ro {
		return nil
	}
	return v.writeMounts(v.mounts.End(v.mountID))
}

// close wipes the volume's keys and gives up the lock.
func (v *volume) close() {
	if v.crypto != nil {
		v.crypto.Wipe()
	}
	if v.lock != nil {
		v.lock.Close()
	}
	v.ledger.Close()
	v.root.Close()
}

// trust tells the page engine what is known of the roots of a file.
func (v *volume) trust(r *envelope.Roots, f *fileState) envelope.Trust {
	t := envelope.Trust{Settled: r.Settled(v.mounts.Unclean), DurableSeq: f.durable, Fresh: f.fresh, FlushFailed: f.flushFailed}
	if h := r.Newest(); t.Settled && h.MountID != v.mountID {
		t.DurableSeq = h.Sequence // a mount that ended cleanly has flushed everything
	}
	return t
}

// believable reports whether a size hint written by a mount can be trusted.
func (v *volume) believable(mountID uint64) bool {
	return mountID == v.mountID || !v.mounts.Unclean(mountID)
}

var _ envelope.Store = (*backing.File)(nil)

// errNoEntry stands for an inode without a name.
var errNoEntry = unix.ENOENT
