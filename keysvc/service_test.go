package keysvc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/pkcs11"
	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"
	"github.com/kmsfs/kmsfs/keysvc/store/sqlite"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// token is the SoftHSM token of this test process. A process has one SoftHSM
// configuration, so all tests share it; each has a store of its own.
var token hsm.Token

func TestMain(m *testing.M) {
	code, err := withToken(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// withToken provisions a token, or opens the one that the parent process of a
// several-process test names.
func withToken(m *testing.M) (int, error) {
	dir := os.Getenv(childTokenEnv)
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "keysvc-test-"); err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
		if err := errors.Join(pkcs11.ProvisionSoftHSM(dir, []byte("123456"), "test"), pkcs11.ProvisionSoftHSM(dir, []byte(clusterPIN), "second")); err != nil {
			return 1, err
		}
	}
	tokenDir = dir
	var err error
	token, err = pkcs11.Open(context.Background(), pkcs11.Config{
		TokenLabel: "test", PIN: pkcs11.PIN("123456"), SoftHSMConf: pkcs11.SoftHSMConf(dir)})
	if err != nil {
		return 1, err
	}
	code := 0
	if os.Getenv(childTokenEnv) != "" {
		err = child()
	} else {
		code = m.Run()
	}
	return code, errors.Join(err, token.Close())
}

var tokenDir string

const (
	testAccount = "111122223333"
	testRegion  = "eu-central-1"
)

// fixture is a service with a store and an audit trail of its own.
type fixture struct {
	*Service
	t     testing.TB
	dir   string
	clock *clock
}

// clock is a clock that tests move.
type clock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

func newService(t testing.TB) *fixture { return openService(t, t.TempDir(), &clock{}, token) }

// openService opens a service on a directory that others may have open too.
func openService(t testing.TB, dir string, c *clock, tok hsm.Token) *fixture {
	t.Helper()
	db, err := sqlite.Open(context.Background(), filepath.Join(dir, "keys.db"))
	if err != nil {
		t.Fatal(err)
	}
	trail, err := audit.Open(audit.Config{Path: filepath.Join(dir, "audit.jsonl")})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(context.Background(), Config{
		Token: tok, Store: db, Audit: trail, Account: testAccount, Region: testRegion, Now: c.now, Clusters: testClusters{}})
	if err != nil {
		t.Fatal(err)
	}
	s.connectPatience = time.Minute // however busy the machine is
	t.Cleanup(func() {
		s.Close()
		if err := errors.Join(trail.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return &fixture{Service: s, t: t, dir: dir, clock: c}
}

func (f *fixture) ctx() context.Context { return f.t.Context() }

// key makes a key and returns its id.
func (f *fixture) key() string {
	f.t.Helper()
	out, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{})
	if err != nil {
		f.t.Fatal(err)
	}
	return *out.KeyMetadata.KeyId
}

func (f *fixture) arn(id string) string { return keyARN(f.scope(), id) }

func (f *fixture) scope() store.Scope { return store.Scope{Account: testAccount, Region: testRegion} }

// encrypt encrypts a text under a key and a context.
func (f *fixture) encrypt(key, text string, encryptionContext map[string]string) []byte {
	f.t.Helper()
	out, err := f.Encrypt(f.ctx(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte(text), EncryptionContext: encryptionContext})
	if err != nil {
		f.t.Fatal(err)
	}
	return out.CiphertextBlob
}

// decrypts checks that a ciphertext decrypts to a text.
func (f *fixture) decrypts(blob []byte, text string, encryptionContext map[string]string) *kms.DecryptOutput {
	f.t.Helper()
	out, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: encryptionContext})
	if err != nil {
		f.t.Fatal(err)
	}
	if string(out.Plaintext) != text {
		f.t.Fatalf("decrypts to %q, want %q", out.Plaintext, text)
	}
	return out
}

// edit changes a stored key behind the service's back, for states that no
// operation reaches.
func (f *fixture) edit(id string, edit func(*store.Key)) {
	f.t.Helper()
	err := f.config.Store.Update(f.ctx(), func(tx store.Tx) error {
		key, err := tx.Key(f.ctx(), f.scope(), id)
		if err != nil {
			return err
		}
		edit(&key)
		return tx.PutKey(f.ctx(), key)
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// records reads the whole audit trail.
func (f *fixture) records() []audit.Record {
	f.t.Helper()
	r, err := audit.OpenReader(filepath.Join(f.dir, "audit.jsonl"))
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Close()
	var all []audit.Record
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, record)
	}
}

// wantError checks an error's AWS name and, unless it is "*", its text.
func wantError(t testing.TB, err error, name, message string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want %s", err, name)
	}
	if e.ErrorCode() != name || message != "*" && e.ErrorMessage() != message {
		t.Fatalf("got %s %q\nwant %s %q", e.ErrorCode(), e.ErrorMessage(), name, message)
	}
}

func TestLifeOfADataKey(t *testing.T) {
	f := newService(t)
	created, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{Description: aws.String("volume")})
	if err != nil {
		t.Fatal(err)
	}
	id, arn := *created.KeyMetadata.KeyId, *created.KeyMetadata.Arn
	if _, err := f.CreateAlias(f.ctx(), &kms.CreateAliasInput{AliasName: aws.String("alias/volume"), TargetKeyId: &id}); err != nil {
		t.Fatal(err)
	}
	path := map[string]string{"kmsfs:volume-id": "vol-1", "kmsfs:path": "/a"}
	made, err := f.GenerateDataKey(f.ctx(), &kms.GenerateDataKeyInput{
		KeyId: aws.String("alias/volume"), KeySpec: types.DataKeySpecAes256, EncryptionContext: path})
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Plaintext) != 32 || *made.KeyId != arn {
		t.Fatalf("data key of %d bytes under %s", len(made.Plaintext), *made.KeyId)
	}
	opened := f.decrypts(made.CiphertextBlob, string(made.Plaintext), path)
	if *opened.KeyId != arn || *opened.KeyMaterialId != *created.KeyMetadata.CurrentKeyMaterialId {
		t.Errorf("decrypted by %s, material %s", *opened.KeyId, *opened.KeyMaterialId)
	}
	moved, err := f.ReEncrypt(f.ctx(), &kms.ReEncryptInput{
		CiphertextBlob: made.CiphertextBlob, SourceEncryptionContext: path,
		DestinationKeyId: &arn, DestinationEncryptionContext: map[string]string{"kmsfs:path": "/b"}})
	if err != nil {
		t.Fatal(err)
	}
	f.decrypts(moved.CiphertextBlob, string(made.Plaintext), map[string]string{"kmsfs:path": "/b"})
	_, err = f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: moved.CiphertextBlob, EncryptionContext: path})
	wantError(t, err, "InvalidCiphertextException", "")

	if _, err := f.DisableKey(f.ctx(), &kms.DisableKeyInput{KeyId: &id}); err != nil {
		t.Fatal(err)
	}
	_, err = f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: made.CiphertextBlob, EncryptionContext: path})
	wantError(t, err, "DisabledException", arn+" is disabled.")
	var disabled *types.DisabledException
	if !errors.As(err, &disabled) || *disabled.Message != arn+" is disabled." {
		t.Errorf("no types.DisabledException in %v", err)
	}
	if _, err := f.EnableKey(f.ctx(), &kms.EnableKeyInput{KeyId: &id}); err != nil {
		t.Fatal(err)
	}
	f.decrypts(made.CiphertextBlob, string(made.Plaintext), path)
}
