package api

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc"
	"github.com/kmsfs/kmsfs/keysvc/api/sigv4"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// Every operation of the service is served, under its name.
func TestEveryOperationIsServed(t *testing.T) {
	service := reflect.TypeFor[*keysvc.Service]()
	options := reflect.TypeFor[[]func(*kms.Options)]()
	served := 0
	for i := range service.NumMethod() {
		m := service.Method(i)
		if m.Type.NumIn() != 4 || m.Type.In(3) != options {
			continue
		}
		served++
		if operations[m.Name] == nil {
			t.Errorf("%s is not in the table", m.Name)
		}
		if in := m.Type.In(2).Elem().Name(); in != m.Name+"Input" {
			t.Errorf("%s takes %s", m.Name, in)
		}
	}
	if served != len(operations) {
		t.Errorf("%d operations in the table, %d in the service", len(operations), served)
	}
}

// An operation under a wrong name in the table would answer with another shape.
func TestEveryNameReachesItsOwnOperation(t *testing.T) {
	e := serve(t)
	for name := range operations {
		_, header, _ := e.raw(name, `{}`)
		if got := recordedName(t, header.Get("x-amzn-RequestId")); got != name {
			t.Errorf("%s is recorded as %q", name, got)
		}
	}
}

// recordedName finds the call with a request id in the audit trail.
func recordedName(t *testing.T, requestID string) string {
	t.Helper()
	return record(t, requestID).EventName
}

type trailRecord struct {
	EventName, RequestID, AWSRegion, SourceIPAddress, UserAgent, ErrorCode string
	UserIdentity                                                           struct{ Type, ARN, AccessKeyID, UserName string }
}

func record(t *testing.T, requestID string) (r trailRecord) {
	t.Helper()
	if line := recordLine(t, requestID); line != "" {
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// recordLine is the last line of the trail with a request id.
func recordLine(t *testing.T, requestID string) (found string) {
	t.Helper()
	trail, err := os.ReadFile(keys.AuditPath())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(trail)) {
		if strings.Contains(line, requestID) {
			found = line
		}
	}
	return found
}

func TestTheRecordNamesThePrincipalAndItsRequest(t *testing.T) {
	e := serve(t)
	_, header, _ := e.raw("ListKeys", `{}`, func(r *http.Request) { r.Header.Set("User-Agent", "tester/1") })
	id := header.Get("x-amzn-RequestId")
	if !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Fatalf("request id %q", id)
	}
	r := record(t, id)
	if r.UserIdentity.Type != "IAMUser" || r.UserIdentity.ARN != e.admin.ARN(testAccount) || r.UserIdentity.UserName != "admin" ||
		r.UserIdentity.AccessKeyID != e.admin.AccessKeyID || r.AWSRegion != testRegion || r.SourceIPAddress != "127.0.0.1" || r.UserAgent != "tester/1" || r.ErrorCode != "" {
		t.Errorf("%+v", r)
	}
}

func TestAnswersHaveTheFormOfAWS(t *testing.T) {
	e := serve(t)
	status, header, body := e.raw("ListKeys", `{"Limit":1}`)
	if status != http.StatusOK || header.Get("Content-Type") != contentType || header.Get("Date") == "" || !strings.HasPrefix(body, `{"Keys":[`) {
		t.Errorf("%d %v %s", status, header, body)
	}
	_, _, made := e.raw("CreateKey", `{}`)
	var key struct {
		KeyMetadata map[string]any
	}
	if err := json.Unmarshal([]byte(made), &key); err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{"AWSAccountId", "Arn", "CreationDate", "CurrentKeyMaterialId", "CustomerMasterKeySpec", "Description", "Enabled",
		"EncryptionAlgorithms", "KeyId", "KeyManager", "KeySpec", "KeyState", "KeyUsage", "MultiRegion", "Origin"} {
		if _, ok := key.KeyMetadata[member]; !ok {
			t.Errorf("no %s in %s", member, made)
		}
	}
	if len(key.KeyMetadata) != 15 {
		t.Errorf("more than AWS answers: %s", made)
	}
	status, _, body = e.raw("DisableKey", `{"KeyId":"`+key.KeyMetadata["KeyId"].(string)+`"}`)
	if status != http.StatusOK || body != "" {
		t.Errorf("%d %q", status, body)
	}
}

func TestRefusalsHaveTheFormOfAWS(t *testing.T) {
	e := serve(t)
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, c := range []struct {
		name, operation, body string
		change                func(*http.Request)
		status                int
		want                  string // the body's beginning
	}{
		{"unknown operation", "Frobnicate", `{}`, nil, 400, `{"__type":"UnknownOperationException"}`},
		{"no JSON", "Encrypt", `{"KeyId":`, nil, 400, `{"__type":"SerializationException"}`},
		{"wrong type", "Encrypt", `{"KeyId":1}`, nil, 400, `{"__type":"SerializationException"}`},
		{"shape", "DescribeKey", `{}`, nil, 400, `{"__type":"ValidationException","message":"1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null"}`},
		{"unknown key", "DescribeKey", `{"KeyId":"x"}`, nil, 400, `{"__type":"NotFoundException","message":"Invalid keyId 'x'"}`},
		{"bad ciphertext", "Decrypt", `{"CiphertextBlob":"AAAA"}`, nil, 400, `{"__type":"InvalidCiphertextException"}`},
		{"unsigned", "ListKeys", `{}`, func(r *http.Request) { r.Header.Del("Authorization") }, 400, `{"__type":"MissingAuthenticationTokenException","message":"Missing`},
		{"another target than signed", "ListKeys", `{}`, set("X-Amz-Target", "TrentService.DeleteAlias"), 400, `{"__type":"InvalidSignatureException","message":"The request signature`},
		{"body too long", "ListKeys", `{"x":"` + strings.Repeat("x", MaxBody) + `"}`, nil, 413, `{"__type":"RequestEntityTooLargeException"`},
		{"long body of unknown length", "ListKeys", `{"x":"` + strings.Repeat("x", MaxBody) + `"}`, chunked, 413, `{"__type":"RequestEntityTooLargeException"`},
		{"another path", "ListKeys", `{}`, func(r *http.Request) { r.URL.Path = "/x" }, 404, `{"__type":"UnknownOperationException"}`},
		{"another method", "ListKeys", `{}`, func(r *http.Request) { r.Method = http.MethodPut }, 404, `{"__type":"UnknownOperationException"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var changes []func(*http.Request)
			if c.change != nil {
				changes = append(changes, c.change)
			}
			status, header, body := e.raw(c.operation, c.body, changes...)
			if status != c.status || !strings.HasPrefix(body, c.want) || header.Get("Content-Type") != contentType || header.Get("X-Amzn-Requestid") == "" {
				t.Errorf("%d %v %s", status, header, body)
			}
		})
	}
}

func chunked(r *http.Request) {
	r.ContentLength, r.Body = -1, io.NopCloser(r.Body)
	r.GetBody = nil
}

func TestAccessDeniedSpellsItsTextWithACapital(t *testing.T) {
	e := serve(t)
	e.admin = e.principal("bob", false)
	if status, _, body := e.raw("ListKeys", `{}`); status != 400 || !strings.HasPrefix(body, `{"Message":"User: arn:aws:iam::`+testAccount+`:user/bob is not authorized`) ||
		!strings.HasSuffix(body, `"__type":"AccessDeniedException"}`) {
		t.Errorf("%d %s", status, body)
	}
}

func TestTheServersClockDecidesAboutExpiry(t *testing.T) {
	e := serve(t)
	for skew, want := range map[time.Duration]string{
		sigv4.Window - time.Minute:    "",
		sigv4.Window + time.Minute:    "Signature expired",
		-(sigv4.Window - time.Minute): "",
		-(sigv4.Window + time.Minute): "Signature not yet current",
	} {
		e.skew.Store(int64(skew))
		status, _, body := e.raw("ListKeys", `{}`)
		if want == "" && status != 200 || want != "" && (status != 400 || !strings.Contains(body, want)) {
			t.Errorf("%v: %d %s", skew, status, body)
		}
	}
}
