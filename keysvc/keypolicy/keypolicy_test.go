package keypolicy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

const account = "111122223333"

// statement is a policy of one statement with the members given.
func statement(members string) string {
	return `{"Version":"2012-10-17","Statement":{` + members + `}}`
}

func TestPoliciesThatMeanTheDefault(t *testing.T) {
	const root = `"Principal":{"AWS":"arn:aws:iam::111122223333:root"}`
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"the default itself":        {Default(account), true},
		"of another account":        {Default("444455556666"), false},
		"without spaces":            {strings.Join(strings.Fields(Default(account)), ""), true},
		"the account's id":          {statement(`"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"kms:*","Resource":"*"`), true},
		"lists of one, other order": {`{"Statement":[{"Resource":["*"],"Action":["kms:*"],"Principal":{"AWS":["arn:aws:iam::111122223333:root"]},"Effect":"Allow","Sid":"x"}],"Id":"y"}`, true},
		"everything of everything":  {statement(`"Effect":"Allow",` + root + `,"Action":"*","Resource":"*"`), true},
		"the case of actions":       {statement(`"Effect":"Allow",` + root + `,"Action":"KMS:*","Resource":"*"`), true},
		"what is in it already":     {statement(`"Effect":"Allow",` + root + `,"Action":["kms:Decrypt","kms:*"],"Resource":"*"`), true},
		"said twice": {`{"Statement":[{"Effect":"Allow",` + root + `,"Action":"kms:*","Resource":"*"},
			{"Effect":"Allow",` + root + `,"Action":"kms:*","Resource":"*"}]}`, true},
		"with a statement of no effect": {`{"Statement":[{"Effect":"Allow",` + root + `,"Action":"kms:*","Resource":"*"},
			{"Effect":"Deny","Principal":"*","Action":"kms:*"},{"Effect":"Deny","Principal":"*","Resource":"*"}]}`, true},
		"with a denial of all but nothing": {`{"Statement":[{"Effect":"Allow",` + root + `,"Action":"kms:*","Resource":"*"},
			{"Effect":"Deny","Principal":"*","NotAction":[],"Resource":"*"}]}`, false},
		"with a denial everywhere but nowhere": {`{"Statement":[{"Effect":"Allow",` + root + `,"Action":"kms:*","Resource":"*"},
			{"Effect":"Deny","Principal":"*","Action":"kms:Decrypt","NotResource":[]}]}`, false},
		"of no effect at all":    {statement(`"Effect":"Allow",` + root), false},
		"fewer actions":          {statement(`"Effect":"Allow",` + root + `,"Action":"kms:Decrypt","Resource":"*"`), false},
		"but one action":         {statement(`"Effect":"Allow",` + root + `,"NotAction":"kms:Decrypt","Resource":"*"`), false},
		"another resource":       {statement(`"Effect":"Allow",` + root + `,"Action":"kms:*","Resource":"arn:aws:kms:us-east-1:111122223333:key/x"`), false},
		"not a resource":         {statement(`"Effect":"Allow",` + root + `,"Action":"kms:*","NotResource":"*"`), false},
		"a condition":            {statement(`"Effect":"Allow",` + root + `,"Action":"kms:*","Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":true}}`), false},
		"an empty condition":     {statement(`"Effect":"Allow",` + root + `,"Action":"kms:*","Resource":"*","Condition":{}`), true},
		"a denial":               {statement(`"Effect":"Deny",` + root + `,"Action":"kms:*","Resource":"*"`), false},
		"everybody":              {statement(`"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"`), false},
		"all AWS principals":     {statement(`"Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*","Resource":"*"`), false},
		"somebody else, too":     {statement(`"Effect":"Allow","Principal":{"AWS":["111122223333","444455556666"]},"Action":"kms:*","Resource":"*"`), false},
		"a user of the account":  {statement(`"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/a"},"Action":"kms:*","Resource":"*"`), false},
		"a service":              {statement(`"Effect":"Allow","Principal":{"Service":"logs.us-east-1.amazonaws.com"},"Action":"kms:*","Resource":"*"`), false},
		"all but the root":       {statement(`"Effect":"Allow","NotPrincipal":{"AWS":"111122223333"},"Action":"kms:*","Resource":"*"`), false},
		"another statement, too": {`{"Statement":[{"Effect":"Allow",` + root + `,"Action":"kms:*","Resource":"*"},{"Effect":"Allow","Principal":"*","Action":"kms:Verify","Resource":"*"}]}`, false},
	} {
		d, err := Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := d.MeansDefault(account); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestMalformedPoliciesAreRefused(t *testing.T) {
	const rest = `,"Principal":"*","Action":"kms:*","Resource":"*"`
	const noPrincipal, badPrincipal = "Policy contains a statement with no principal.", "Policy contains a statement with one or more invalid principals."
	for text, want := range map[string]string{
		``:                                   string(syntax),
		`{`:                                  string(syntax),
		`"x"`:                                string(syntax),
		`null`:                               string(syntax),
		`[]`:                                 string(syntax),
		Default(account) + `{}`:              string(syntax),
		`{}`:                                 "Missing required field Statement",
		`{"Statement":[]}`:                   "Missing required field Statement",
		`{"Statement":null}`:                 string(syntax),
		`{"Statement":[[]]}`:                 string(syntax),
		`{"statement":[{}]}`:                 string(syntax),
		`{"Version":2012}`:                   string(syntax),
		statement(`"Action":[1]`):            string(syntax),
		statement(``):                        "Missing required field Effect",
		statement(`"Effect":"allow"` + rest): "Invalid effect: allow",
		statement(`"Effect":"Allow","Action":"kms:*","Resource":"*"`):                   noPrincipal,
		statement(`"Effect":"Allow","Principal":{},"Action":"kms:*","Resource":"*"`):    noPrincipal,
		statement(`"Effect":"Allow","Principal":{"AWS":[]}`):                            noPrincipal,
		statement(`"Effect":"Allow","Principal":"x"`):                                   badPrincipal,
		statement(`"Effect":"Allow","Principal":{"AWS":"AIDACKCEVSQ6C2EXAMPLE"}`):       badPrincipal,
		statement(`"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:*"}`): badPrincipal,
		statement(`"Effect":"Allow","Principal":{"Aws":"*"}`):                           badPrincipal,
		statement(`"Effect":"Allow","Principal":{"Service":"example.com"}`):             badPrincipal,
		statement(`"Effect":"Allow","Principal":"*","NotPrincipal":"*"`):                string(syntax),
		statement(`"Effect":"Allow","Effect":"Deny"` + rest):                            string(syntax),
		statement(`"Effect":"Allow","Color":"red"` + rest):                              string(syntax),
		statement(`"Effect":"Allow","NotAction":"kms:Decrypt"` + rest):                  string(syntax),
		statement(`"Effect":"Allow","Condition":[]` + rest):                             string(syntax),
		statement(`"Effect":"Allow","Condition":{"Bool":{"a":{}}}` + rest):              string(syntax),
		statement(`"Effect":"Allow","Principal":"*","Action":"Decrypt"`):                "Policy contains a statement with one or more invalid actions.",
		statement(`"Effect":"Allow","Principal":"*","Resource":"alias/x"`):              "Policy contains a statement with one or more invalid resources.",
		`{"Version":"2020-01-01","Statement":{"Effect":"Allow"` + rest + `}}`:           "The policy must contain a valid version string",
	} {
		_, err := Parse(text)
		var malformed Malformed
		if !errors.As(err, &malformed) || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestPolicyComesApartAsItWasWritten(t *testing.T) {
	d, err := Parse(`{"Version":"2008-10-17","Id":"i","Statement":[{"Sid":"s","Effect":"Deny","Principal":{"AWS":["111122223333","*"],"Service":"logs.amazonaws.com"},
		"Action":["kms:Encrypt","kms:ReEncrypt*"],"Resource":"*","Condition":{"StringEquals":{"kms:ViaService":["a","b"]},"NumericLessThan":{"kms:RotationPeriodInDays":90},"Bool":{"x":true}}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	s := d.Statements[0]
	if d.Version != "2008-10-17" || d.ID != "i" || s.SID != "s" || s.Effect != Deny || len(s.Actions) != 2 || len(s.Resources) != 1 {
		t.Errorf("%+v", d)
	}
	if len(s.Principals) != 3 || s.Principals[2] != (Principal{"Service", "logs.amazonaws.com"}) {
		t.Errorf("%+v", s.Principals)
	}
	if c := s.Conditions; len(c) != 3 || c[0].Operator != "StringEquals" || c[0].Key != "kms:ViaService" || c[0].Values[1] != "b" || c[1].Values[0] != "90" || c[2].Values[0] != "true" {
		t.Errorf("%+v", s.Conditions)
	}
}

func TestTheServicesOwnPoliciesAreWellFormed(t *testing.T) {
	actions := []string{"kms:Encrypt", "kms:DescribeKey"}
	d, err := Parse(Managed(account, actions))
	if err != nil || d.MeansDefault(account) || len(d.Statements[0].Actions) != 2 || d.Statements[0].Principals[0].Name != rootARN(account) {
		t.Errorf("%+v, %v", d, err)
	}
}

// What is accepted is JSON that means one thing, and its meaning doesn't hang on how it is written.
func FuzzParse(f *testing.F) {
	f.Add(Default(account))
	f.Add(Managed(account, []string{"kms:Encrypt"}))
	f.Add(statement(`"Effect":"Allow","Principal":{"AWS":["111122223333"]},"NotAction":"kms:*","Resource":["*"],"Condition":{"Bool":{"a":[true,1,"x"]}}`))
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse(text)
		var malformed Malformed
		if err != nil {
			if !errors.As(err, &malformed) {
				t.Fatalf("%v", err)
			}
			return
		}
		var loose any
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		if err := decoder.Decode(&loose); err != nil {
			t.Fatalf("accepted: %v", err)
		}
		again, err := json.Marshal(loose)
		if err != nil {
			t.Fatal(err)
		}
		sorted, err := Parse(string(again))
		if err != nil || sorted.MeansDefault(account) != d.MeansDefault(account) {
			t.Errorf("%s\nis accepted and %s is not the same: %v", text, again, err)
		}
	})
}
