package keypolicy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
)

// Parse reads a key policy. Its error is a [Malformed].
func Parse(text string) (*Document, error) {
	value, err := decode(text)
	if err != nil {
		return nil, err
	}
	o, ok := value.(object)
	if !ok {
		return nil, syntax
	}
	d := &Document{}
	for _, m := range o {
		switch m.name {
		case "Version":
			err = readText(&d.Version, m.value)
		case "Id":
			err = readText(&d.ID, m.value)
		case "Statement":
			d.Statements, err = parseStatements(m.value)
		default:
			err = syntax
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case len(d.Statements) == 0:
		return nil, Malformed("Missing required field Statement")
	case d.Version != "" && d.Version != "2012-10-17" && d.Version != "2008-10-17":
		return nil, Malformed("The policy must contain a valid version string")
	}
	return d, nil
}

// readText reads a single string.
func readText(to *string, value any) error {
	text, ok := value.(string)
	if !ok {
		return syntax
	}
	*to = text
	return nil
}

func parseStatements(value any) ([]Statement, error) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	statements := make([]Statement, 0, len(list))
	for _, entry := range list {
		o, ok := entry.(object)
		if !ok {
			return nil, syntax
		}
		s, err := parseStatement(o)
		if err != nil {
			return nil, err
		}
		statements = append(statements, s)
	}
	return statements, nil
}

func parseStatement(o object) (Statement, error) {
	var s Statement
	var err error
	for _, m := range o {
		switch m.name {
		case "Sid":
			err = readText(&s.SID, m.value)
		case "Effect":
			err = readText((*string)(&s.Effect), m.value)
		case "Principal":
			s.Principals, err = parsePrincipals(m.value)
		case "NotPrincipal":
			s.NotPrincipals, err = parsePrincipals(m.value)
		case "Action":
			s.Actions, err = texts(m.value)
		case "NotAction":
			s.NotActions, err = texts(m.value)
		case "Resource":
			s.Resources, err = texts(m.value)
		case "NotResource":
			s.NotResources, err = texts(m.value)
		case "Condition":
			s.Conditions, err = parseConditions(m.value)
		default:
			err = syntax
		}
		if err != nil {
			return s, err
		}
	}
	return s, s.check()
}

var (
	actionPattern   = regexp.MustCompile(`^(\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+)$`)
	resourcePattern = regexp.MustCompile(`^(\*|arn:[^\s]+)$`)
)

// check refuses a statement that can't mean anything.
func (s *Statement) check() error {
	switch {
	case s.Effect == "":
		return Malformed("Missing required field Effect")
	case s.Effect != Allow && s.Effect != Deny:
		return Malformed("Invalid effect: " + string(s.Effect))
	case len(s.Principals)+len(s.NotPrincipals) == 0:
		return Malformed("Policy contains a statement with no principal.")
	case s.Principals != nil && s.NotPrincipals != nil, s.Actions != nil && s.NotActions != nil, s.Resources != nil && s.NotResources != nil:
		return syntax
	case slices.ContainsFunc(slices.Concat(s.Actions, s.NotActions), func(a string) bool { return !actionPattern.MatchString(a) }):
		return Malformed("Policy contains a statement with one or more invalid actions.")
	case slices.ContainsFunc(slices.Concat(s.Resources, s.NotResources), func(r string) bool { return !resourcePattern.MatchString(r) }):
		return Malformed("Policy contains a statement with one or more invalid resources.")
	}
	return nil
}

// parseConditions reads operators with condition keys with values.
func parseConditions(value any) ([]Condition, error) {
	operators, ok := value.(object)
	if !ok {
		return nil, syntax
	}
	var conditions []Condition
	for _, operator := range operators {
		keys, ok := operator.value.(object)
		if !ok {
			return nil, syntax
		}
		for _, key := range keys {
			values, err := scalars(key.value)
			if err != nil {
				return nil, err
			}
			conditions = append(conditions, Condition{operator.name, key.name, values})
		}
	}
	return conditions, nil
}

// scalars is a string, number or flag, or a list of these, as texts.
func scalars(value any) ([]string, error) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	values := make([]string, 0, len(list))
	for _, entry := range list {
		switch entry := entry.(type) {
		case string:
			values = append(values, entry)
		case json.Number:
			values = append(values, entry.String())
		case bool:
			values = append(values, strconv.FormatBool(entry))
		default:
			return nil, syntax
		}
	}
	return values, nil
}
