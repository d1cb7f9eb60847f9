package keysvc

import (
	"context"
	"errors"
	"slices"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

const symmetricDefault = types.EncryptionAlgorithmSpecSymmetricDefault

// Encrypt encrypts up to 4096 bytes under a key.
func (s *Service) Encrypt(ctx context.Context, in *kms.EncryptInput, _ ...func(*kms.Options)) (*kms.EncryptOutput, error) {
	return serve(s, ctx, opEncrypt, in, (*call).encrypt)
}

func (c *call) encrypt(in *kms.EncryptInput) (*kms.EncryptOutput, error) {
	c.text("keyId", in.KeyId)
	c.context("encryptionContext", in.EncryptionContext)
	c.algorithm("encryptionAlgorithm", in.EncryptionAlgorithm)
	c.dry(in.DryRun)
	k, err := c.use(*in.KeyId, access{context: in.EncryptionContext, grantTokens: in.GrantTokens})
	if err != nil {
		return nil, err
	}
	x, err := c.checkCipher(k, in.EncryptionAlgorithm, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	if err := c.checkSize(x, len(in.Plaintext)); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	out, _, err := c.seals(x, in.Plaintext)
	if err != nil {
		return nil, err
	}
	return &kms.EncryptOutput{CiphertextBlob: out, KeyId: aws.String(k.arn), EncryptionAlgorithm: x.algorithm}, nil
}

// Decrypt decrypts what Encrypt, GenerateDataKey or ReEncrypt made. The caller
// wipes the plaintext after use.
func (s *Service) Decrypt(ctx context.Context, in *kms.DecryptInput, _ ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	return serve(s, ctx, opDecrypt, in, (*call).decrypt)
}

func (c *call) decrypt(in *kms.DecryptInput) (*kms.DecryptOutput, error) {
	c.text("keyId", in.KeyId)
	c.context("encryptionContext", in.EncryptionContext)
	c.algorithm("encryptionAlgorithm", in.EncryptionAlgorithm)
	c.dry(in.DryRun)
	if in.Recipient != nil {
		return nil, noRecipient()
	}
	unread := ignoresCiphertext(in.DryRun, in.DryRunModifiers)
	if err := required("ciphertextBlob", unread || in.CiphertextBlob != nil); err != nil {
		return nil, err
	}
	a := access{context: in.EncryptionContext, grantTokens: in.GrantTokens}
	k, ct, err := c.source(in.KeyId, in.CiphertextBlob, unread, a)
	if err != nil {
		return nil, errors.Join(namesNoKey("keyId", in.KeyId, in.EncryptionAlgorithm), err)
	}
	x, err := c.checkCipher(k, in.EncryptionAlgorithm, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	if err := unreadDryRun(unread); err != nil {
		return nil, err
	}
	plaintext, material, err := c.opens(x, ct)
	if err != nil {
		return nil, err
	}
	c.secret(plaintext)
	return &kms.DecryptOutput{
		Plaintext: plaintext, KeyId: aws.String(k.arn), EncryptionAlgorithm: x.algorithm, KeyMaterialId: material,
	}, dryRun(in.DryRun)
}

// ReEncrypt decrypts a ciphertext and encrypts it under another key or another
// encryption context; the plaintext doesn't leave the service.
func (s *Service) ReEncrypt(ctx context.Context, in *kms.ReEncryptInput, _ ...func(*kms.Options)) (*kms.ReEncryptOutput, error) {
	return serve(s, ctx, opReEncrypt, in, (*call).reEncrypt)
}

func (c *call) reEncrypt(in *kms.ReEncryptInput) (*kms.ReEncryptOutput, error) {
	if err := c.checkReEncrypt(in); err != nil {
		return nil, err
	}
	unread := ignoresCiphertext(in.DryRun, in.DryRunModifiers)
	from, ct, err := c.source(in.SourceKeyId, in.CiphertextBlob, unread, access{
		action: string(types.GrantOperationReEncryptFrom), context: in.SourceEncryptionContext, grantTokens: in.GrantTokens})
	if err != nil {
		return nil, errors.Join(namesNoKey("sourceKeyId", in.SourceKeyId, in.SourceEncryptionAlgorithm), err)
	}
	to, err := c.use(*in.DestinationKeyId, access{
		action: string(types.GrantOperationReEncryptTo), context: in.DestinationEncryptionContext, grantTokens: in.GrantTokens})
	if err != nil {
		return nil, err
	}
	source, err := c.checkCipher(from, in.SourceEncryptionAlgorithm, in.SourceEncryptionContext)
	if err != nil {
		return nil, err
	}
	destination, err := c.checkCipher(to, in.DestinationEncryptionAlgorithm, in.DestinationEncryptionContext)
	if err != nil {
		return nil, err
	}
	if err := unreadDryRun(unread); err != nil {
		return nil, err
	}
	return c.moved(source, destination, ct, in.DryRun)
}

// moved decrypts under one key and encrypts under another.
func (c *call) moved(from, to cipher, ct ciphertext, dry *bool) (*kms.ReEncryptOutput, error) {
	plaintext, sourceMaterial, err := c.opens(from, ct)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	if err := c.checkSize(to, len(plaintext)); err != nil {
		return nil, err
	}
	if err := dryRun(dry); err != nil {
		return nil, err
	}
	out, material, err := c.seals(to, plaintext)
	if err != nil {
		return nil, err
	}
	return &kms.ReEncryptOutput{
		CiphertextBlob: out, SourceKeyId: aws.String(from.key.arn), KeyId: aws.String(to.key.arn),
		SourceEncryptionAlgorithm: from.algorithm, DestinationEncryptionAlgorithm: to.algorithm,
		SourceKeyMaterialId: sourceMaterial, DestinationKeyMaterialId: material,
	}, nil
}

func (c *call) checkReEncrypt(in *kms.ReEncryptInput) error {
	c.text("sourceKeyId", in.SourceKeyId)
	c.text("destinationKeyId", in.DestinationKeyId)
	c.context("sourceEncryptionContext", in.SourceEncryptionContext)
	c.context("destinationEncryptionContext", in.DestinationEncryptionContext)
	c.algorithm("sourceEncryptionAlgorithm", in.SourceEncryptionAlgorithm)
	c.algorithm("destinationEncryptionAlgorithm", in.DestinationEncryptionAlgorithm)
	c.dry(in.DryRun)
	return required("ciphertextBlob", in.CiphertextBlob != nil || ignoresCiphertext(in.DryRun, in.DryRunModifiers))
}

// source resolves the key that a ciphertext was made under, by the KeyId member
// if there is one, and admits the call.
func (c *call) source(keyID *string, blob []byte, unread bool, a access) (*keySnapshot, ciphertext, error) {
	ct, malformed := parseCiphertext(blob)
	if unread && keyID == nil {
		return nil, ct, required("keyId", false)
	}
	if keyID == nil {
		if malformed != nil {
			return nil, ct, malformed
		}
		k, err := c.ownerOf(ct, a)
		return k, ct, err
	}
	k, err := c.use(*keyID, a)
	if err != nil || unread {
		return k, ct, err
	}
	if isRSA(k) {
		return k, ciphertext{wrapped: blob}, nil
	}
	if malformed != nil {
		return nil, ct, malformed
	}
	return k, ct, c.checkOwner(k, ct)
}

// ownerOf finds and admits the key that a ciphertext names. Whether the key is
// unknown or forbidden, the answer is the same.
func (c *call) ownerOf(ct ciphertext, a access) (*keySnapshot, error) {
	const unusable = "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access."
	k, err := c.s.lookupMaterial(c.ctx, c.scope, ct.backing)
	if errors.Is(err, store.ErrNotFound) {
		return nil, refuse(KindAccessDenied, unusable)
	}
	if err != nil {
		return nil, err
	}
	err = c.admit(k, a)
	var e *Error
	if errors.As(err, &e) && e.Kind == KindAccessDenied {
		return nil, refuse(KindAccessDenied, unusable)
	}
	return k, err
}

// checkOwner refuses a ciphertext that wasn't made under the key.
func (c *call) checkOwner(k *keySnapshot, ct ciphertext) error {
	if k.owns(ct.backing) {
		return nil
	}
	if _, err := c.s.lookupMaterial(c.ctx, c.scope, ct.backing); errors.Is(err, store.ErrNotFound) {
		return &Error{Kind: KindInvalidCiphertext}
	}
	return refuse(KindIncorrectKey, "The key ID in the request does not identify a CMK that can perform this operation.")
}

// namesNoKey says why the key of an RSA ciphertext wasn't found if none was given.
func namesNoKey(member string, keyID *string, algorithm types.EncryptionAlgorithmSpec) error {
	return required(member, keyID != nil || oaepHashes[algorithm] == 0)
}

// algorithm records an encryption algorithm; absent means SYMMETRIC_DEFAULT.
func (c *call) algorithm(name string, value types.EncryptionAlgorithmSpec) {
	word(c, name, types.EncryptionAlgorithmSpec(fallback(string(value), string(symmetricDefault))))
}

func ignoresCiphertext(dryRun *bool, modifiers []types.DryRunModifierType) bool {
	return isSet(dryRun) && slices.Contains(modifiers, types.DryRunModifierTypeIgnoreCiphertext)
}

// unreadDryRun ends a dry run that doesn't look at the ciphertext.
func unreadDryRun(unread bool) error { return dryRun(&unread) }
