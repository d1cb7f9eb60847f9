package keysvc

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func TestWhatExceedsAQuotaIsRefusedAndLeavesNothing(t *testing.T) {
	f := newService(t)
	f.config.Quotas = Quotas{Keys: 2, AliasesPerKey: 1, GrantsPerKey: 2}
	id := f.key()
	f.key()
	_, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{})
	wantError(t, err, "LimitExceededException", "The account "+testAccount+" has 2 KMS keys in "+testRegion+", which is the limit")
	list, err := f.ListKeys(f.ctx(), &kms.ListKeysInput{})
	if f.must(list, err); len(list.Keys) != 2 {
		t.Errorf("%d keys", len(list.Keys))
	}
	f.must(nil, f.alias("alias/one", id))
	wantError(t, f.alias("alias/two", id), "LimitExceededException", "*")
	grant := func(i int) error {
		_, err := f.CreateGrant(f.ctx(), &kms.CreateGrantInput{KeyId: &id, Operations: []types.GrantOperation{"Decrypt"},
			GranteePrincipal: aws.String(fmt.Sprintf("arn:aws:iam::%s:user/u%d", testAccount, i))})
		return err
	}
	f.must(nil, grant(1))
	f.must(nil, grant(2))
	wantError(t, grant(3), "LimitExceededException", "*")
}

func TestQuotasHaveAWSDefaultsAndBounds(t *testing.T) {
	if got := (Quotas{}).orAWS(); got != (Quotas{100000, 50, 50000}) {
		t.Errorf("%+v", got)
	}
	for _, q := range []Quotas{{Keys: -1}, {AliasesPerKey: -1}, {GrantsPerKey: -1}, {GrantsPerKey: 50001}} {
		if q.Check() == nil {
			t.Errorf("%+v is accepted", q)
		}
	}
}
