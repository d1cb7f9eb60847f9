package keysvc

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func isKind(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}

func TestAnAdministratorMayDoWhatItsAccountsRootMay(t *testing.T) {
	f := newService(t)
	user := Caller{ARN: "arn:aws:iam::" + testAccount + ":user/ann", Account: testAccount}
	admin := user
	admin.Administrator = true
	foreign := Caller{ARN: "arn:aws:iam::999988887777:user/ann", Account: "999988887777", Administrator: true}

	if _, err := f.CreateKey(WithCaller(f.ctx(), user), &kms.CreateKeyInput{}); !isKind(err, KindAccessDenied) {
		t.Errorf("a user makes a key: %v", err)
	}
	if _, err := f.CreateKey(WithCaller(f.ctx(), foreign), &kms.CreateKeyInput{}); !isKind(err, KindAccessDenied) {
		t.Errorf("another account's administrator makes a key: %v", err)
	}
	made, err := f.CreateKey(WithCaller(f.ctx(), admin), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	grant, err := f.CreateGrant(WithCaller(f.ctx(), admin), &kms.CreateGrantInput{
		KeyId: made.KeyMetadata.KeyId, GranteePrincipal: aws.String(user.ARN), Operations: []types.GrantOperation{types.GrantOperationDecrypt}})
	if err != nil {
		t.Fatal(err)
	}
	retire := &kms.RetireGrantInput{KeyId: made.KeyMetadata.Arn, GrantId: grant.GrantId}
	for _, c := range []Caller{user, foreign} {
		if _, err := f.RetireGrant(WithCaller(f.ctx(), c), retire); !isKind(err, KindAccessDenied) {
			t.Errorf("%s retires: %v", c.ARN, err)
		}
	}
	if _, err := f.RetireGrant(WithCaller(f.ctx(), admin), retire); err != nil {
		t.Errorf("the issuing account's administrator retires: %v", err)
	}
	if got := admin.identity().Type; got != "IAMUser" {
		t.Errorf("recorded as %s", got)
	}
}

func TestReadyAsksStoreAndTokenAndLeavesNoRecord(t *testing.T) {
	f := newService(t)
	if err := f.Ready(f.ctx()); err != nil {
		t.Fatal(err)
	}
	if n := len(f.records()); n != 0 {
		t.Errorf("%d records", n)
	}
}
