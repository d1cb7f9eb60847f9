package api

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/api/metrics"
)

// Wherever in a request a client goes away, nothing of it stays.
func TestClientsThatLeaveInTheMiddleLeaveNothingBehind(t *testing.T) {
	counters := metrics.New()
	e := serve(t, func(c *Config) { c.Metrics = counters })
	text := e.text("ListKeys", `{"Limit":1}`)
	step := max(1, len(text)/150)
	var clients sync.WaitGroup
	for n := 0; n <= len(text); n += step {
		c := dial(t, e)
		clients.Go(func() {
			_, _ = io.WriteString(c, text[:n])
			if n%2 == 0 { // a reset, or an end
				_ = c.(*net.TCPConn).SetLinger(0)
			}
			c.Close()
		})
	}
	clients.Wait()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		seen := scrape(t, counters)
		if strings.Contains(seen, "kmsfs_requests_in_flight 0\n") && strings.Contains(seen, "kmsfs_connections 0\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(seen)
		}
	}
	if status, _, body := e.raw("ListKeys", "{}"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
}

// A server that stops answers in full or not at all, and when it has stopped
// nothing is recorded any more.
func TestStoppingUnderLoadNeverAnswersByHalf(t *testing.T) {
	e := serve(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.server.Serve(ctx, Listener{Listener: l}) }()
	e.url = "http://" + l.Addr().String()
	var callers sync.WaitGroup
	var answered atomic.Int64
	for range 8 {
		r := e.signed("ListKeys", `{"Limit":1}`)
		callers.Go(func() { answered.Add(askUntilGone(t, r)) })
	}
	time.Sleep(300 * time.Millisecond)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	length := trailLength(t)
	callers.Wait()
	if later := trailLength(t); later != length || answered.Load() == 0 {
		t.Errorf("%d answers, %d bytes were recorded after the end", answered.Load(), later-length)
	}
}

// askUntilGone repeats a request until nobody answers and counts the answers.
func askUntilGone(t *testing.T, r *http.Request) (answered int64) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for {
		r.Body, _ = r.GetBody()
		answer, err := client.Do(r)
		if err != nil {
			return answered
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK || err != nil || !strings.HasSuffix(string(body), "}") {
			t.Errorf("%s %q %v", answer.Status, body, err)
			return answered
		}
		answered++
	}
}
