package awsjson

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
	"unicode/utf8"
)

// MaxDepth is how deeply objects and arrays may be nested. The API's own inputs
// need five levels.
const MaxDepth = 32

// checkText demands one JSON value that means the same to everybody. What comes
// after it walks the text without looking for faults.
func checkText(body []byte) *Error {
	switch {
	case !utf8.Valid(body):
		return &Error{Kind: KindSyntax, Reason: "not UTF-8"}
	case depth(body) > MaxDepth:
		return &Error{Kind: KindDepth, Reason: "nested too deeply"}
	case !json.Valid(body):
		return &Error{Kind: KindSyntax, Reason: "not JSON"}
	case !pairedSurrogates(body):
		return &Error{Kind: KindSyntax, Reason: "half a surrogate pair is no character"}
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

// pairedSurrogates tells whether valid JSON has no \ud800 or the like that is
// half of a character: decoders take all of them for the same U+FFFD.
func pairedSurrogates(text []byte) bool {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return true
		}
		if text = text[i:]; text[1] != 'u' {
			text = text[2:]
			continue
		}
		unit := codeUnit(text)
		text = text[6:]
		switch {
		case 0xdc00 <= unit && unit < 0xe000:
			return false
		case 0xd800 <= unit && unit < 0xdc00:
			if low := codeUnit(text); low < 0xdc00 || low >= 0xe000 {
				return false
			}
			text = text[6:]
		}
	}
}

// codeUnit is the value of the \uXXXX that a text begins with, 0 if it doesn't.
func codeUnit(text []byte) uint64 {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	unit, _ := strconv.ParseUint(string(text[2:6]), 16, 16) // 0 of what isn't hexadecimal
	return unit
}

// members walks the names, still quoted, and the values of an object of valid
// JSON. They are parts of the text.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for rest := afterSpace(object[1:]); rest[0] != '}'; {
			name := rest[:valueEnd(rest)]
			rest = afterSpace(afterSpace(rest[len(name):])[1:]) // behind the colon
			value := rest[:valueEnd(rest)]
			if !yield(name, value) {
				return
			}
			if rest = afterSpace(rest[len(value):]); rest[0] == ',' {
				rest = afterSpace(rest[1:])
			}
		}
	}
}

// entries walks the values of an array of valid JSON.
func entries(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for rest := afterSpace(array[1:]); rest[0] != ']'; {
			value := rest[:valueEnd(rest)]
			if !yield(value) {
				return
			}
			if rest = afterSpace(rest[len(value):]); rest[0] == ',' {
				rest = afterSpace(rest[1:])
			}
		}
	}
}

func afterSpace(text []byte) []byte {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\n' || text[0] == '\t' || text[0] == '\r') {
		text = text[1:]
	}
	return text
}

// valueEnd is the length of the value that a text of valid JSON begins with.
func valueEnd(text []byte) int {
	level := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case '{', '[':
			level++
			continue
		case '}', ']':
			level--
		default:
			if level > 0 {
				continue
			}
			return i + scalarEnd(text[i:])
		}
		if level == 0 {
			return i + 1
		}
	}
	return len(text)
}

// stringEnd is the length of the string that a text begins with.
func stringEnd(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// scalarEnd is the length of the number or word that a text begins with.
func scalarEnd(text []byte) int {
	if n := bytes.IndexAny(text, ",]} \n\t\r"); n >= 0 {
		return n
	}
	return len(text)
}

// unquote is the text of a string of valid JSON.
func unquote(raw []byte) (string, bool) {
	if raw[0] != '"' {
		return "", false
	}
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	var text string
	err := json.Unmarshal(raw, &text)
	return text, err == nil
}
