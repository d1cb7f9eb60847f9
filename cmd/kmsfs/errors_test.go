package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	volume "github.com/kmsfs/kmsfs/fs"
	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/embedded"
)

func TestExitCodesFollowFromTheCause(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("anything"), exitFailure},
		{usagef("no"), exitUsage},
		{&types.NotFoundException{Message: aws.String("gone")}, exitNotFound},
		{&types.DisabledException{}, exitDenied},
		{&types.AlreadyExistsException{}, exitConflict},
		{&smithy.GenericAPIError{Code: "ValidationException"}, exitUsage},
		{&smithy.GenericAPIError{Code: "AccessDeniedException"}, exitDenied},
		{&types.KMSInternalException{}, exitKeys},
		{&types.InvalidCiphertextException{}, exitIntegrity},
		{&embedded.Error{Kind: embedded.KindPIN}, exitKeys},
		{&embedded.Error{Kind: embedded.KindMissing}, exitNotFound},
		{&embedded.Error{Kind: embedded.KindInvalid}, exitUsage},
		{&audit.Error{Kind: audit.KindDamaged}, exitIntegrity},
		{&volume.Error{Kind: volume.KindLocked}, exitConflict},
		{&volume.Error{Kind: volume.KindBadVolume}, exitIntegrity},
		{&volume.Error{Kind: volume.KindKeyDisabled, Err: &types.DisabledException{}}, exitDenied},
		{&control.Error{Kind: control.KindNoDaemon}, exitNotFound},
		{&control.Error{Kind: control.KindBusy}, exitConflict},
		{fs.ErrNotExist, exitNotFound},
		{&silentError{4}, 4},
	} {
		wrapped := errors.Join(fmt.Errorf("outer: %w", c.err))
		if got := exitCode(wrapped); got != c.want {
			t.Errorf("%T %v: exit code %d, want %d", c.err, c.err, got, c.want)
		}
	}
}

func TestMountHelperCodesAreThoseOfMount8(t *testing.T) {
	if got := helperExitCode(usagef("no")); got != 1 {
		t.Errorf("usage: %d", got)
	}
	if got := helperExitCode(errors.New("no")); got != 32 {
		t.Errorf("failure: %d", got)
	}
}

func TestHintsComeFromTheErrorElseFromItsAWSName(t *testing.T) {
	disabled := &types.DisabledException{}
	for _, c := range []struct {
		err  error
		want string
	}{
		{failf(1, "do this", "no"), "do this"},
		{errors.Join(errors.New("x"), failf(1, "do this", "no")), "do this"},
		{wrapf(disabled, "disable"), apiHints["DisabledException"]},
		{errors.Join(wrapf(disabled, "disable")), apiHints["DisabledException"]},
		{errors.Join(&embedded.Error{Kind: embedded.KindPIN, Help: "check it"}), "check it"},
	} {
		got := hints(c.err)
		if len(got) != 1 || got[0] != c.want {
			t.Errorf("%v: hints %q, want %q", c.err, got, c.want)
		}
	}
	if got := hints(errors.New("plain")); len(got) != 0 {
		t.Errorf("hints out of nothing: %q", got)
	}
}

func TestFsckHasItsOwnExitCodes(t *testing.T) {
	for code, err := range map[int]error{
		fsckLeft + fsckUnchecked: checkCode(volume.CheckResult{Damaged: 2, Unchecked: 1}),
		fsckRepaired:             checkCode(volume.CheckResult{Repaired: 1}),
		fsckCancelled:            fmt.Errorf("interrupted: %w", context.Canceled),
		fsckUsage:                usagef("no such flag"),
		fsckFailed:               &volume.Error{Kind: volume.KindKeyDisabled},
	} {
		if got := fsckExitCode(err); got != code {
			t.Errorf("%v: %d, want %d", err, got, code)
		}
	}
	if err := checkCode(volume.CheckResult{Files: 7}); err != nil {
		t.Errorf("clean: %v", err)
	}
}
