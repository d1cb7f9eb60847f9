package fs

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/kmsfs/kmsfs/envelope"
)

func TestEveryCauseShowsTheErrnoOfTheDesign(t *testing.T) {
	state := func(msg string) error { return &types.KMSInvalidStateException{Message: aws.String(msg)} }
	generic := func(code string) error { return &smithy.GenericAPIError{Code: code} }
	env := func(k envelope.Kind, cause error) error { return &envelope.Error{Op: "x", Kind: k, Err: cause} }
	for _, c := range []struct {
		name  string
		cause error
		want  syscall.Errno
	}{
		{"disabled", &types.DisabledException{}, syscall.EKEYREVOKED},
		{"pending deletion", state("arn:x is pending deletion."), syscall.EKEYEXPIRED},
		{"pending import", state("arn:x is pending import."), syscall.ENOKEY},
		{"unavailable key store", state("arn:x is unavailable."), syscall.ENOKEY},
		{"external key store that does not answer", state("AWS KMS cannot communicate with the external key store proxy. This might be a transient network issue."), syscall.ETIMEDOUT},
		{"unknown key", &types.NotFoundException{}, syscall.ENOKEY},
		{"other context", &types.InvalidCiphertextException{}, syscall.EKEYREJECTED},
		{"other key", &types.IncorrectKeyException{}, syscall.EKEYREJECTED},
		{"policy", generic("AccessDeniedException"), syscall.EACCES},
		{"throttled to the end", generic("ThrottlingException"), syscall.ETIMEDOUT},
		{"HSM gone", &types.KMSInternalException{}, syscall.ETIMEDOUT},
		{"remote service gone", &smithy.OperationError{ServiceID: "KMS", Err: syscall.ECONNREFUSED}, syscall.ETIMEDOUT},
		{"remote service's name unknown", &smithy.OperationError{ServiceID: "KMS", Err: fmt.Errorf("no such host")}, syscall.ETIMEDOUT},
		{"remote answer", &smithy.OperationError{ServiceID: "KMS", Err: &types.DisabledException{}}, syscall.EKEYREVOKED},
		{"deadline", context.DeadlineExceeded, syscall.ETIMEDOUT},
		{"wrong key", env(envelope.KindWrongKey, nil), syscall.EKEYREJECTED},
		{"moved", env(envelope.KindMoved, nil), syscall.EKEYREJECTED},
		{"corrupt", env(envelope.KindCorrupt, nil), syscall.EIO},
		{"truncated", env(envelope.KindTruncated, nil), syscall.EIO},
		{"disk full", env(envelope.KindIO, syscall.ENOSPC), syscall.ENOSPC},
		{"quota", env(envelope.KindIO, syscall.EDQUOT), syscall.EDQUOT},
		{"too large", env(envelope.KindTooLarge, nil), syscall.EFBIG},
		{"no slot left", env(envelope.KindSlotsFull, nil), syscall.EMLINK},
		{"store", syscall.ENOTEMPTY, syscall.ENOTEMPTY},
		{"anything else", fmt.Errorf("surprise"), syscall.EIO},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := errnoOf(c.cause); got != c.want {
				t.Errorf("bare: got %v, want %v", got, c.want)
			}
			if got := errnoOf(newError("open", "/f", c.cause)); got != c.want {
				t.Errorf("wrapped: got %v, want %v", got, c.want)
			}
		})
	}
	if errnoOf(nil) != 0 {
		t.Error("no error has an errno")
	}
}

func TestEveryKindHasAnErrno(t *testing.T) {
	for k := KindIO; k <= KindDamaged; k++ {
		if kindErrno[k] == 0 {
			t.Errorf("%v has none", k)
		}
	}
}
