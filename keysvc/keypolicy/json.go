package keypolicy

import (
	"encoding/json"
	"strings"
)

// syntax is what is said of a document that is no JSON object of policy elements.
const syntax = Malformed("Syntax errors in policy.")

// object is a JSON object whose members are in order and all different.
type object []member

type member struct {
	name  string
	value any
}

// decode reads a JSON text. encoding/json would take the last of several members
// of one name, and a reader of the document the first.
func decode(text string) (any, error) {
	if !json.Valid([]byte(text)) {
		return nil, syntax
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	return decodeValue(decoder)
}

// decodeValue returns a string, json.Number, bool, nil, []any or object.
func decodeValue(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, syntax
	}
	switch token {
	case json.Delim('['):
		return decodeList(decoder)
	case json.Delim('{'):
		return decodeObject(decoder)
	}
	return token, nil
}

func decodeList(decoder *json.Decoder) (any, error) {
	list := []any{}
	for decoder.More() {
		entry, err := decodeValue(decoder)
		if err != nil {
			return nil, err
		}
		list = append(list, entry)
	}
	_, err := decoder.Token()
	return list, err
}

func decodeObject(decoder *json.Decoder) (any, error) {
	o := object{}
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, syntax
		}
		name, _ := token.(string) // of a valid text it is one
		if seen[name] {
			return nil, syntax
		}
		seen[name] = true
		value, err := decodeValue(decoder)
		if err != nil {
			return nil, err
		}
		o = append(o, member{name, value})
	}
	_, err := decoder.Token()
	return o, err
}

// texts is a string, or a list of strings.
func texts(value any) ([]string, error) {
	switch value := value.(type) {
	case string:
		return []string{value}, nil
	case []any:
		list := make([]string, 0, len(value))
		for _, entry := range value {
			text, ok := entry.(string)
			if !ok {
				return nil, syntax
			}
			list = append(list, text)
		}
		return list, nil
	}
	return nil, syntax
}
