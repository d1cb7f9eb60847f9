package keysvc

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func TestNoKeyIsForEncapsulation(t *testing.T) {
	f := newService(t)
	_, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{KeySpec: types.KeySpecMlKem768, KeyUsage: types.KeyUsageTypeEncapsulateDecapsulate})
	wantError(t, err, "UnsupportedOperationException", "KeySpec ML_KEM_768 is not supported.")
	id := f.keyOf(types.KeySpecEccNistP256, types.KeyUsageTypeKeyAgreement)
	f.must(nil, f.alias("alias/pair", id))
	encapsulate := func(in kms.EncapsulateInput) error { _, err := f.Encapsulate(f.ctx(), &in); return err }
	decapsulate := func(in kms.DecapsulateInput) error { _, err := f.Decapsulate(f.ctx(), &in); return err }
	alias, mlKEM, blob := aws.String("alias/pair"), types.EncapsulationAlgorithmSpecMlKem, make([]byte, 1088)
	wantError(t, encapsulate(kms.EncapsulateInput{KeyId: alias, EncapsulationAlgorithm: mlKEM, DryRun: aws.Bool(true)}),
		"InvalidKeyUsageException", f.arn(id)+" key usage is KEY_AGREEMENT which is not valid for Encapsulate.")
	if r := f.last(); r.EventName != "Encapsulate" || !r.ReadOnly || r.RequestParameters["encapsulationAlgorithm"] != "ML_KEM" || r.RequestParameters["dryRun"] != true || len(r.Resources) != 1 {
		t.Errorf("%s", r.Line)
	}
	wantError(t, decapsulate(kms.DecapsulateInput{KeyId: alias, EncapsulationAlgorithm: mlKEM, SharedSecretCiphertextBlob: blob}),
		"InvalidKeyUsageException", f.arn(id)+" key usage is KEY_AGREEMENT which is not valid for Decapsulate.")
	wantError(t, decapsulate(kms.DecapsulateInput{KeyId: alias, EncapsulationAlgorithm: mlKEM}), "ValidationException",
		"1 validation error detected: Value null at 'sharedSecretCiphertextBlob' failed to satisfy constraint: Member must not be null")
	wantError(t, encapsulate(kms.EncapsulateInput{KeyId: alias, EncapsulationAlgorithm: "RSA"}), "ValidationException",
		"1 validation error detected: Value 'RSA' at 'encapsulationAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [ML_KEM]")
	wantError(t, encapsulate(kms.EncapsulateInput{KeyId: aws.String("alias/none"), EncapsulationAlgorithm: mlKEM}), "NotFoundException", "*")
	nobody := WithCaller(f.ctx(), Caller{ARN: userARN, Account: testAccount})
	_, err = f.Encapsulate(nobody, &kms.EncapsulateInput{KeyId: &id, EncapsulationAlgorithm: mlKEM})
	wantError(t, err, "AccessDeniedException", "*")
}
