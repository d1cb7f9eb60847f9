package keypolicy

import "regexp"

const invalidPrincipals = Malformed("Policy contains a statement with one or more invalid principals.")

// principalPatterns are the forms of principals of each kind. An ARN has no
// wildcards.
var principalPatterns = map[string]*regexp.Regexp{
	"AWS":           regexp.MustCompile(`^(\*|[0-9]{12}|arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:(root|[a-z-]+/[\w+=,.@/-]+))$`),
	"Service":       regexp.MustCompile(`^[a-z0-9.-]+\.amazonaws\.com(\.cn)?$`),
	"Federated":     regexp.MustCompile(`^[\w+=,.@:/-]+$`),
	"CanonicalUser": regexp.MustCompile(`^[0-9a-f]{64}$`),
}

// parsePrincipals reads "*", or kinds of principals with names.
func parsePrincipals(value any) ([]Principal, error) {
	if value == "*" {
		return []Principal{{"AWS", "*"}}, nil
	}
	kinds, ok := value.(object)
	if !ok {
		return nil, invalidPrincipals
	}
	principals := []Principal{}
	for _, kind := range kinds {
		names, err := texts(kind.value)
		if err != nil {
			return nil, err
		}
		pattern := principalPatterns[kind.name]
		for _, name := range names {
			if pattern == nil || !pattern.MatchString(name) {
				return nil, invalidPrincipals
			}
			principals = append(principals, Principal{kind.name, name})
		}
	}
	return principals, nil
}
