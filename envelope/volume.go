package envelope

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// NewVolumeID returns a random volume id.
func NewVolumeID() VolumeID {
	var id VolumeID
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	return id
}

// Volume holds the subkeys of a volume key: it encrypts names, symlink targets and extended
// attributes, and authenticates directory ids, key slots, sizes, the volume file, the rename log
// and the mount states.
//
// Safe for concurrent use. After Wipe every method fails with KindClosed; those without an error
// result return an empty string or zeros, which no store accepts as a name and no reader as sealed.
type Volume struct {
	id         VolumeID
	commitment [KeySize]byte

	mu     sync.RWMutex // held for reading while subkeys are in use, for writing by Wipe
	closed bool

	names      siv
	xattrNames siv
	stats      siv
	dirs       macKey
	pathTags   macKey
	slots      macKey
	volumeFile macKey
	mounts     macKey
	ledger     macKey
	symlinks   messageKey
	xattrs     messageKey
	renames    messageKey
}

// NewVolume derives the subkeys. KindClosed if key was wiped. It does not tell whether key is the
// right one for the volume; VolumeFile.Verify does.
func NewVolume(id VolumeID, key *VolumeKey) (*Volume, error) {
	if key == nil || key.wiped() {
		return nil, newError("new volume", KindClosed, FileID{}, nil)
	}
	tree := newKeyTree(key.key, id[:], SuiteAES256GCM)
	defer tree.wipe()
	v := &Volume{id: id}
	tree.derive(&v.commitment, purposeCommit, nil)
	v.deriveSIV(tree)
	for _, k := range []struct {
		key *[KeySize]byte
		p   purpose
	}{
		{&v.dirs.key, purposeDir},
		{&v.pathTags.key, purposePathTag},
		{&v.slots.key, purposeSlots},
		{&v.volumeFile.key, purposeVolumeFile},
		{&v.mounts.key, purposeMounts},
		{&v.ledger.key, purposeLedger},
		{&v.symlinks.mac.key, purposeSymlink},
		{&v.xattrs.mac.key, purposeXattr},
		{&v.renames.mac.key, purposeRenames},
	} {
		tree.derive(k.key, k.p, nil)
	}
	return v, nil
}

// deriveSIV derives the pairs of subkeys for deterministic encryption.
func (v *Volume) deriveSIV(tree *keyTree) {
	var mac, enc [KeySize]byte
	for _, k := range []struct {
		siv      *siv
		mac, enc purpose
	}{
		{&v.names, purposeNameMAC, purposeNameEnc},
		{&v.xattrNames, purposeXattrNameMAC, purposeXattrNameEnc},
		{&v.stats, purposeStatMAC, purposeStatEnc},
	} {
		tree.derive(&mac, k.mac, nil)
		tree.derive(&enc, k.enc, nil)
		k.siv.init(&mac, &enc)
	}
	clear(mac[:])
	clear(enc[:])
}

// ID returns the volume's id.
func (v *Volume) ID() VolumeID { return v.id }

// Wipe waits for running operations and overwrites all subkeys. It may be called twice.
func (v *Volume) Wipe() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	v.closed = true
	for _, k := range []interface{ wipe() }{
		&v.names, &v.xattrNames, &v.stats, &v.dirs, &v.pathTags, &v.slots, &v.volumeFile, &v.mounts, &v.ledger,
		&v.symlinks, &v.xattrs, &v.renames,
	} {
		k.wipe()
	}
}

// use begins an operation with the subkeys, unless they are wiped; end it with done.
func (v *Volume) use() bool {
	v.mu.RLock()
	if v.closed {
		v.mu.RUnlock()
		return false
	}
	return true
}

// done ends an operation that use began.
func (v *Volume) done() { v.mu.RUnlock() }

// errClosed is the error of operation op after Wipe.
func errClosed(op string) error { return newError(op, KindClosed, FileID{}, nil) }

// String returns the volume's id; the keys never print.
func (v *Volume) String() string { return "volume " + v.id.String() }

// Format writes the same as String for every verb.
func (v *Volume) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, v.String()) }

// MarshalJSON returns String as a JSON string.
func (v *Volume) MarshalJSON() ([]byte, error) { return []byte(`"` + v.String() + `"`), nil }

// LogValue returns String.
func (v *Volume) LogValue() slog.Value { return slog.StringValue(v.String()) }
