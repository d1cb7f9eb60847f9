package awsjson

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// Encode writes the SDK's output struct that out points to. An output without
// members is an empty text, as operations without output answer. The text may
// hold plaintext: the caller wipes it.
func Encode(out any) ([]byte, error) {
	v := reflect.ValueOf(out).Elem()
	if !hasMembers(v.Type()) {
		return nil, nil
	}
	// Room for everything at once: growing would leave copies behind.
	return appendValue(make([]byte, 0, size(v)), v)
}

func hasMembers(t reflect.Type) bool {
	for i := range t.NumField() {
		if isMember(t.Field(i)) {
			return true
		}
	}
	return false
}

// appendValue writes a value of any type that the SDK's structs have.
func appendValue(to []byte, v reflect.Value) ([]byte, error) {
	switch {
	case v.Kind() == reflect.Pointer:
		return appendValue(to, v.Elem())
	case v.Type() == timeType:
		return appendTime(to, v.Interface().(time.Time)), nil
	case v.Type() == blobType:
		to = append(to, '"')
		to = base64.StdEncoding.AppendEncode(to, v.Bytes())
		return append(to, '"'), nil
	}
	switch v.Kind() {
	case reflect.String:
		return appendString(to, v.String())
	case reflect.Bool:
		return strconv.AppendBool(to, v.Bool()), nil
	case reflect.Int32, reflect.Int64:
		return strconv.AppendInt(to, v.Int(), 10), nil
	case reflect.Slice:
		return appendList(to, v)
	case reflect.Map:
		return appendMap(to, v)
	case reflect.Struct:
		return appendStruct(to, v)
	default:
		return nil, fmt.Errorf("encode the answer: type %s is not known here", v.Type())
	}
}

func appendStruct(to []byte, v reflect.Value) ([]byte, error) {
	to = append(to, '{')
	first := true
	for i := range v.NumField() {
		if !isMember(v.Type().Field(i)) || absent(v.Field(i)) {
			continue
		}
		if !first {
			to = append(to, ',')
		}
		first = false
		to = strconv.AppendQuote(to, v.Type().Field(i).Name)
		to = append(to, ':')
		var err error
		if to, err = appendValue(to, v.Field(i)); err != nil {
			return nil, err
		}
	}
	return append(to, '}'), nil
}

// absent tells whether a member doesn't apply. A false flag applies.
func absent(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return v.IsNil()
	case reflect.String: // an enumeration; texts are pointers
		return v.Len() == 0
	default:
		return false
	}
}

func appendList(to []byte, v reflect.Value) ([]byte, error) {
	to = append(to, '[')
	for i := range v.Len() {
		if i > 0 {
			to = append(to, ',')
		}
		var err error
		if to, err = appendValue(to, v.Index(i)); err != nil {
			return nil, err
		}
	}
	return append(to, ']'), nil
}

func appendMap(to []byte, v reflect.Value) ([]byte, error) {
	pairs, ok := v.Interface().(map[string]string)
	if !ok {
		return nil, fmt.Errorf("encode the answer: type %s is not known here", v.Type())
	}
	to = append(to, '{')
	for i, name := range slices.Sorted(maps.Keys(pairs)) {
		if i > 0 {
			to = append(to, ',')
		}
		var err error
		if to, err = appendString(to, name); err != nil {
			return nil, err
		}
		to = append(to, ':')
		if to, err = appendString(to, pairs[name]); err != nil {
			return nil, err
		}
	}
	return append(to, '}'), nil
}

func appendString(to []byte, s string) ([]byte, error) {
	text, err := json.Marshal(s)
	return append(to, text...), err
}

// appendTime writes seconds with milliseconds, without the zeros at the end.
func appendTime(to []byte, t time.Time) []byte {
	seconds := math.Round(float64(t.UnixMilli())) / 1000
	return strconv.AppendFloat(to, seconds, 'f', -1, 64)
}

// size is at least the length of what a blob takes in a struct, and roughly that
// of the rest.
func size(v reflect.Value) int {
	n := 256
	for i := range v.NumField() {
		if v.Field(i).Type() == blobType {
			n += base64.StdEncoding.EncodedLen(v.Field(i).Len()) + 64
		} else {
			n += 128
		}
	}
	return n
}
