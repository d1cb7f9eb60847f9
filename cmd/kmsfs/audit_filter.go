package main

import (
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/audit"
)

// auditFilter is what the flags of kmsfs audit select.
type auditFilter struct {
	errors bool
	key    string // key id or key ARN
	event  string
	path   string
	since  time.Time
	last   int // negative: all
}

// auditView is what matters of a record.
type auditView struct {
	Time      time.Time `json:"time"`
	Event     string    `json:"event"`
	Error     string    `json:"error,omitempty"`
	Message   string    `json:"message,omitempty"`
	Principal string    `json:"principal,omitempty"`
	Volume    string    `json:"volume,omitempty"`
	Path      string    `json:"path,omitempty"`
	KeyARN    string    `json:"keyArn,omitempty"`
	KeyID     string    `json:"-"`
}

// viewOf picks from an event what people look for.
func viewOf(e audit.Event) auditView {
	v := auditView{Event: e.EventName, Error: e.ErrorCode, Message: e.ErrorMessage, Principal: e.UserIdentity.ARN}
	v.Time, _ = time.Parse(time.RFC3339, e.EventTime) // a record with another time shows none
	v.Volume, v.Path = contextOf(e.RequestParameters)
	if len(e.Resources) > 0 {
		v.KeyARN = e.Resources[0].ARN
		v.KeyID = v.KeyARN[strings.LastIndexByte(v.KeyARN, '/')+1:]
	}
	return v
}

// subject names the file or else the volume that a call was for, or "-".
func (v auditView) subject() string {
	switch {
	case v.Path != "":
		return v.Path
	case v.Volume != "":
		return "(" + v.Volume[:min(len(v.Volume), 12)] + "...)"
	}
	return "-"
}

// contextOf reads volume and path from the encryption context of a call. ReEncrypt has two; the
// destination is where the file is afterwards.
func contextOf(p audit.Params) (volume, path string) {
	for _, name := range []string{"encryptionContext", "destinationEncryptionContext"} {
		ctx, ok := p[name].(map[string]any)
		if !ok {
			continue
		}
		volume, _ = ctx["kmsfs:volume-id"].(string)
		path, _ = ctx["kmsfs:path"].(string)
	}
	return volume, path
}

// matches reports whether a record passes.
func (f *auditFilter) matches(r audit.Record) bool {
	v := viewOf(r.Event)
	switch {
	case f.errors && v.Error == "",
		f.event != "" && v.Event != f.event,
		f.key != "" && !touches(r.Event, f.key),
		f.path != "" && !below(f.path, v.Path),
		v.Time.Before(f.since):
		return false
	}
	return true
}

// touches reports whether an event is about a key, given as id or ARN.
func touches(e audit.Event, key string) bool {
	for _, res := range e.Resources {
		if res.ARN == key || strings.HasSuffix(res.ARN, "/"+key) {
			return true
		}
	}
	return false
}

// below reports whether path is dir or in it.
func below(dir, path string) bool {
	return path != "" && (path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/"))
}
