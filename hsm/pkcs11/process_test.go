package pkcs11

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
)

// childEnv makes the test binary act as another process that uses the token:
// "action conf keyid".
const childEnv = "KMSFS_TEST_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		if err := childMain(strings.Fields(job)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func childMain(job []string) error {
	if job[0] == "open" {
		for range 8 {
			if err := childMain([]string{"", job[1], job[2]}); err != nil {
				return err
			}
		}
	}
	ctx := context.Background()
	tok, err := Open(ctx, Config{TokenLabel: "kmsfs test", PIN: PIN(testPIN), SoftHSMConf: job[1]})
	if err != nil {
		return err
	}
	defer tok.Close()
	id, err := hsm.ParseKeyID(job[2])
	if err != nil {
		return err
	}
	switch job[0] {
	case "destroy":
		return tok.DestroyKey(ctx, id)
	case "generate":
		return tok.GenerateKey(ctx, id, "child")
	case "work":
		for range 50 {
			b, err := tok.Wrap(ctx, id, []byte("child"), testAAD)
			if err == nil {
				_, err = tok.Unwrap(ctx, id, b, testAAD)
			}
			if err != nil {
				return err
			}
			tok.Forget(id)
		}
	}
	return nil
}

// child prepares another process.
func (b *bench) child(action string, id hsm.KeyID) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{action, b.cfg.SoftHSMConf, id.String()}, " "))
	cmd.Stderr = os.Stderr
	return cmd
}

func TestKeyDestroyedByAnotherProcess(t *testing.T) {
	b := newBench(t, nil)
	if err := b.child("destroy", b.id).Run(); err != nil {
		t.Fatal(err)
	}
	if ok, err := b.HasKey(t.Context(), b.id); ok || err != nil {
		t.Errorf("HasKey = %v, %v", ok, err)
	}
	b.Forget(b.id)
	wantKind(t, b.unwrap(t.Context()), hsm.KindKeyNotFound)
	wantKind(t, b.DestroyKey(t.Context(), b.id), hsm.KindKeyNotFound)
}

func TestKeyMadeByAnotherProcess(t *testing.T) {
	b := newBench(t, nil)
	id := hsm.NewKeyID()
	_, err := b.Wrap(t.Context(), id, b.plain, testAAD)
	wantKind(t, err, hsm.KindKeyNotFound)
	if err := b.child("generate", id).Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Wrap(t.Context(), id, b.plain, testAAD); err != nil {
		t.Error(err)
	}
}

func TestProcessesShareAToken(t *testing.T) {
	b := newBench(t, nil)
	var children []*exec.Cmd
	for range 3 {
		c := b.child("work", b.id)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		children = append(children, c)
	}
	for range 50 {
		b.Forget(b.id)
		if err := b.unwrap(t.Context()); err != nil {
			t.Error(err)
		}
		id := hsm.NewKeyID()
		if err := b.GenerateKey(t.Context(), id, "beside"); err != nil {
			t.Error(err)
		}
		if err := b.DestroyKey(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	for _, c := range children {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// TestProcessesOpenATokenAtOnce: SoftHSM writes to the token at each login.
func TestProcessesOpenATokenAtOnce(t *testing.T) {
	b := newBench(t, nil)
	var children []*exec.Cmd
	for range 6 {
		c := b.child("open", b.id)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		children = append(children, c)
	}
	for range 50 {
		_, err := b.Wrap(t.Context(), hsm.NewKeyID(), b.plain, testAAD)
		wantKind(t, err, hsm.KindKeyNotFound)
	}
	for _, c := range children {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// TestTokenTakenAway moves the token's files away and back: a key must not seem to
// be destroyed because the token is away.
func TestTokenTakenAway(t *testing.T) {
	b := newBench(t, nil)
	tokens := filepath.Join(filepath.Dir(b.cfg.SoftHSMConf), "tokens")
	if err := os.Rename(tokens, tokens+".away"); err != nil {
		t.Fatal(err)
	}
	b.Forget(b.id)
	wantKind(t, b.unwrap(t.Context()), hsm.KindUnavailable)
	wantKind(t, b.DestroyKey(t.Context(), b.id), hsm.KindUnavailable)
	_, err := b.HasKey(t.Context(), b.id)
	wantKind(t, err, hsm.KindUnavailable)
	if e, ok := err.(interface{ Hint() string }); !ok || e.Hint() == "" {
		t.Errorf("no hint with %v", err)
	}
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	b.breaker.skipPause()
	wantKind(t, b.unwrap(t.Context()), hsm.KindTokenNotFound)
	if err := os.Remove(tokens); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tokens+".away", tokens); err != nil {
		t.Fatal(err)
	}
	b.breaker.skipPause()
	if err := b.unwrap(t.Context()); err != nil {
		t.Errorf("after the token came back: %v", err)
	}
}

// skipPause acts as if the pause between two restarts were over.
func (b *breaker) skipPause() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until = b.until.Add(-longPause)
}

// TestOpenWaitsForItsTurn holds the lock that another process would hold while it
// logs in.
func TestOpenWaitsForItsTurn(t *testing.T) {
	cfg := newSoftHSM(t)
	other := &module{conf: cfg.SoftHSMConf}
	unlock := other.lockConf(t.Context(), syscall.LOCK_EX)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Open(ctx, cfg)
	wantKind(t, err, hsm.KindCanceled)
	opened := make(chan error)
	go func() {
		tok, err := Open(context.Background(), cfg)
		if err == nil {
			err = tok.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		t.Fatalf("it didn't wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	unlock()
	if err := <-opened; err != nil {
		t.Error(err)
	}
}
