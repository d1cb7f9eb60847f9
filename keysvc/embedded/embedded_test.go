package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kmsfs/kmsfs/keysvc/audit"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// childEnv names a state directory that the test binary opens as another
// process; it makes an alias there and exits.
const (
	childEnv = "EMBEDDED_TEST_DIR"
	aliasEnv = "EMBEDDED_TEST_ALIAS"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(dir string) error {
	ctx := context.Background()
	e, err := Open(ctx, Options{Dir: dir, CreateIfMissing: true})
	if err != nil {
		return err
	}
	key, err := e.Service().CreateKey(ctx, nil)
	if err == nil {
		_, err = e.Service().CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String(os.Getenv(aliasEnv)), TargetKeyId: key.KeyMetadata.KeyId})
	}
	return errors.Join(err, e.Close())
}

func newDir(t *testing.T) string { return filepath.Join(t.TempDir(), "a [b", "state") }

func open(t *testing.T, o Options) *Embedded {
	t.Helper()
	e, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func mustClose(t *testing.T, e *Embedded) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// create makes a state directory and returns the ciphertext of "text" in it.
func create(t *testing.T, o Options) []byte {
	t.Helper()
	o.CreateIfMissing = true
	e := open(t, o)
	defer mustClose(t, e)
	key, err := e.Service().CreateKey(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Service().Encrypt(t.Context(), &kms.EncryptInput{KeyId: key.KeyMetadata.KeyId, Plaintext: []byte("text")})
	if err != nil {
		t.Fatal(err)
	}
	return out.CiphertextBlob
}

// decrypt opens a state directory and decrypts a ciphertext in it.
func decrypt(t *testing.T, o Options, blob []byte) {
	t.Helper()
	e := open(t, o)
	defer mustClose(t, e)
	out, err := e.Service().Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob})
	if err != nil || string(out.Plaintext) != "text" {
		t.Fatalf("%v, %v", out, err)
	}
}

// wantError checks an error's kind, and that it has a hint with a text in it.
func wantError(t *testing.T, err error, kind Kind, hint string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("got %v, want kind %d", err, kind)
	}
	if !strings.Contains(e.Hint(), hint) || strings.ContainsAny(e.Error(), "\n") {
		t.Errorf("%q has the hint %q, want %q", e.Error(), e.Hint(), hint)
	}
}

func TestFirstUseMakesEverythingPrivate(t *testing.T) {
	dir := newDir(t)
	blob := create(t, Options{Dir: dir})
	decrypt(t, Options{Dir: dir}, blob)
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{configFile, pinFile, storeFile, lockFile, "audit/audit.jsonl", "token/softhsm2.conf"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	pin, err := os.ReadFile(filepath.Join(dir, pinFile))
	if err != nil || len(bytes.TrimSpace(pin)) != 32 {
		t.Errorf("PIN of %d bytes, %v", len(pin), err)
	}
	text, _ := os.ReadFile(filepath.Join(dir, configFile))
	if c, err := ParseConfig(text); err != nil || c.Account != "000000000000" || c.Region != "us-east-1" {
		t.Errorf("config %+v, %v", c, err)
	}
}

func TestAccountAndRegionAreRecorded(t *testing.T) {
	dir := newDir(t)
	create(t, Options{Dir: dir, Account: "123456789012", Region: "eu-central-1"})
	e := open(t, Options{Dir: dir, Account: "999999999999"})
	defer mustClose(t, e)
	if got := e.Config(); got.Account != "123456789012" || got.Region != "eu-central-1" {
		t.Errorf("config %+v", got)
	}
	out, err := e.Service().DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/kmsfs")})
	if err != nil || !strings.HasPrefix(*out.KeyMetadata.Arn, "arn:aws:kms:eu-central-1:123456789012:key/") {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestProcessesUseADirectoryForTheFirstTimeAtOnce(t *testing.T) {
	dir := newDir(t)
	var group sync.WaitGroup
	const processes = 5
	for i := range processes {
		group.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+dir, fmt.Sprintf("%s=alias/p%d", aliasEnv, i))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("process %d: %v: %s", i, err, out)
			}
		})
	}
	group.Wait()
	e := open(t, Options{Dir: dir})
	defer mustClose(t, e)
	out, err := e.Service().ListAliases(t.Context(), nil)
	if err != nil || len(out.Aliases) != processes {
		t.Fatalf("aliases %+v, %v", out, err)
	}
	for _, alias := range out.Aliases {
		if _, err := e.Service().GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: alias.AliasName, KeySpec: types.DataKeySpecAes256}); err != nil {
			t.Error(err)
		}
	}
	if report, err := audit.Verify(e.AuditPath()); err != nil || !report.Intact() {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestInterruptedFirstUseIsMadeUpFor(t *testing.T) {
	dir := newDir(t)
	create(t, Options{Dir: dir})
	// What a crash before the last step of provisioning leaves.
	for _, name := range []string{configFile, storeFile, storeFile + "-generation"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	blob := create(t, Options{Dir: dir})
	decrypt(t, Options{Dir: dir}, blob)
	if old, _ := fs.Glob(os.DirFS(dir), "token.unfinished-*"); len(old) != 1 {
		t.Errorf("the unfinished token is gone: %v", old)
	}
}

func TestMovedDirectoryKeepsWorking(t *testing.T) {
	old, moved := newDir(t), filepath.Join(t.TempDir(), "moved")
	blob := create(t, Options{Dir: old})
	if err := os.Rename(old, moved); err != nil {
		t.Fatal(err)
	}
	decrypt(t, Options{Dir: moved}, blob)
}

func TestPINSources(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("file-pin\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("EMBEDDED_TEST_PIN", "env-pin")
	prompt := func(answers ...string) func(string) ([]byte, error) {
		return func(string) ([]byte, error) {
			answer := answers[0]
			answers = answers[1:]
			return []byte(answer), nil
		}
	}
	for _, c := range []struct {
		source      string
		first, then func(string) ([]byte, error)
	}{
		{source: "file:" + secret},
		{source: "env:EMBEDDED_TEST_PIN"},
		{source: "cmd:echo cmd-pin"},
		{source: "prompt", first: prompt("my-pin", "my-pin"), then: prompt("my-pin")},
	} {
		t.Run(c.source, func(t *testing.T) {
			dir := newDir(t)
			blob := create(t, Options{Dir: dir, PINSource: c.source, Prompt: c.first})
			if _, err := os.Stat(filepath.Join(dir, pinFile)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the PIN is kept beside the keys: %v", err)
			}
			decrypt(t, Options{Dir: dir, Prompt: c.then}, blob) // the source is recorded
			_, err := Open(t.Context(), Options{Dir: dir, PINSource: "cmd:echo wrong-pin"})
			wantError(t, err, KindPIN, "cmd:echo wrong-pin")
		})
	}
}

func TestBadPINSources(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(open, []byte("123456"), 0o644); err != nil {
		t.Fatal(err)
	}
	answers := []string{"one-pin", "another"}
	for i, c := range []struct {
		source string
		prompt func(string) ([]byte, error)
		kind   Kind
		hint   string
	}{
		{source: "prompt", kind: KindPIN, hint: "--pin-source file:PATH"},
		{source: "prompt", kind: KindPIN, hint: "try again", prompt: func(string) ([]byte, error) {
			a := answers[0]
			answers = answers[1:]
			return []byte(a), nil
		}},
		{source: "file:/nonexistent/pin", kind: KindPIN, hint: "restore the file"},
		{source: "file:" + open, kind: KindUnreadable, hint: "chmod 600"},
		{source: "env:EMBEDDED_TEST_NO_SUCH_VARIABLE", kind: KindPIN},
		{source: "cmd:exit 3", kind: KindPIN, hint: "exit 3"},
		{source: "cmd:echo 123", kind: KindPIN},
		{source: "nonsense", kind: KindInvalid},
		{source: "file:", kind: KindInvalid},
	} {
		t.Run(fmt.Sprint(i, " ", c.source), func(t *testing.T) {
			dir := newDir(t)
			_, err := Open(t.Context(), Options{Dir: dir, PINSource: c.source, Prompt: c.prompt, CreateIfMissing: true})
			wantError(t, err, c.kind, c.hint)
			create(t, Options{Dir: dir}) // the failure leaves nothing in the way
		})
	}
}

func TestBadDirectories(t *testing.T) {
	damage := func(name string, change func(path string) error) func(t *testing.T) string {
		return func(t *testing.T) string {
			dir := newDir(t)
			create(t, Options{Dir: dir})
			if err := change(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			return dir
		}
	}
	write := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	for name, c := range map[string]struct {
		dir  func(t *testing.T) string
		kind Kind
		hint string
	}{
		"missing":              {newDir, KindMissing, "kmsfs init"},
		"config damaged":       {damage(configFile, write("{")), KindDamaged, "restore it from a backup"},
		"config lost":          {damage(configFile, os.Remove), KindDamaged, "restore config.json"},
		"config of the future": {damage(configFile, write(`{"version": 2}`)), KindDamaged, ""},
		"PIN wrong":            {damage(pinFile, write("not-the-pin\n")), KindPIN, "check "},
		"PIN lost":             {damage(pinFile, os.Remove), KindPIN, "restore the file"},
		"PIN open to others":   {damage(pinFile, func(p string) error { return os.Chmod(p, 0o640) }), KindUnreadable, "chmod 600"},
		"token gone":           {damage("token/tokens", func(p string) error { return errors.Join(os.RemoveAll(p), os.Mkdir(p, 0o700)) }), KindToken, "token is gone"},
		"store damaged":        {damage(storeFile, write("this is no database at all, is it? no, it isn't, at all")), KindStore, "check the disk"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), Options{Dir: c.dir(t)})
			wantError(t, err, c.kind, c.hint)
		})
	}
	t.Run("key store without configuration is never overwritten", func(t *testing.T) {
		_, err := Open(t.Context(), Options{Dir: damage(configFile, os.Remove)(t), CreateIfMissing: true})
		wantError(t, err, KindDamaged, "restore config.json")
	})
	t.Run("a file in the way", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), Options{Dir: path, CreateIfMissing: true})
		wantError(t, err, KindUnreadable, "--state-dir")
	})
	t.Run("a name that SoftHSM cannot read", func(t *testing.T) {
		_, err := Open(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "no #1"), CreateIfMissing: true})
		wantError(t, err, KindInvalid, "--state-dir")
	})
	t.Run("module missing", func(t *testing.T) {
		_, err := Open(t.Context(), Options{Dir: newDir(t), CreateIfMissing: true, Module: "/nonexistent/module.so", TokenURI: "pkcs11:token=x", PINSource: "cmd:echo 123456"})
		wantError(t, err, KindToken, "")
	})
	t.Run("options that cannot be right", func(t *testing.T) {
		dir := newDir(t)
		for _, o := range []Options{{}, {Dir: dir, AuditSync: "never"}, {Dir: dir, Account: "12"}, {Dir: dir, Region: "mars"}} {
			o.CreateIfMissing = true
			_, err := Open(t.Context(), o)
			wantError(t, err, KindInvalid, "")
		}
	})
}

func TestClosingTwiceIsHarmless(t *testing.T) {
	e := open(t, Options{Dir: newDir(t), CreateIfMissing: true, AuditSync: "always"})
	if _, err := e.Service().CreateKey(t.Context(), nil); err != nil {
		t.Error(err)
	}
	mustClose(t, e)
	mustClose(t, e)
	if _, err := e.Service().CreateKey(t.Context(), nil); err == nil {
		t.Error("a closed service answers")
	}
}

func TestDefaultDir(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		uid  int
		want string
	}{
		{map[string]string{"KMSFS_STATE_DIR": "/s", "XDG_DATA_HOME": "/x"}, 0, "/s"},
		{map[string]string{"XDG_DATA_HOME": "/x"}, 0, "/var/lib/kmsfs"},
		{map[string]string{"XDG_DATA_HOME": "/x"}, 1000, "/x/kmsfs"},
		{map[string]string{"XDG_DATA_HOME": "relative"}, 1000, "/home/u/.local/share/kmsfs"},
		{nil, 1000, "/home/u/.local/share/kmsfs"},
	} {
		if got := DefaultDir(func(name string) string { return c.env[name] }, c.uid, "/home/u"); got != c.want {
			t.Errorf("%v, uid %d: %s, want %s", c.env, c.uid, got, c.want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"version":1,"account":"000000000000","region":"us-east-1","token":{"label":"kmsfs"}}`))
	f.Add([]byte(`{"version":1,"account":"000000000000","region":"us-east-1","token":{"uri":"pkcs11:token=x","module":"/m"},"pinSource":"env:X"}`))
	f.Add([]byte(`{"version":1,"account":"000000000000","region":"us-east-1","token":{"uri":"pkcs11:token=x"},"store":{"postgres":"service=keys"}}`))
	f.Add([]byte(`{"version":1} x`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig(text)
		if err != nil {
			return
		}
		formatted, err := c.format()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseConfig(formatted); err != nil || again != c {
			t.Errorf("%+v is written as %s and read as %+v, %v", c, formatted, again, err)
		}
	})
}
