package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
)

// rename is an entry of the rename log.
type rename struct {
	seq              uint64
	exchange, cancel bool
	from, to         string
	cancelled        bool
}

// line is the entry as vectors write it.
func (r *rename) line() string {
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	return fmt.Sprintf("%d exchange=%v cancel=%v %s %s", r.seq, r.exchange, r.cancel, quote(r.from), quote(r.to))
}

// renameLog is a rename log.
type renameLog struct {
	base    uint64
	entries []rename
	valid   int // bytes
	tag     []byte
}

// maxFrame is the length of the longest frame, in bytes.
const maxFrame = (16 + 40 + 8 + 2*32768 + 63) / 64 * 64

// renames decodes a rename log.
func (v *volume) renames(b []byte) (*renameLog, error) {
	l := &renameLog{tag: make([]byte, 16)}
	key := v.subkey("renames")
	for rest := b; len(rest) > 0; rest = b[l.valid:] {
		n := 0
		if len(rest) >= 16 && binary.LittleEndian.Uint64(rest) != 0 {
			n = int(binary.LittleEndian.Uint32(rest[4:]))
			if string(rest[:4]) != "KSRL" || n%64 != 0 || n < 64 || n > maxFrame {
				return nil, corrupt
			}
		}
		var plain []byte
		var err error = corrupt
		if n > 0 && n <= len(rest) {
			aad := append(append(append([]byte(nil), v.id...), rest[:16]...), l.tag...)
			plain, err = openMessage(key, rest[16:n], aad)
		}
		if err != nil {
			if (n == 0 || n >= len(rest)) && len(rest) <= maxFrame {
				return l, nil // a torn append
			}
			return nil, corrupt
		}
		if err := l.add(binary.LittleEndian.Uint64(rest[8:]), plain); err != nil {
			return nil, err
		}
		l.tag = rest[n-16 : n]
		l.valid += n
	}
	return l, nil
}

// add takes the entry of an authentic frame.
func (l *renameLog) add(seq uint64, p []byte) error {
	le := binary.LittleEndian
	oldLen, newLen := int(le.Uint16(p[4:])), int(le.Uint16(p[6:]))
	used := 8 + oldLen + newLen
	if len(p) < used || len(p)-used > 63 || p[1]|p[2]|p[3] != 0 || len(bytes.Trim(p[used:], "\x00")) > 0 {
		return corrupt
	}
	if p[0] == 4 && used == 8 && l.valid == 0 {
		l.base = seq
		return nil
	}
	e := rename{seq: seq, exchange: p[0]&1 != 0, cancel: p[0]&2 != 0, from: string(p[8 : 8+oldLen]), to: string(p[8+oldLen : used])}
	_, into := under(e.to, e.from)
	_, onto := under(e.from, e.to)
	if into || onto || p[0] > 3 || seq != l.sequence()+1 || !isPath(e.from) || !isPath(e.to) {
		return corrupt
	}
	if e.cancel && !l.cancel(e) {
		return corrupt
	}
	l.entries = append(l.entries, e)
	return nil
}

// cancel marks the newest entry that e takes back.
func (l *renameLog) cancel(e rename) bool {
	for i := len(l.entries) - 1; i >= 0; i-- {
		o := &l.entries[i]
		if !o.cancel && !o.cancelled && o.exchange == e.exchange && o.from == e.from && o.to == e.to {
			o.cancelled = true
			return true
		}
	}
	return false
}

func (l *renameLog) sequence() uint64 { return l.base + uint64(len(l.entries)) }

// pathAt takes back the renames after seq; "" when no file can have come from there.
func (l *renameLog) pathAt(path string, seq uint64) string {
	if seq < l.base || seq > l.sequence() {
		return ""
	}
	for i := len(l.entries) - 1; i >= 0; i-- {
		e := l.entries[i]
		if e.seq <= seq || e.cancel || e.cancelled {
			continue
		}
		if rest, ok := under(path, e.to); ok {
			path = e.from + rest
		} else if rest, ok := under(path, e.from); ok && e.exchange {
			path = e.to + rest
		} else if ok && path != e.from {
			return ""
		}
	}
	return path
}

// under returns what follows the leading components dir in path.
func under(path, dir string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, dir)
	return rest, ok && (rest == "" || rest[0] == '/')
}

func isPath(s string) bool {
	if !strings.HasPrefix(s, "/") || len(s) > 32768 {
		return false
	}
	for _, name := range strings.Split(s[1:], "/") {
		if !isName(name) {
			return false
		}
	}
	return true
}
