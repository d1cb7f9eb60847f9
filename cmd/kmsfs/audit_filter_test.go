package main

import (
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/audit"
)

func record(event, failure, path, key string, at time.Time) audit.Record {
	var r audit.Record
	r.EventName, r.ErrorCode, r.EventTime = event, failure, at.UTC().Format(time.RFC3339)
	if path != "" {
		r.RequestParameters = audit.Params{"encryptionContext": map[string]any{"kmsfs:path": path, "kmsfs:volume-id": "vol-1"}}
	}
	if key != "" {
		r.Resources = []audit.Resource{{ARN: "arn:aws:kms:us-east-1:000000000000:key/" + key}}
	}
	return r
}

func TestAuditFilterSelects(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	ok := record("Decrypt", "", "/a/b", "k1", noon)
	refused := record("Decrypt", "DisabledException", "/a/b", "k1", noon)
	for _, c := range []struct {
		name   string
		filter auditFilter
		record audit.Record
		want   bool
	}{
		{"all", auditFilter{}, ok, true},
		{"errors only", auditFilter{errors: true}, ok, false},
		{"an error", auditFilter{errors: true}, refused, true},
		{"event", auditFilter{event: "Encrypt"}, ok, false},
		{"key by id", auditFilter{key: "k1"}, ok, true},
		{"key by ARN", auditFilter{key: "arn:aws:kms:us-east-1:000000000000:key/k1"}, ok, true},
		{"another key", auditFilter{key: "1"}, ok, false},
		{"path", auditFilter{path: "/a/b"}, ok, true},
		{"directory", auditFilter{path: "/a/"}, ok, true},
		{"root", auditFilter{path: "/"}, ok, true},
		{"sibling", auditFilter{path: "/a/bb"}, ok, false},
		{"prefix of a name", auditFilter{path: "/a/b/c"}, ok, false},
		{"path of a call without one", auditFilter{path: "/"}, record("ListKeys", "", "", "", noon), false},
		{"since before", auditFilter{since: noon.Add(-time.Hour)}, ok, true},
		{"since after", auditFilter{since: noon.Add(time.Second)}, ok, false},
	} {
		if got := c.filter.matches(c.record); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestSinceIsAMomentOrADuration(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"": {}, "90m": now.Add(-90 * time.Minute), "2026-01-01T00:00:00Z": now.Add(-36 * time.Hour),
	} {
		if got, err := parseSince(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	if _, err := parseSince("yesterday", now); exitCode(err) != exitUsage {
		t.Errorf("yesterday: %v", err)
	}
}
