package api

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc"
	"github.com/kmsfs/kmsfs/keysvc/api/metrics"
	"github.com/kmsfs/kmsfs/keysvc/api/principals"
	"github.com/kmsfs/kmsfs/keysvc/api/throttle"
)

// lines is a log in memory.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A fault of the program costs one request, and somebody gets to know of it.
func TestAPanicFailsOneRequestAndIsLogged(t *testing.T) {
	var log lines
	counters := metrics.New()
	var broken atomic.Bool
	e := serve(t, func(c *Config) {
		c.Logger, c.Metrics = slog.New(slog.NewTextHandler(&log, nil)), counters
		c.Now = func() time.Time {
			if broken.Load() {
				panic("no clock")
			}
			return time.Now()
		}
	})
	broken.Store(true)
	if status, _, body := e.raw("ListKeys", "{}"); status != http.StatusInternalServerError || !strings.HasPrefix(body, `{"__type":"KMSInternalException"`) {
		t.Errorf("%d %s", status, body)
	}
	if text := log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "no clock") || !strings.Contains(text, "refusal_test.go") {
		t.Error(text)
	}
	broken.Store(false)
	if status, _, body := e.raw("ListKeys", "{}"); status != http.StatusOK {
		t.Errorf("afterwards: %d %s", status, body)
	}
	if text := scrape(t, counters); !strings.Contains(text, "kmsfs_requests_in_flight 0\n") {
		t.Error(text)
	}
}

// Whoever can reach the port could fill the disk.
func TestTheLogOfRefusalsIsBounded(t *testing.T) {
	var log lines
	e := serve(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	const sent = 5 * refusalBurst
	start := time.Now()
	for range sent {
		recorder := httptest.NewRecorder()
		e.server.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/", nil))
		if recorder.Code != http.StatusBadRequest {
			t.Fatal(recorder.Code)
		}
	}
	allowed := refusalBurst + 1 + int(refusalLines*time.Since(start).Seconds())
	if n := strings.Count(log.String(), "\n"); n < refusalBurst || n > allowed {
		t.Errorf("%d lines for %d requests, %d are allowed", n, sent, allowed)
	}
	e.server.refusals.limit.SetBurst(refusalBurst + sent) // as if it had been quiet since
	e.server.refusals.limit.SetLimit(1e9)
	time.Sleep(time.Millisecond)
	e.server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil))
	if text := log.String(); !strings.Contains(text, " left_out=") {
		t.Error(text[max(0, len(text)-500):])
	}
}

// A line says what was asked for, and little of it.
func TestALineAboutARefusalNamesTheRequest(t *testing.T) {
	var log lines
	e := serve(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	r := httptest.NewRequest(http.MethodPatch, "/some/where"+strings.Repeat("/", 9000), nil)
	r.Header.Set("X-Amz-Target", "Some.Thing\nlevel=INFO msg=forged")
	r.Header.Set("Authorization", strings.Repeat("x", 9000))
	e.server.ServeHTTP(httptest.NewRecorder(), r)
	text := log.String()
	for _, want := range []string{"method=PATCH", "path=/some/where", `target="Some.Thing\nlevel=INFO msg=forged"`, "UnknownOperationException"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if len(text) > 1000 || strings.Count(text, "\n") != 1 {
		t.Error(text)
	}
}

// refusedRecord is a record of a call that didn't come to its operation.
type refusedRecord struct {
	EventName, ErrorCode, ErrorMessage, RequestID, UserAgent string
	ReadOnly                                                 bool
	UserIdentity                                             struct{ ARN string }
	RequestParameters, Resources                             any
	AdditionalEventData                                      struct{ OthersRefusedAlike int }
}

// refusedRecords are a principal's, in the trail's order.
func refusedRecords(t *testing.T, accessKeyID, code string) (found []refusedRecord) {
	t.Helper()
	trail, err := os.ReadFile(keys.AuditPath())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(trail)) {
		var r refusedRecord
		if strings.Contains(line, accessKeyID) && json.Unmarshal([]byte(line), &r) == nil && r.ErrorCode == code {
			found = append(found, r)
		}
	}
	return found
}

func nothingMore(c *Config) {
	c.Throttle = throttle.New(throttle.Config{Rates: throttle.Rates{"cryptographic": 0, "*": 0}})
}

// as makes a principal the one that signs.
func (e *endpoint) as(name string) principals.Principal {
	e.admin = e.principal(name, true)
	return e.admin
}

func TestThrottledCallsAreRecordedAndAFloodOfThemIsCounted(t *testing.T) {
	e := serve(t, nothingMore)
	e.server.trail.pause = 500 * time.Millisecond
	flood := e.as("flood")
	const sent = 50
	for range sent {
		if status, _, body := e.raw("CreateKey", "{}"); status != 400 || !strings.Contains(body, "ThrottlingException") {
			t.Fatal(status, body)
		}
	}
	first := refusedRecords(t, flood.AccessKeyID, "ThrottlingException")
	if len(first) == 0 || first[0].EventName != "CreateKey" || first[0].ReadOnly || first[0].RequestID == "" || first[0].ErrorMessage != errThrottled.message ||
		first[0].RequestParameters != nil || first[0].Resources != nil || first[0].UserIdentity.ARN != flood.ARN(testAccount) {
		t.Fatalf("%+v", first)
	}
	var calls, records int
	for deadline := time.Now().Add(10 * time.Second); calls < sent && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		calls, records = 0, 0
		for _, r := range refusedRecords(t, flood.AccessKeyID, "ThrottlingException") {
			records++
			calls += 1 + r.AdditionalEventData.OthersRefusedAlike
		}
	}
	if calls != sent || records > sent/2 {
		t.Errorf("%d records of %d calls, %d were made", records, calls, sent)
	}
}

func TestAStoppingServerRecordsWhatItHasCounted(t *testing.T) {
	e := serve(t, nothingMore)
	e.server.trail.pause = time.Hour
	last := e.as("last")
	for range 3 {
		e.raw("ListKeys", "{}")
	}
	e.server.trail.close()
	records := refusedRecords(t, last.AccessKeyID, "ThrottlingException")
	if len(records) != 2 || records[1].AdditionalEventData.OthersRefusedAlike != 1 || !records[1].ReadOnly {
		t.Errorf("%+v", records)
	}
	e.raw("ListKeys", "{}")
	if n := len(refusedRecords(t, last.AccessKeyID, "ThrottlingException")); n != 3 {
		t.Errorf("%d records after a call that came too late to be counted", n)
	}
}

// Each operation, and each principal, has records of its own.
func TestOneFloodDoesNotHideAnotherCall(t *testing.T) {
	e := serve(t, nothingMore)
	e.server.trail.pause = time.Hour
	for _, name := range []string{"one", "other"} {
		p := e.as(name)
		for range 3 {
			e.raw("Decrypt", "{}")
		}
		e.raw("DisableKey", "{}")
		if n := len(refusedRecords(t, p.AccessKeyID, "ThrottlingException")); n != 2 {
			t.Errorf("%s: %d records", name, n)
		}
	}
}

func TestUnreadableBodiesOfPrincipalsAreRecordedAndUnsignedRequestsAreNot(t *testing.T) {
	e := serve(t)
	p := e.as("unreadable")
	e.raw("Encrypt", `{"KeyId":`)
	records := refusedRecords(t, p.AccessKeyID, "SerializationException")
	if len(records) != 1 || records[0].EventName != "Encrypt" || !records[0].ReadOnly {
		t.Errorf("%+v", records)
	}
	before := trailLength(t)
	_, _, _ = e.raw("Encrypt", `{"KeyId":`, func(r *http.Request) { r.Header.Del("Authorization") })
	_, _, _ = e.raw("Encrypt", `{}`, func(r *http.Request) { r.Header.Set("X-Amz-Target", targetPrefix+"Decrypt") })
	_, _, _ = e.raw("Explode", `{}`)
	if after := trailLength(t); after != before {
		t.Errorf("%d bytes were recorded", after-before)
	}
}

func trailLength(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(keys.AuditPath())
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// A refused call is as much of a read, or a change, as one that is not refused.
func TestRefusedCallsAreAsReadOnlyAsTheOperations(t *testing.T) {
	readOnly := map[string]bool{}
	served := serve(t)
	p := served.as("reader")
	for name := range operations {
		_, header, _ := served.raw(name, `{}`)
		readOnly[name] = strings.Contains(recordLine(t, header.Get("x-amzn-RequestId")), `"readOnly":true`)
	}
	for name, want := range readOnly {
		err := keys.Service().RecordRefusal(keysvc.WithCaller(t.Context(), keysvc.Caller{ARN: p.ARN(testAccount), AccessKeyID: p.AccessKeyID}), keysvc.Refusal{Operation: name, Code: "Compared"})
		if err != nil {
			t.Fatal(err)
		}
		records := refusedRecords(t, p.AccessKeyID, "Compared")
		if got := records[len(records)-1]; got.ReadOnly != want || got.EventName != name {
			t.Errorf("%s: read-only is %v, want %v", name, got.ReadOnly, want)
		}
	}
}

func TestALongUserAgentIsCutInTheRecord(t *testing.T) {
	e := serve(t)
	_, header, _ := e.raw("ListKeys", `{}`, func(r *http.Request) { r.Header.Set("User-Agent", "é"+strings.Repeat("ü", maxUserAgent)) })
	if got := record(t, header.Get("x-amzn-RequestId")).UserAgent; len(got) > maxUserAgent || !strings.HasPrefix(got, "éüü") || strings.ContainsRune(got, '\ufffd') {
		t.Errorf("%d bytes: %.20s", len(got), got)
	}
}
