package awsjson

import (
	"bytes"
	"math"
	"reflect"
	"strconv"
	"time"
)

// Decode reads a request's body into the SDK's input struct that into points to,
// which must be of the type that was described. An empty body is an empty object.
// Blobs are the only copies that it makes of what may be secret.
func (s *Struct) Decode(body []byte, into any) error {
	body = bytes.Trim(body, " \t\r\n")
	if len(body) == 0 {
		return nil
	}
	if err := checkText(body); err != nil {
		return err
	}
	if err := s.decode(body, reflect.ValueOf(into).Elem()); err != nil {
		return err
	}
	return nil
}

// decode reads valid JSON into the fields of a struct. A member that is given
// twice has the last value.
func (s *Struct) decode(raw []byte, v reflect.Value) *Error {
	if raw[0] != '{' {
		return mistyped("an object")
	}
	for name, value := range members(raw) {
		m := s.member(name)
		switch {
		case m == nil:
		case isNull(value):
			v.Field(m.field).SetZero()
		default:
			if err := within(m.name, m.form.decode(value, v.Field(m.field))); err != nil {
				return err
			}
		}
	}
	return nil
}

// member finds a member by its quoted name; nil if there is none.
func (s *Struct) member(quoted []byte) *member {
	i, ok := s.byName[string(quoted[1:len(quoted)-1])]
	if !ok && bytes.IndexByte(quoted, '\\') >= 0 {
		name, _ := unquote(quoted)
		i, ok = s.byName[name]
	}
	if !ok {
		return nil
	}
	return &s.members[i]
}

// decode reads valid JSON into a value of the form's type.
func (f *form) decode(raw []byte, v reflect.Value) *Error {
	if f.pointer {
		target := reflect.New(v.Type().Elem())
		v.Set(target)
		v = target.Elem()
	}
	switch f.kind {
	case kindString:
		return decodeString(raw, v)
	case kindBool:
		return decodeBool(raw, v)
	case kindInt:
		return decodeInt(raw, v)
	case kindBlob:
		return decodeBlob(raw, v)
	case kindTime:
		return decodeTime(raw, v)
	case kindList:
		return f.of.decodeList(raw, v)
	case kindMap:
		return decodeMap(raw, v)
	default:
		return f.fields.decode(raw, v)
	}
}

// decodeMap doesn't say which pair is wrong: names are the caller's data.
func decodeMap(raw []byte, v reflect.Value) *Error {
	if raw[0] != '{' {
		return mistyped("an object")
	}
	pairs := map[string]string{}
	for quoted, value := range members(raw) {
		name, _ := unquote(quoted)
		text, ok := unquote(value)
		if !ok {
			return mistyped("a string")
		}
		pairs[name] = text
	}
	v.Set(reflect.ValueOf(pairs))
	return nil
}

// decodeList reads entries of the form.
func (f *form) decodeList(raw []byte, v reflect.Value) *Error {
	if raw[0] != '[' {
		return mistyped("a list")
	}
	n := 0
	for range entries(raw) {
		n++
	}
	list := reflect.MakeSlice(v.Type(), n, n)
	n = 0
	for entry := range entries(raw) {
		if err := within(strconv.Itoa(n), f.decode(entry, list.Index(n))); err != nil {
			return err
		}
		n++
	}
	v.Set(list)
	return nil
}

func decodeString(raw []byte, v reflect.Value) *Error {
	text, ok := unquote(raw)
	if !ok {
		return mistyped("a string")
	}
	v.SetString(text)
	return nil
}

func decodeBool(raw []byte, v reflect.Value) *Error {
	switch string(raw) {
	case "true":
		v.SetBool(true)
	case "false":
		v.SetBool(false)
	default:
		return mistyped("true or false")
	}
	return nil
}

func decodeInt(raw []byte, v reflect.Value) *Error {
	n, err := strconv.ParseInt(string(raw), 10, v.Type().Bits())
	if err != nil {
		return mistyped("an integer of " + strconv.Itoa(v.Type().Bits()) + " bits")
	}
	v.SetInt(n)
	return nil
}

// latest is the last second of the year 9999, the end of what timestamps can say.
const latest = 253402300799

func decodeTime(raw []byte, v reflect.Value) *Error {
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.Abs(seconds) > latest {
		return mistyped("a number of seconds")
	}
	v.Set(reflect.ValueOf(time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()))
	return nil
}

func isNull(raw []byte) bool { return raw[0] == 'n' }
