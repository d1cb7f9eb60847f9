package keysvc

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// finding is what is wrong with one member of an input, in AWS's words; "" means
// nothing.
type finding string

// check turns the findings about an input's members into a ValidationException.
func check(findings ...finding) error {
	findings = slices.DeleteFunc(findings, func(f finding) bool { return f == "" })
	if len(findings) == 0 {
		return nil
	}
	texts := make([]string, len(findings))
	for i, f := range findings {
		texts[i] = string(f)
	}
	plural := ""
	if len(findings) > 1 {
		plural = "s"
	}
	return refuse(KindValidation, "%d validation error%s detected: %s", len(findings), plural, strings.Join(texts, "; "))
}

// textShape is the constraint on a string member: its length in characters and
// its pattern.
type textShape struct {
	min, max int
	pattern  *regexp.Regexp
}

var (
	keyIDShape       = textShape{min: 1, max: 2048}
	aliasShape       = textShape{min: 1, max: 256, pattern: regexp.MustCompile(`^[a-zA-Z0-9:/_-]+$`)}
	descriptionShape = textShape{max: 8192}
	principalShape   = textShape{min: 1, max: 256, pattern: regexp.MustCompile(`^[\w+=,.@:/-]+$`)}
	grantNameShape   = textShape{min: 1, max: 256, pattern: regexp.MustCompile(`^[a-zA-Z0-9:/_-]+$`)}
	grantIDShape     = textShape{min: 1, max: 128}
	grantTokenShape  = textShape{min: 1, max: 8192}
	markerShape      = textShape{min: 1, max: 1024, pattern: regexp.MustCompile(`^[\x{20}-\x{FF}]*$`)}
	tagKeyShape      = textShape{min: 1, max: 128}
	tagValueShape    = textShape{max: 256}
)

// present checks a required string member.
func present(member string, value *string, shape textShape) finding {
	if value == nil {
		return missing(member)
	}
	return shape.check(member, *value)
}

// optional checks a string member that may be absent.
func optional(member string, value *string, shape textShape) finding {
	if value == nil {
		return ""
	}
	return shape.check(member, *value)
}

func missing(member string) finding {
	return finding(fmt.Sprintf("Value null at '%s' failed to satisfy constraint: Member must not be null", member))
}

func failed(member, value, constraint string, args ...any) finding {
	return finding(fmt.Sprintf("Value '%s' at '%s' failed to satisfy constraint: Member must %s", cut(value), member, fmt.Sprintf(constraint, args...)))
}

func (s textShape) check(member, value string) finding {
	switch length := utf8.RuneCountInString(value); {
	case length < s.min:
		return failed(member, value, "have length greater than or equal to %d", s.min)
	case length > s.max:
		return failed(member, value, "have length less than or equal to %d", s.max)
	case s.pattern != nil && !s.pattern.MatchString(value):
		return failed(member, value, "satisfy regular expression pattern: %s", s.pattern)
	default:
		return ""
	}
}

// blob checks a required binary member, whose value never shows in a text.
func blob(member string, value []byte, low, high int) finding {
	switch {
	case value == nil:
		return missing(member)
	case len(value) < low:
		return finding(fmt.Sprintf("Value at '%s' failed to satisfy constraint: Member must have length greater than or equal to %d", member, low))
	case len(value) > high:
		return finding(fmt.Sprintf("Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", member, high))
	default:
		return ""
	}
}

// within checks an integer member that may be absent.
func within(member string, value *int32, low, high int32) finding {
	switch {
	case value == nil:
		return ""
	case *value < low:
		return failed(member, strconv.Itoa(int(*value)), "have value greater than or equal to %d", low)
	case *value > high:
		return failed(member, strconv.Itoa(int(*value)), "have value less than or equal to %d", high)
	default:
		return ""
	}
}

// oneOf checks an enumeration member that may be absent (empty).
func oneOf[T ~string](member string, value T, known []T) finding {
	if value == "" || slices.Contains(known, value) {
		return ""
	}
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = string(k)
	}
	return failed(member, string(value), "satisfy enum value set: [%s]", strings.Join(names, ", "))
}

// grantTokens checks the list of grant tokens: at most ten.
func grantTokens(tokens []string) finding {
	if len(tokens) > 10 {
		return failed("grantTokens", "["+strings.Join(tokens, ", ")+"]", "have length less than or equal to 10")
	}
	for i := range tokens {
		if f := grantTokenShape.check(fmt.Sprintf("grantTokens.%d.member", i+1), tokens[i]); f != "" {
			return f
		}
	}
	return ""
}
