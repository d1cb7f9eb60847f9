package awsjson

import (
	"fmt"
	"reflect"
	"time"
)

// Struct knows how one of the SDK's input or output structs is written. It
// doesn't change once it is made.
type Struct struct {
	members []member       // in the struct's order
	byName  map[string]int // index in members
}

// member is a field of a struct that is a member of the API.
type member struct {
	name  string
	key   string // the quoted name and a colon
	field int    // index of the field
	form  form
}

// form is how a value is written.
type form struct {
	kind    kind
	pointer bool
	of      *form   // of a list's entries
	fields  *Struct // of a structure
}

// kind is what a value is in the API's model.
type kind int

const (
	kindString kind = iota // also enumerations, which aren't pointers
	kindBool
	kindInt
	kindBlob
	kindTime
	kindList
	kindMap // of strings
	kindStruct
)

var (
	timeType  = reflect.TypeFor[time.Time]()
	blobType  = reflect.TypeFor[[]byte]()
	pairsType = reflect.TypeFor[map[string]string]()
)

// Describe learns a struct of the SDK. It panics if a field has a type that the
// API of KMS doesn't use: a new SDK would need more of this package.
func Describe(t reflect.Type) *Struct {
	s := &Struct{byName: map[string]int{}}
	for i := range t.NumField() {
		f := t.Field(i)
		if !isMember(f) {
			continue
		}
		s.byName[f.Name] = len(s.members)
		s.members = append(s.members, member{f.Name, `"` + f.Name + `":`, i, formOf(f.Type)})
	}
	return s
}

// isMember tells the API's members from what the SDK adds to its structs.
func isMember(f reflect.StructField) bool {
	return f.IsExported() && !f.Anonymous && f.Name != "ResultMetadata"
}

func formOf(t reflect.Type) form {
	if t.Kind() == reflect.Pointer {
		f := formOf(t.Elem())
		f.pointer = true
		return f
	}
	switch t {
	case timeType:
		return form{kind: kindTime}
	case blobType:
		return form{kind: kindBlob}
	case pairsType:
		return form{kind: kindMap}
	}
	switch t.Kind() {
	case reflect.String:
		return form{kind: kindString}
	case reflect.Bool:
		return form{kind: kindBool}
	case reflect.Int32, reflect.Int64:
		return form{kind: kindInt}
	case reflect.Slice:
		of := formOf(t.Elem())
		return form{kind: kindList, of: &of}
	case reflect.Struct:
		return form{kind: kindStruct, fields: Describe(t)}
	default:
		panic(fmt.Sprintf("awsjson: values of type %s are not known here", t))
	}
}
