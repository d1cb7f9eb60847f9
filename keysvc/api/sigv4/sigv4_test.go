package sigv4

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	keyID  = "AKIDEXAMPLE"
	secret = Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
)

var signedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// signature of the request below as botocore 1.43 computes it.
const botocore = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/eu-central-1/kms/aws4_request, " +
	"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=1e66907abc48aaf947f9c79eb2cc50f92d7d958d6da7f874613ae4bbee745198"

const botocoreBody = `{"KeyId": "alias/app", "NumberOfBytes": 32}`

func botocoreRequest(t testing.TB) *http.Request {
	return receive(t, "POST / HTTP/1.1\r\nHost: kms.eu-central-1.test:8443\r\nContent-Type: application/x-amz-json-1.1\r\n"+
		"X-Amz-Target: TrentService.GenerateDataKey\r\nX-Amz-Date: 20260102T030405Z\r\nAuthorization: "+botocore+
		fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", len(botocoreBody), botocoreBody))
}

// receive parses a request as the server does.
func receive(t testing.TB, text string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// verify takes a request through both steps, with what is left of its body.
func verify(r *http.Request, now time.Time) error {
	signed, err := Parse(r, "kms", now)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	return signed.Verify(&Keys{}, secret, body)
}

func TestASignatureOfBotocoreIsAccepted(t *testing.T) {
	r := botocoreRequest(t)
	signed, err := Parse(r, "kms", signedAt)
	if err != nil {
		t.Fatal(err)
	}
	if signed.AccessKeyID() != keyID || signed.Region() != "eu-central-1" {
		t.Errorf("%s, %s", signed.AccessKeyID(), signed.Region())
	}
	if err := signed.Verify(&Keys{}, secret, []byte(botocoreBody)); err != nil {
		t.Error(err)
	}
	if err := signed.Verify(&Keys{}, secret+"x", []byte(botocoreBody)); err == nil {
		t.Error("accepted with another secret")
	}
}

func TestChangedRequestsAreRefused(t *testing.T) {
	auth := func(from, to string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), from, to, 1))
		}
	}
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	twice := func(name string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Add(name, r.Header.Get(name)) }
	}
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		kind   Kind
	}{
		{"unsigned", func(r *http.Request) { r.Header.Del("Authorization") }, KindMissing},
		{"another algorithm", auth("SHA256 ", "SHA1 "), KindIncomplete},
		{"no signature", auth(", Signature=", ", Sig="), KindIncomplete},
		{"one parameter too many", auth(", Signature=", ", More=x, Signature="), KindIncomplete},
		{"a parameter twice", auth(", Signature=", ", Signature=ab, Signature="), KindIncomplete},
		{"short signature", auth("745198", "7451"), KindIncomplete},
		{"signature in capitals", auth("=1e66907abc", "=1E66907ABC"), KindIncomplete},
		{"wrong signature", auth("=1e", "=1f"), KindInvalid},
		{"short credential", auth("/aws4_request", ""), KindIncomplete},
		{"other terminator", auth("aws4_request", "aws5_request"), KindInvalid},
		{"other service", auth("/kms/", "/s3/"), KindInvalid},
		{"other region", auth("eu-central-1", "eu-central-2"), KindInvalid},
		{"other day", auth("20260102", "20260101"), KindInvalid},
		{"headers out of order", auth("content-type;host", "host;content-type"), KindIncomplete},
		{"header named twice", auth("content-type;host", "content-type;host;host"), KindIncomplete},
		{"header in capitals", auth("content-type", "Content-type"), KindIncomplete},
		{"host not signed", auth("host;", ""), KindInvalid},
		{"date not signed", auth("x-amz-date;", ""), KindInvalid},
		{"target not signed", auth(";x-amz-target", ""), KindInvalid},
		{"signed header that isn't there", auth("host;", "host;server;"), KindInvalid},
		{"signed transfer-encoding", auth("host;", "host;transfer-encoding;"), KindInvalid},
		{"other target", set("X-Amz-Target", "TrentService.Decrypt"), KindInvalid},
		{"other content type", set("Content-Type", "application/json"), KindInvalid},
		{"no time", func(r *http.Request) { r.Header.Del("X-Amz-Date") }, KindIncomplete},
		{"another form of time", set("X-Amz-Date", "2026-01-02T03:04:05Z"), KindIncomplete},
		{"a time with a fraction", set("X-Amz-Date", "20260102T030405.1Z"), KindIncomplete},
		{"another second", set("X-Amz-Date", "20260102T030406Z"), KindInvalid},
		{"time twice", twice("X-Amz-Date"), KindIncomplete},
		{"target twice", twice("X-Amz-Target"), KindIncomplete},
		{"authorization twice", twice("Authorization"), KindIncomplete},
		{"other host", func(r *http.Request) { r.Host = "kms.eu-central-1.test" }, KindInvalid},
		{"other method", func(r *http.Request) { r.Method = http.MethodPut }, KindInvalid},
		{"other path", func(r *http.Request) { r.URL.Path = "//" }, KindInvalid},
		{"a query", func(r *http.Request) { r.URL.RawQuery = "a=b" }, KindInvalid},
		{"other body", func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("{}")) }, KindInvalid},
		{"unsigned payload", set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"), KindInvalid},
		{"session token", set("X-Amz-Security-Token", "x"), KindToken},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := botocoreRequest(t)
			c.change(r)
			var e *Error
			if err := verify(r, signedAt); !errors.As(err, &e) || e.Kind != c.kind {
				t.Errorf("%v, want %v", err, c.kind)
			}
		})
	}
}

func TestASignatureIsGoodForFiveMinutesEachWay(t *testing.T) {
	for _, c := range []struct {
		now  time.Duration
		want string
	}{
		{Window, ""}, {-Window, ""},
		{Window + time.Second, "Signature expired: 20260102T030405Z is now earlier than 20260102T030406Z (20260102T030906Z - 5 min.)"},
		{-Window - time.Second, "Signature not yet current: 20260102T030405Z is still later than 20260102T030404Z (20260102T025904Z + 5 min.)"},
	} {
		err := verify(botocoreRequest(t), signedAt.Add(c.now))
		var e *Error
		if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &e) || e.Message != c.want) {
			t.Errorf("after %v: %v", c.now, err)
		}
	}
}

func TestTheSecretIsNeverPrinted(t *testing.T) {
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", secret)
	text, err := json.Marshal(map[string]any{"s": secret})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(secret), fmt.Sprintf("%q %x %#v %s", secret, secret, secret, struct{ S Secret }{secret}), string(text), log.String()} {
		if !strings.Contains(s, redacted) || strings.Contains(s, "wJal") || strings.Contains(s, hex.EncodeToString([]byte("wJal"))) {
			t.Errorf("printed as %s", s)
		}
	}
}

// signWithSDK signs a request with the AWS SDK and sends it through the wire.
func signWithSDK(t testing.TB, r *http.Request, body []byte) *http.Request {
	t.Helper()
	sum := sha256.Sum256(body)
	err := v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: keyID, SecretAccessKey: string(secret)},
		r, hex.EncodeToString(sum[:]), "kms", "us-gov-west-1", signedAt)
	if err != nil {
		t.Fatal(err)
	}
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Skip("not a request that a client can send")
	}
	received, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		t.Skip("not a request that a server can read")
	}
	return received
}

// Whatever the SDK signs is accepted, and nothing that differs in one signed bit.
func FuzzTheSDKsSignaturesAreAccepted(f *testing.F) {
	f.Add("localhost:8080", "TrentService.Encrypt", "a", "x  y", []byte(`{}`), true)
	f.Add("[::1]:80", " TrentService.Decrypt  ", "\ttab  between ", "", []byte{}, false)
	f.Add("KMS.Example", "x", "a,  b", "ä", []byte("\x00\xff"), true)
	f.Fuzz(func(t *testing.T, host, target, first, second string, body []byte, withHash bool) {
		if strings.ContainsAny(target+first+second, "\r\n") {
			t.Skip("net/http sends a space instead")
		}
		r, err := http.NewRequest(http.MethodPost, "http://host/", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		r.Header["X-Amz-Target"] = []string{target}
		r.Header["X-Amz-Other"] = []string{first, second}
		if withHash {
			sum := sha256.Sum256(body)
			r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
		}
		received := signWithSDK(t, r, body)
		if received.Host != host {
			t.Skip("net/http has changed the host")
		}
		if err := verify(received, signedAt); err != nil {
			t.Fatalf("%v\n%q", err, received.Header)
		}
		signed, err := Parse(received, "kms", signedAt)
		if err != nil {
			t.Fatal(err)
		}
		if signed.Verify(&Keys{}, secret, append(bytes.Clone(body), 'x')) == nil {
			t.Fatal("accepted with a longer body")
		}
		received.Header.Set("X-Amz-Target", target+"x")
		if signed.Verify(&Keys{}, secret, body) == nil {
			t.Fatal("accepted with another target")
		}
	})
}

// No header makes the parser panic, and none verifies without the secret.
func FuzzParse(f *testing.F) {
	f.Add(botocore, "20260102T030405Z", "TrentService.Decrypt")
	f.Add("AWS4-HMAC-SHA256", "", "")
	f.Add("AWS4-HMAC-SHA256 Credential=a/b/c/kms/d,SignedHeaders=;,Signature=", "20260102T030405Z", "x")
	f.Add("Basic dXNlcjpwYXNz", "now", "x")
	f.Fuzz(func(t *testing.T, authorization, date, target string) {
		r := botocoreRequest(t)
		r.Header["Authorization"], r.Header["X-Amz-Date"], r.Header["X-Amz-Target"] = []string{authorization}, []string{date}, []string{target}
		signed, err := Parse(r, "kms", signedAt)
		if err == nil {
			err = signed.Verify(&Keys{}, "a secret that nobody has guessed", []byte("{}"))
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("%v", err)
		}
	})
}

func TestDerivedKeysAreOfOneSecretDayAndRegion(t *testing.T) {
	seen := map[string]bool{}
	for _, id := range []keyScope{
		{"secret", "20260101", "us-east-1", "kms", "aws4_request"}, {"secret2", "20260101", "us-east-1", "kms", "aws4_request"},
		{"secret", "20260102", "us-east-1", "kms", "aws4_request"}, {"secret", "20260101", "us-east-2", "kms", "aws4_request"},
		{"secret", "20260101", "us-east-1", "sts", "aws4_request"},
	} {
		key := derive(&id)
		got := key.sign(nil, []byte("text"))
		if again := key.sign(nil, []byte("text")); !bytes.Equal(got, again) || seen[string(got)] {
			t.Errorf("%+v", id)
		}
		seen[string(got)] = true
	}
}

// Regions are the client's words: without the secret nobody fills the memory
// with them, and with it nobody beyond a limit.
func TestOnlyKeysOfGoodSignaturesAreKeptAndNotTooMany(t *testing.T) {
	var keys Keys
	signed, err := Parse(botocoreRequest(t), "kms", signedAt)
	if err != nil {
		t.Fatal(err)
	}
	signed.auth.region = "eu-central-2"
	if err := signed.Verify(&keys, secret, []byte(botocoreBody)); err == nil || len(keys.derived) != 0 {
		t.Errorf("%v, %d keys are kept after a wrong signature", err, len(keys.derived))
	}
	signed.auth.region = "eu-central-1"
	if err := signed.Verify(&keys, secret, []byte(botocoreBody)); err != nil || len(keys.derived) != 1 {
		t.Errorf("%v, %d keys are kept after a good one", err, len(keys.derived))
	}
	for i := range 2 * maxKeys {
		keys.keep(keyScope{region: strings.Repeat("x", i)}, nil)
	}
	if len(keys.derived) > maxKeys {
		t.Errorf("%d keys are kept", len(keys.derived))
	}
}

// What a message repeats of a request is short, however long the request is.
func TestMessagesRepeatLittleOfARequest(t *testing.T) {
	long := strings.Repeat("x", 8000)
	for name, change := range map[string]func(*http.Request){
		"date": func(r *http.Request) { r.Header.Set("X-Amz-Date", long) },
		"terminator": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "aws4_request", long, 1))
		},
		"region": func(r *http.Request) { // which only the signature says anything about
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/eu-central-1/", "/"+long+"/", 1))
		},
		"day": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/20260102/", "/"+long+"/", 1))
		},
		"signed header": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "x-amz-target,", "x-amz-target;"+long+",", 1))
		},
		"parameter": func(r *http.Request) { r.Header.Set("Authorization", algorithm+" "+long+"=a") },
	} {
		r := botocoreRequest(t)
		change(r)
		if err := verify(r, signedAt); err == nil || len(err.Error()) > 400 {
			t.Errorf("%s: %.500v", name, err)
		}
	}
}

func TestRefusalsSayWhatIsWrong(t *testing.T) {
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		want   string
	}{
		{"presigned", func(r *http.Request) {
			r.Header.Del("Authorization")
			r.URL.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=ab"
		}, "Presigned requests are not accepted"},
		{"another query", func(r *http.Request) { r.Header.Del("Authorization"); r.URL.RawQuery = "a=b" }, "Missing Authentication Token"},
		{"no time", func(r *http.Request) { r.Header.Del("X-Amz-Date") }, "requires existence of a 'X-Amz-Date' header"},
		{"another time header", func(r *http.Request) {
			r.Header.Del("X-Amz-Date")
			r.Header.Set("Date", "Fri, 02 Jan 2026 03:04:05 GMT")
		}, "requires existence of a 'X-Amz-Date' header"},
		{"unsigned body", set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"), "unsigned and chunked payloads are not accepted"},
		{"chunks", set("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), "unsigned and chunked payloads are not accepted"},
		{"another body", set("X-Amz-Content-Sha256", strings.Repeat("0", 64)), "does not match what was computed"},
		{"a second hash", func(r *http.Request) {
			r.Header["X-Amz-Content-Sha256"] = []string{bodyHash(botocoreBody), strings.Repeat("0", 64)}
		}, "does not match what was computed"},
		{"one more element", func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/kms/", "/kms/kms/", 1))
		}, "exactly 5 slash-delimited elements"},
		{"an empty element", func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/kms/", "//", 1))
		}, "exactly 5 slash-delimited elements"},
	} {
		r := botocoreRequest(t)
		c.change(r)
		if err := verify(r, signedAt); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func bodyHash(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

func BenchmarkVerify(b *testing.B) {
	r, body := botocoreRequest(b), []byte(botocoreBody)
	var keys Keys
	b.ReportAllocs()
	for b.Loop() {
		signed, err := Parse(r, "kms", signedAt)
		if err == nil {
			err = signed.Verify(&keys, secret, body)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
