package awsjson

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Append appends the SDK's output struct that out points to, which must be of the
// type that was described. An output without members is an empty text, as
// operations without output answer. The text may hold plaintext: the caller wipes
// it. Whatever room there is, to is grown at most once, before anything secret is
// in it.
func (s *Struct) Append(to []byte, out any) []byte {
	if len(s.members) == 0 {
		return to
	}
	v := reflect.ValueOf(out).Elem()
	return s.append(slices.Grow(to, s.size(v)), v)
}

func (s *Struct) append(to []byte, v reflect.Value) []byte {
	to = append(to, '{')
	first := true
	for i := range s.members {
		m := &s.members[i]
		field := v.Field(m.field)
		if m.form.absent(field) {
			continue
		}
		if !first {
			to = append(to, ',')
		}
		first = false
		to = m.form.append(append(to, m.key...), field)
	}
	return append(to, '}')
}

// absent tells whether a member doesn't apply. A false flag applies.
func (f *form) absent(v reflect.Value) bool {
	switch {
	case f.pointer || f.kind == kindBlob || f.kind == kindList || f.kind == kindMap:
		return v.IsNil()
	case f.kind == kindString: // an enumeration; texts are pointers
		return v.Len() == 0
	default:
		return false
	}
}

// append writes a value of the form's type.
func (f *form) append(to []byte, v reflect.Value) []byte {
	if f.pointer {
		v = v.Elem()
	}
	switch f.kind {
	case kindString:
		return appendString(to, v.String())
	case kindBool:
		return strconv.AppendBool(to, v.Bool())
	case kindInt:
		return strconv.AppendInt(to, v.Int(), 10)
	case kindBlob:
		to = append(to, '"')
		to = base64.StdEncoding.AppendEncode(to, v.Bytes())
		return append(to, '"')
	case kindTime:
		return appendTime(to, v.Interface().(time.Time))
	case kindList:
		return f.of.appendList(to, v)
	case kindMap:
		return appendMap(to, v.Interface().(map[string]string))
	default:
		return f.fields.append(to, v)
	}
}

func (f *form) appendList(to []byte, v reflect.Value) []byte {
	to = append(to, '[')
	for i := range v.Len() {
		if i > 0 {
			to = append(to, ',')
		}
		to = f.append(to, v.Index(i))
	}
	return append(to, ']')
}

func appendMap(to []byte, pairs map[string]string) []byte {
	to = append(to, '{')
	for i, name := range slices.Sorted(maps.Keys(pairs)) {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(appendString(to, name), ':')
		to = appendString(to, pairs[name])
	}
	return append(to, '}')
}

// appendString leaves what needs escaping to encoding/json.
func appendString(to []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			text, _ := json.Marshal(s) // strings can't fail
			return append(to, text...)
		}
	}
	return append(append(append(to, '"'), s...), '"')
}

// appendTime writes seconds with milliseconds, without the zeros at the end.
func appendTime(to []byte, t time.Time) []byte {
	seconds := math.Round(float64(t.UnixMilli())) / 1000
	return strconv.AppendFloat(to, seconds, 'f', -1, 64)
}

// size is at least the length of what a blob takes in a struct, and roughly that
// of the rest.
func (s *Struct) size(v reflect.Value) int {
	n := 256
	for i := range s.members {
		if s.members[i].form.kind == kindBlob {
			n += base64.StdEncoding.EncodedLen(v.Field(s.members[i].field).Len()) + 64
		} else {
			n += 128
		}
	}
	return n
}
