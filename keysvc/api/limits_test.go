package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/api/metrics"
	"github.com/kmsfs/kmsfs/keysvc/api/throttle"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

func TestWhoCallsTooOftenIsThrottledAndCounted(t *testing.T) {
	counters := metrics.New()
	e := serve(t, func(c *Config) {
		c.Metrics = counters
		c.Throttle = throttle.New(throttle.Config{Principals: map[string]throttle.Rates{"bob": {"ListKeys": 2}}})
		now := time.Now()
		c.Now = func() time.Time { return now } // no tokens come in
	})
	bob := e.client(e.principal("bob", true), testRegion)
	for i := range 4 {
		_, err := bob.ListKeys(t.Context(), &kms.ListKeysInput{})
		if i < 2 && err != nil {
			t.Fatal(err)
		}
		if i >= 2 {
			wantCode(t, err, "ThrottlingException", "You have exceeded the rate")
		}
	}
	if _, err := e.client(e.admin, testRegion).ListKeys(t.Context(), &kms.ListKeysInput{}); err != nil {
		t.Error("another principal is throttled too:", err)
	}
	_, _, _ = e.raw("Explode", "{}")
	text := scrape(t, counters)
	for _, line := range []string{
		`kmsfs_requests_total{code="OK",operation="ListKeys"} 3`, `kmsfs_requests_total{code="ThrottlingException",operation="ListKeys"} 2`,
		`kmsfs_requests_total{code="UnknownOperationException",operation="unknown"} 1`, `kmsfs_throttled_requests_total{operation="ListKeys"} 2`,
		`kmsfs_request_duration_seconds_count{operation="ListKeys"} 5`, `kmsfs_requests_in_flight 0`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
}

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	recorder := httptest.NewRecorder()
	m.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return recorder.Body.String()
}

func TestConnectionsBeyondTheLimitAreClosed(t *testing.T) {
	counters := metrics.New()
	e := serve(t, func(c *Config) { c.Limits, c.Metrics = ConnectionLimits{All: 3, PerClient: 2}, counters })
	first, second := dial(t, e), dial(t, e)
	for _, c := range []net.Conn{first, second} { // both are counted when they are answered
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	third := dial(t, e)
	if err := third.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if n, err := third.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("a third connection is not closed: %d, %v", n, err)
	}
	if text := scrape(t, counters); !strings.Contains(text, "kmsfs_connections 2\n") || !strings.Contains(text, "kmsfs_connections_refused_total 1\n") {
		t.Error(text)
	}
	first.Close()
	for range 100 { // the server notices when it reads
		if status, err := http.Get(e.url + "/healthz"); err == nil {
			status.Body.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("no connection after one was closed")
}

func TestClientsLearnWhoTheyAre(t *testing.T) {
	e := serve(t)
	client := func(secret string) *sts.Client {
		return sts.New(sts.Options{Region: testRegion, BaseEndpoint: &e.url, RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider(e.admin.AccessKeyID, secret, "")})
	}
	got, err := client(string(e.admin.Secret)).GetCallerIdentity(context.Background(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if *got.Arn != e.admin.ARN(testAccount) || *got.Account != testAccount || aws.ToString(got.UserId) != e.admin.AccessKeyID {
		t.Errorf("%s %s %s", *got.Arn, *got.Account, aws.ToString(got.UserId))
	}
	_, err = client("wrong").GetCallerIdentity(context.Background(), &sts.GetCallerIdentityInput{})
	var refused smithy.APIError
	if !errors.As(err, &refused) || refused.ErrorCode() != "SignatureDoesNotMatch" {
		t.Error(err)
	}
	_, err = client(string(e.admin.Secret)).GetSessionToken(context.Background(), &sts.GetSessionTokenInput{})
	if !errors.As(err, &refused) || refused.ErrorCode() != "UnknownOperation" {
		t.Error(err)
	}
}
