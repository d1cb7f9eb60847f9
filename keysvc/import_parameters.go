package keysvc

import (
	"context"
	"crypto"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// importWindow is how long an import token and its wrapping key are good for.
const importWindow = 24 * time.Hour

// wrappingAlgorithm is how key material is wrapped for import.
type wrappingAlgorithm struct {
	hash       crypto.Hash // of RSAES-OAEP
	aesKeyWrap bool        // with an AES key between
	purpose    hsm.Purpose // of the wrapping key
}

// wrappingAlgorithms are those that there are here. AWS has withdrawn
// RSAES_PKCS1_V1_5; SM2PKE is for regions in China.
var wrappingAlgorithms = map[types.AlgorithmSpec]wrappingAlgorithm{
	types.AlgorithmSpecRsaesOaepSha1:       {crypto.SHA1, false, hsm.PurposeUnwrap},
	types.AlgorithmSpecRsaesOaepSha256:     {crypto.SHA256, false, hsm.PurposeUnwrapSHA256},
	types.AlgorithmSpecRsaAesKeyWrapSha1:   {crypto.SHA1, true, hsm.PurposeUnwrap},
	types.AlgorithmSpecRsaAesKeyWrapSha256: {crypto.SHA256, true, hsm.PurposeUnwrapSHA256},
}

var wrappingKeys = map[types.WrappingKeySpec]hsm.KeyType{
	types.WrappingKeySpecRsa2048: hsm.RSA2048, types.WrappingKeySpecRsa3072: hsm.RSA3072, types.WrappingKeySpecRsa4096: hsm.RSA4096,
}

// GetParametersForImport makes an RSA key in the token to wrap key material with,
// and an import token that says so. Both are good for 24 hours and for this key.
func (s *Service) GetParametersForImport(ctx context.Context, in *kms.GetParametersForImportInput, _ ...func(*kms.Options)) (*kms.GetParametersForImportOutput, error) {
	return serve(s, ctx, opGetParametersForImport, in, (*call).getParametersForImport)
}

func (c *call) getParametersForImport(in *kms.GetParametersForImportInput) (*kms.GetParametersForImportOutput, error) {
	c.text("keyId", in.KeyId)
	word(c, "wrappingAlgorithm", in.WrappingAlgorithm)
	word(c, "wrappingKeySpec", in.WrappingKeySpec)
	k, err := c.use(*in.KeyId, access{})
	if err != nil {
		return nil, err
	}
	if err := checkImports(&k.Key); err != nil {
		return nil, err
	}
	if err := checkWrapping(k, in.WrappingAlgorithm, in.WrappingKeySpec); err != nil {
		return nil, err
	}
	i := store.Import{
		Scope: k.Scope, KeyID: k.ID, Backing: store.BackingID(hsm.NewKeyID()), Algorithm: in.WrappingAlgorithm,
		Expires: c.now.UTC().Truncate(time.Millisecond).Add(importWindow),
	}
	public, err := c.makeWrappingKey(i, wrappingKeys[in.WrappingKeySpec])
	if err != nil {
		return nil, err
	}
	return &kms.GetParametersForImportOutput{
		KeyId: aws.String(k.arn), ImportToken: newImportToken(i), PublicKey: public, ParametersValidTo: aws.Time(i.Expires),
	}, nil
}

// checkImports refuses import for keys whose material the token makes.
func checkImports(key *store.Key) error {
	if key.Origin != types.OriginTypeExternal {
		return refuse(KindUnsupported, "%s origin is %s which is not valid for this operation.", keyARN(key.Scope, key.ID), key.Origin)
	}
	return nil
}

// checkWrapping refuses wrapping that there isn't, or that can't carry the key's
// material.
func checkWrapping(k *keySnapshot, algorithm types.AlgorithmSpec, spec types.WrappingKeySpec) error {
	how, known := wrappingAlgorithms[algorithm]
	switch {
	case !known:
		return refuse(KindUnsupported, "WrappingAlgorithm %s is not supported.", algorithm)
	case wrappingKeys[spec] == "":
		return refuse(KindUnsupported, "WrappingKeySpec %s is not supported.", spec)
	case !how.aesKeyWrap && strings.HasPrefix(string(k.Spec), "RSA_"):
		return refuse(KindUnsupported, "WrappingAlgorithm %s is not valid for key spec %s; use an RSA_AES_KEY_WRAP algorithm.", algorithm, k.Spec)
	case !how.aesKeyWrap && k.Spec == types.KeySpecEccNistP521 && spec == types.WrappingKeySpecRsa2048:
		return refuse(KindUnsupported, "WrappingAlgorithm %s with WrappingKeySpec %s can't wrap material of key spec %s.", algorithm, spec, k.Spec)
	}
	return nil
}

// makeWrappingKey makes the wrapping key and returns its public half. The store names
// it before the token has it, so that a crash leaves nothing that Sweep can't find.
func (c *call) makeWrappingKey(i store.Import, typ hsm.KeyType) ([]byte, error) {
	s, id := c.s, hsm.KeyID(i.Backing)
	if err := s.config.Store.Update(c.ctx, func(tx store.Tx) error { return tx.PutImport(c.ctx, i) }); err != nil {
		return nil, internal(err)
	}
	err := s.config.Token.GenerateKeyPair(c.ctx, id, typ, wrappingAlgorithms[i.Algorithm].purpose, "kms/"+i.KeyID+"/import")
	if hsm.IsKind(err, hsm.KindCanceled) {
		return nil, fromToken(err) // the token may make it yet, and Sweep finds it
	}
	if err != nil {
		return nil, errors.Join(c.fromTokenFor(err, "WrappingAlgorithm", string(i.Algorithm)), s.dropImport(c.ctx, i))
	}
	public, err := s.config.Token.PublicKey(c.ctx, id)
	if err != nil {
		return nil, errors.Join(fromToken(err), s.dropImport(c.ctx, i))
	}
	return public, nil
}

// dropImport destroys a wrapping key.
func (s *Service) dropImport(ctx context.Context, i store.Import) error {
	ctx, cancel := s.detached(ctx)
	defer cancel()
	err := s.config.Token.DestroyKey(ctx, hsm.KeyID(i.Backing))
	if err != nil && !hsm.IsKind(err, hsm.KindKeyNotFound) {
		return fromToken(err)
	}
	return s.config.Store.Update(ctx, func(tx store.Tx) error { return tx.DeleteImport(ctx, i.Scope, i.Backing) })
}

// An import token, version 2, is the version, the id of the wrapping key, which nobody
// can guess and which the store ties to the key and the time, and in 8 bytes, big
// endian, the time until which it is good, in milliseconds since 1970: the store forgets
// expired ones, of which the client is to be told what they are.
const (
	importTokenVersion = 2
	importTokenSize    = headerSize + 8
)

func newImportToken(i store.Import) []byte {
	token := append([]byte{importTokenVersion}, i.Backing[:]...)
	return binary.BigEndian.AppendUint64(token, uint64(i.Expires.UnixMilli()))
}

// wrappingKey finds the wrapping key that a token names.
func (c *call) wrappingKey(k *keySnapshot, token []byte) (store.Import, error) {
	var i store.Import
	if len(token) != importTokenSize || token[0] != importTokenVersion {
		return i, &Error{Kind: KindInvalidImportToken}
	}
	err := c.s.config.Store.View(c.ctx, func(tx store.Tx) (err error) {
		i, err = tx.Import(c.ctx, k.Scope, store.BackingID(token[1:headerSize]))
		return err
	})
	said := time.UnixMilli(int64(binary.BigEndian.Uint64(token[headerSize:])))
	switch {
	case errors.Is(err, store.ErrNotFound) && !c.now.Before(said):
		return i, &Error{Kind: KindExpiredImportToken}
	case errors.Is(err, store.ErrNotFound), err == nil && i.KeyID != k.ID:
		return i, &Error{Kind: KindInvalidImportToken}
	case err != nil:
		return i, internal(err)
	case !c.now.Before(i.Expires):
		return i, &Error{Kind: KindExpiredImportToken}
	}
	return i, nil
}
