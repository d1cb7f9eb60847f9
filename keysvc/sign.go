package keysvc

import (
	"context"
	"crypto"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/publickey"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// Sign signs a message of up to 4096 bytes, or a digest of any message, with a
// private key that never leaves the token.
func (s *Service) Sign(ctx context.Context, in *kms.SignInput, _ ...func(*kms.Options)) (*kms.SignOutput, error) {
	return serve(s, ctx, opSign, in, (*call).sign)
}

func (c *call) sign(in *kms.SignInput) (*kms.SignOutput, error) {
	w := signWork{in.KeyId, in.Message, in.MessageType, in.SigningAlgorithm, in.GrantTokens, in.DryRun}
	k, algorithm, input, err := c.toBeSigned(w)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	current, err := k.material()
	if err != nil {
		return nil, err
	}
	signed, err := c.s.config.Token.Sign(c.ctx, hsm.KeyID(current.Backing), algorithm.scheme, algorithm.hash, input)
	if err != nil {
		return nil, c.fromTokenFor(err, "SigningAlgorithm", string(in.SigningAlgorithm))
	}
	return &kms.SignOutput{KeyId: aws.String(k.arn), Signature: signed, SigningAlgorithm: in.SigningAlgorithm}, nil
}

// Verify checks a signature. A signature that doesn't fit is an error, never an
// answer.
func (s *Service) Verify(ctx context.Context, in *kms.VerifyInput, _ ...func(*kms.Options)) (*kms.VerifyOutput, error) {
	return serve(s, ctx, opVerify, in, (*call).verify)
}

func (c *call) verify(in *kms.VerifyInput) (*kms.VerifyOutput, error) {
	w := signWork{in.KeyId, in.Message, in.MessageType, in.SigningAlgorithm, in.GrantTokens, in.DryRun}
	k, algorithm, input, err := c.toBeSigned(w)
	if err != nil {
		return nil, err
	}
	public, err := c.publicKey(k)
	if err != nil {
		return nil, err
	}
	if !public.Verify(algorithm.scheme, algorithm.hash, input, in.Signature) {
		return nil, &Error{Kind: KindInvalidSignature}
	}
	return &kms.VerifyOutput{KeyId: aws.String(k.arn), SignatureValid: true, SigningAlgorithm: in.SigningAlgorithm}, dryRun(in.DryRun)
}

// signWork is what the inputs of Sign and Verify have in common.
type signWork struct {
	keyID       *string
	message     []byte
	messageType types.MessageType
	algorithm   types.SigningAlgorithmSpec
	grantTokens []string
	dryRun      *bool
}

// toBeSigned admits the call and returns what the token is to sign, or to have
// signed.
func (c *call) toBeSigned(w signWork) (*keySnapshot, signature, []byte, error) {
	if w.messageType == "" {
		w.messageType = types.MessageTypeRaw
	}
	c.text("keyId", w.keyID)
	word(c, "messageType", w.messageType)
	word(c, "signingAlgorithm", w.algorithm)
	c.dry(w.dryRun)
	k, err := c.use(*w.keyID, access{grantTokens: w.grantTokens})
	if err != nil {
		return nil, signature{}, nil, err
	}
	if err := checkUse(k, types.KeyUsageTypeSignVerify, w.algorithm, signingAlgorithms(&k.Key), c.op.name); err != nil {
		return nil, signature{}, nil, err
	}
	algorithm := signatures[w.algorithm]
	input, err := digestOf(w, algorithm)
	return k, algorithm, input, err
}

// digestOf returns what a signing algorithm works on: the message's digest, or
// for Ed25519 the message.
func digestOf(w signWork, algorithm signature) ([]byte, error) {
	wanted := w.messageType
	switch algorithm.scheme {
	case hsm.EdDSA:
		wanted = types.MessageTypeRaw
	case hsm.EdDSAph:
		wanted = types.MessageTypeDigest
	}
	switch {
	case w.messageType != wanted, w.messageType == types.MessageTypeExternalMu:
		return nil, refuse(KindValidation, "MessageType %s is not valid for algorithm %s.", w.messageType, w.algorithm)
	case w.messageType == types.MessageTypeRaw && algorithm.hash != 0:
		return hashed(algorithm.hash, w.message), nil
	case w.messageType == types.MessageTypeDigest && len(w.message) != algorithm.hash.Size():
		return nil, refuse(KindValidation, "Digest is invalid length for algorithm %s.", w.algorithm)
	}
	return w.message, nil
}

func hashed(h crypto.Hash, message []byte) []byte {
	digest := h.New()
	digest.Write(message)
	return digest.Sum(nil)
}

// publicKey reads the public half of a key pair from the token.
func (c *call) publicKey(k *keySnapshot) (*publickey.Key, error) {
	current, err := k.material()
	if err != nil {
		return nil, err
	}
	der, err := c.s.config.Token.PublicKey(c.ctx, hsm.KeyID(current.Backing))
	if err != nil {
		return nil, fromToken(err)
	}
	public, err := publickey.Parse(der)
	if err != nil {
		return nil, internal(err)
	}
	return public, nil
}

// GetPublicKey returns the public half of a key pair, for use without the service.
func (s *Service) GetPublicKey(ctx context.Context, in *kms.GetPublicKeyInput, _ ...func(*kms.Options)) (*kms.GetPublicKeyOutput, error) {
	return serve(s, ctx, opGetPublicKey, in, (*call).getPublicKey)
}

func (c *call) getPublicKey(in *kms.GetPublicKeyInput) (*kms.GetPublicKeyOutput, error) {
	c.text("keyId", in.KeyId)
	k, err := c.use(*in.KeyId, access{grantTokens: in.GrantTokens})
	if err != nil {
		return nil, err
	}
	if !hasPublicKey(&k.Key) {
		return nil, &Error{Kind: KindUnsupported}
	}
	current, err := k.material()
	if err != nil {
		return nil, err
	}
	der, err := c.s.config.Token.PublicKey(c.ctx, hsm.KeyID(current.Backing))
	if err != nil {
		return nil, fromToken(err)
	}
	out := &kms.GetPublicKeyOutput{
		KeyId: aws.String(k.arn), PublicKey: der, KeySpec: k.Spec, KeyUsage: k.Usage,
		EncryptionAlgorithms: encryptionAlgorithms(&k.Key), SigningAlgorithms: signingAlgorithms(&k.Key),
		KeyAgreementAlgorithms: agreementAlgorithms(&k.Key),
	}
	//lint:ignore SA1019 AWS still answers with the deprecated member.
	out.CustomerMasterKeySpec = types.CustomerMasterKeySpec(k.Spec)
	return out, nil
}
