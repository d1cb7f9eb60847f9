package api

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/pkcs11"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"golang.org/x/sys/unix"
)

// The same calls embedded and over HTTP with the SDK's client, which signs on
// the same cores, beside the token's own rate.
func BenchmarkService(b *testing.B) {
	e := serve(b)
	remote := e.client(e.admin, keys.Config().Region)
	made, err := keys.Service().CreateKey(b.Context(), &kms.CreateKeyInput{})
	if err != nil {
		b.Fatal(err)
	}
	generate := &kms.GenerateDataKeyInput{KeyId: made.KeyMetadata.KeyId, KeySpec: types.DataKeySpecAes256}
	sealed, err := keys.Service().GenerateDataKey(b.Context(), generate)
	if err != nil {
		b.Fatal(err)
	}
	decrypt := &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob}
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"Decrypt/token", rawUnwrap(b)},
		{"Decrypt/embedded", func() error { _, err := keys.Service().Decrypt(b.Context(), decrypt); return err }},
		{"Decrypt/http", func() error { _, err := remote.Decrypt(b.Context(), decrypt); return err }},
		{"Decrypt/wire", e.wire(b, "Decrypt", map[string]any{"CiphertextBlob": sealed.CiphertextBlob})},
		{"GenerateDataKey/embedded", func() error { _, err := keys.Service().GenerateDataKey(b.Context(), generate); return err }},
		{"GenerateDataKey/http", func() error { _, err := remote.GenerateDataKey(b.Context(), generate); return err }},
		{"Nothing/wire", e.nothing(b)},
		{"GenerateDataKey/tls", e.wireTLS(b, "GenerateDataKey", map[string]any{"KeyId": made.KeyMetadata.KeyId, "KeySpec": "AES_256"})},
		{"GenerateDataKey/wire", e.wire(b, "GenerateDataKey", map[string]any{"KeyId": made.KeyMetadata.KeyId, "KeySpec": "AES_256"})},
	} {
		for _, callers := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/callers=%d", c.name, callers), func(b *testing.B) { measure(b, callers, c.call) })
		}
	}
}

// Decrypt embedded beside the token's own call, by turns, so that the ratio holds on
// a busy machine: the medians of how long the same number of calls takes.
func BenchmarkDecryptBesideToken(b *testing.B) {
	made, err := keys.Service().CreateKey(b.Context(), &kms.CreateKeyInput{})
	if err != nil {
		b.Fatal(err)
	}
	sealed, err := keys.Service().GenerateDataKey(b.Context(), &kms.GenerateDataKeyInput{
		KeyId: made.KeyMetadata.KeyId, KeySpec: types.DataKeySpecAes256})
	if err != nil {
		b.Fatal(err)
	}
	in := &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob}
	token := rawUnwrap(b)
	embedded := func() error { _, err := keys.Service().Decrypt(b.Context(), in); return err }
	for _, callers := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			const calls = 1000
			var alone, service []time.Duration
			for b.Loop() {
				alone = append(alone, together(b, callers, calls, token))
				service = append(service, together(b, callers, calls, embedded))
			}
			slices.Sort(alone)
			slices.Sort(service)
			mid := len(alone) / 2
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(alone[mid].Nanoseconds())/calls/1000, "token-µs")
			b.ReportMetric(float64(service[mid].Nanoseconds())/calls/1000, "service-µs")
			b.ReportMetric(100*float64(alone[mid])/float64(service[mid]), "%-of-token's-rate")
		})
	}
}

// together is how long several callers need for a number of calls.
func together(b *testing.B, callers, calls int, call func() error) time.Duration {
	var left atomic.Int64
	left.Store(int64(calls))
	var done sync.WaitGroup
	start := time.Now()
	for range callers {
		done.Go(func() {
			for left.Add(-1) >= 0 {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	return time.Since(start)
}

// wire sends one signed request again and again over connections that stay open,
// each used by one caller at a time: next to nothing but the server's own work.
func (e *endpoint) wire(b *testing.B, operation string, body map[string]any) func() error {
	b.Helper()
	addr := strings.TrimPrefix(e.url, "http://")
	return repeat(e.bytes(b, operation, body), func() (net.Conn, error) { return net.Dial("tcp", addr) })
}

// wireTLS is wire with TLS.
func (e *endpoint) wireTLS(b *testing.B, operation string, body map[string]any) func() error {
	b.Helper()
	addr, roots := serveTLS(b, e)
	return repeat(e.bytes(b, operation, body), func() (net.Conn, error) { return tls.Dial("tcp", addr, &tls.Config{RootCAs: roots}) })
}

// bytes is a signed request.
func (e *endpoint) bytes(b *testing.B, operation string, body map[string]any) []byte {
	b.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		b.Fatal(err)
	}
	var request bytes.Buffer
	if err := e.signedIn(operation, string(text), keys.Config().Region).Write(&request); err != nil {
		b.Fatal(err)
	}
	return request.Bytes()
}

func repeat(request []byte, dial func() (net.Conn, error)) func() error {
	var idle sync.Pool
	return func() error {
		c, _ := idle.Get().(*wireConn)
		if c == nil {
			conn, err := dial()
			if err != nil {
				return err
			}
			c = &wireConn{conn, bufio.NewReader(conn)}
		}
		defer idle.Put(c)
		if _, err := c.Write(request); err != nil {
			return err
		}
		answer, err := http.ReadResponse(c.from, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %v", answer.Status, err)
		}
		return nil
	}
}

// nothing is a request as long as one for a data key, to a server that reads it and
// answers as many bytes: what net/http and the sockets take of every request.
func (e *endpoint) nothing(b *testing.B) func() error {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	text := bytes.Repeat([]byte("x"), 600)
	server := e.server.httpServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answer(w, http.StatusOK, &request{Request: r}, text)
	}))
	go func() { _ = server.Serve(l) }()
	b.Cleanup(func() { _ = server.Close() })
	other := &endpoint{t: b, url: "http://" + l.Addr().String(), admin: e.admin}
	return other.wire(b, "GenerateDataKey", map[string]any{"KeyId": hsm.NewKeyID(), "KeySpec": "AES_256"})
}

type wireConn struct {
	net.Conn
	from *bufio.Reader
}

// rawUnwrap is what Decrypt asks of the token, and nothing else.
func rawUnwrap(b *testing.B) func() error {
	b.Helper()
	pin, err := os.ReadFile(filepath.Join(keys.Dir(), "pin"))
	if err != nil {
		b.Fatal(err)
	}
	token, err := pkcs11.Open(b.Context(), pkcs11.Config{TokenLabel: keys.Config().Token.Label,
		PIN: pkcs11.PIN(bytes.TrimSpace(pin)), SoftHSMConf: pkcs11.SoftHSMConf(filepath.Join(keys.Dir(), "token"))})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = token.Close() })
	id := hsm.NewKeyID()
	if err := token.GenerateKey(b.Context(), id, "bench"); err != nil {
		b.Fatal(err)
	}
	aad := make([]byte, 49) // as long as the service's
	sealed, err := token.Wrap(b.Context(), id, make([]byte, 32), aad)
	if err != nil {
		b.Fatal(err)
	}
	return func() error { _, err := token.Unwrap(b.Context(), id, sealed, aad); return err }
}

// measure makes calls from several goroutines and reports the rate, the 99th
// percentile, and the processor time of client and server together, which does
// not depend on what else the machine does.
func measure(b *testing.B, callers int, call func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	took := make([][]time.Duration, callers)
	var done sync.WaitGroup
	before := processorTime(b)
	b.ResetTimer()
	for i := range callers {
		done.Go(func() {
			for left.Add(-1) >= 0 {
				start := time.Now()
				if err := call(); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(start))
			}
		})
	}
	done.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N)/1000, "cpu-µs/op")
}

func processorTime(b *testing.B) time.Duration {
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
