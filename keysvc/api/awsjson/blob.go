package awsjson

import (
	"bytes"
	"encoding/base64"
	"reflect"
)

// decodeBlob makes no copy of the blob but the result, unless a client escapes
// characters of its base64, as some do with the slash.
func decodeBlob(raw []byte, v reflect.Value) *Error {
	text, err := base64Text(raw)
	if err != nil {
		return err
	}
	blob := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, decodeErr := base64.StdEncoding.Strict().Decode(blob, text)
	if decodeErr != nil {
		clear(blob)
		return mistyped("base64")
	}
	clear(v.Bytes()) // of a member that is given twice
	v.SetBytes(blob[:n])
	return nil
}

// base64Text is the content of a JSON string. Line breaks, which Go's decoder
// skips, are no part of base64 here.
func base64Text(raw []byte) ([]byte, *Error) {
	if raw[0] != '"' {
		return nil, mistyped("a string of base64")
	}
	text := raw[1 : len(raw)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		unescaped, _ := unquote(raw)
		text = []byte(unescaped)
	}
	if bytes.ContainsAny(text, "\r\n") {
		return nil, mistyped("base64")
	}
	return text, nil
}
