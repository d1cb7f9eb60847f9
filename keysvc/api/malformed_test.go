package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// inputType is the SDK's input of an operation.
func inputType(t testing.TB, operation string) reflect.Type {
	t.Helper()
	m, ok := reflect.TypeFor[*kms.Client]().MethodByName(operation)
	if !ok {
		t.Fatalf("the SDK has no operation %s", operation)
	}
	return m.Type.In(2).Elem()
}

// plausible has values of members that operations go on with.
func plausible(t testing.TB, e *endpoint) map[string]any {
	t.Helper()
	made, err := e.client(e.admin, testRegion).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := e.client(e.admin, testRegion).Encrypt(t.Context(), &kms.EncryptInput{KeyId: made.KeyMetadata.KeyId, Plaintext: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	id := aws.ToString(made.KeyMetadata.KeyId)
	return map[string]any{
		"KeyId": id, "SourceKeyId": id, "DestinationKeyId": id, "TargetKeyId": id,
		"AliasName": "alias/plausible", "GranteePrincipal": "arn:aws:iam::" + testAccount + ":user/x",
		"Operations": []any{"Decrypt"}, "NumberOfBytes": 32, "Limit": 10,
		"CiphertextBlob": base64.StdEncoding.EncodeToString(sealed.CiphertextBlob),
		"Tags":           []any{map[string]any{"TagKey": "a", "TagValue": "b"}},
	}
}

// valid is a JSON value of a member's type.
func valid(t reflect.Type) any {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return 1.7e9
	case t == reflect.TypeFor[[]byte]():
		return "AAAA"
	}
	switch t.Kind() {
	case reflect.Bool:
		return false
	case reflect.Int32:
		return 90
	case reflect.Map:
		return map[string]any{"a": "b"}
	case reflect.Slice:
		return []any{valid(t.Elem())}
	case reflect.Struct:
		return map[string]any{}
	}
	if method, ok := t.MethodByName("Values"); ok {
		return method.Func.Call([]reflect.Value{reflect.Zero(t)})[0].Index(0).String()
	}
	return "x"
}

// wholeBody has all members of an input but DryRun.
func wholeBody(in reflect.Type, good map[string]any) map[string]any {
	whole := map[string]any{}
	for i := range in.NumField() {
		f := in.Field(i)
		if !f.IsExported() || f.Name == "DryRun" {
			continue
		}
		if whole[f.Name] = good[f.Name]; whole[f.Name] == nil {
			whole[f.Name] = valid(f.Type)
		}
	}
	return whole
}

// unlike are values of every JSON type and some that are no good for anything.
func unlike() map[string]any {
	return map[string]any{
		"null": nil, "true": true, "zero": 0, "negative": -1, "fraction": 1.5, "huge number": json.Number("1e400"), "beyond 32 bits": 1 << 40,
		"empty text": "", "text": "no", "control characters": "\x00\x1f\u2028", "long text": strings.Repeat("x", 9000),
		"no base64": "a!b=", "long blob": strings.Repeat("AAAA", 3000), "arn": "arn:aws:kms:::",
		"empty list": []any{}, "list": []any{1}, "list of nothing": []any{nil}, "list of texts": []any{"", strings.Repeat("y", 9000)}, "long list": make([]any, 200),
		"empty object": map[string]any{}, "object": map[string]any{"a": 1, "TagKey": 2}, "object of null": map[string]any{"a": nil},
	}
}

// request sends a body to the handler itself and demands an answer of AWS's form.
func (e *endpoint) request(operation string, body any) (status int, kind, message string) {
	e.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		e.t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	e.server.ServeHTTP(recorder, e.incoming(operation, string(text)))
	return awsAnswer(e.t, recorder, operation, text)
}

// incoming is a signed request as the server gets it.
func (e *endpoint) incoming(operation, body string) *http.Request {
	r := e.signed(operation, body)
	r.RequestURI, r.RemoteAddr = "/", "127.0.0.1:1"
	return r
}

// awsAnswer fails the test for everything but a success and a fault of the client.
func awsAnswer(t testing.TB, recorder *httptest.ResponseRecorder, what string, body []byte) (status int, kind, message string) {
	t.Helper()
	var fault struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	answer := recorder.Body.Bytes()
	switch {
	case recorder.Code == http.StatusOK && len(answer) == 0:
	case recorder.Code >= http.StatusInternalServerError:
		t.Errorf("%s %.200s: %d %s", what, body, recorder.Code, answer)
	case json.Unmarshal(answer, &fault) != nil:
		t.Errorf("%s %.200s: %d, no JSON: %s", what, body, recorder.Code, answer)
	case recorder.Code != http.StatusOK && !strings.HasSuffix(fault.Type, "Exception"):
		t.Errorf("%s %.200s: %d without the name of an error: %s", what, body, recorder.Code, answer)
	}
	if recorder.Header().Get("X-Amzn-Requestid") == "" {
		t.Errorf("%s: no request id", what)
	}
	return recorder.Code, fault.Type, fault.Message
}

// Every operation with each member missing, of each wrong type, too long and
// malformed: an AWS error or an answer, never a fault of the server.
func TestEveryMemberOfEveryOperationMayBeWrong(t *testing.T) {
	e := serve(t)
	good := plausible(t, e)
	for _, operation := range slices.Sorted(maps.Keys(operations)) {
		t.Run(operation, func(t *testing.T) {
			e.t = t
			whole := wholeBody(inputType(t, operation), good)
			if _, kind, message := e.request(operation, whole); kind == "SerializationException" {
				t.Fatalf("a body without fault: %s %s", kind, message)
			}
			for member := range whole {
				e.withWrong(operation, whole, member)
			}
			if status, kind, _ := e.request(operation, []any{}); status != http.StatusBadRequest || kind != "SerializationException" {
				t.Errorf("a list instead of an object: %d %s", status, kind)
			}
		})
	}
}

// withWrong sends a body with one member wrong in all ways.
func (e *endpoint) withWrong(operation string, whole map[string]any, member string) {
	e.t.Helper()
	body := maps.Clone(whole)
	delete(body, member)
	status, kind, message := e.request(operation, body)
	if strings.Contains(message, "Value null at") && (status != http.StatusBadRequest || kind != "ValidationException") {
		e.t.Errorf("without %s: %d %s", member, status, kind)
	}
	for name, wrong := range unlike() {
		body[member] = wrong
		e.request(operation, body)
		if name == "text" && fmt.Sprintf("%T", whole[member]) != "string" {
			if status, kind, _ := e.request(operation, body); status != http.StatusBadRequest || kind != "SerializationException" {
				e.t.Errorf("a text as %s: %d %s", member, status, kind)
			}
		}
	}
}
