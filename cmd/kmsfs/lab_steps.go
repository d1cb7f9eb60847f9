package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/keysvc/audit"
)

const (
	labName  = "secret.txt"
	labFirst = "the first secret of the lab\n"
	labAdded = "written after the key was disabled\n"
)

// create is step 1: volume, key, mount, file; the wrapped key in the file's header.
func (l *lab) create(ctx context.Context) error {
	var volume volumeView
	if err := l.kmsfsJSON(ctx, &volume, "init", l.vault); err != nil {
		return err
	}
	if len(volume.Keys) == 0 {
		return errors.New("init named no key")
	}
	l.volume, l.keyARN = volume.ID, volume.Keys[0]
	l.report.Volume, l.report.KeyARN = l.volume, l.keyARN
	l.saw("KMS key", l.keyARN)
	if _, err := l.kmsfs(ctx, "mount", l.vault, l.plain); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.plain, labName), []byte(labFirst), 0o600); err != nil {
		return err
	}
	stored, err := l.storedFile()
	if err != nil {
		return err
	}
	return l.showHeader(ctx, stored)
}

// showHeader shows the wrapped key and that the plaintext is not in the store.
func (l *lab) showHeader(ctx context.Context, stored string) error {
	var file fileView
	if err := l.kmsfsJSON(ctx, &file, "info", stored); err != nil {
		return err
	}
	if len(file.Slots) != 1 || len(file.Slots[0].Wrapped) == 0 {
		return fmt.Errorf("the header of %s has no wrapped key", stored)
	}
	w := file.Slots[0].Wrapped
	l.saw("wrapped data key in the file's header", fmt.Sprintf("%x... (%d bytes)", w[:min(24, len(w))], len(w)))
	raw, err := os.ReadFile(stored)
	if err != nil {
		return err
	}
	if bytes.Contains(raw, []byte(labFirst[:16])) || strings.Contains(stored, labName) {
		return errors.New("the store shows the plaintext or the name")
	}
	l.saw("plaintext or name of the file in the store", "none")
	return nil
}

// use is step 2: an open file, its key held, read and write.
func (l *lab) use(ctx context.Context) (err error) {
	path := filepath.Join(l.plain, labName)
	if l.file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return err
	}
	l.saw("open", path)
	if err := l.expectKeys(ctx, 1); err != nil {
		return err
	}
	if err := l.expectContent(labFirst); err != nil {
		return err
	}
	return l.appendTo("still writing\n")
}

// disable is step 3: the key is disabled and the open file does not notice.
func (l *lab) disable(ctx context.Context) error {
	if _, err := l.kmsfs(ctx, "key", "disable", "alias/"+l.volume); err != nil {
		return err
	}
	if err := l.expectState(ctx, "Disabled"); err != nil {
		return err
	}
	if err := l.expectContent(labFirst + "still writing\n"); err != nil {
		return err
	}
	if err := l.appendTo(labAdded); err != nil {
		return err
	}
	return l.expectKeys(ctx, 1)
}

// reopen is step 4: closed, the key is gone; refused; enabled; opened.
func (l *lab) reopen(ctx context.Context) error {
	err := l.file.Close()
	l.file = nil
	if err != nil {
		return err
	}
	l.saw("close", filepath.Join(l.plain, labName))
	if err := l.expectKeys(ctx, 0); err != nil {
		return err
	}
	out, err := l.cat(ctx)
	if err == nil || !strings.Contains(out, "Key has been revoked") {
		return fmt.Errorf("the open of a file under a disabled key answered %q, not \"Key has been revoked\"", out)
	}
	l.saw("answer", out)
	if _, err := l.kmsfs(ctx, "key", "enable", "alias/"+l.volume); err != nil {
		return err
	}
	out, err = l.cat(ctx)
	if err != nil || !strings.HasSuffix(out, strings.TrimSpace(labAdded)) {
		return fmt.Errorf("the open of a file under an enabled key answered %q (%v)", out, err)
	}
	l.saw("answer", strings.ReplaceAll(out, "\n", " | "))
	return nil
}

// readAudit shows the trail of this key and finds the refused Decrypt in it.
func (l *lab) readAudit(ctx context.Context) error {
	l.say("\nThe audit trail of this scenario:")
	l.showCommand("kmsfs audit --key-id " + l.keyARN)
	out, err := l.run1(ctx, []string{"audit", "--json", "--key-id", l.keyARN})
	if err != nil {
		return err
	}
	refused := false
	for line := range strings.Lines(out) {
		record, err := audit.ParseRecord([]byte(strings.TrimSpace(line)))
		if err != nil {
			return err
		}
		v := viewOf(record.Event)
		l.report.Audit = append(l.report.Audit, v)
		l.say("   %s  %-16s  %-18s  %s", v.Time.Format("15:04:05"), v.Event, orDash(v.Error), v.subject())
		refused = refused || v.Event == "Decrypt" && v.Error == "DisabledException" && v.Path == "/"+labName
	}
	if refused {
		return nil
	}
	return errors.New("the audit trail has no Decrypt with DisabledException")
}

// storedFile finds the one encrypted file of the volume in the store.
func (l *lab) storedFile() (string, error) {
	entries, err := os.ReadDir(l.vault)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), "kmsfs.") {
			return filepath.Join(l.vault, e.Name()), nil
		}
	}
	return "", errors.New("the store holds no encrypted file")
}

// expectKeys waits until the mount holds n data keys: the kernel tells of a close a moment later.
func (l *lab) expectKeys(ctx context.Context, n int) error {
	var st control.Status
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		st = control.Status{}
		if err := l.runJSON(ctx, &st, "status", l.plain); err != nil {
			return err
		}
		if st.KeysHeld == n || time.Now().After(deadline) {
			break
		}
	}
	l.showCommand("kmsfs status " + l.plain)
	if st.KeysHeld != n {
		return fmt.Errorf("the mount holds %d data keys, not %d", st.KeysHeld, n)
	}
	l.saw("data keys held", fmt.Sprint(n))
	for _, f := range st.Files {
		l.saw("in use", fmt.Sprintf("%s, key held since %s", f.Path, f.Since.Local().Format("15:04:05.000")))
	}
	return nil
}

// expectState checks the key's state.
func (l *lab) expectState(ctx context.Context, want string) error {
	var out struct{ KeyMetadata struct{ KeyState string } }
	if err := l.kmsfsJSON(ctx, &out, "key", "describe", "alias/"+l.volume); err != nil {
		return err
	}
	if out.KeyMetadata.KeyState != want {
		return fmt.Errorf("the key is %s, not %s", out.KeyMetadata.KeyState, want)
	}
	l.saw("state of the KMS key", want)
	return nil
}

// expectContent reads the open file past the kernel's cache, so that the mount must decrypt it.
func (l *lab) expectContent(want string) error {
	if err := unix.Fadvise(int(l.file.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return err
	}
	got := make([]byte, len(want)+1)
	n, err := l.file.ReadAt(got, 0)
	if err != nil && err != io.EOF {
		return err
	}
	if string(got[:n]) != want {
		return fmt.Errorf("read %q, not %q", got[:n], want)
	}
	l.saw("read through the open file", fmt.Sprintf("%d bytes, as written", n))
	return nil
}

// appendTo writes to the open file and shows that new ciphertext is in the store.
func (l *lab) appendTo(text string) error {
	before, err := l.storeDigest()
	if err != nil {
		return err
	}
	if _, err := l.file.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	if _, err := l.file.WriteString(text); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	after, err := l.storeDigest()
	if err != nil {
		return err
	}
	if before == after {
		return errors.New("the write did not reach the store")
	}
	l.saw("write and fsync through the open file", fmt.Sprintf("%d bytes, new ciphertext in the store", len(text)))
	return nil
}

// storeDigest is the digest of the encrypted file.
func (l *lab) storeDigest() ([sha256.Size]byte, error) {
	stored, err := l.storedFile()
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	raw, err := os.ReadFile(stored)
	return sha256.Sum256(raw), err
}

// kmsfsJSON is kmsfs with --json, decoded into v.
func (l *lab) kmsfsJSON(ctx context.Context, v any, args ...string) error {
	l.showCommand("kmsfs " + strings.Join(args, " "))
	return l.runJSON(ctx, v, args...)
}

func (l *lab) runJSON(ctx context.Context, v any, args ...string) error {
	out, err := l.run1(ctx, append(args, "--json"))
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), v)
}
