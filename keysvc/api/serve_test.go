package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc"
	"github.com/kmsfs/kmsfs/keysvc/api/principals"
	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store/sqlite"
)

func TestHealthNeedsNoSignature(t *testing.T) {
	e := serve(t)
	for path, want := range map[string]string{"/health": "200 ok\n", "/healthz": "200 ok\n", "/ready": "200 ready\n", "/readyz": "200 ready\n"} {
		answer, err := http.Get(e.url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if got := fmt.Sprintf("%d %s", answer.StatusCode, body); err != nil || got != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}

func TestAServerWithoutItsStoreOrThatStopsIsNotReady(t *testing.T) {
	e := serve(t, func(c *Config) { c.Service = withoutStore(t) })
	if status, text := e.server.ready(); status != http.StatusServiceUnavailable || text != "not ready\n" {
		t.Error(status, text)
	}
	e = serve(t)
	e.server.stopping.Store(true)
	if status, text := e.server.ready(); status != http.StatusServiceUnavailable || text != "stopping\n" {
		t.Error(status, text)
	}
}

// withoutStore is a service whose store has gone.
func withoutStore(t *testing.T) *keysvc.Service {
	t.Helper()
	lost, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store"))
	if err == nil {
		err = lost.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	trail, err := audit.Open(audit.Config{Path: filepath.Join(t.TempDir(), "audit")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { trail.Close() })
	s, err := keysvc.New(t.Context(), keysvc.Config{Token: struct{ hsm.Token }{}, Store: lost, Audit: trail, Account: testAccount, Region: testRegion})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Anybody may ask, and must not keep the token busy with it.
func TestReadinessIsLookedAtOnceForManyWhoAsk(t *testing.T) {
	var r readiness
	looks := 0
	for range 1000 {
		if !r.get(func() bool { looks++; return true }) {
			t.Fatal("not ready")
		}
	}
	if looks > 2 {
		t.Errorf("looked %d times", looks)
	}
	r.until = time.Now()
	if r.get(func() bool { return false }) {
		t.Error("ready for ever")
	}
}

// Clients try again what took too long.
func TestASlowBodyOfAPrincipalIsATimeout(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the server's patience")
	}
	e := serve(t)
	text := e.text("ListKeys", `{"Limit":1}`)
	answer := exchange(t, e, text[:len(text)-1], "POST")[0]
	if body, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusRequestTimeout || !answer.Close || !strings.Contains(string(body), "RequestTimeoutException") {
		t.Errorf("%s %s", answer.Status, body)
	}
}

// A client that never ends its headers is cut off.
func TestASlowClientIsCutOff(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the server's patience")
	}
	e := serve(t)
	for name, text := range map[string]string{
		"headers": "POST / HTTP/1.1\r\nHost: x\r\n",
		"body":    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, e)
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(readTime + 5*time.Second))
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("still connected: %v", err)
			}
		})
	}
}

func TestHeadersAreBounded(t *testing.T) {
	e := serve(t)
	c := dial(t, e)
	go fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nX-Long: %s\r\n\r\n", strings.Repeat("x", 2*maxHeader))
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Error(answer.Status)
	}
}

func dial(t *testing.T, e *endpoint) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Requests under way are answered after the server was told to stop.
func TestStoppingLetsRequestsFinish(t *testing.T) {
	e := serve(t) // for its principal and its signed request
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.server.Serve(ctx, Listener{Listener: listener}) }()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := e.signed("ListKeys", `{"Limit":1}`)
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", r.URL.Host, r.ContentLength)
	for name, values := range r.Header {
		fmt.Fprintf(c, "%s: %s\r\n", name, values[0])
	}
	io.WriteString(c, "\r\n{\"Limit\"")
	time.Sleep(50 * time.Millisecond) // the server waits for the rest
	stop()
	time.Sleep(50 * time.Millisecond)
	if _, err := net.Dial("unix", socket); err == nil {
		t.Error("a stopping server takes new connections")
	}
	io.WriteString(c, ":1}")
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Error(answer.Status)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAServerNeedsItsParts(t *testing.T) {
	store := principals.NewStore("unused")
	for _, c := range []Config{{}, {Service: keys.Service(), Principals: store}, {Principals: store, Account: testAccount}, {Service: keys.Service(), Account: testAccount}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v", c)
		}
	}
}
