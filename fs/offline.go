package fs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
)

// OfflineOptions says how a volume is opened without a mount.
type OfflineOptions struct {
	Backing   string       // directory of the ciphertext
	Keys      KeyService   // unwraps the volume key and the data keys
	ReadOnly  bool         // change nothing in the store; several may read at the same time
	Logger    *slog.Logger // nil: none
	LedgerDir string       // where the ledgers of volumes are; none when empty

	// AcceptStore forgets what the ledger knows of the store first: after a restore from a backup.
	// CompareLedger then learns the store as it is.
	AcceptStore bool

	// Recovery opens the volume and its files without its CMK. With an RSA key Keys may be nil for a
	// volume that is only read.
	Recovery *RecoverySource
}

// Offline is a volume that this process uses without FUSE. It counts as a mount: it holds the same
// lock, records its beginning and end in the mount states unless it only reads, and works through the
// same code. Paths are plaintext, from the volume's root, with a leading slash.
//
// Unlike a mount it makes no grant: whoever calls has the permissions that it needs.
//
// It is safe for concurrent use; Close must not run beside another call.
type Offline struct {
	fs   *fileSystem
	ctx  context.Context // of OpenVolume
	once sync.Once
	err  error
}

// OpenVolume opens a volume that is not mounted: it takes the volume's lock, has the key service
// unwrap the volume key, reads the rename log and settles what a crash has left of it. KindLocked
// when the volume is mounted, or in use by another process that does not only read. The end of ctx also ends
// what Open and Create wait for.
func OpenVolume(ctx context.Context, o OfflineOptions) (*Offline, error) {
	m := MountOptions{
		Backing: o.Backing, Keys: o.Keys, ReadOnly: o.ReadOnly, NoWriteback: true, Logger: o.Logger, LedgerDir: o.LedgerDir, acceptStore: o.AcceptStore,
		shared: o.ReadOnly, recovery: o.Recovery,
	}
	if m.Logger == nil {
		m.Logger = slog.New(slog.DiscardHandler)
	}
	if m.Keys == nil {
		m.Keys = noKeyService{}
	}
	v, err := attach(ctx, &m)
	if err != nil {
		return nil, err
	}
	s, err := newFileSystem(v, &m)
	if err != nil {
		err = errors.Join(err, v.end())
		v.close()
		return nil, err
	}
	go s.committer.run()
	return &Offline{fs: s, ctx: ctx}, nil
}

// Info returns what the volume file says, authenticated.
func (o *Offline) Info() VolumeInfo {
	v := o.fs.vol
	v.fileMu.Lock()
	defer v.fileMu.Unlock()
	return volumeInfo(v.file, v.info.Backing)
}

// Close writes everything back, flushes the store, records a clean end, wipes the keys and gives up
// the lock. The error tells what could not be written. Later calls return the same.
func (o *Offline) Close() error {
	o.once.Do(func() {
		o.err = o.fs.detach()
		o.fs.vol.close()
	})
	return o.err
}
