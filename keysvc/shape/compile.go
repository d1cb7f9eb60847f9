package shape

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// field is a member of an input, ready to be checked.
type field struct {
	index    int
	name     string // lowerCamel, as AWS prints it
	required bool
	limit    constraint
	pattern  *regexp.Regexp
	check    func(f *field, v reflect.Value, at string, found *findings)

	enum  []string // values of an enumeration, or of a list's entries
	entry *field   // of a list
	inner []field  // of a structure
}

var (
	timeType = reflect.TypeFor[time.Time]()
	blobType = reflect.TypeFor[[]byte]()
)

// compileStruct makes the fields of a structure within an operation. path names
// the structure's place: "" is the input itself.
func compileStruct(op string, r rule, t reflect.Type, path string) ([]field, error) {
	var fields []field
	for i := range t.NumField() {
		sf := t.Field(i)
		if !sf.IsExported() || sf.Anonymous || sf.Name == "ResultMetadata" {
			continue
		}
		f, err := compileMember(op, r, sf.Type, path+sf.Name, sf.Name)
		if err != nil {
			return nil, err
		}
		f.index = i
		fields = append(fields, f)
	}
	return fields, nil
}

func compileMember(op string, r rule, t reflect.Type, path, name string) (field, error) {
	limit, known := r.own[path]
	if !known {
		limit, known = members[name]
	}
	if !known {
		return field{}, fmt.Errorf("shape: %s: no constraint for the member %s", op, path)
	}
	pattern, err := compile(limit.pattern)
	if err != nil {
		return field{}, fmt.Errorf("shape: %s: %w", path, err)
	}
	f := field{name: lowerCamel(name), required: slices.Contains(r.required, path), limit: limit, pattern: pattern}
	return f, f.setType(op, r, t, path, name)
}

// setType chooses the check for a member's type.
func (f *field) setType(op string, r rule, t reflect.Type, path, name string) error {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == timeType, t.Kind() == reflect.Bool, t.Kind() == reflect.Map:
		f.check = checkNothing
	case t == blobType:
		f.check = checkBlob
	case t.Kind() == reflect.String:
		f.enum, f.check = enumValues(t), checkText
	case t.Kind() == reflect.Int32:
		f.check = checkNumber
	case t.Kind() == reflect.Slice:
		f.check = checkList
		return f.setEntry(op, r, t.Elem(), path, name)
	case t.Kind() == reflect.Struct:
		f.check = checkStruct
		var err error
		f.inner, err = compileStruct(op, r, t, path+".")
		return err
	default:
		return fmt.Errorf("shape: %s: the member %s has the type %s, which is not known here", op, path, t)
	}
	return nil
}

// setEntry sets what a list's entries are checked with.
func (f *field) setEntry(op string, r rule, t reflect.Type, path, name string) error {
	limit, known := entries[name]
	if !known {
		limit = free
	}
	f.entry = &field{name: "member", limit: limit}
	return f.entry.setType(op, r, t, path, name)
}

// enumValues returns the values of an enumeration of the SDK, or nil.
func enumValues(t reflect.Type) []string {
	method, ok := t.MethodByName("Values")
	if !ok {
		return nil
	}
	list := method.Func.Call([]reflect.Value{reflect.Zero(t)})[0]
	values := make([]string, list.Len())
	for i := range values {
		values[i] = list.Index(i).String()
	}
	return values
}

// lowerCamel is a member's name as AWS prints it in messages.
func lowerCamel(name string) string {
	runes := []rune(name)
	runes[0] = unicode.ToLower(runes[0])
	return string(runes)
}

// enumSet is how AWS prints an enumeration.
func enumSet(values []string) string { return "[" + strings.Join(values, ", ") + "]" }
