//lint:file-ignore SA1019 AWS still accepts the deprecated member.

package keysvc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

func TestKeyIdentifiersGetAWSMessages(t *testing.T) {
	f := newService(t)
	id := f.key()
	const unknown = "00000000-1111-2222-3333-444444444444"
	other := strings.Replace(f.arn(id), testRegion, "us-west-2", 1)
	foreign := strings.Replace(f.arn(id), testAccount, "999999999999", 1)
	for _, c := range []struct{ keyID, name, message string }{
		{unknown, "NotFoundException", "Key '" + f.arn(unknown) + "' does not exist"},
		{f.arn(unknown), "NotFoundException", "Key '" + f.arn(unknown) + "' does not exist"},
		{"mrk-" + strings.Repeat("0", 32), "NotFoundException", "Key '" + f.arn("mrk-"+strings.Repeat("0", 32)) + "' does not exist"},
		{"fake-key-id", "NotFoundException", "Invalid keyId 'fake-key-id'"},
		{strings.ReplaceAll(unknown, "-", ""), "NotFoundException", "Invalid keyId '" + strings.ReplaceAll(unknown, "-", "") + "'"},
		{other, "NotFoundException", "Invalid arn us-west-2"},
		{foreign, "NotFoundException", "Key '" + foreign + "' does not exist"},
		{"alias/x", "NotFoundException", "Alias arn:aws:kms:eu-central-1:111122223333:alias/x is not found."},
		{"arn:aws:kms:eu-central-1:111122223333:alias/x", "NotFoundException", "Alias arn:aws:kms:eu-central-1:111122223333:alias/x is not found."},
		{"arn:aws:s3:::bucket", "InvalidArnException", "Invalid arn arn:aws:s3:::bucket"},
		{"arn:aws:kms:eu-central-1:111122223333:thing/x", "InvalidArnException", "Invalid arn arn:aws:kms:eu-central-1:111122223333:thing/x"},
		{"", "ValidationException", "1 validation error detected: Value '' at 'keyId' failed to satisfy constraint: Member must have length greater than or equal to 1"},
	} {
		_, err := f.DescribeKey(f.ctx(), &kms.DescribeKeyInput{KeyId: &c.keyID})
		wantError(t, err, c.name, c.message)
	}
	_, err := f.DisableKey(f.ctx(), &kms.DisableKeyInput{KeyId: aws.String("alias/x")})
	wantError(t, err, "NotFoundException", "Invalid keyId 'alias/x'")
}

func TestInvalidInputGetsAWSMessages(t *testing.T) {
	f := newService(t)
	id := f.key()
	blob := f.encrypt(id, "x", nil)
	ctx := f.ctx()
	one := "1 validation error detected: "
	for name, c := range map[string]struct {
		call          func() error
		kind, message string
	}{
		"no key": {func() error { _, err := f.DescribeKey(ctx, nil); return err },
			"ValidationException", one + "Value null at 'keyId' failed to satisfy constraint: Member must not be null"},
		"two mistakes": {func() error { _, err := f.Encrypt(ctx, &kms.EncryptInput{}); return err },
			"ValidationException", "2 validation errors detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null; Value null at 'plaintext' failed to satisfy constraint: Member must not be null"},
		"long key id": {func() error {
			_, err := f.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(strings.Repeat("x", 2049))})
			return err
		}, "ValidationException", one + "Value '" + strings.Repeat("x", 2049) + "' at 'keyId' failed to satisfy constraint: Member must have length less than or equal to 2048"},
		"long plaintext": {func() error {
			_, err := f.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: make([]byte, 4097)})
			return err
		}, "ValidationException", one + "Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096"},
		"empty plaintext": {func() error { _, err := f.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte{}}); return err },
			"ValidationException", one + "Value at 'plaintext' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"long ciphertext": {func() error {
			_, err := f.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: make([]byte, 6145)})
			return err
		}, "ValidationException", one + "Value at 'ciphertextBlob' failed to satisfy constraint: Member must have length less than or equal to 6144"},
		"1025 random bytes": {func() error {
			_, err := f.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(1025)})
			return err
		}, "ValidationException", one + "Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have value less than or equal to 1024"},
		"0 random bytes": {func() error {
			_, err := f.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(0)})
			return err
		}, "ValidationException", one + "Value '0' at 'numberOfBytes' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		"random without size": {func() error { _, err := f.GenerateRandom(ctx, nil); return err },
			"ValidationException", "NumberOfBytes is required."},
		"data key without size": {func() error { _, err := f.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &id}); return err },
			"ValidationException", "Please specify either number of bytes or key spec."},
		"data key with both sizes": {func() error {
			_, err := f.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: "AES_256", NumberOfBytes: aws.Int32(32)})
			return err
		}, "ValidationException", "Please specify either number of bytes or key spec."},
		"unknown data key spec": {func() error {
			_, err := f.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: "AES_512"})
			return err
		}, "ValidationException", one + "Value 'AES_512' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set: [AES_256, AES_128]"},
		"eleven grant tokens": {func() error {
			_, err := f.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id, GrantTokens: make([]string, 11)})
			return err
		}, "ValidationException", "*"},
		"a grant token of nothing": {func() error {
			_, err := f.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id, GrantTokens: []string{"AAAA"}})
			return err
		}, "InvalidGrantTokenException", "*"},
		"algorithm of another spec": {func() error {
			_, err := f.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionAlgorithm: types.EncryptionAlgorithmSpecRsaesOaepSha1})
			return err
		}, "InvalidKeyUsageException", "Algorithm RSAES_OAEP_SHA_1 is incompatible with key spec SYMMETRIC_DEFAULT."},
		"garbage ciphertext": {func() error {
			_, err := f.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: []byte("garbage")})
			return err
		}, "InvalidCiphertextException", ""},
		"deletion in 6 days": {func() error {
			_, err := f.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(6)})
			return err
		}, "ValidationException", one + "Value '6' at 'pendingWindowInDays' failed to satisfy constraint: Member must have value greater than or equal to 7"},
		"rotation every 89 days": {func() error {
			_, err := f.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &id, RotationPeriodInDays: aws.Int32(89)})
			return err
		}, "ValidationException", one + "Value '89' at 'rotationPeriodInDays' failed to satisfy constraint: Member must have value greater than or equal to 90"},
		"spec without usage": {func() error { _, err := f.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: "RSA_2048"}); return err },
			"ValidationException", "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."},
		"usage of another spec": {func() error { _, err := f.CreateKey(ctx, &kms.CreateKeyInput{KeyUsage: "SIGN_VERIFY"}); return err },
			"ValidationException", "KeyUsage SIGN_VERIFY is not compatible with KeySpec SYMMETRIC_DEFAULT"},
		"both spec members": {func() error {
			_, err := f.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: "SYMMETRIC_DEFAULT", CustomerMasterKeySpec: "SYMMETRIC_DEFAULT"})
			return err
		}, "ValidationException", "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated."},
		"policy without statements": {func() error { _, err := f.CreateKey(ctx, &kms.CreateKeyInput{Policy: aws.String("{}")}); return err },
			"MalformedPolicyDocumentException", "Missing required field Statement"},
		"foreign marker": {func() error {
			_, err := f.ListKeys(ctx, &kms.ListKeysInput{Marker: aws.String(newMarker("ListAliases", "", "x"))})
			return err
		}, "InvalidMarkerException", "*"},
		"too many per page": {func() error { _, err := f.ListAliases(ctx, &kms.ListAliasesInput{Limit: aws.Int32(101)}); return err },
			"ValidationException", one + "Value '101' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 100"},
		"tag key too long": {func() error {
			_, err := f.TagResource(ctx, &kms.TagResourceInput{KeyId: &id, Tags: []types.Tag{
				{TagKey: aws.String("a"), TagValue: aws.String("")}, {TagKey: aws.String(strings.Repeat("k", 129)), TagValue: aws.String("")}}})
			return err
		}, "ValidationException", one + "Value '" + strings.Repeat("k", 129) + "' at 'tags.2.member.tagKey' failed to satisfy constraint: Member must have length less than or equal to 128"},
		"reserved tag": {func() error {
			_, err := f.TagResource(ctx, &kms.TagResourceInput{KeyId: &id, Tags: []types.Tag{{TagKey: aws.String("AWS:x"), TagValue: aws.String("")}}})
			return err
		}, "TagException", "Tags beginning with aws: are reserved"},
		"tag twice": {func() error {
			_, err := f.TagResource(ctx, &kms.TagResourceInput{KeyId: &id, Tags: []types.Tag{
				{TagKey: aws.String("a"), TagValue: aws.String("")}, {TagKey: aws.String("a"), TagValue: aws.String("")}}})
			return err
		}, "TagException", "Duplicate tag keys"},
	} {
		t.Run(name, func(t *testing.T) {
			f.t = t
			wantError(t, c.call(), c.kind, c.message)
		})
	}
}

func TestAliasNamesGetAWSMessages(t *testing.T) {
	f := newService(t)
	id := f.key()
	create := func(name string) error {
		_, err := f.CreateAlias(f.ctx(), &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &id})
		return err
	}
	if err := create("alias/taken"); err != nil {
		t.Fatal(err)
	}
	const prefix = `Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`
	for _, c := range []struct{ alias, name, message string }{
		{"x", "ValidationException", prefix},
		{"alias/", "ValidationException", prefix},
		{"alias/aws/x", "NotAuthorizedException", ""},
		{"alias/my:alias", "ValidationException", "alias/my:alias contains invalid characters for an alias"},
		{"alias/ä", "ValidationException", "1 validation error detected: Value 'alias/ä' at 'aliasName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"},
		{"alias/taken", "AlreadyExistsException", "An alias with the name arn:aws:kms:eu-central-1:111122223333:alias/taken already exists"},
	} {
		wantError(t, create(c.alias), c.name, c.message)
	}
	_, err := f.CreateAlias(f.ctx(), &kms.CreateAliasInput{AliasName: aws.String("alias/x"), TargetKeyId: aws.String("alias/taken")})
	wantError(t, err, "ValidationException", "Aliases must refer to keys. Not aliases")
	_, err = f.DeleteAlias(f.ctx(), &kms.DeleteAliasInput{AliasName: aws.String("alias/none")})
	wantError(t, err, "NotFoundException", "Alias arn:aws:kms:eu-central-1:111122223333:alias/none is not found.")
}

func TestEveryErrorIsAnSDKError(t *testing.T) {
	for kind := range errorTable {
		for _, message := range []string{"", "text"} {
			e := error(&Error{Op: "Op", Kind: Kind(kind), Message: message, Err: context.Canceled})
			var api smithy.APIError
			if !errors.As(fmt.Errorf("wrapped: %w", e), &api) || api.ErrorCode() != Kind(kind).String() || api.ErrorMessage() != message {
				t.Errorf("%v: %v", Kind(kind), api)
			}
			typed := e.(*Error).sdk()
			if typed.ErrorCode() != Kind(kind).String() || typed.ErrorMessage() != message {
				t.Errorf("%v as the SDK's %T: %s %q", Kind(kind), typed, typed.ErrorCode(), typed.ErrorMessage())
			}
			if !errors.Is(e, context.Canceled) {
				t.Errorf("%v hides its cause", Kind(kind))
			}
		}
	}
}
