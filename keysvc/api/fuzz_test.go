package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Whatever a client with an access key sends is answered, and never with the
// server's own fault.
func FuzzNoBodyIsTheServersFault(f *testing.F) {
	e := serve(f)
	good := plausible(f, e)
	for operation := range operations {
		text, err := json.Marshal(wholeBody(inputType(f, operation), good))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(operation, text)
	}
	f.Fuzz(func(t *testing.T, operation string, body []byte) {
		if operations[operation] == nil {
			t.Skip("no operation")
		}
		e.t = t
		recorder := httptest.NewRecorder()
		e.server.ServeHTTP(recorder, e.incoming(operation, string(body)))
		awsAnswer(t, recorder, operation, body)
	})
}

// Whatever comes over the wire without a valid signature is refused.
func FuzzUnsignedRequest(f *testing.F) {
	e := serve(f)
	signed := e.signed("ListKeys", "{}")
	var text bytes.Buffer
	if err := signed.Write(&text); err != nil {
		f.Fatal(err)
	}
	f.Add(text.Bytes())
	f.Fuzz(func(t *testing.T, wire []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(wire)))
		if err != nil || bytes.Contains(wire, []byte(e.admin.AccessKeyID)) {
			return
		}
		r.RemoteAddr = "127.0.0.1:1"
		recorder := httptest.NewRecorder()
		e.server.ServeHTTP(recorder, r)
		if kind := recorder.Header().Get("Content-Type"); isHealth(r) && kind != contentType || kind == xmlType[0] && recorder.Code == http.StatusBadRequest {
			return
		}
		if status, _, _ := awsAnswer(t, recorder, "unsigned", wire); status == http.StatusOK {
			t.Errorf("answered: %q", wire)
		}
	})
}
