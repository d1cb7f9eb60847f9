package keysvc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/keysvc/keypolicy"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// policyOf is the policy that GetKeyPolicy returns to a caller.
func (f *fixture) policyOf(ctx context.Context, id string) string {
	f.t.Helper()
	out, err := f.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &id})
	f.must(out, err)
	if *out.PolicyName != "default" {
		f.t.Errorf("the policy's name is %s", *out.PolicyName)
	}
	return *out.Policy
}

// sameMeaning is a policy that differs from the default one only in how it is written.
func sameMeaning(sid string) string {
	return fmt.Sprintf(`{"Statement":[{"Sid":"%s","Resource":"*","Action":["kms:*"],"Principal":{"AWS":["%s"]},"Effect":"Allow"}],"Version":"2012-10-17"}`, sid, testAccount)
}

func TestKeyHasTheDefaultPolicyUntilOneIsPut(t *testing.T) {
	f := newService(t)
	id := f.key()
	if got := f.policyOf(f.ctx(), id); got != keypolicy.Default(testAccount) {
		t.Errorf("%s", got)
	}
	want := " \r\n" + sameMeaning("é")
	f.must(f.PutKeyPolicy(f.ctx(), &kms.PutKeyPolicyInput{KeyId: aws.String(f.arn(id)), Policy: &want, PolicyName: aws.String("default"), BypassPolicyLockoutSafetyCheck: true}))
	r := f.last()
	if r.EventName != "PutKeyPolicy" || r.ReadOnly || r.RequestParameters["policy"] != want || r.RequestParameters["policyName"] != "default" ||
		r.RequestParameters["bypassPolicyLockoutSafetyCheck"] != true || len(r.Resources) != 1 {
		t.Errorf("%s", r.Line)
	}
	second := openService(t, f.dir, f.clock, token)
	if got := second.policyOf(f.ctx(), id); got != want {
		t.Errorf("another process sees %q, want %q", got, want)
	}
	f.encrypt(id, "x", nil)
}

func TestPoliciesThatWouldNotBeInForceAreRefused(t *testing.T) {
	f := newService(t)
	id := f.key()
	everybody := strings.ReplaceAll(sameMeaning(""), testAccount, "*")
	for name, c := range map[string]struct{ policy, kind, message string }{
		"not JSON":             {"{", "MalformedPolicyDocumentException", "Syntax errors in policy."},
		"no principal":         {`{"Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}`, "MalformedPolicyDocumentException", "Policy contains a statement with no principal."},
		"unknown principal":    {strings.ReplaceAll(sameMeaning(""), testAccount, "bob"), "MalformedPolicyDocumentException", "Policy contains a statement with one or more invalid principals."},
		"everybody":            {everybody, "UnsupportedOperationException", "Only key policies that mean the same as the default key policy are supported, which lets the account's root do everything: use grants (CreateGrant) to let other principals use the key."},
		"another account":      {keypolicy.Default("444455556666"), "UnsupportedOperationException", "*"},
		"too long":             {sameMeaning(strings.Repeat("s", 32768)), "LimitExceededException", "*"},
		"much too long":        {strings.Repeat(" ", 131073), "ValidationException", "*"},
		"forbidden characters": {sameMeaning("☃"), "ValidationException", "*"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.PutKeyPolicy(f.ctx(), &kms.PutKeyPolicyInput{KeyId: &id, Policy: &c.policy})
			wantError(t, err, c.kind, c.message)
			_, err = f.CreateKey(f.ctx(), &kms.CreateKeyInput{Policy: &c.policy})
			wantError(t, err, c.kind, c.message)
			primary := f.primaryKey()
			_, err = f.ReplicateKey(f.ctx(), &kms.ReplicateKeyInput{KeyId: &primary, ReplicaRegion: aws.String(otherRegion), Policy: &c.policy})
			wantError(t, err, c.kind, c.message)
		})
	}
	if got := f.policyOf(f.ctx(), id); got != keypolicy.Default(testAccount) {
		t.Errorf("a refused policy was stored: %s", got)
	}
	longest := sameMeaning("")
	longest = sameMeaning(strings.Repeat("s", 32768-len(longest)))
	f.must(f.PutKeyPolicy(f.ctx(), &kms.PutKeyPolicyInput{KeyId: &id, Policy: &longest}))
	if f.last().RequestParameters["policy"] != longest {
		t.Error("the longest policy isn't in the trail")
	}
}

func TestKeyIsMadeAndReplicatedWithAPolicy(t *testing.T) {
	f := newService(t)
	one, two := sameMeaning("one"), sameMeaning("two")
	made, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true), Policy: &one, BypassPolicyLockoutSafetyCheck: true})
	f.must(made, err)
	if f.last().RequestParameters["policy"] != one {
		t.Errorf("%s", f.last().Line)
	}
	id := *made.KeyMetadata.KeyId
	replica, err := f.ReplicateKey(f.ctx(), &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: aws.String(otherRegion), Policy: &two})
	f.must(replica, err)
	if *replica.ReplicaPolicy != two || f.policyOf(f.ctx(), id) != one || f.policyOf(f.there(), id) != two {
		t.Errorf("%s; %s; %s", *replica.ReplicaPolicy, f.policyOf(f.ctx(), id), f.policyOf(f.there(), id))
	}
	replica, err = f.ReplicateKey(f.ctx(), &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: aws.String("eu-west-1")})
	f.must(replica, err)
	if *replica.ReplicaPolicy != keypolicy.Default(testAccount) {
		t.Errorf("a replica for which no policy was given has %s", *replica.ReplicaPolicy)
	}
}

func TestPolicyNames(t *testing.T) {
	f := newService(t)
	id := f.key()
	out, err := f.ListKeyPolicies(f.ctx(), &kms.ListKeyPoliciesInput{KeyId: &id, Limit: aws.Int32(1)})
	f.must(out, err)
	if !slices.Equal(out.PolicyNames, []string{"default"}) || out.Truncated || out.NextMarker != nil {
		t.Errorf("%+v", out)
	}
	_, err = f.ListKeyPolicies(f.ctx(), &kms.ListKeyPoliciesInput{KeyId: &id, Marker: aws.String("x")})
	wantError(t, err, "InvalidMarkerException", "*")
	_, err = f.GetKeyPolicy(f.ctx(), &kms.GetKeyPolicyInput{KeyId: &id, PolicyName: aws.String("other")})
	wantError(t, err, "NotFoundException", "No such policy exists")
	policy := sameMeaning("")
	_, err = f.PutKeyPolicy(f.ctx(), &kms.PutKeyPolicyInput{KeyId: &id, PolicyName: aws.String("other"), Policy: &policy})
	wantError(t, err, "NotFoundException", "No such policy exists")
	f.must(nil, f.alias("alias/a", id))
	_, err = f.GetKeyPolicy(f.ctx(), &kms.GetKeyPolicyInput{KeyId: aws.String("alias/a")})
	wantError(t, err, "NotFoundException", "Invalid keyId 'alias/a'")
}

// What the policy of a managed key lets the account do is what the account can do.
func TestManagedKeysPolicySaysWhatIsEnforced(t *testing.T) {
	from := newTemplate(t)
	f := newService(t)
	for op, attempt := range attempts {
		s := from.subject(f, types.KeyStateEnabled)
		if s.keyOf(op) != s.key {
			continue // not of symmetric keys, such as managed keys are
		}
		s.edit(s.key, func(key *store.Key) { key.Manager = types.KeyManagerTypeAws })
		err := attempt(s)
		allowed := slices.Contains(managedActions, "kms:"+op) || op == "ListAliases" // which no key policy is asked for
		if isKind(err, KindAccessDenied) == allowed {
			t.Errorf("%s: %v", op, err)
		}
	}
	f.encrypt("alias/aws/kmsfs", "x", nil)
	got, err := keypolicy.Parse(f.policyOf(f.ctx(), *f.describe("alias/aws/kmsfs").KeyId))
	f.must(got, err)
	if !slices.Equal(got.Statements[0].Actions, managedActions) {
		t.Errorf("%+v", got)
	}
}
