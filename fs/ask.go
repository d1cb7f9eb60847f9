package fs

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// keyTimeout bounds one call to the key service, retries included.
const keyTimeout = 15 * time.Second

// interruptGrace is how long a call to the key service may take before an interrupt of whoever waits for it
// ends it. The kernel tells of every signal, also of one that has a handler and that no program expects to
// disturb an open(2): SIGCHLD, a profiler's timer, the SIGURG of Go's scheduler. A key service that works has
// answered by then.
const interruptGrace = 250 * time.Millisecond

var errInterrupted = errors.New("interrupted while the key service was asked")

// ask makes one call to the key service on behalf of ctx: a request of the kernel's, or a command.
func ask[In, Out any](ctx context.Context, call func(context.Context, *In, ...func(*kms.Options)) (*Out, error), in *In) (*Out, error) {
	asking, done := askContext(ctx)
	defer done()
	out, err := call(asking, in)
	if err != nil && context.Cause(asking) == errInterrupted {
		return nil, &Error{Op: "ask the key service", Kind: KindInterrupted, Err: errInterrupted}
	}
	return out, err
}

// askContext is the context of one call: it ends after keyTimeout, or when ctx has ended and the call has had
// interruptGrace. Until then nothing watches ctx, so that a call that is answered soon costs no goroutine.
func askContext(ctx context.Context) (asking context.Context, done func()) {
	asking, end := context.WithTimeout(context.Background(), keyTimeout)
	if ctx.Done() == nil {
		return asking, end
	}
	asking, interrupt := context.WithCancelCause(asking)
	watch := time.AfterFunc(interruptGrace, func() {
		select {
		case <-ctx.Done():
			interrupt(errInterrupted)
		case <-asking.Done():
		}
	})
	return asking, func() {
		watch.Stop()
		interrupt(nil)
		end()
	}
}

// request is the context of a request of the kernel's, which closes cancel when the process that waits for
// the answer gets a signal, and when the mount is given up.
func request(cancel <-chan struct{}) context.Context { return &fuse.Context{Cancel: cancel} }
