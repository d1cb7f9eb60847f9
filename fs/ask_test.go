package fs

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// slowDecrypt answers after a time, unless its context ends before.
func slowDecrypt(after time.Duration) func(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	return func(ctx context.Context, _ *kms.DecryptInput, _ ...func(*kms.Options)) (*kms.DecryptOutput, error) {
		select {
		case <-time.After(after):
			return &kms.DecryptOutput{}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func TestInterruptEndsACallThatHadItsGrace(t *testing.T) {
	const never = -1
	for name, c := range map[string]struct {
		interrupt, answer, took time.Duration
		errno                   syscall.Errno
	}{
		"answered":                     {never, time.Second, time.Second, 0},
		"not answered":                 {never, time.Hour, keyTimeout, syscall.ETIMEDOUT},
		"interrupted before it began":  {0, time.Hour, interruptGrace, syscall.EINTR},
		"interrupted in its grace":     {interruptGrace / 2, time.Hour, interruptGrace, syscall.EINTR},
		"answered in its grace":        {0, interruptGrace - 1, interruptGrace - 1, 0},
		"interrupted after its grace":  {time.Second, time.Hour, time.Second, syscall.EINTR},
		"answered before an interrupt": {2 * time.Second, time.Second, time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cancel := make(chan struct{})
				if c.interrupt != never {
					time.AfterFunc(c.interrupt, func() { close(cancel) })
				}
				start := time.Now()
				_, err := ask(request(cancel), slowDecrypt(c.answer), &kms.DecryptInput{})
				if took := time.Since(start); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				if got := errnoOf(err); got != c.errno {
					t.Errorf("%v: errno %v, want %v", err, got, c.errno)
				}
			})
		})
	}
}

func TestCallThatNobodyInterruptsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := ask(context.Background(), slowDecrypt(time.Hour), &kms.DecryptInput{})
		if took := time.Since(start); took != keyTimeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v after %v", err, took)
		}
	})
}
