package keypolicy

// Document is a key policy.
type Document struct {
	Version    string // "2012-10-17", "2008-10-17", or "" if none was given
	ID         string
	Statements []Statement // at least one
}

// Effect is what a statement does to the calls that it matches.
type Effect string

// The effects.
const (
	Allow Effect = "Allow"
	Deny  Effect = "Deny"
)

// Statement is one statement of a policy. Of each pair X and NotX it has one at
// most. It always has principals; one without actions or without resources has no
// effect, which AWS KMS lets be.
type Statement struct {
	SID           string
	Effect        Effect
	Principals    []Principal
	NotPrincipals []Principal
	Actions       []string // such as "kms:*"
	NotActions    []string
	Resources     []string
	NotResources  []string
	Conditions    []Condition
}

// Principal is whom a statement is about.
type Principal struct {
	Kind string // AWS, Service, Federated or CanonicalUser
	Name string // of AWS: an ARN, an account id or "*"
}

// Condition compares a condition key of a call with values.
type Condition struct {
	Operator string // such as StringEquals
	Key      string // such as kms:ViaService
	Values   []string
}

// Malformed is why a text is no key policy, in the words of AWS KMS where they are known.
type Malformed string

// Error returns the reason.
func (m Malformed) Error() string { return string(m) }

// hasEffect tells whether a statement can match any call. An empty NotX excludes nothing.
func (s *Statement) hasEffect() bool {
	return (len(s.Actions) > 0 || s.NotActions != nil) && (len(s.Resources) > 0 || s.NotResources != nil)
}
