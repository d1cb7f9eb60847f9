package api

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// text is a signed request as it goes over the wire; changes are made to its text.
func (e *endpoint) text(operation, body string, change ...func(string) string) string {
	e.t.Helper()
	var wire bytes.Buffer
	if err := e.signed(operation, body).Write(&wire); err != nil {
		e.t.Fatal(err)
	}
	text := wire.String()
	for _, c := range change {
		text = c(text)
	}
	return text
}

func replaced(from, to string) func(string) string {
	return func(text string) string { return strings.Replace(text, from, to, 1) }
}

// exchange sends a text and reads one answer for each of the methods.
func exchange(t *testing.T, e *endpoint, text string, methods ...string) []*http.Response {
	t.Helper()
	c := dial(t, e)
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(readTime + 5*time.Second))
	from := bufio.NewReader(c)
	var answers []*http.Response
	for _, method := range methods {
		answer, err := http.ReadResponse(from, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("after %d answers: %v", len(answers), err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body = io.NopCloser(bytes.NewReader(body))
		answers = append(answers, answer)
	}
	return answers
}

func TestEveryAnswerHasItsDateAndARequestID(t *testing.T) {
	e := serve(t)
	for _, line := range []string{
		"GET / HTTP/1.1", "HEAD / HTTP/1.1", "PUT / HTTP/1.1", "DELETE /x HTTP/1.1", "OPTIONS / HTTP/1.1", "OPTIONS * HTTP/1.1",
		"POST / HTTP/1.1", "POST /health HTTP/1.1", "PROPFIND / HTTP/1.1", "GET / HTTP/1.0", "GET /?Action=ListKeys HTTP/1.1",
	} {
		answer := exchange(t, e, line+"\r\nHost: x\r\n\r\n", strings.Fields(line)[0])[0]
		if answer.StatusCode < 400 || answer.StatusCode > 404 || answer.Header.Get("Date") == "" ||
			answer.Header.Get("X-Amzn-Requestid") == "" || answer.Header.Get("Content-Type") != contentType {
			t.Errorf("%s: %s %v", line, answer.Status, answer.Header)
		}
	}
}

func TestPresignedRequestsAreRefusedWithTheReason(t *testing.T) {
	e := serve(t)
	for _, method := range []string{"GET", "POST"} {
		answer := exchange(t, e, method+" /?Action=Encrypt&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A&X-Amz-Signature=00 HTTP/1.1\r\nHost: x\r\n\r\n", method)[0]
		body, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != 400 || !strings.HasPrefix(string(body), `{"__type":"MissingAuthenticationTokenException","message":"Presigned requests are not accepted`) {
			t.Errorf("%s: %s %s", method, answer.Status, body)
		}
	}
}

// What clients, proxies and tools do on connections.
func TestConnectionsAreUsedAsHTTPSays(t *testing.T) {
	e := serve(t)
	list := e.text("ListKeys", `{"Limit":1}`)
	unsigned := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
	for _, c := range []struct {
		name, text string
		want       []int
	}{
		{"two at once", list + list, []int{200, 200}},
		{"one after a refused one", unsigned + list, []int{400, 200}},
		{"one after an unknown operation", e.text("Explode", `{}`) + list, []int{400, 200}},
		{"one after another path", "GET /x HTTP/1.1\r\nHost: x\r\n\r\n" + list, []int{404, 200}},
		{"HTTP/1.0", strings.Replace(list, "HTTP/1.1", "HTTP/1.0", 1), []int{200}},
		{"a client that asks before it sends", strings.Replace(list, "\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1), []int{100, 200}},
		{"an unsigned one that asks", strings.Replace(unsigned, "\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1), []int{400}},
		{"another expectation", strings.Replace(list, "\r\n\r\n", "\r\nExpect: miracles\r\n\r\n", 1), []int{417}},
		{"a header over two lines", strings.Replace(list, "User-Agent: ", "User-Agent: a\r\n ", 1), []int{200}},
		{"host twice", strings.Replace(list, "\r\n", "\r\nHost: y\r\n", 1), []int{400}},
		{"two lengths", strings.Replace(list, "\r\n", "\r\nContent-Length: 1\r\n", 1), []int{400}},
		{"no host", "POST / HTTP/1.1\r\n\r\n", []int{400}},
		{"a space before the colon", strings.Replace(list, "X-Amz-Date:", "X-Amz-Date :", 1), []int{400}},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i, answer := range exchange(t, e, c.text, make([]string, len(c.want))...) {
				if answer.StatusCode != c.want[i] {
					body, _ := io.ReadAll(answer.Body)
					t.Errorf("answer %d: %s %s", i+1, answer.Status, body)
				}
			}
		})
	}
}

func TestBodiesInChunksAreReadToTheirEnd(t *testing.T) {
	e := serve(t)
	long := `{"x":"` + strings.Repeat("x", 3*maxKept) + `"}`
	status, _, body := e.raw("ListKeys", long, chunked, func(r *http.Request) {
		r.Header.Del("Authorization")
		e.signIn(r, []byte(long), testRegion)
	})
	if status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	broken := e.text("ListKeys", "{}", replaced("Content-Length: 2\r\n", "Transfer-Encoding: chunked\r\n"),
		replaced("\r\n\r\n{}", "\r\n\r\nzz\r\n{}\r\n"))
	if answer := exchange(t, e, broken, "POST")[0]; answer.StatusCode != http.StatusBadRequest {
		t.Error(answer.Status)
	}
}

func TestACompressedBodyIsNoJSON(t *testing.T) {
	e := serve(t)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	io.WriteString(w, "{}")
	w.Close()
	status, _, body := e.raw("ListKeys", packed.String(), func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") })
	if status != 400 || body != `{"__type":"SerializationException"}` {
		t.Errorf("%d %s", status, body)
	}
}

// The whole media type decides about the protocol, and the whole target about the
// operation.
func TestOnlyTheProtocolAndTheNamesOfTheAPIAreServed(t *testing.T) {
	e := serve(t)
	for value, want := range map[string]int{
		contentType: 200, contentType + "; charset=utf-8": 200, "Application/X-AMZ-JSON-1.1": 200,
		"application/x-amz-json-1.0": 400, "application/json": 400, "": 400, "application/x-amz-json-1.1; charset": 400, "text/plain": 400,
	} {
		if status, _, body := e.raw("ListKeys", "{}", func(r *http.Request) { e.sign(r, "Content-Type", value) }); status != want {
			t.Errorf("%q: %d %s", value, status, body)
		}
	}
	for target, want := range map[string]int{
		targetPrefix + "ListKeys": 200, "trentservice.ListKeys": 400, targetPrefix + "listkeys": 400, "ListKeys": 400,
		targetPrefix: 400, targetPrefix + "ListKeys ": 200, targetPrefix + "ListKeys.": 400, "KMS.ListKeys": 400, "": 400,
	} {
		if status, _, body := e.raw("ListKeys", "{}", func(r *http.Request) { e.sign(r, "X-Amz-Target", target) }); status != want {
			t.Errorf("%q: %d %s", target, status, body)
		}
	}
}

// A client that sends more than is read gets the reason, not a reset connection.
func TestWhoSendsTooMuchCanReadWhy(t *testing.T) {
	e := serve(t)
	c := dial(t, e)
	head := e.text("ListKeys", "{}", replaced("Content-Length: 2\r\n", fmt.Sprintf("Content-Length: %d\r\n", 64<<20)))
	go func() {
		io.WriteString(c, head)
		_, _ = io.CopyN(c, zeros{}, 4<<20)
	}()
	from := bufio.NewReader(c)
	answer, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(answer.Body); answer.StatusCode != http.StatusRequestEntityTooLarge || !answer.Close || err != nil {
		t.Errorf("%s %s %v", answer.Status, body, err)
	}
	if _, err := from.ReadByte(); err != io.EOF {
		t.Errorf("the connection ends with %v", err)
	}
}

// net/http ends its answers before the connection if the connection can.
func TestACountedConnectionCanEndItsAnswersAlone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := limitedListener{l, newConnections(ConnectionLimits{All: 1, PerClient: 1}, nil)}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	half, ok := server.(interface{ CloseWrite() error })
	if !ok {
		t.Fatal("it can't")
	}
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
	if _, err := client.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if n, err := server.Read(make([]byte, 1)); n != 1 {
		t.Error(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestAClientIsAnIPv4AddressOrAnIPv6Network(t *testing.T) {
	same := [][2]string{{"192.0.2.1:1", "192.0.2.1:2"}, {"[::ffff:192.0.2.1]:1", "192.0.2.1:2"},
		{"[2001:db8::1]:1", "[2001:db8:0:0:ffff::2]:1"}, {"[fe80::1%eth0]:1", "[fe80::2%eth1]:1"}}
	for _, c := range same {
		if network(c[0]) != network(c[1]) {
			t.Errorf("%v are two clients", c)
		}
	}
	for _, c := range [][2]string{{"192.0.2.1:1", "192.0.2.2:1"}, {"[2001:db8::1]:1", "[2001:db8:0:1::1]:1"}, {"[::1]:1", "127.0.0.1:1"}} {
		if network(c[0]) == network(c[1]) {
			t.Errorf("%v are one client", c)
		}
	}
	if (clientNetwork(&net.UnixAddr{Name: "/s"}) != netip.Prefix{}) {
		t.Error("a unix socket has a network")
	}
}

func network(addr string) netip.Prefix {
	return clientNetwork(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
}

func hexSum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
