package keypolicy

import (
	"fmt"
	"slices"
	"strings"
)

// layout is a policy of one statement, written as AWS KMS writes its own.
const layout = `{
  "Version" : "2012-10-17",
  "Id" : "%s",
  "Statement" : [ {
    "Sid" : "%s",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "%s"
    },
    "Action" : %s,
    "Resource" : "*"
  } ]
}`

// Default is the policy of a key for which none was given: the account's root, and
// with it whoever the account says, may do everything.
func Default(account string) string {
	return fmt.Sprintf(layout, "key-default-1", "Enable IAM User Permissions", rootARN(account), `"kms:*"`)
}

// Managed is the policy of a key that the service manages: the account may use it and
// see its metadata, by the actions named (such as "kms:Encrypt"), and nobody can change it.
func Managed(account string, actions []string) string {
	list := `[ "` + strings.Join(actions, `", "`) + `" ]`
	return fmt.Sprintf(layout, "auto-kmsfs-1", "Allow the account to use the key and to see its metadata", rootARN(account), list)
}

// MeansDefault tells whether the policy does what [Default] does for a key of the
// account. Ids, order and repetition don't matter, nor do statements without effect.
func (d *Document) MeansDefault(account string) bool {
	delegates := false
	for i := range d.Statements {
		s := &d.Statements[i]
		if !s.hasEffect() {
			continue
		}
		if !s.delegatesTo(account) {
			return false
		}
		delegates = true
	}
	return delegates
}

// delegatesTo tells whether the statement allows everything to the account's root and
// nothing to anybody else.
func (s *Statement) delegatesTo(account string) bool {
	isRoot := func(p Principal) bool {
		return p.Kind == "AWS" && (p.Name == account || p.Name == rootARN(account))
	}
	others := slices.ContainsFunc(s.Principals, func(p Principal) bool { return !isRoot(p) })
	return s.Effect == Allow && len(s.Principals) > 0 && !others && len(s.Conditions) == 0 &&
		slices.ContainsFunc(s.Actions, isEverything) && slices.Contains(s.Resources, "*")
}

// isEverything tells an action that stands for all that can be done with a key.
func isEverything(action string) bool { return action == "*" || strings.EqualFold(action, "kms:*") }

func rootARN(account string) string { return "arn:aws:iam::" + account + ":root" }
