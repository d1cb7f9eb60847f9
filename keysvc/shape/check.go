package shape

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// maxQuoted is how much of a value a message repeats, in bytes: more than any
// value that is allowed, and less than would fill a log.
const maxQuoted = 8192

// maxFindings is how many faults a message names.
const maxFindings = 16

// Table checks inputs. The zero value is ready.
type Table struct {
	compiled sync.Map // operation -> []field
}

// Check returns what AWS says of an operation's input, which in points to, or ""
// if every member's value is allowed. The error is one of this package's tables.
func (t *Table) Check(operation string, in any) (message string, err error) {
	v := reflect.ValueOf(in).Elem()
	fields, err := t.fields(operation, v.Type())
	if err != nil {
		return "", err
	}
	var found findings
	checkFields(fields, v, "", &found)
	return found.message(), nil
}

func (t *Table) fields(operation string, in reflect.Type) ([]field, error) {
	if known, ok := t.compiled.Load(operation); ok {
		return known.([]field), nil
	}
	r, ok := operations[operation]
	if !ok {
		return nil, fmt.Errorf("shape: no rule for the operation %s", operation)
	}
	fields, err := compileStruct(operation, r, in, "")
	if err != nil {
		return nil, err
	}
	t.compiled.Store(operation, fields)
	return fields, nil
}

// findings are the faults of an input.
type findings []string

func (f findings) message() string {
	if len(f) == 0 {
		return ""
	}
	plural := ""
	if len(f) > 1 {
		plural = "s"
	}
	return fmt.Sprintf("%d validation error%s detected: %s", len(f), plural, strings.Join(f[:min(len(f), maxFindings)], "; "))
}

func (f *findings) null(at string) {
	*f = append(*f, "Value null at '"+at+"' failed to satisfy constraint: Member must not be null")
}

// add notes a fault. An unquoted value is left out, as AWS does with blobs.
func (f *findings) add(at string, value *string, constraint string) {
	quoted := "Value"
	if value != nil {
		quoted = "Value '" + shorten(*value) + "'"
	}
	*f = append(*f, quoted+" at '"+at+"' failed to satisfy constraint: Member must "+constraint)
}

func shorten(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	return strings.ToValidUTF8(s[:maxQuoted], "") + "..."
}

func checkFields(fields []field, v reflect.Value, within string, found *findings) {
	for i := range fields {
		f := &fields[i]
		member := v.Field(f.index)
		if absent(member) {
			if f.required {
				found.null(within + f.name)
			}
			continue
		}
		if member.Kind() == reflect.Pointer {
			member = member.Elem()
		}
		f.check(f, member, within+f.name, found)
	}
}

// absent tells whether a member was not given. An empty string that is no
// pointer is an enumeration, whose absence looks like that.
func absent(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return v.IsNil()
	case reflect.String:
		return v.Len() == 0
	default:
		return false
	}
}

func checkNothing(*field, reflect.Value, string, *findings) {}

func checkText(f *field, v reflect.Value, at string, found *findings) {
	value := v.String()
	if f.enum != nil {
		if !slices.Contains(f.enum, value) {
			found.add(at, &value, "satisfy enum value set: "+enumSet(f.enum))
		}
		return
	}
	quoted := &value
	if f.limit.secret {
		quoted = nil
	}
	if why := f.tooLong(utf8.RuneCountInString(value)); why != "" {
		found.add(at, quoted, why)
	} else if f.pattern != nil && !f.pattern.MatchString(value) {
		found.add(at, quoted, "satisfy regular expression pattern: "+f.limit.pattern)
	}
}

// tooLong says what is wrong with a length, or "".
func (f *field) tooLong(length int) string {
	switch {
	case f.limit == free:
		return ""
	case length < f.limit.low:
		return "have length greater than or equal to " + strconv.Itoa(f.limit.low)
	case length > f.limit.high:
		return "have length less than or equal to " + strconv.Itoa(f.limit.high)
	}
	return ""
}

func checkBlob(f *field, v reflect.Value, at string, found *findings) {
	if why := f.tooLong(v.Len()); why != "" {
		found.add(at, nil, why)
	}
}

func checkNumber(f *field, v reflect.Value, at string, found *findings) {
	n := int(v.Int())
	value := strconv.Itoa(n)
	switch {
	case n < f.limit.low:
		found.add(at, &value, "have value greater than or equal to "+strconv.Itoa(f.limit.low))
	case n > f.limit.high:
		found.add(at, &value, "have value less than or equal to "+strconv.Itoa(f.limit.high))
	}
}

func checkList(f *field, v reflect.Value, at string, found *findings) {
	if why := f.tooLong(v.Len()); why != "" {
		found.add(at, nil, why)
		return
	}
	for i := range v.Len() {
		if len(*found) >= maxFindings {
			return
		}
		f.entry.check(f.entry, v.Index(i), at+"."+strconv.Itoa(i+1)+".member", found)
	}
}

func checkStruct(f *field, v reflect.Value, at string, found *findings) {
	checkFields(f.inner, v, at+".", found)
}
