package integration

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/keysvc/store/postgres/pgtest"
)

// noticed is how long one host goes on as before when another one has changed a key, on a loaded
// machine; see keysvc/store/postgres for the bound.
const noticed = 3 * time.Second

// twoHosts is two key services that share a database and a token, as on two hosts with a network HSM.
type twoHosts struct {
	t        *testing.T
	database *pgtest.Server
	conninfo string
	one, two *keyServer
}

func startTwoHosts(t *testing.T) *twoHosts {
	t.Helper()
	h := &twoHosts{t: t, database: pgtest.StartFor(t)}
	h.conninfo = h.database.Schema(t)
	h.one = startKeyServerMadeWith(t, []string{"--postgres", h.conninfo})
	// For the second host the first one's SoftHSM is the network HSM.
	t.Setenv("SOFTHSM2_CONF", filepath.Join(h.one.vol.State, "token", "softhsm2.conf"))
	h.two = startKeyServerMadeWith(t, []string{"--postgres", h.conninfo, "--hsm-token", "pkcs11:token=kmsfs",
		"--pin-source", "file:" + filepath.Join(h.one.vol.State, "pin")})
	return h
}

// client is an SDK's client that tries everything once.
func (s *keyServer) client() *kms.Client {
	id, secret := variable(s.env, "AWS_ACCESS_KEY_ID"), variable(s.env, "AWS_SECRET_ACCESS_KEY")
	return kms.New(kms.Options{
		BaseEndpoint: aws.String(s.url), Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
	})
}

// variable is the last value of a variable in an environment.
func variable(env []string, name string) string {
	for _, v := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// eventuallyError waits until a call fails as wanted; nil wants success.
func eventuallyError(t *testing.T, what string, want func(error) bool, call func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(noticed); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = call(); want(err) {
			return
		}
	}
	t.Fatalf("%s: after %v still %v", what, noticed, err)
}

func isDisabled(err error) bool {
	var disabled *types.DisabledException
	return errors.As(err, &disabled)
}

func succeeds(err error) bool { return err == nil }

func TestHostsThatShareADatabase(t *testing.T) {
	h := startTwoHosts(t)
	t.Run("share keys", func(t *testing.T) { sharedKeys(t, h) })
	t.Run("stop each other's opens", func(t *testing.T) { sharedMount(t, h) })
	t.Run("share a token", func(t *testing.T) { refuseOtherToken(t, h) })
}

// sharedKeys: what one host does to a key, the other goes by.
func sharedKeys(t *testing.T, h *twoHosts) {
	one, two, ctx := h.one.client(), h.two.client(), t.Context()
	made, err := one.CreateKey(ctx, &kms.CreateKeyInput{})
	must(t, err)
	id := made.KeyMetadata.KeyId
	_, err = one.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/both"), TargetKeyId: id})
	must(t, err)
	encrypt := func(c *kms.Client) ([]byte, error) {
		out, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String("alias/both"), Plaintext: []byte("text")})
		if err != nil {
			return nil, err
		}
		return out.CiphertextBlob, nil
	}
	decrypt := func(c *kms.Client, sealed []byte) error {
		out, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed})
		if err == nil && !bytes.Equal(out.Plaintext, []byte("text")) {
			t.Errorf("decrypted %q", out.Plaintext)
		}
		return err
	}
	old, err := encrypt(two)
	must(t, err)
	must(t, decrypt(one, old))
	must(t, decrypt(two, old))

	_, err = one.DisableKey(ctx, &kms.DisableKeyInput{KeyId: id})
	must(t, err)
	eventuallyError(t, "decrypt on the other host", isDisabled, func() error { return decrypt(two, old) })
	_, err = two.EnableKey(ctx, &kms.EnableKeyInput{KeyId: id})
	must(t, err)
	eventuallyError(t, "decrypt on the other host", succeeds, func() error { return decrypt(one, old) })

	_, err = two.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: id})
	must(t, err)
	fresh, err := encrypt(two)
	must(t, err)
	must(t, decrypt(one, fresh))
	must(t, decrypt(one, old))

	for _, s := range []*keyServer{h.one, h.two} {
		if out := s.vol.kmsfs("audit", "verify"); !strings.Contains(out, "intact") {
			t.Error(out)
		}
	}
}

// sharedMount: the filesystem on one host, and a key that is disabled on the other.
func sharedMount(t *testing.T, h *twoHosts) {
	ctx := t.Context()
	v := &volume{t: t, State: h.two.vol.State, Back: filepath.Join(h.two.dir, "back"), Mnt: filepath.Join(h.two.dir, "mnt")}
	must(t, os.Mkdir(v.Mnt, 0o755))
	v.kmsfs("init", v.Back)
	v.mount()
	write(t, v.path("file"), "before")
	_, key := v.info()
	one := h.one.client()
	open := func() error { return openErr(v.path("file")) }

	_, err := one.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &key})
	must(t, err)
	eventuallyError(t, "open", func(err error) bool { return errors.Is(err, unix.EKEYREVOKED) }, open)
	_, err = one.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &key})
	must(t, err)
	eventuallyError(t, "open", succeeds, open)

	h.database.Stop()
	eventuallyError(t, "open without the database", func(err error) bool { return errors.Is(err, unix.ETIMEDOUT) }, open)
	_, err = one.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key})
	var timeout *types.DependencyTimeoutException
	if !errors.As(err, &timeout) || !strings.Contains(err.Error(), "StatusCode: 503") {
		t.Errorf("without the database: %v", err)
	}
	becomesReady(t, h.one.url, http.StatusServiceUnavailable)
	must(t, h.database.Run())
	eventuallyError(t, "open with the database again", succeeds, open)
	_, err = one.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key})
	must(t, err)
	becomesReady(t, h.one.url, http.StatusOK)
	wantContent(t, v.path("file"), "before")
}

// becomesReady waits until /ready answers with a status; it remembers its last answer for a while.
func becomesReady(t *testing.T, url string, status int) {
	t.Helper()
	eventuallyError(t, "ready", succeeds, func() error {
		answer, err := http.Get(url + "/ready")
		if err != nil {
			return err
		}
		if answer.StatusCode != status {
			err = fmt.Errorf("status %d, want %d", answer.StatusCode, status)
		}
		return errors.Join(err, answer.Body.Close())
	})
}

// refuseOtherToken tries to join with a token that doesn't have the keys.
func refuseOtherToken(t *testing.T, h *twoHosts) {
	t.Helper()
	third := &volume{t: t, State: filepath.Join(t.TempDir(), "state")}
	_, stderr, err := third.try("key", "create", "--postgres", h.conninfo)
	if err == nil || !strings.Contains(stderr, "in another token") || !strings.Contains(stderr, "hint: hosts that share a database share a token") {
		t.Errorf("a host with a token of its own: %v\n%s", err, stderr)
	}
	if _, err := os.Stat(filepath.Join(third.State, "config.json")); !os.IsNotExist(err) {
		t.Errorf("it was made all the same: %v", err)
	}
}
