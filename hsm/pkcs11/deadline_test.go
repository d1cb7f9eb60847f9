package pkcs11

import (
	"context"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
)

func TestDeadlineEndsTheWaitForAHangingModule(t *testing.T) {
	for _, function := range []string{fnDecrypt, "C_FindObjects", "C_DeriveKey"} {
		t.Run(function, func(t *testing.T) {
			b := newBench(t, nil)
			b.local = false
			release := make(chan struct{})
			b.f.inject(rule{function: function, times: 1, hang: release})
			b.Forget(b.id)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			start := time.Now()
			wantKind(t, b.unwrap(ctx), hsm.KindCanceled)
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("waited %v", d)
			}
			close(release)
			if err := b.unwrap(t.Context()); err != nil {
				t.Errorf("after the module answered: %v", err)
			}
		})
	}
}

func TestInfoOutlivesClose(t *testing.T) {
	tok := open(t, newSoftHSM(t))
	before := tok.Info()
	if err := tok.Close(); err != nil || tok.Info() != before {
		t.Errorf("Info after Close is %+v (%v)", tok.Info(), err)
	}
}

func TestDeadlineEndsTheWaitForASession(t *testing.T) {
	cfg := newSoftHSM(t)
	cfg.MaxSessions = 1
	tok, f, err := openFaulty(t, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	f.inject(rule{function: "C_GenerateRandom", times: 1, hang: release})
	first := make(chan error)
	go func() { first <- tok.Random(context.Background(), make([]byte, 8)) }()
	for f.count("C_GenerateRandom") == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	wantKind(t, tok.Random(ctx, make([]byte, 8)), hsm.KindCanceled)
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
}
