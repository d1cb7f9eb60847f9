package awsjson

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"
)

// MaxDepth is how deeply objects and arrays may be nested. The API's own inputs
// need five levels.
const MaxDepth = 32

// Decode reads a request's body into the SDK's input struct that into points to.
// An empty body is an empty object. Copies of what it reads are wiped, but for
// the result.
func Decode(body []byte, into any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if err := checkText(body); err != nil {
		return err
	}
	if err := decodeStruct(body, reflect.ValueOf(into).Elem()); err != nil {
		return err
	}
	return nil
}

func checkText(body []byte) *Error {
	switch {
	case !utf8.Valid(body):
		return &Error{Kind: KindSyntax, Reason: "not UTF-8"}
	case depth(body) > MaxDepth:
		return &Error{Kind: KindDepth, Reason: "nested too deeply"}
	case !json.Valid(body):
		return &Error{Kind: KindSyntax, Reason: "not JSON"}
	}
	return nil
}

// depth is how deeply a JSON text is nested. Of other text it is some number.
func depth(text []byte) int {
	level, deepest, inString := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}

// decode reads valid JSON into a value of any type that the SDK's structs have.
func decode(raw json.RawMessage, v reflect.Value) *Error {
	switch {
	case v.Kind() == reflect.Pointer:
		target := reflect.New(v.Type().Elem())
		v.Set(target)
		return decode(raw, target.Elem())
	case v.Type() == timeType:
		return decodeTime(raw, v)
	case v.Type() == blobType:
		return decodeBlob(raw, v)
	}
	switch v.Kind() {
	case reflect.String:
		return decodeString(raw, v)
	case reflect.Bool:
		return decodeBool(raw, v)
	case reflect.Int32, reflect.Int64:
		return decodeInt(raw, v)
	case reflect.Slice:
		return decodeList(raw, v)
	case reflect.Map:
		return decodeMap(raw, v)
	case reflect.Struct:
		return decodeStruct(raw, v)
	default:
		return mistyped("of a type that is known here")
	}
}

var (
	timeType = reflect.TypeFor[time.Time]()
	blobType = reflect.TypeFor[[]byte]()
)

func decodeStruct(raw json.RawMessage, v reflect.Value) *Error {
	members, err := object(raw)
	if err != nil {
		return err
	}
	defer wipe(members)
	for name, text := range members {
		field, ok := v.Type().FieldByName(name)
		if !ok || !isMember(field) || isNull(text) {
			continue
		}
		if err := within(name, decode(text, v.FieldByIndex(field.Index))); err != nil {
			return err
		}
	}
	return nil
}

func decodeMap(raw json.RawMessage, v reflect.Value) *Error {
	members, err := object(raw)
	if err != nil {
		return err
	}
	defer wipe(members)
	result := reflect.MakeMapWithSize(v.Type(), len(members))
	for name, text := range members {
		entry := reflect.New(v.Type().Elem()).Elem()
		if err := decode(text, entry); err != nil {
			return err // without the name, which is the caller's data
		}
		result.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), entry)
	}
	v.Set(result)
	return nil
}

func decodeList(raw json.RawMessage, v reflect.Value) *Error {
	var entries []json.RawMessage
	if isNull(raw) || json.Unmarshal(raw, &entries) != nil {
		return mistyped("a list")
	}
	list := reflect.MakeSlice(v.Type(), len(entries), len(entries))
	for i, text := range entries {
		if err := within(strconv.Itoa(i), decode(text, list.Index(i))); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func object(raw json.RawMessage) (map[string]json.RawMessage, *Error) {
	var members map[string]json.RawMessage
	if isNull(raw) || json.Unmarshal(raw, &members) != nil {
		return nil, mistyped("an object")
	}
	return members, nil
}

func decodeString(raw json.RawMessage, v reflect.Value) *Error {
	var text string
	if isNull(raw) || json.Unmarshal(raw, &text) != nil {
		return mistyped("a string")
	}
	v.SetString(text)
	return nil
}

func decodeBool(raw json.RawMessage, v reflect.Value) *Error {
	var flag bool
	if isNull(raw) || json.Unmarshal(raw, &flag) != nil {
		return mistyped("true or false")
	}
	v.SetBool(flag)
	return nil
}

func decodeInt(raw json.RawMessage, v reflect.Value) *Error {
	n, err := strconv.ParseInt(string(raw), 10, v.Type().Bits())
	if err != nil {
		return mistyped("an integer of " + strconv.Itoa(v.Type().Bits()) + " bits")
	}
	v.SetInt(n)
	return nil
}

// latest is the last second of the year 9999, the end of what timestamps can say.
const latest = 253402300799

func decodeTime(raw json.RawMessage, v reflect.Value) *Error {
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.Abs(seconds) > latest {
		return mistyped("a number of seconds")
	}
	v.Set(reflect.ValueOf(time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()))
	return nil
}

func wipe(members map[string]json.RawMessage) {
	for _, text := range members {
		clear(text)
	}
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// isMember tells the API's members from what the SDK adds to its structs.
func isMember(f reflect.StructField) bool {
	return f.IsExported() && !f.Anonymous && f.Name != "ResultMetadata"
}
