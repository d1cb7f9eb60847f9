package audit

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"
)

// event writes an event as encoding/json does without escaping of <, > and &,
// which paths contain. Every call of the key service pays for it, so the members
// that every record has are written without reflection.
func (w *writer) event(e *Event) error {
	w.open('{')
	w.member("eventVersion", e.EventVersion)
	w.name("userIdentity")
	w.identity(&e.UserIdentity)
	w.member("eventTime", e.EventTime)
	w.member("eventSource", e.EventSource)
	w.member("eventName", e.EventName)
	w.member("awsRegion", e.AWSRegion)
	w.member("sourceIPAddress", e.SourceIPAddress)
	w.member("userAgent", e.UserAgent)
	w.optional("errorCode", e.ErrorCode)
	w.optional("errorMessage", e.ErrorMessage)
	w.params("requestParameters", e.RequestParameters)
	w.params("responseElements", e.ResponseElements)
	w.optionalParams("additionalEventData", e.AdditionalEventData)
	w.optional("requestID", e.RequestID)
	w.member("eventID", e.EventID)
	w.flag("readOnly", e.ReadOnly)
	w.resources(e.Resources)
	w.member("eventType", e.EventType)
	w.optionalParams("serviceEventDetails", e.ServiceEventDetails)
	w.flag("managementEvent", e.ManagementEvent)
	w.member("recipientAccountId", e.RecipientAccountID)
	w.member("eventCategory", e.EventCategory)
	w.close('}')
	return w.err
}

// writer builds one JSON text.
type writer struct {
	text []byte
	err  error // the first one
}

// writerPool keeps writers for their buffers.
type writerPool struct{ pool sync.Pool }

// maxKept bounds the buffers that are kept, in bytes.
const maxKept = 16 << 10

// get returns an empty writer.
func (p *writerPool) get() *writer {
	if w, ok := p.pool.Get().(*writer); ok {
		return w
	}
	return &writer{text: make([]byte, 0, 2048)}
}

// put ends the use of a writer and of its text.
func (p *writerPool) put(w *writer) {
	if cap(w.text) <= maxKept {
		w.text, w.err = w.text[:0], nil
		p.pool.Put(w)
	}
}

func (w *writer) open(bracket byte) { w.text = append(w.text, bracket) }

func (w *writer) close(bracket byte) { w.text = append(w.text, bracket) }

// comma separates what follows from what is before it, if anything is.
func (w *writer) comma() {
	if last := w.text[len(w.text)-1]; last != '{' && last != '[' {
		w.text = append(w.text, ',')
	}
}

// name begins a member whose name needs no escaping.
func (w *writer) name(name string) {
	w.comma()
	w.text = append(append(append(w.text, '"'), name...), '"', ':')
}

func (w *writer) member(name, value string) {
	w.name(name)
	w.string(value)
}

func (w *writer) optional(name, value string) {
	if value != "" {
		w.member(name, value)
	}
}

func (w *writer) flag(name string, value bool) {
	w.name(name)
	w.text = strconv.AppendBool(w.text, value)
}

func (w *writer) identity(id *UserIdentity) {
	w.open('{')
	w.member("type", id.Type)
	w.optional("principalId", id.PrincipalID)
	w.optional("arn", id.ARN)
	w.optional("accountId", id.AccountID)
	w.optional("accessKeyId", id.AccessKeyID)
	w.optional("userName", id.UserName)
	w.optional("invokedBy", id.InvokedBy)
	w.close('}')
}

func (w *writer) resources(list []Resource) {
	if len(list) == 0 {
		return
	}
	w.name("resources")
	w.open('[')
	for _, r := range list {
		w.comma()
		w.open('{')
		w.member("accountId", r.AccountID)
		w.member("type", r.Type)
		w.member("ARN", r.ARN)
		w.close('}')
	}
	w.close(']')
}

func (w *writer) optionalParams(name string, p Params) {
	if len(p) > 0 {
		w.params(name, p)
	}
}

func (w *writer) params(name string, p Params) {
	w.name(name)
	object(w, p, w.value)
}

// object writes a map, null if it is nil, with its names in order.
func object[M ~map[string]V, V any](w *writer, of M, value func(V)) {
	if of == nil {
		w.text = append(w.text, "null"...)
		return
	}
	w.open('{')
	names := make([]string, 0, 8) // on the stack unless there are more
	for name := range of {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		w.comma()
		w.string(name)
		w.text = append(w.text, ':')
		value(of[name])
	}
	w.close('}')
}

// value writes the types that most parameters have itself.
func (w *writer) value(v any) {
	switch v := v.(type) {
	case string:
		w.string(v)
	case bool:
		w.text = strconv.AppendBool(w.text, v)
	case int32:
		w.text = strconv.AppendInt(w.text, int64(v), 10)
	case map[string]string:
		object(w, v, w.string)
	default:
		w.other(v)
	}
}

// string writes a text that needs no escaping itself.
func (w *writer) string(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf-1 || c == '"' || c == '\\' {
			w.other(s)
			return
		}
	}
	w.text = append(append(append(w.text, '"'), s...), '"')
}

// other leaves a value to encoding/json.
func (w *writer) other(v any) {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil && w.err == nil {
		w.err = err
	}
	w.text = append(w.text, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}
