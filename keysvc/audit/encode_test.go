package audit

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// everyMember is an event with a value in each member.
func everyMember(text string) *Event {
	e := &Event{}
	fill(reflect.ValueOf(e).Elem(), text)
	e.RequestParameters = Params{text: text, "<&>": map[string]string{text: text, "a": ""}, "n": int32(-7), "b": true, "list": []string{"x", text}, "nil": nil, "map": map[string]string(nil), "more": Params{"y": 1.5, "x": time.Unix(0, 0).UTC()}}
	e.ResponseElements, e.AdditionalEventData, e.ServiceEventDetails = Params{}, Params{"z": text}, Params{"z": int64(1)}
	return e
}

func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), text)
		fill(v.Index(1), text)
	}
}

func TestEventsAreEncodedAsTheStandardLibraryDoes(t *testing.T) {
	events := []*Event{{}, {RequestParameters: Params{}, AdditionalEventData: Params{}}}
	for _, text := range []string{"x", "", "a\"b\\c", "ä\u2028\x00\x7f", "\xff", "<a&b>", "line\nbreak"} {
		events = append(events, everyMember(text))
	}
	for _, e := range events {
		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(e); err != nil {
			t.Fatal(err)
		}
		got, err := encoded(e)
		if err != nil || string(got)+"\n" != want.String() {
			t.Errorf("%v\n got %s\nwant %s", err, got, &want)
		}
	}
}

func TestAnEventThatJSONCannotHoldFails(t *testing.T) {
	if _, err := encoded(&Event{RequestParameters: Params{"f": func() {}}}); err == nil {
		t.Error("encoded")
	}
}

func BenchmarkEncode(b *testing.B) {
	e := everyMember("arn:aws:kms:us-east-1:000000000000:key/x")
	e.RequestParameters = Params{"encryptionAlgorithm": "SYMMETRIC_DEFAULT", "encryptionContext": map[string]string{"kmsfs:volume-id": "v", "kmsfs:path": "/a"}}
	for b.Loop() {
		if _, err := encoded(e); err != nil {
			b.Fatal(err)
		}
	}
}

func encoded(e *Event) ([]byte, error) {
	var w writer
	err := w.event(e)
	return w.text, err
}
