package api

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/keysvc/api/principals"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

func must[T any](t *testing.T, out T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func ok[T any](t *testing.T) func(out T, err error) T {
	return func(out T, err error) T { t.Helper(); return must(t, out, err) }
}

// newKey makes a key through the client.
func newKey(t *testing.T, c *kms.Client) *types.KeyMetadata {
	t.Helper()
	out, err := c.CreateKey(t.Context(), &kms.CreateKeyInput{Description: aws.String("über den Draht"),
		Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("b")}}})
	return must(t, out, err).KeyMetadata
}

func TestTheSDKTakesAKeyThroughItsWholeLife(t *testing.T) {
	ctx := t.Context()
	e := serve(t)
	c := e.client(e.admin, testRegion)
	key := newKey(t, c)
	if !strings.HasPrefix(*key.Arn, "arn:aws:kms:"+testRegion+":"+testAccount+":key/") || !key.Enabled || *key.Description != "über den Draht" || key.CreationDate.IsZero() {
		t.Fatalf("%+v", key)
	}
	secret, pairs := []byte("attack at dawn"), map[string]string{"tenant": "ä", "b": ""}
	sealed := ok[*kms.EncryptOutput](t)(c.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyId, Plaintext: secret, EncryptionContext: pairs}))
	opened := ok[*kms.DecryptOutput](t)(c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: pairs}))
	if !bytes.Equal(opened.Plaintext, secret) || *opened.KeyId != *key.Arn {
		t.Fatalf("%+v", opened)
	}
	dataKey := ok[*kms.GenerateDataKeyOutput](t)(c.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: key.Arn, KeySpec: types.DataKeySpecAes256}))
	if len(dataKey.Plaintext) != 32 || bytes.Equal(dataKey.Plaintext, make([]byte, 32)) {
		t.Fatal("no data key")
	}
	ok[*kms.RotateKeyOnDemandOutput](t)(c.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: key.KeyId}))
	opened = ok[*kms.DecryptOutput](t)(c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: dataKey.CiphertextBlob}))
	if !bytes.Equal(opened.Plaintext, dataKey.Plaintext) {
		t.Fatal("the data key is another one after rotation")
	}
	other := newKey(t, c)
	moved := ok[*kms.ReEncryptOutput](t)(c.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: sealed.CiphertextBlob, SourceEncryptionContext: pairs, DestinationKeyId: other.KeyId}))
	if *moved.KeyId != *other.Arn || *moved.SourceKeyId != *key.Arn {
		t.Fatalf("%+v", moved)
	}
	tags := ok[*kms.ListResourceTagsOutput](t)(c.ListResourceTags(ctx, &kms.ListResourceTagsInput{KeyId: key.KeyId}))
	if len(tags.Tags) != 1 || *tags.Tags[0].TagValue != "b" || tags.Truncated {
		t.Fatalf("%+v", tags)
	}
	ok[*kms.DisableKeyOutput](t)(c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: key.KeyId}))
	_, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: pairs})
	var disabled *types.DisabledException
	if !errors.As(err, &disabled) || disabled.ErrorMessage() != *key.Arn+" is disabled." {
		t.Fatal(err)
	}
	gone := ok[*kms.ScheduleKeyDeletionOutput](t)(c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: key.KeyId, PendingWindowInDays: aws.Int32(7)}))
	if days := gone.DeletionDate.Sub(*key.CreationDate).Hours() / 24; days < 7 || days > 8 || gone.KeyState != types.KeyStatePendingDeletion {
		t.Fatalf("%+v", gone)
	}
	ok[*kms.CancelKeyDeletionOutput](t)(c.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: key.KeyId}))
}

func TestErrorsArriveAsTheSDKsTypes(t *testing.T) {
	ctx := t.Context()
	e := serve(t)
	c := e.client(e.admin, testRegion)
	key := newKey(t, c)
	alias := &kms.CreateAliasInput{AliasName: aws.String("alias/errors-" + *key.KeyId), TargetKeyId: key.KeyId}
	ok[*kms.CreateAliasOutput](t)(c.CreateAlias(ctx, alias))

	_, err := c.CreateAlias(ctx, alias)
	wantError[*types.AlreadyExistsException](t, err, "already exists")
	_, err = c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/none")})
	wantError[*types.NotFoundException](t, err, "alias/none is not found.")
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: []byte("nonsense")})
	wantError[*types.InvalidCiphertextException](t, err, "")
	_, err = c.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte{1}, DryRun: aws.Bool(true)})
	wantError[*types.DryRunOperationException](t, err, "would have succeeded")
	_, err = c.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: key.KeyId})
	wantError[*types.KMSInvalidStateException](t, err, "is not pending deletion.")
	_, err = c.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyId, Plaintext: make([]byte, 4097)})
	wantCode(t, err, "ValidationException", "'plaintext' failed to satisfy constraint")
}

func wantError[E smithy.APIError](t *testing.T, err error, text string) {
	t.Helper()
	var e E
	if !errors.As(err, &e) || !strings.Contains(e.ErrorMessage(), text) {
		t.Errorf("%v, want %T with %q", err, e, text)
	}
}

func wantCode(t *testing.T, err error, code, text string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), text) {
		t.Errorf("%v, want %s with %q", err, code, text)
	}
}

func TestAPrincipalMayDoWhatItsGrantsSayAndNoMore(t *testing.T) {
	ctx := t.Context()
	e := serve(t)
	admin, bob := e.client(e.admin, testRegion), e.principal("bob", false)
	c := e.client(bob, testRegion)
	key := newKey(t, admin)
	pairs := map[string]string{"volume": "v1"}
	request := &kms.GenerateDataKeyInput{KeyId: key.KeyId, NumberOfBytes: aws.Int32(16), EncryptionContext: pairs}

	_, err := c.GenerateDataKey(ctx, request)
	wantCode(t, err, "AccessDeniedException", "User: arn:aws:iam::"+testAccount+":user/bob is not authorized to perform: kms:GenerateDataKey")
	_, err = c.CreateKey(ctx, &kms.CreateKeyInput{})
	wantCode(t, err, "AccessDeniedException", "")

	grant := ok[*kms.CreateGrantOutput](t)(admin.CreateGrant(ctx, &kms.CreateGrantInput{
		KeyId: key.KeyId, GranteePrincipal: aws.String(bob.ARN(testAccount)),
		Operations:  []types.GrantOperation{types.GrantOperationGenerateDataKey, types.GrantOperationDecrypt},
		Constraints: &types.GrantConstraints{EncryptionContextSubset: pairs},
	}))
	made := ok[*kms.GenerateDataKeyOutput](t)(c.GenerateDataKey(ctx, request))
	ok[*kms.DecryptOutput](t)(c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: made.CiphertextBlob, EncryptionContext: pairs}))
	request.EncryptionContext = map[string]string{"volume": "v2"}
	_, err = c.GenerateDataKey(ctx, request)
	wantCode(t, err, "AccessDeniedException", "")

	ok[*kms.RetireGrantOutput](t)(admin.RetireGrant(ctx, &kms.RetireGrantInput{GrantToken: grant.GrantToken}))
	request.EncryptionContext = pairs
	_, err = c.GenerateDataKey(ctx, request)
	wantCode(t, err, "AccessDeniedException", "")
}

func TestEveryRegionHasKeysOfItsOwn(t *testing.T) {
	ctx := t.Context()
	e := serve(t)
	here, there := e.client(e.admin, testRegion), e.client(e.admin, "ap-northeast-1")
	key := newKey(t, there)
	if !strings.HasPrefix(*key.Arn, "arn:aws:kms:ap-northeast-1:") {
		t.Fatal(*key.Arn)
	}
	_, err := here.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: key.KeyId})
	wantError[*types.NotFoundException](t, err, "does not exist")
	_, err = here.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: key.Arn})
	wantError[*types.NotFoundException](t, err, "Invalid arn ap-northeast-1")
	sealed := ok[*kms.EncryptOutput](t)(there.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("x")}))
	if _, err := here.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob}); err == nil {
		t.Error("decrypted in another region")
	}
}

func TestPagesGoOnWhereTheLastOneEnded(t *testing.T) {
	e := serve(t)
	c := e.client(e.admin, "sa-east-1")
	missing := map[string]bool{}
	for range 5 {
		missing[*newKey(t, c).KeyId] = true
	}
	seen := map[string]bool{}
	for p := kms.NewListKeysPaginator(c, &kms.ListKeysInput{Limit: aws.Int32(2)}); p.HasMorePages(); {
		page := ok[*kms.ListKeysOutput](t)(p.NextPage(t.Context()))
		for _, k := range page.Keys {
			if seen[*k.KeyId] {
				t.Errorf("%s is on two pages", *k.KeyId)
			}
			seen[*k.KeyId] = true
			delete(missing, *k.KeyId)
		}
	}
	if len(missing) != 0 {
		t.Errorf("%v are on no page", missing)
	}
}

func TestWrongKeysAreRefusedAndDeletedOnesStopWorkingAtOnce(t *testing.T) {
	e := serve(t)
	list := func(p principals.Principal) error {
		_, err := e.client(p, testRegion).ListKeys(t.Context(), &kms.ListKeysInput{})
		return err
	}
	eve := e.principal("eve", true)
	if err := list(eve); err != nil {
		t.Fatal(err)
	}
	wrong := eve
	wrong.Secret += "x"
	wantCode(t, list(wrong), "InvalidSignatureException", "does not match the signature you provided")
	wrong = eve
	wrong.AccessKeyID = "AKIAAAAAAAAAAAAAAAAA"
	wantCode(t, list(wrong), "UnrecognizedClientException", "The security token included in the request is invalid.")
	if err := e.principals.Delete(t.Context(), "eve"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, list(eve), "UnrecognizedClientException", "")
}
