package xks_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/xks"
	"github.com/kmsfs/kmsfs/keysvc/xks/proxy"
)

var (
	credential = xks.Credential{AccessKeyID: "ABCDEFGHIJKLMNOPQRST", Secret: xks.Secret(strings.Repeat("s", 43))}
	why        = xks.Metadata{PrincipalARN: "arn:aws:iam::111122223333:root", KeyARN: "arn", Operation: "Encrypt", RequestID: "r"}
)

const path = "/store/kms/xks/v1"

func newKey(t *testing.T) *proxy.Key {
	t.Helper()
	key, err := proxy.NewKey(bytes.Repeat([]byte{7}, proxy.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// serve runs the proxy, or another handler, and returns a client of it.
func serve(t *testing.T, h http.Handler, change ...func(*xks.Config)) *xks.Client {
	t.Helper()
	if h == nil {
		keys := map[string]*proxy.Key{"key-1": newKey(t), "off": newKey(t).Disabled(), "sign": newKey(t).For("SIGN")}
		h = proxy.New(proxy.Config{Path: path, Credential: credential, Find: func(id string) *proxy.Key { return keys[id] }})
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	config := xks.Config{Endpoint: server.URL, Path: path, Region: "eu-central-1", Credential: credential}
	for _, c := range change {
		c(&config)
	}
	c, err := xks.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func wantKind(t *testing.T, err error, want xks.Kind) {
	t.Helper()
	if kind, ok := xks.KindOf(err); !ok || kind != want {
		t.Errorf("%v (kind %d), want kind %d", err, kind, want)
	}
}

func TestWhatTheProxyEncryptsItDecryptsWithTheSameAAD(t *testing.T) {
	c, ctx := serve(t, nil), t.Context()
	if _, err := c.Health(ctx, why); err != nil {
		t.Fatal(err)
	}
	if meta, err := c.Key(ctx, "key-1", why); err != nil || meta.Spec != "AES_256" || meta.Status != "ENABLED" {
		t.Fatalf("%+v, %v", meta, err)
	}
	for _, size := range []int{1, 32, 4300} {
		plaintext := bytes.Repeat([]byte{1}, size)
		sealed, err := c.Encrypt(ctx, "key-1", plaintext, []byte("aad"), why)
		if err != nil {
			t.Fatal(err)
		}
		again, err := xks.ParseCiphertext(sealed.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		opened, err := c.Decrypt(ctx, "key-1", again, []byte("aad"), why)
		if err != nil || !bytes.Equal(opened, plaintext) {
			t.Fatalf("%d bytes: %v", size, err)
		}
		_, err = c.Decrypt(ctx, "key-1", again, []byte("other"), why)
		wantKind(t, err, xks.KindRejectedCiphertext)
		again.Tag[0] ^= 1
		_, err = c.Decrypt(ctx, "key-1", again, []byte("aad"), why)
		wantKind(t, err, xks.KindRejectedCiphertext)
	}
}

func TestTheProxysRefusalsHaveKinds(t *testing.T) {
	ctx := t.Context()
	c := serve(t, nil)
	_, err := c.Encrypt(ctx, "none", []byte("x"), nil, why)
	wantKind(t, err, xks.KindKeyNotFound)
	_, err = c.Encrypt(ctx, "off", []byte("x"), nil, why)
	wantKind(t, err, xks.KindKeyDisabled)
	_, err = c.Encrypt(ctx, "sign", []byte("x"), nil, why)
	wantKind(t, err, xks.KindKeyUsage)
	_, err = c.Encrypt(ctx, "key-1", make([]byte, 4301), nil, why)
	wantKind(t, err, xks.KindMalformed)
	_, err = serve(t, nil, func(c *xks.Config) { c.Path = "/kms/xks/v1" }).Health(ctx, why)
	wantKind(t, err, xks.KindPath)
	for name, change := range map[string]func(*xks.Config){
		"secret": func(c *xks.Config) { c.Credential.Secret = xks.Secret(strings.Repeat("t", 43)) },
		"key id": func(c *xks.Config) { c.Credential.AccessKeyID = "BBBBBBBBBBBBBBBBBBBB" },
		"clock":  func(c *xks.Config) { c.Now = func() time.Time { return time.Now().Add(-6 * time.Minute) } },
	} {
		t.Run("wrong "+name, func(t *testing.T) {
			_, err := serve(t, nil, change).Health(ctx, why)
			wantKind(t, err, xks.KindUnauthenticated)
		})
	}
}

// What a captured request signs can't be changed.
func TestASignatureIsForOneRequest(t *testing.T) {
	secret := func(string) xks.Secret { return credential.Secret }
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := new(bytes.Buffer)
		body.ReadFrom(r.Body)
		if err := xks.Verify(r, body.Bytes(), secret, time.Now()); err != nil {
			t.Error(err)
		}
		if r.Header.Get("Authorization") == "" || !strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/kms-xks-proxy/aws4_request, SignedHeaders=host;x-amz-date, ") {
			t.Error(r.Header)
		}
		for name, change := range map[string]func(r *http.Request) []byte{
			"body": func(*http.Request) []byte { return []byte("{}") },
			"path": func(r *http.Request) []byte { r.URL.Path += "x"; return body.Bytes() },
			"host": func(r *http.Request) []byte { r.Host = "other"; return body.Bytes() },
			"none": func(r *http.Request) []byte { r.Header.Del("Authorization"); return body.Bytes() },
		} {
			other := r.Clone(r.Context())
			if text := change(other); xks.Verify(other, text, secret, time.Now()) == nil {
				t.Errorf("another %s passes", name)
			}
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	_, err := c.Health(t.Context(), why)
	wantKind(t, err, xks.KindMalformed)
}

func TestAProxyThatCorruptsItsAnswersIsCaught(t *testing.T) {
	for name, c := range map[string]struct {
		answer map[string]any
		want   xks.Kind
	}{
		"no JSON":             {nil, xks.KindMalformed},
		"empty":               {map[string]any{}, xks.KindMalformed},
		"no integrity value":  {map[string]any{"ciphertext": b64(1), "initializationVector": b64(12), "authenticationTag": b64(16)}, xks.KindWrongCiphertext},
		"another length":      {map[string]any{"ciphertext": b64(2), "initializationVector": b64(12), "authenticationTag": b64(16)}, xks.KindMalformed},
		"a short IV":          {map[string]any{"ciphertext": b64(1), "initializationVector": b64(8), "authenticationTag": b64(16)}, xks.KindMalformed},
		"a short tag":         {map[string]any{"ciphertext": b64(1), "initializationVector": b64(12), "authenticationTag": b64(4)}, xks.KindMalformed},
		"endless metadata":    {map[string]any{"ciphertext": b64(1), "initializationVector": b64(12), "authenticationTag": b64(16), "ciphertextMetadata": b64(21)}, xks.KindMalformed},
		"no base64 at all":    {map[string]any{"ciphertext": "%"}, xks.KindMalformed},
		"a number for a text": {map[string]any{"ciphertext": 1}, xks.KindMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			client := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.answer == nil {
					fmt.Fprint(w, "<html>")
					return
				}
				json.NewEncoder(w).Encode(c.answer)
			}))
			_, err := client.Encrypt(t.Context(), "key-1", []byte("x"), nil, why)
			wantKind(t, err, c.want)
		})
	}
}

func b64(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }

// The example of the specification's Appendix C.
func TestTheIntegrityValueIsThatOfTheSpecification(t *testing.T) {
	decode := func(s string) []byte { b, _ := base64.StdEncoding.DecodeString(s); return b }
	c := xks.Ciphertext{Text: decode("ghxkK1txeDNn3q8Y"), Metadata: decode("a2V5X3ZlcnNpb249MQ=="), IV: decode("HMrlRw85cAJUd5Ax"), Tag: decode("vBxN2ncH1oEkR8WVXpmyYQ==")}
	if got := base64.StdEncoding.EncodeToString(c.Digest([]byte("project=nile,department=marketing"))); got != "qHA/ImC9h5HsLRXqCyPmWgYx7tzyoTplzILbP0fPXsc=" {
		t.Error(got)
	}
}

func TestOnlyWhatMayPassIsTriedAgain(t *testing.T) {
	for name, want := range map[string]int32{"ThrottlingException": 3, "InternalException": 3, "DependencyTimeoutException": 3, "AccessDeniedException": 1, "KeyNotFoundException": 1, "Nonsense": 1} {
		var asked atomic.Int32
		c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.WriteHeader(500)
			fmt.Fprintf(w, `{"errorName":%q}`, name)
		}))
		if _, err := c.Health(t.Context(), why); err == nil || asked.Load() != want {
			t.Errorf("%s: asked %d times, %v", name, asked.Load(), err)
		}
	}
}

func TestAProxyThatIsSlowOrGoneIsNotWaitedForLong(t *testing.T) {
	stuck := make(chan struct{})
	slow := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-stuck:
		}
	}))
	defer close(stuck)
	start := time.Now()
	_, err := slow.Health(t.Context(), why)
	wantKind(t, err, xks.KindTimeout)
	if took := time.Since(start); took < 1500*time.Millisecond || took > 10*time.Second {
		t.Errorf("waited %v", took)
	}
	gone := serve(t, nil, func(c *xks.Config) { c.Endpoint = "http://127.0.0.1:1" })
	_, err = gone.Health(t.Context(), why)
	wantKind(t, err, xks.KindUnreachable)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = gone.Health(ctx, why); err == nil {
		t.Error("a cancelled call succeeds")
	}
}

func TestTLSIsVerified(t *testing.T) {
	server := httptest.NewTLSServer(proxy.New(proxy.Config{Path: path, Credential: credential}))
	defer server.Close()
	server.Config.ErrorLog = nil
	_, err := serve(t, nil, func(c *xks.Config) { c.Endpoint = server.URL }).Health(t.Context(), why)
	wantKind(t, err, xks.KindTLS)
	if _, err := serve(t, nil, func(c *xks.Config) { c.Endpoint, c.Transport = server.URL, server.Client().Transport }).Health(t.Context(), why); err != nil {
		t.Error(err)
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, good := range map[string]bool{
		"https://proxy.example.com": true, "https://10.0.0.1:8443": true, "http://127.0.0.1:80": true, "http://localhost": true, "http://[::1]:1": true,
		"http://proxy.example.com": false, "http://10.0.0.1": false, "https://h/path": false, "https://u:p@h": false, "ftp://h": false, "": false, "h": false, "http://127.0.0.1.example.com": false,
	} {
		if err := xks.CheckEndpoint(endpoint); (err == nil) != good {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	if s := fmt.Sprintf("%v %+v %#v %s %x", credential, credential, credential.Secret, credential.Secret, credential.Secret); strings.Contains(s, "sss") || strings.Contains(s, "7373") {
		t.Error(s)
	}
}

func FuzzParseCiphertext(f *testing.F) {
	c := xks.Ciphertext{Text: []byte("text"), Metadata: []byte("m"), IV: make([]byte, 12), Tag: make([]byte, 16)}
	f.Add(c.Append(nil))
	f.Add([]byte{0, 12})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := xks.ParseCiphertext(b)
		if err == nil && !bytes.Equal(c.Append(nil), b) {
			t.Errorf("%x is read as %+v", b, c)
		}
	})
}
