package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/api/principals"
	"github.com/kmsfs/kmsfs/keysvc/embedded"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// keys is the key service of this test process, on a real SoftHSM token, of
// which a process can have one.
var keys *embedded.Embedded

func TestMain(m *testing.M) {
	code, err := withKeys(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withKeys(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "keysvc-api-test-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if keys, err = embedded.Open(context.Background(), embedded.Options{Dir: dir, CreateIfMissing: true, Account: testAccount}); err != nil {
		return 1, err
	}
	code := m.Run()
	return code, keys.Close()
}

const (
	testAccount = "111122223333"
	testRegion  = "eu-central-1"
)

// endpoint is a server on a loopback port with principals of its own.
type endpoint struct {
	t          testing.TB
	server     *Server
	url        string
	principals *principals.Store
	admin      principals.Principal
	skew       atomic.Int64 // of the server's clock, ns
}

// serve starts one; changes are made to its configuration.
func serve(t testing.TB, change ...func(*Config)) *endpoint {
	t.Helper()
	e := &endpoint{t: t, principals: principals.NewStore(filepath.Join(t.TempDir(), principals.FileName))}
	e.admin = e.principal("admin", true)
	config := Config{
		Service: keys.Service(), Principals: e.principals, Account: testAccount,
		Now: func() time.Time { return time.Now().Add(time.Duration(e.skew.Load())) },
	}
	for _, c := range change {
		c(&config)
	}
	var err error
	if e.server, err = New(config); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.url = "http://" + listener.Addr().String()
	e.listen(Listener{Listener: listener})
	return e
}

// listen answers on a listener until the test ends.
func (e *endpoint) listen(l Listener) {
	t := e.t
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.server.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (e *endpoint) principal(name string, admin bool) principals.Principal {
	e.t.Helper()
	p, err := e.principals.Create(e.t.Context(), name, admin)
	if err != nil {
		e.t.Fatal(err)
	}
	return p
}

// client is the AWS SDK's, as a principal, in a region.
func (e *endpoint) client(p principals.Principal, region string) *kms.Client {
	return kms.New(kms.Options{
		Region: region, BaseEndpoint: aws.String(e.url), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(p.AccessKeyID, string(p.Secret), ""),
	})
}

// raw sends a body that the SDK would not send, signed by the SDK's signer.
func (e *endpoint) raw(operation, body string, change ...func(*http.Request)) (status int, header http.Header, text string) {
	e.t.Helper()
	r := e.signed(operation, body)
	for _, c := range change {
		c(r)
	}
	return e.send(r)
}

func (e *endpoint) signed(operation, body string) *http.Request {
	e.t.Helper()
	return e.signedIn(operation, body, testRegion)
}

func (e *endpoint) signedIn(operation, body, region string) *http.Request {
	e.t.Helper()
	r, err := http.NewRequest(http.MethodPost, e.url+"/", bytes.NewReader([]byte(body)))
	if err != nil {
		e.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("X-Amz-Target", targetPrefix+operation)
	e.signIn(r, []byte(body), region)
	return r
}

// sign changes a header of a request without a body of its own and signs it anew.
func (e *endpoint) sign(r *http.Request, name, value string) {
	e.t.Helper()
	r.Header.Del("Authorization")
	r.Header.Set(name, value)
	if value == "" {
		r.Header.Del(name)
	}
	e.signIn(r, []byte("{}"), testRegion)
}

func (e *endpoint) signIn(r *http.Request, body []byte, region string) {
	e.t.Helper()
	if err := v4.NewSigner().SignHTTP(e.t.Context(), aws.Credentials{AccessKeyID: e.admin.AccessKeyID, SecretAccessKey: string(e.admin.Secret)},
		r, hexSum(body), "kms", region, time.Now()); err != nil {
		e.t.Fatal(err)
	}
}

func (e *endpoint) send(r *http.Request) (status int, header http.Header, text string) {
	e.t.Helper()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		e.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(body)
}
