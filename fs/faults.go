package fs

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/kmsfs/kmsfs/envelope"
)

// FaultClass says what a fault means for whoever owns the volume.
type FaultClass string

// The classes of faults.
const (
	FaultDamage    FaultClass = "damage"    // something is lost, wrong, or not where it belongs
	FaultOrphan    FaultClass = "orphan"    // left by what was interrupted; a repair gives the space back, or the advice says how to
	FaultUnchecked FaultClass = "unchecked" // not known: the key cannot be used
)

// FaultCode names a kind of fault. Codes are stable: scripts may look for them.
type FaultCode string

// The codes of faults.
const (
	FaultVolumeFile   FaultCode = "volume-file"      // kmsfs.volume
	FaultRootIdentity FaultCode = "root-identity"    // kmsfs.dir of the root
	FaultMountStates  FaultCode = "mount-states"     // kmsfs.mounts
	FaultRenameLog    FaultCode = "rename-log"       // kmsfs.renames
	FaultLogShort     FaultCode = "rename-log-old"   // a key slot is younger than the log
	FaultUnreadable   FaultCode = "unreadable"       // the store gives an error
	FaultRolledBack   FaultCode = "rolled-back"      // not what the ledger knows
	FaultForeignName  FaultCode = "foreign-name"     // no name that this volume made
	FaultLongMissing  FaultCode = "long-name-lost"   // the companion of a long name is not there
	FaultLongName     FaultCode = "long-name"        // the companion of a long name was changed
	FaultLongLeft     FaultCode = "long-name-left"   // the companion of a name that is gone
	FaultTemporary    FaultCode = "temporary"        // what an interrupted change was making
	FaultRekey        FaultCode = "rekey-unfinished" // kmsfs.tmp-rekey
	FaultStagedDir    FaultCode = "staged-identity"  // kmsfs.dir.new of a rename that did not happen
	FaultStagedLink   FaultCode = "staged-link"      // kmsfs.moved.* of a rename that did not happen
	FaultRemains      FaultCode = "remains"          // kmsfs.lost-*
	FaultDirMissing   FaultCode = "dir-identity-lost"
	FaultDirIdentity  FaultCode = "dir-identity"
	FaultDirMoved     FaultCode = "dir-moved"
	FaultSymlink      FaultCode = "symlink"
	FaultXattr        FaultCode = "xattr"
	FaultHeader       FaultCode = "header"         // neither root page can be read
	FaultHeaderCut    FaultCode = "header-cut"     // too short for a header, or nothing but zeros
	FaultFormat       FaultCode = "format"         // of a later version
	FaultForeignFile  FaultCode = "foreign-file"   // of another volume
	FaultSlots        FaultCode = "key-slots"      // the slot area was changed
	FaultMisplaced    FaultCode = "misplaced"      // no key slot for its path
	FaultKeyRejected  FaultCode = "key-rejected"   // the key service refuses the wrapped key
	FaultKeyMismatch  FaultCode = "key-mismatch"   // the file commits to another key
	FaultRootPage     FaultCode = "root-page"      // the newest root page
	FaultSparePage    FaultCode = "spare-page"     // the other one, which nothing needs
	FaultStatRecord   FaultCode = "stat-record"    // size for stat, in the header
	FaultHint         FaultCode = "stat-hint"      // size for stat, in the attribute
	FaultContent      FaultCode = "content"        // data blocks or tag pages
	FaultBeyond       FaultCode = "space-left"     // pages beyond the end of the file
	FaultKeyDisabled  FaultCode = "key-disabled"   //
	FaultKeyExpired   FaultCode = "key-expired"    //
	FaultKeyMissing   FaultCode = "key-missing"    //
	FaultKeyDenied    FaultCode = "key-denied"     //
	FaultKeyService   FaultCode = "no-key-service" // it does not answer
	FaultLogUnknown   FaultCode = "path-unknown"   // the rename log, which leads to the key's path, is damaged
)

// Range is a part of a file, in bytes: from Start up to, not including, End.
type Range struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

// Fault is one thing that Check found.
type Fault struct {
	Code     FaultCode  `json:"code"`
	Class    FaultClass `json:"class"`
	Path     string     `json:"path,omitempty"` // plaintext; "" when it cannot be told
	Store    string     `json:"store"`          // below the backing directory
	Detail   string     `json:"detail"`
	Advice   string     `json:"advice"`
	Lost     []Range    `json:"lost,omitempty"`     // of a file's content
	Repaired bool       `json:"repaired,omitempty"` // an orphan that was reclaimed
	Salvaged string     `json:"salvaged,omitempty"` // where the rest of the content was saved
}

// faultKind is what is the same for all faults of a code.
type faultKind struct {
	class  FaultClass
	what   string
	advice string
}

const (
	restoreFile = "restore it from a backup"
	moveBack    = "move it back in the backing directory, or copy it in through the volume"
	opensAgain  = "nothing is lost: it is written anew when the file is next changed"
	reclaim     = "kmsfs fsck --repair reclaims it"
	enableKey   = "enable the key, then check again: kmsfs key enable KEY"
)

// faultKinds is the one table of codes; docs/cli.md has it too.
var faultKinds = map[FaultCode]faultKind{
	FaultVolumeFile:   {FaultDamage, "the volume file was changed or damaged", "restore kmsfs.volume from a backup of the backing directory"},
	FaultRootIdentity: {FaultDamage, "the identity of the volume's root was changed", "restore kmsfs.dir from a backup of the backing directory"},
	FaultMountStates:  {FaultDamage, "the mount states are lost or damaged", "nothing to do: the next mount makes them anew and checks files as it opens them"},
	FaultRenameLog:    {FaultDamage, "the rename log was changed or damaged", "restore kmsfs.renames from a backup of the backing directory"},
	FaultLogShort:     {FaultDamage, "its key slot is younger than the rename log, which is an old one", "restore the newest kmsfs.renames"},
	FaultRolledBack:   {FaultDamage, "older than the ledger knows, removed, or brought back", "restore the newest; after a restore of the whole from a backup: kmsfs ledger accept BACKING"},
	FaultUnreadable:   {FaultDamage, "the store cannot be read", "check the disk and the rights on the backing directory"},
	FaultForeignName:  {FaultDamage, "no name that this volume made in this directory", "remove it if you know it, or move it back where it was"},
	FaultLongMissing:  {FaultDamage, "the name is lost: the link with the whole encrypted name is missing", "restore the link NAME.name beside it from a backup"},
	FaultLongName:     {FaultDamage, "the link with the whole encrypted name was changed", "restore the link NAME.name beside it from a backup"},
	FaultLongLeft:     {FaultOrphan, "the rest of a long name that is gone", reclaim},
	FaultTemporary:    {FaultOrphan, "left behind by an interrupted change", reclaim},
	FaultRekey:        {FaultOrphan, "a rekey was interrupted, or could not do every file", "finish it: kmsfs rekey, with the same paths or with none"},
	FaultStagedDir:    {FaultOrphan, "left behind by a rename that did not happen", reclaim},
	FaultStagedLink:   {FaultOrphan, "left behind by the rename of a symbolic link", reclaim},
	FaultRemains:      {FaultOrphan, "what a crash left of a file that was never synced", "kept for whoever wants to save parts; remove it from the backing directory when you do not"},
	FaultDirMissing:   {FaultDamage, "the directory's identity is missing; what is below was not checked", "restore kmsfs.dir in it from a backup"},
	FaultDirIdentity:  {FaultDamage, "the directory's identity was changed; what is below was not checked", "restore kmsfs.dir in it from a backup"},
	FaultDirMoved:     {FaultDamage, "the directory was moved, renamed or copied outside the volume; what is below was not checked", moveBack},
	FaultSymlink:      {FaultDamage, "the symbolic link was changed, moved or swapped", restoreFile},
	FaultXattr:        {FaultDamage, "an extended attribute was changed or belongs to another object", "set it anew"},
	FaultHeader:       {FaultDamage, "the header is damaged; without it the content cannot be read", restoreFile},
	FaultHeaderCut:    {FaultDamage, "the file is cut off before the end of its header", restoreFile},
	FaultFormat:       {FaultUnchecked, "the file has a later format", "check it with a later kmsfs"},
	FaultForeignFile:  {FaultDamage, "the file belongs to another volume", "move it back there"},
	FaultSlots:        {FaultDamage, "the key slots were changed", restoreFile},
	FaultMisplaced:    {FaultDamage, "no key slot for this path: moved, copied, renamed or swapped outside the volume", moveBack},
	FaultKeyRejected:  {FaultDamage, "the key service rejects the wrapped key", restoreFile},
	FaultKeyMismatch:  {FaultDamage, "the file is encrypted under another key than the wrapped one", restoreFile},
	FaultRootPage:     {FaultDamage, "the newest root page is damaged", "restore it from a backup; kmsfs fsck --repair saves the state before the last change if it is whole"},
	FaultSparePage:    {FaultDamage, "the older of the two root pages is damaged", opensAgain},
	FaultStatRecord:   {FaultDamage, "the size in the header is wrong", opensAgain},
	FaultHint:         {FaultDamage, "the size for stat is wrong", "nothing is lost: it is corrected when the file is next opened"},
	FaultContent:      {FaultDamage, "content fails authentication", "restore it from a backup; kmsfs fsck --repair saves what can be read"},
	FaultBeyond:       {FaultOrphan, "space beyond the file's end", reclaim},
	FaultKeyDisabled:  {FaultUnchecked, "the key is disabled", enableKey},
	FaultKeyExpired:   {FaultUnchecked, "the key is pending deletion, or its imported material has expired", "keep it (kmsfs key cancel-deletion KEY) or import it again (kmsfs key import KEY), then check again"},
	FaultKeyMissing:   {FaultUnchecked, "the key is not in this key service", "name the state directory or endpoint that has it"},
	FaultKeyDenied:    {FaultUnchecked, "the key's policy denies its use", "ask for a grant: kmsfs grant create KEY --grantee PRINCIPAL --operations Decrypt"},
	FaultKeyService:   {FaultUnchecked, "the key service does not answer", "check the key service, then check again"},
	FaultLogUnknown:   {FaultUnchecked, "the path of its key follows from the rename log, which is damaged", "restore kmsfs.renames, then check again"},
}

// FaultCodes lists all codes with class and meaning, for the manual.
func FaultCodes() map[FaultCode]string {
	all := make(map[FaultCode]string, len(faultKinds))
	for code, k := range faultKinds {
		all[code] = string(k.class) + ": " + k.what
	}
	return all
}

// fault makes a Fault of an object. cause may be nil.
func fault(code FaultCode, o *Object, cause error) Fault {
	k := faultKinds[code]
	f := Fault{Code: code, Class: k.class, Path: o.Path, Store: o.Store, Detail: k.what, Advice: k.advice}
	if cause != nil {
		f.Detail += ": " + strings.TrimPrefix(cause.Error(), "envelope: ")
	}
	return f
}

// String is the fault on one line, without advice. A path with control characters is quoted as in Go.
func (f *Fault) String() string {
	where := f.Path
	if where == "" {
		where = "(store) " + f.Store
	}
	if strings.ContainsFunc(where, unicode.IsControl) {
		where = strconv.Quote(where)
	}
	s := fmt.Sprintf("%s %s %s: %s", f.Class, f.Code, where, f.Detail)
	if len(f.Lost) > 0 {
		s += "; lost " + rangesText(f.Lost)
	}
	return s
}

// shownRanges bounds how many ranges stand on a line.
const shownRanges = 8

// rangesText names the first few ranges.
func rangesText(lost []Range) string {
	var parts []string
	for _, r := range lost[:min(len(lost), shownRanges)] {
		parts = append(parts, fmt.Sprintf("%d-%d", r.Start, r.End-1))
	}
	if n := len(lost) - shownRanges; n > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", n))
	}
	return "bytes " + strings.Join(parts, ", ")
}

// headerFault classifies a header that cannot be read.
func headerFault(err error) FaultCode {
	switch envelope.KindOf(err) {
	case envelope.KindCorrupt:
		return FaultHeader
	case envelope.KindTruncated:
		return FaultHeaderCut
	case envelope.KindUnsupported:
		return FaultFormat
	}
	return FaultUnreadable
}

// keyFault classifies what the key service said.
func keyFault(err error) FaultCode {
	switch kindOf(err) {
	case KindKeyDisabled:
		return FaultKeyDisabled
	case KindKeyExpired:
		return FaultKeyExpired
	case KindKeyMissing:
		return FaultKeyMissing
	case KindKeyDenied:
		return FaultKeyDenied
	case KindUnavailable:
		return FaultKeyService
	}
	return FaultKeyRejected
}
