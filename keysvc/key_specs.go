package keysvc

import (
	"crypto"
	"slices"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// keySpec is a row of the table of key specs: what the token makes for a key of
// the spec, and what the key may be for.
type keySpec struct {
	made   hsm.KeyType
	usages []types.KeyUsageType
}

// What keys of several specs may be for.
var (
	encrypting      = []types.KeyUsageType{types.KeyUsageTypeEncryptDecrypt}
	signing         = []types.KeyUsageType{types.KeyUsageTypeSignVerify}
	encryptsOrSigns = []types.KeyUsageType{types.KeyUsageTypeEncryptDecrypt, types.KeyUsageTypeSignVerify}
	signsOrAgrees   = []types.KeyUsageType{types.KeyUsageTypeSignVerify, types.KeyUsageTypeKeyAgreement}
	macs            = []types.KeyUsageType{types.KeyUsageTypeGenerateVerifyMac}
)

// keySpecs are the key specs that there are here. The API has more: SM2, which
// only regions in China have, and post-quantum ones, which no token here does.
var keySpecs = map[types.KeySpec]keySpec{
	types.KeySpecSymmetricDefault:    {hsm.AES256, encrypting},
	types.KeySpecRsa2048:             {hsm.RSA2048, encryptsOrSigns},
	types.KeySpecRsa3072:             {hsm.RSA3072, encryptsOrSigns},
	types.KeySpecRsa4096:             {hsm.RSA4096, encryptsOrSigns},
	types.KeySpecEccNistP256:         {hsm.P256, signsOrAgrees},
	types.KeySpecEccNistP384:         {hsm.P384, signsOrAgrees},
	types.KeySpecEccNistP521:         {hsm.P521, signsOrAgrees},
	types.KeySpecEccSecgP256k1:       {hsm.Secp256k1, signing},
	types.KeySpecEccNistEdwards25519: {hsm.Ed25519, signing},
	types.KeySpecHmac224:             {hsm.HMAC224, macs},
	types.KeySpecHmac256:             {hsm.HMAC256, macs},
	types.KeySpecHmac384:             {hsm.HMAC384, macs},
	types.KeySpecHmac512:             {hsm.HMAC512, macs},
}

// checkSpec refuses key specs that there aren't, and usages that a spec doesn't
// have.
func checkSpec(spec types.KeySpec, usage types.KeyUsageType) error {
	row, ok := keySpecs[spec]
	switch {
	case usage == "" && spec != types.KeySpecSymmetricDefault:
		return refuse(KindValidation, "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
	case !ok:
		return refuse(KindUnsupported, "KeySpec %s is not supported.", spec)
	case usage != "" && !slices.Contains(row.usages, usage):
		return refuse(KindValidation, "KeyUsage %s is not compatible with KeySpec %s", usage, spec)
	}
	return nil
}

// purposes are what the token is told that a key pair is for.
var purposes = map[types.KeyUsageType]hsm.Purpose{
	types.KeyUsageTypeEncryptDecrypt: hsm.PurposeDecrypt,
	types.KeyUsageTypeSignVerify:     hsm.PurposeSign,
	types.KeyUsageTypeKeyAgreement:   hsm.PurposeAgree,
}

// made is the type of the key's backing keys.
func made(key *store.Key) hsm.KeyType { return keySpecs[key.Spec].made }

// isSymmetric tells a symmetric encryption key from RSA, elliptic-curve and HMAC
// keys.
func isSymmetric(key *store.Key) bool { return key.Spec == types.KeySpecSymmetricDefault }

// hasPublicKey tells a key pair from a secret key.
func hasPublicKey(key *store.Key) bool {
	return !isSymmetric(key) && key.Usage != types.KeyUsageTypeGenerateVerifyMac
}

// signature is how a signing algorithm signs.
type signature struct {
	scheme hsm.SignatureScheme
	hash   crypto.Hash // of the digest; 0 if the message itself is signed
}

// signatures are the signing algorithms that there are here.
var signatures = map[types.SigningAlgorithmSpec]signature{
	types.SigningAlgorithmSpecRsassaPkcs1V15Sha256: {hsm.RSAPKCS1v15, crypto.SHA256},
	types.SigningAlgorithmSpecRsassaPkcs1V15Sha384: {hsm.RSAPKCS1v15, crypto.SHA384},
	types.SigningAlgorithmSpecRsassaPkcs1V15Sha512: {hsm.RSAPKCS1v15, crypto.SHA512},
	types.SigningAlgorithmSpecRsassaPssSha256:      {hsm.RSAPSS, crypto.SHA256},
	types.SigningAlgorithmSpecRsassaPssSha384:      {hsm.RSAPSS, crypto.SHA384},
	types.SigningAlgorithmSpecRsassaPssSha512:      {hsm.RSAPSS, crypto.SHA512},
	types.SigningAlgorithmSpecEcdsaSha256:          {hsm.ECDSA, crypto.SHA256},
	types.SigningAlgorithmSpecEcdsaSha384:          {hsm.ECDSA, crypto.SHA384},
	types.SigningAlgorithmSpecEcdsaSha512:          {hsm.ECDSA, crypto.SHA512},
	types.SigningAlgorithmSpecEd25519Sha512:        {hsm.EdDSA, 0},
	types.SigningAlgorithmSpecEd25519PhSha512:      {hsm.EdDSAph, crypto.SHA512},
}

// The algorithms of a key, in the order in which DescribeKey lists them; none if
// the key is for something else.

func encryptionAlgorithms(key *store.Key) []types.EncryptionAlgorithmSpec {
	switch {
	case key.Usage != types.KeyUsageTypeEncryptDecrypt:
		return nil
	case isSymmetric(key):
		return []types.EncryptionAlgorithmSpec{symmetricDefault}
	}
	return []types.EncryptionAlgorithmSpec{types.EncryptionAlgorithmSpecRsaesOaepSha1, types.EncryptionAlgorithmSpecRsaesOaepSha256}
}

func signingAlgorithms(key *store.Key) []types.SigningAlgorithmSpec {
	if key.Usage != types.KeyUsageTypeSignVerify {
		return nil
	}
	switch key.Spec {
	case types.KeySpecEccNistP256, types.KeySpecEccSecgP256k1:
		return []types.SigningAlgorithmSpec{types.SigningAlgorithmSpecEcdsaSha256}
	case types.KeySpecEccNistP384:
		return []types.SigningAlgorithmSpec{types.SigningAlgorithmSpecEcdsaSha384}
	case types.KeySpecEccNistP521:
		return []types.SigningAlgorithmSpec{types.SigningAlgorithmSpecEcdsaSha512}
	case types.KeySpecEccNistEdwards25519:
		return []types.SigningAlgorithmSpec{types.SigningAlgorithmSpecEd25519PhSha512, types.SigningAlgorithmSpecEd25519Sha512}
	}
	return []types.SigningAlgorithmSpec{
		types.SigningAlgorithmSpecRsassaPkcs1V15Sha256, types.SigningAlgorithmSpecRsassaPkcs1V15Sha384, types.SigningAlgorithmSpecRsassaPkcs1V15Sha512,
		types.SigningAlgorithmSpecRsassaPssSha256, types.SigningAlgorithmSpecRsassaPssSha384, types.SigningAlgorithmSpecRsassaPssSha512,
	}
}

func macAlgorithms(key *store.Key) []types.MacAlgorithmSpec {
	switch key.Spec {
	case types.KeySpecHmac224:
		return []types.MacAlgorithmSpec{types.MacAlgorithmSpecHmacSha224}
	case types.KeySpecHmac256:
		return []types.MacAlgorithmSpec{types.MacAlgorithmSpecHmacSha256}
	case types.KeySpecHmac384:
		return []types.MacAlgorithmSpec{types.MacAlgorithmSpecHmacSha384}
	case types.KeySpecHmac512:
		return []types.MacAlgorithmSpec{types.MacAlgorithmSpecHmacSha512}
	}
	return nil
}

func agreementAlgorithms(key *store.Key) []types.KeyAgreementAlgorithmSpec {
	if key.Usage != types.KeyUsageTypeKeyAgreement {
		return nil
	}
	return []types.KeyAgreementAlgorithmSpec{types.KeyAgreementAlgorithmSpecEcdh}
}

// checkUse refuses a key that is for something else than the operation, and an
// algorithm that isn't one of the key's.
func checkUse[A ~string](k *keySnapshot, usage types.KeyUsageType, algorithm A, known []A, op string) error {
	if k.Usage != usage {
		return refuse(KindInvalidKeyUsage, "%s key usage is %s which is not valid for %s.", k.arn, k.Usage, op)
	}
	if !slices.Contains(known, algorithm) {
		return refuse(KindInvalidKeyUsage, "Algorithm %s is incompatible with key spec %s.", algorithm, k.Spec)
	}
	return nil
}
