package fs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/kmsfs/kmsfs/envelope"
)

// Kind classifies an Error. The set is closed; errnoOf maps each to what an application sees.
type Kind uint8

// The kinds of Error.
const (
	KindIO              Kind = iota + 1 // the store failed; EIO unless the cause has an errno
	KindKeyDisabled                     // the CMK is disabled
	KindKeyExpired                      // the CMK is pending deletion, or its imported material expired
	KindKeyMissing                      // the CMK is deleted, unknown or pending import
	KindKeyRejected                     // header, path or key do not belong together
	KindKeyDenied                       // policy or grants deny the call
	KindUnavailable                     // the key service did not answer in time
	KindInterrupted                     // a signal ended the wait for the key service
	KindNotVolume                       // the backing directory holds no volume
	KindNotEmpty                        // init: the backing directory is not empty
	KindBadVolume                       // the volume file is damaged, edited or of a newer version
	KindLocked                          // the volume is mounted already
	KindBadMountpoint                   // the mount point cannot be used
	KindReadOnlyBacking                 // the backing directory cannot be written
	KindMount                           // the kernel or fusermount3 refused the mount
	KindRolledBack                      // older than the ledger knows, or removed or brought back; EIO
	KindDamaged                         // content or header fails authentication, or is cut off; EIO
)

// kindErrno is the one table from Kind to errno (DESIGN: what an application sees).
var kindErrno = map[Kind]syscall.Errno{
	KindIO:              syscall.EIO,
	KindKeyDisabled:     syscall.EKEYREVOKED,
	KindKeyExpired:      syscall.EKEYEXPIRED,
	KindKeyMissing:      syscall.ENOKEY,
	KindKeyRejected:     syscall.EKEYREJECTED,
	KindKeyDenied:       syscall.EACCES,
	KindUnavailable:     syscall.ETIMEDOUT,
	KindInterrupted:     syscall.EINTR,
	KindNotVolume:       syscall.ENOENT,
	KindNotEmpty:        syscall.ENOTEMPTY,
	KindBadVolume:       syscall.EKEYREJECTED,
	KindLocked:          syscall.EBUSY,
	KindBadMountpoint:   syscall.ENOTDIR,
	KindReadOnlyBacking: syscall.EROFS,
	KindMount:           syscall.EPERM,
	KindDamaged:         syscall.EIO,
	KindRolledBack:      syscall.EIO,
}

// Error is the error type of this package. Path is the plaintext path from the volume's root, or a
// directory on this machine for errors of init and mount.
type Error struct {
	Op   string
	Kind Kind
	Path string
	Err  error
	hint string
}

// Error formats operation, path and cause.
func (e *Error) Error() string {
	s := e.Op
	if e.Path != "" {
		s += " " + e.Path
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errno returns what an application sees.
func (e *Error) Errno() syscall.Errno { return kindErrno[e.Kind] }

// Hint returns what to try next, or "".
func (e *Error) Hint() string {
	for cause, ok := e, true; ok; ok = errors.As(cause.Err, &cause) {
		if cause.hint != "" {
			return cause.hint
		}
	}
	return kindHints[e.Kind]
}

// kindHints holds the advice that does not depend on the case.
var kindHints = map[Kind]string{
	KindKeyDisabled: "enable the key again: kmsfs key enable KEY",
	KindKeyExpired:  "the key is pending deletion: kmsfs key cancel-deletion KEY && kmsfs key enable KEY",
	KindKeyMissing:  "the key is not in this key service (name the state directory or endpoint that made the volume), or its custom key store is not connected (kmsfs store list)",
	KindKeyRejected: "the volume or file was changed or moved outside the mount, or belongs to another key service",
	KindKeyDenied:   "ask for a grant: kmsfs grant create KEY --grantee PRINCIPAL --operations Decrypt,GenerateDataKey,ReEncryptFrom,ReEncryptTo,DescribeKey",
	KindUnavailable: "check that the key service runs and that its endpoint is reachable",
	KindNotVolume:   "make a volume first: kmsfs init BACKING",
	KindNotEmpty:    "name an empty directory, or one that does not exist yet",
	KindBadVolume:   "restore kmsfs.volume from a backup of the backing directory",
	KindRolledBack:  "after a restore from a backup, accept the store as it is: kmsfs ledger accept BACKING",
	KindLocked:      "see where: kmsfs status; unmount it first: kmsfs umount MOUNTPOINT",
	KindDamaged:     "the store was changed or damaged; see what is lost: kmsfs fsck BACKING",
}

// newError makes an Error whose kind follows from the cause.
func newError(op, path string, cause error) *Error {
	return &Error{Op: op, Kind: kindOf(cause), Path: path, Err: cause}
}

// fileError is newError for one of many files, unless the cause names it already.
func fileError(op, path string, cause error) error {
	if own := new(Error); errors.As(cause, &own) && own.Path != "" {
		return cause
	}
	return newError(op, path, cause)
}

// rejected says that something in the store does not belong where it was found.
func rejected(op, path, why string) *Error {
	return &Error{Op: op, Kind: KindKeyRejected, Path: path, Err: errors.New(why)}
}

// kindOf classifies a cause from the key service, the envelope or the store.
func kindOf(err error) Kind {
	var own *Error
	if errors.As(err, &own) {
		return own.Kind
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		return apiKind(api)
	}
	if unanswered(err) {
		return KindUnavailable
	}
	switch envelope.KindOf(err) {
	case envelope.KindWrongKey, envelope.KindMoved:
		return KindKeyRejected
	case envelope.KindCorrupt, envelope.KindTruncated:
		return KindDamaged
	}
	return KindIO
}

// unanswered tells whether a call to the key service got no answer. Whatever the network said, that
// is a timeout for whoever asked: the errno of a dead socket must not reach an application as the
// errno of its file.
func unanswered(err error) bool {
	var call *smithy.OperationError // of a remote key service; an answer would have an APIError in it
	return errors.As(err, &call) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// apiKind classifies an error of the AWS KMS API by its name.
func apiKind(err smithy.APIError) Kind {
	switch err.ErrorCode() {
	case "DisabledException":
		return KindKeyDisabled
	case "KMSInvalidStateException":
		return stateKind(err.ErrorMessage())
	case "NotFoundException", "InvalidArnException":
		return KindKeyMissing
	case "InvalidCiphertextException", "IncorrectKeyException", "InvalidKeyUsageException":
		return KindKeyRejected
	case "AccessDeniedException", "NotAuthorizedException", "InvalidGrantTokenException",
		"UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException":
		return KindKeyDenied
	}
	return KindUnavailable
}

// errnoOf is what an operation answers to the kernel.
func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	var own *Error
	if errors.As(err, &own) && own.Kind != KindIO {
		return own.Errno()
	}
	if no := envelopeErrno(envelope.KindOf(err)); no != 0 {
		return no
	}
	var no syscall.Errno
	if !unanswered(err) && errors.As(err, &no) {
		return no
	}
	return kindErrno[kindOf(err)]
}

// envelopeErrno maps the kinds of package envelope that are not failures of the store.
func envelopeErrno(k envelope.Kind) syscall.Errno {
	switch k {
	case envelope.KindCorrupt, envelope.KindTruncated, envelope.KindUnsupported, envelope.KindClosed:
		return syscall.EIO
	case envelope.KindWrongKey, envelope.KindMoved:
		return syscall.EKEYREJECTED
	case envelope.KindTooLarge:
		return syscall.EFBIG
	case envelope.KindTooLong:
		return syscall.ENAMETOOLONG
	case envelope.KindNoData:
		return syscall.ENXIO
	case envelope.KindSlotsFull:
		return syscall.EMLINK
	case envelope.KindInvalid:
		return syscall.EINVAL
	}
	return 0
}

// stateKind reads the state from the message of a KMSInvalidStateException, the only place where
// AWS tells it.
func stateKind(msg string) Kind {
	if strings.Contains(msg, "external key store") {
		return KindUnavailable // its proxy failed
	}
	for _, gone := range []string{importPending, "is unavailable", "is creating"} {
		if strings.Contains(msg, gone) {
			return KindKeyMissing
		}
	}
	return KindKeyExpired
}

// importPending is what AWS says of a key without material.
const importPending = "is pending import"

// pendingImport reports whether the key service refused a call because the key has no material.
func pendingImport(err error) bool {
	var state *types.KMSInvalidStateException
	return errors.As(err, &state) && strings.Contains(state.ErrorMessage(), importPending)
}

// String names the kind.
func (k Kind) String() string { return fmt.Sprintf("kind %d (%v)", uint8(k), kindErrno[k]) }
