package keysvc

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

const (
	userARN    = "arn:aws:iam::111122223333:user/user"
	retirerARN = "arn:aws:iam::111122223333:role/retirer"
)

func as(ctx context.Context, arn string) context.Context {
	return WithCaller(ctx, Caller{ARN: arn, Account: testAccount})
}

// grant creates a grant of operations to userARN.
func (f *fixture) grant(key string, constraints *types.GrantConstraints, operations ...types.GrantOperation) *kms.CreateGrantOutput {
	f.t.Helper()
	out, err := f.CreateGrant(f.ctx(), &kms.CreateGrantInput{KeyId: &key, GranteePrincipal: aws.String(userARN),
		RetiringPrincipal: aws.String(retirerARN), Operations: operations, Constraints: constraints})
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

func TestGrantAllowsItsOperationsUnderItsConstraints(t *testing.T) {
	volume := map[string]string{"kmsfs:volume-id": "vol-1"}
	file := map[string]string{"kmsfs:volume-id": "vol-1", "kmsfs:path": "/a"}
	subset := &types.GrantConstraints{EncryptionContextSubset: volume}
	equals := &types.GrantConstraints{EncryptionContextEquals: volume}
	decrypt := []types.GrantOperation{types.GrantOperationDecrypt}
	for name, c := range map[string]struct {
		constraints *types.GrantConstraints
		operations  []types.GrantOperation
		context     map[string]string
		allowed     bool
	}{
		"unconstrained":                  {nil, decrypt, file, true},
		"other operation":                {nil, []types.GrantOperation{types.GrantOperationEncrypt}, file, false},
		"subset, more pairs":             {subset, decrypt, file, true},
		"subset, same pairs":             {subset, decrypt, volume, true},
		"subset, other value":            {subset, decrypt, map[string]string{"kmsfs:volume-id": "vol-2"}, false},
		"subset, case differs":           {subset, decrypt, map[string]string{"KMSFS:volume-id": "vol-1"}, false},
		"subset, no context":             {subset, decrypt, nil, false},
		"equals, same pairs":             {equals, decrypt, volume, true},
		"equals, more pairs":             {equals, decrypt, file, false},
		"equals, no context":             {equals, decrypt, nil, false},
		"empty constraint is none":       {&types.GrantConstraints{}, decrypt, file, true},
		"a key with an empty value kept": {&types.GrantConstraints{EncryptionContextSubset: map[string]string{"x": ""}}, decrypt, file, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newService(t)
			id := f.key()
			f.grant(id, c.constraints, c.operations...)
			blob := f.encrypt(id, "x", c.context)
			_, err := f.Decrypt(as(f.ctx(), userARN), &kms.DecryptInput{KeyId: &id, CiphertextBlob: blob, EncryptionContext: c.context})
			if c.allowed {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantError(t, err, "AccessDeniedException", "*")
			_, err = f.Decrypt(as(f.ctx(), userARN), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: c.context})
			wantError(t, err, "AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
		})
	}
}

func TestReEncryptNeedsPermissionOnBothKeys(t *testing.T) {
	f := newService(t)
	from, to := f.key(), f.key()
	in := &kms.ReEncryptInput{CiphertextBlob: f.encrypt(from, "x", nil), SourceKeyId: &from, DestinationKeyId: &to}
	try := func() error { _, err := f.ReEncrypt(as(f.ctx(), userARN), in); return err }
	wantError(t, try(), "AccessDeniedException", "User: "+userARN+" is not authorized to perform: kms:ReEncryptFrom on resource: "+f.arn(from)+
		" because no resource-based policy allows the kms:ReEncryptFrom action")
	f.grant(from, nil, types.GrantOperationReEncryptFrom)
	wantError(t, try(), "AccessDeniedException", "User: "+userARN+" is not authorized to perform: kms:ReEncryptTo on resource: "+f.arn(to)+
		" because no resource-based policy allows the kms:ReEncryptTo action")
	f.grant(to, nil, types.GrantOperationReEncryptTo)
	if err := try(); err != nil {
		t.Fatal(err)
	}
}

func TestGrantEndsWhenRetiredOrRevoked(t *testing.T) {
	f := newService(t)
	id := f.key()
	blob := f.encrypt(id, "x", nil)
	use := func(tokens ...string) error {
		_, err := f.Decrypt(as(f.ctx(), userARN), &kms.DecryptInput{KeyId: &id, CiphertextBlob: blob, GrantTokens: tokens})
		return err
	}
	for name, end := range map[string]func(g *kms.CreateGrantOutput) error{
		"retired by token, by the issuing account": func(g *kms.CreateGrantOutput) error {
			_, err := f.RetireGrant(f.ctx(), &kms.RetireGrantInput{GrantToken: g.GrantToken})
			return err
		},
		"retired by id, by the retiring principal": func(g *kms.CreateGrantOutput) error {
			_, err := f.RetireGrant(as(f.ctx(), retirerARN), &kms.RetireGrantInput{KeyId: aws.String(f.arn(id)), GrantId: g.GrantId})
			return err
		},
		"retired by the grantee, whom it allows to": func(g *kms.CreateGrantOutput) error {
			_, err := f.RetireGrant(as(f.ctx(), userARN), &kms.RetireGrantInput{GrantToken: g.GrantToken})
			return err
		},
		"revoked": func(g *kms.CreateGrantOutput) error {
			_, err := f.RevokeGrant(f.ctx(), &kms.RevokeGrantInput{KeyId: &id, GrantId: g.GrantId})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f.t = t
			g := f.grant(id, nil, types.GrantOperationDecrypt, types.GrantOperationRetireGrant)
			if err := use(*g.GrantToken); err != nil {
				t.Fatal(err)
			}
			if err := end(g); err != nil {
				t.Fatal(err)
			}
			wantError(t, use(), "AccessDeniedException", "*")
			wantError(t, use(*g.GrantToken), "InvalidGrantTokenException", "*")
			wantError(t, end(g), "NotFoundException", "*")
		})
	}
}

func TestRetireGrantIsRefusedToOthers(t *testing.T) {
	f := newService(t)
	id := f.key()
	g := f.grant(id, nil, types.GrantOperationDecrypt)
	_, err := f.RetireGrant(as(f.ctx(), userARN), &kms.RetireGrantInput{GrantToken: g.GrantToken})
	wantError(t, err, "AccessDeniedException", "*")
	for _, in := range []*kms.RetireGrantInput{{}, {KeyId: &id}, {GrantId: g.GrantId}, {GrantToken: g.GrantToken, KeyId: &id, GrantId: g.GrantId}} {
		_, err := f.RetireGrant(f.ctx(), in)
		wantError(t, err, "ValidationException", "*")
	}
	_, err = f.RetireGrant(f.ctx(), &kms.RetireGrantInput{GrantToken: aws.String("nonsense")})
	wantError(t, err, "InvalidGrantTokenException", "*")
}

func TestSameGrantOfTheSameNameIsOneGrant(t *testing.T) {
	f := newService(t)
	id := f.key()
	in := func() *kms.CreateGrantInput {
		return &kms.CreateGrantInput{KeyId: &id, GranteePrincipal: aws.String(userARN), Name: aws.String("mount"),
			Operations:  []types.GrantOperation{types.GrantOperationDecrypt, types.GrantOperationEncrypt},
			Constraints: &types.GrantConstraints{EncryptionContextSubset: map[string]string{"a": "b"}}}
	}
	create := func(in *kms.CreateGrantInput) *kms.CreateGrantOutput {
		out, err := f.CreateGrant(f.ctx(), in)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	one := create(in())
	reordered := in()
	slices.Reverse(reordered.Operations)
	two := create(reordered)
	different := in()
	different.Constraints = nil
	three := create(different)
	if *one.GrantId != *two.GrantId || *one.GrantToken == *two.GrantToken {
		t.Errorf("same grant: ids %s %s, tokens %s %s", *one.GrantId, *two.GrantId, *one.GrantToken, *two.GrantToken)
	}
	if *three.GrantId == *one.GrantId || len(*one.GrantId) != 64 {
		t.Errorf("ids %s and %s", *one.GrantId, *three.GrantId)
	}
}

func TestDelegatedGrantCannotGiveMore(t *testing.T) {
	pair := func(value string) map[string]string { return map[string]string{"dept": value} }
	subset := func(m map[string]string) *types.GrantConstraints {
		return &types.GrantConstraints{EncryptionContextSubset: m}
	}
	equals := func(m map[string]string) *types.GrantConstraints {
		return &types.GrantConstraints{EncryptionContextEquals: m}
	}
	decrypt, encrypt := types.GrantOperationDecrypt, types.GrantOperationEncrypt
	for name, c := range map[string]struct {
		parent, child *types.GrantConstraints
		operation     types.GrantOperation
		allowed       bool
	}{
		"same":                        {nil, nil, decrypt, true},
		"other operation":             {nil, nil, encrypt, false},
		"stricter":                    {nil, subset(pair("it")), decrypt, true},
		"same subset":                 {subset(pair("it")), subset(pair("it")), decrypt, true},
		"larger subset":               {subset(pair("it")), subset(map[string]string{"dept": "it", "x": "y"}), decrypt, true},
		"subset becomes equals":       {subset(pair("it")), equals(pair("it")), decrypt, true},
		"constraint dropped":          {subset(pair("it")), nil, decrypt, false},
		"constraint changed":          {subset(pair("it")), subset(pair("hr")), decrypt, false},
		"equals does not go back":     {equals(pair("it")), subset(pair("it")), decrypt, false},
		"equals stays":                {equals(pair("it")), equals(pair("it")), decrypt, true},
		"equals with more is another": {equals(pair("it")), equals(map[string]string{"dept": "it", "x": "y"}), decrypt, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newService(t)
			id := f.key()
			f.grant(id, c.parent, decrypt, types.GrantOperationCreateGrant)
			_, err := f.CreateGrant(as(f.ctx(), userARN), &kms.CreateGrantInput{KeyId: &id, GranteePrincipal: aws.String(retirerARN),
				Operations: []types.GrantOperation{c.operation}, Constraints: c.child})
			if c.allowed && err != nil {
				t.Fatal(err)
			}
			if !c.allowed {
				wantError(t, err, "AccessDeniedException", "*")
			}
		})
	}
}

func TestRootOfAnotherAccountDelegatesNoMoreThanItHas(t *testing.T) {
	f := newService(t)
	id := f.key()
	const foreign = "999988887777"
	f.must(f.CreateGrant(f.ctx(), &kms.CreateGrantInput{KeyId: &id, GranteePrincipal: aws.String(rootARN(foreign)),
		Operations: []types.GrantOperation{types.GrantOperationDecrypt, types.GrantOperationCreateGrant}}))
	for operation, want := range map[types.GrantOperation]bool{types.GrantOperationDecrypt: true, types.GrantOperationEncrypt: false} {
		_, err := f.CreateGrant(WithCaller(f.ctx(), Caller{Account: foreign}), &kms.CreateGrantInput{KeyId: &id,
			GranteePrincipal: aws.String("arn:aws:iam::" + foreign + ":user/x"), Operations: []types.GrantOperation{operation}})
		if (err == nil) != want {
			t.Errorf("%s: %v", operation, err)
		}
	}
}

func TestGrantInputIsChecked(t *testing.T) {
	f := newService(t)
	id := f.key()
	many := map[string]string{}
	for _, c := range "abcdefghi" {
		many[string(c)] = "x"
	}
	for name, c := range map[string]struct {
		change func(in *kms.CreateGrantInput)
		kind   string
	}{
		"no grantee":          {func(in *kms.CreateGrantInput) { in.GranteePrincipal = nil }, "ValidationException"},
		"grantee is no ARN":   {func(in *kms.CreateGrantInput) { in.GranteePrincipal = aws.String("bob") }, "InvalidArnException"},
		"grantee is a bucket": {func(in *kms.CreateGrantInput) { in.GranteePrincipal = aws.String("arn:aws:s3:::b") }, "InvalidArnException"},
		"no operations":       {func(in *kms.CreateGrantInput) { in.Operations = nil }, "ValidationException"},
		"empty operations":    {func(in *kms.CreateGrantInput) { in.Operations = []types.GrantOperation{} }, "ValidationException"},
		"unknown operation":   {func(in *kms.CreateGrantInput) { in.Operations = []types.GrantOperation{"Destroy"} }, "ValidationException"},
		"operation of other keys": {func(in *kms.CreateGrantInput) { in.Operations = []types.GrantOperation{types.GrantOperationSign} },
			"ValidationException"},
		"nine pairs": {func(in *kms.CreateGrantInput) { in.Constraints.EncryptionContextSubset = many }, "ValidationException"},
		"long value": {func(in *kms.CreateGrantInput) {
			in.Constraints.EncryptionContextSubset["a"] = strings.Repeat("ü", 385)
		}, "ValidationException"},
		"source ARN":  {func(in *kms.CreateGrantInput) { in.Constraints.SourceArn = aws.String("arn:x") }, "UnsupportedOperationException"},
		"name":        {func(in *kms.CreateGrantInput) { in.Name = aws.String("two words") }, "ValidationException"},
		"service":     {func(in *kms.CreateGrantInput) { in.GranteeServicePrincipal = aws.String("ebs") }, "UnsupportedOperationException"},
		"dry run":     {func(in *kms.CreateGrantInput) { in.DryRun = aws.Bool(true) }, "DryRunOperationException"},
		"unknown key": {func(in *kms.CreateGrantInput) { in.KeyId = aws.String("alias/x") }, "NotFoundException"},
	} {
		t.Run(name, func(t *testing.T) {
			in := &kms.CreateGrantInput{KeyId: &id, GranteePrincipal: aws.String(userARN), Operations: []types.GrantOperation{types.GrantOperationDecrypt},
				Constraints: &types.GrantConstraints{EncryptionContextSubset: map[string]string{"a": "b"}}}
			c.change(in)
			_, err := f.CreateGrant(f.ctx(), in)
			wantError(t, err, c.kind, "*")
		})
	}
	out, err := f.ListGrants(f.ctx(), &kms.ListGrantsInput{KeyId: &id})
	if err != nil || len(out.Grants) != 0 {
		t.Errorf("refused grants were stored: %v, %v", out.Grants, err)
	}
}

func TestGrantsAreListedInPages(t *testing.T) {
	f := newService(t)
	id := f.key()
	want := map[string]bool{}
	for range 5 {
		want[*f.grant(id, nil, types.GrantOperationDecrypt).GrantId] = true
	}
	other := f.key()
	foreign := f.grant(other, nil, types.GrantOperationEncrypt)
	var marker *string
	for pages := 1; ; pages++ {
		out, err := f.ListGrants(f.ctx(), &kms.ListGrantsInput{KeyId: &id, Limit: aws.Int32(2), Marker: marker})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range out.Grants {
			if !want[*g.GrantId] || *g.KeyId != f.arn(id) || *g.IssuingAccount != "arn:aws:iam::111122223333:root" || *g.Name != "" {
				t.Errorf("entry %+v", g)
			}
			delete(want, *g.GrantId)
		}
		if marker = out.NextMarker; marker == nil {
			if pages != 3 || out.Truncated {
				t.Errorf("%d pages", pages)
			}
			break
		}
		_, err = f.ListGrants(f.ctx(), &kms.ListGrantsInput{KeyId: &other, Marker: marker})
		wantError(t, err, "InvalidMarkerException", "*")
	}
	if len(want) != 0 {
		t.Errorf("not listed: %v", want)
	}
	retirable, err := f.ListRetirableGrants(as(f.ctx(), retirerARN), &kms.ListRetirableGrantsInput{RetiringPrincipal: aws.String(retirerARN)})
	if err != nil || len(retirable.Grants) != 6 {
		t.Errorf("retirable: %v, %v", retirable, err)
	}
	one, err := f.ListGrants(f.ctx(), &kms.ListGrantsInput{KeyId: &other, GrantId: foreign.GrantId, GranteePrincipal: aws.String(userARN)})
	if err != nil || len(one.Grants) != 1 {
		t.Errorf("one grant: %v, %v", one, err)
	}
}
