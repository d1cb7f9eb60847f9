package keysvc

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/hsm/publickey"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// keyOf makes a key of a spec and usage and returns its id.
func (f *fixture) keyOf(spec types.KeySpec, usage types.KeyUsageType) string {
	f.t.Helper()
	out, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
	if err != nil {
		f.t.Fatal(err)
	}
	return *out.KeyMetadata.KeyId
}

// public is the public key that the service hands out.
func (f *fixture) public(id string) *kms.GetPublicKeyOutput {
	f.t.Helper()
	out, err := f.GetPublicKey(f.ctx(), &kms.GetPublicKeyInput{KeyId: &id})
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// slowSpec tells specs whose keys take seconds to make.
func slowSpec(spec types.KeySpec) bool {
	return spec == types.KeySpecRsa3072 || spec == types.KeySpecRsa4096
}

func TestEveryKeySpecWithEveryKeyUsage(t *testing.T) {
	f := newService(t)
	for _, spec := range types.KeySpec("").Values() {
		row, known := keySpecs[spec]
		for _, usage := range types.KeyUsageType("").Values() {
			if !known {
				_, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
				wantError(t, err, "UnsupportedOperationException", "KeySpec "+string(spec)+" is not supported.")
				continue
			}
			if !slices.Contains(row.usages, usage) {
				_, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
				wantError(t, err, "ValidationException", "KeyUsage "+string(usage)+" is not compatible with KeySpec "+string(spec))
				continue
			}
			if slowSpec(spec) && testing.Short() {
				continue
			}
			out, err := f.DescribeKey(f.ctx(), &kms.DescribeKeyInput{KeyId: aws.String(f.keyOf(spec, usage))})
			f.must(out, err)
			checkLists(t, out.KeyMetadata)
		}
		if known && spec != types.KeySpecSymmetricDefault {
			_, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{KeySpec: spec})
			wantError(t, err, "ValidationException", "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
		}
	}
}

// checkLists checks that a key has the algorithms of its usage and no others.
func checkLists(t *testing.T, m *types.KeyMetadata) {
	t.Helper()
	lists := map[types.KeyUsageType]int{
		types.KeyUsageTypeEncryptDecrypt: len(m.EncryptionAlgorithms), types.KeyUsageTypeSignVerify: len(m.SigningAlgorithms),
		types.KeyUsageTypeGenerateVerifyMac: len(m.MacAlgorithms), types.KeyUsageTypeKeyAgreement: len(m.KeyAgreementAlgorithms),
	}
	for usage, n := range lists {
		if (n > 0) != (usage == m.KeyUsage) {
			t.Errorf("%s for %s has %d algorithms for %s", m.KeySpec, m.KeyUsage, n, usage)
		}
	}
	if (m.CurrentKeyMaterialId != nil) != (m.KeySpec == types.KeySpecSymmetricDefault) || !m.Enabled {
		t.Errorf("%+v", m)
	}
}

// verifiesOutside checks a signature with the standard library alone.
func verifiesOutside(t testing.TB, der []byte, algorithm types.SigningAlgorithmSpec, digest, message, signature []byte) {
	t.Helper()
	var ok bool
	name := string(algorithm)
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[name[len(name)-3:]]
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil { // secp256k1
		k, err := publickey.Parse(der)
		ok = err == nil && k.Verify("ECDSA", hash, digest, signature)
	}
	switch k := public.(type) {
	case *rsa.PublicKey:
		if strings.HasPrefix(name, "RSASSA_PSS") {
			ok = rsa.VerifyPSS(k, hash, digest, signature, &rsa.PSSOptions{SaltLength: hash.Size()}) == nil
		} else {
			ok = rsa.VerifyPKCS1v15(k, hash, digest, signature) == nil
		}
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(k, digest, signature)
	case ed25519.PublicKey:
		ok = ed25519.Verify(k, message, signature)
	}
	if !ok {
		t.Errorf("a signature by %s doesn't verify", algorithm)
	}
}

func TestSignaturesVerifyHereAndElsewhere(t *testing.T) {
	f := newService(t)
	message := []byte(strings.Repeat("message ", 512)) // 4096 bytes
	for spec, row := range keySpecs {
		if !slices.Contains(row.usages, types.KeyUsageTypeSignVerify) || slowSpec(spec) && testing.Short() {
			continue
		}
		id := f.keyOf(spec, types.KeyUsageTypeSignVerify)
		public := f.public(id)
		for _, algorithm := range public.SigningAlgorithms {
			if algorithm == types.SigningAlgorithmSpecEd25519PhSha512 {
				continue // TestTokenWithoutEd25519phSaysSo
			}
			f.signsWith(id, public.PublicKey, algorithm, message)
		}
	}
}

// signsWith signs in all ways that an algorithm has.
func (f *fixture) signsWith(id string, public []byte, algorithm types.SigningAlgorithmSpec, message []byte) {
	f.t.Helper()
	inputs := map[types.MessageType][]byte{"": message, types.MessageTypeRaw: message}
	var digest []byte
	if h := signatures[algorithm].hash; h != 0 {
		digest = hashed(h, message)
		inputs[types.MessageTypeDigest] = digest
	}
	for kind, input := range inputs {
		signed, err := f.Sign(f.ctx(), &kms.SignInput{KeyId: &id, Message: input, MessageType: kind, SigningAlgorithm: algorithm})
		if err != nil {
			f.t.Fatalf("%s %s: %v", algorithm, kind, err)
		}
		verifiesOutside(f.t, public, algorithm, digest, message, signed.Signature)
		in := &kms.VerifyInput{KeyId: &id, Message: input, MessageType: kind, SigningAlgorithm: algorithm, Signature: signed.Signature}
		if out, err := f.Verify(f.ctx(), in); err != nil || !out.SignatureValid || *out.KeyId != f.arn(id) {
			f.t.Errorf("%s %s: %+v, %v", algorithm, kind, out, err)
		}
		in.Message = bytes.Clone(input)
		in.Message[0] ^= 1
		_, err = f.Verify(f.ctx(), in)
		wantError(f.t, err, "KMSInvalidSignatureException", "")
		in.Message, in.Signature = input, signed.Signature[1:]
		_, err = f.Verify(f.ctx(), in)
		wantError(f.t, err, "KMSInvalidSignatureException", "")
	}
}

func TestTokenWithoutEd25519phSaysSo(t *testing.T) {
	f := newService(t)
	id := f.keyOf(types.KeySpecEccNistEdwards25519, types.KeyUsageTypeSignVerify)
	digest := sha512.Sum512([]byte("message"))
	_, err := f.Sign(f.ctx(), &kms.SignInput{KeyId: &id, Message: digest[:], MessageType: types.MessageTypeDigest,
		SigningAlgorithm: types.SigningAlgorithmSpecEd25519PhSha512})
	wantError(t, err, "UnsupportedOperationException", "SigningAlgorithm ED25519_PH_SHA_512 is not supported by the token that holds the key material.")
}

func TestSignRefusesWhatDoesNotFit(t *testing.T) {
	f := newService(t)
	ec, ed := f.keyOf(types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify), f.keyOf(types.KeySpecEccNistEdwards25519, types.KeyUsageTypeSignVerify)
	symmetric := f.key()
	for _, c := range []struct {
		key           string
		kind          types.MessageType
		size          int
		algorithm     types.SigningAlgorithmSpec
		name, message string
	}{
		{symmetric, "", 4, types.SigningAlgorithmSpecEcdsaSha256, "InvalidKeyUsageException", f.arn(symmetric) + " key usage is ENCRYPT_DECRYPT which is not valid for Sign."},
		{ec, "", 4, types.SigningAlgorithmSpecEcdsaSha384, "InvalidKeyUsageException", "Algorithm ECDSA_SHA_384 is incompatible with key spec ECC_NIST_P256."},
		{ec, "", 4, types.SigningAlgorithmSpecSm2dsa, "InvalidKeyUsageException", "Algorithm SM2DSA is incompatible with key spec ECC_NIST_P256."},
		{ec, types.MessageTypeDigest, 31, types.SigningAlgorithmSpecEcdsaSha256, "ValidationException", "Digest is invalid length for algorithm ECDSA_SHA_256."},
		{ec, types.MessageTypeExternalMu, 64, types.SigningAlgorithmSpecEcdsaSha256, "ValidationException", "MessageType EXTERNAL_MU is not valid for algorithm ECDSA_SHA_256."},
		{ed, types.MessageTypeDigest, 64, types.SigningAlgorithmSpecEd25519Sha512, "ValidationException", "MessageType DIGEST is not valid for algorithm ED25519_SHA_512."},
		{ed, types.MessageTypeRaw, 64, types.SigningAlgorithmSpecEd25519PhSha512, "ValidationException", "MessageType RAW is not valid for algorithm ED25519_PH_SHA_512."},
		{ec, "", 4097, types.SigningAlgorithmSpecEcdsaSha256, "ValidationException", "*"},
		{ec, "", 0, types.SigningAlgorithmSpecEcdsaSha256, "ValidationException", "*"},
	} {
		_, err := f.Sign(f.ctx(), &kms.SignInput{KeyId: &c.key, Message: make([]byte, c.size), MessageType: c.kind, SigningAlgorithm: c.algorithm})
		wantError(t, err, c.name, c.message)
	}
}

func TestRSAEncryptsHereAndElsewhere(t *testing.T) {
	f := newService(t)
	id := f.keyOf(types.KeySpecRsa2048, types.KeyUsageTypeEncryptDecrypt)
	parsed, err := x509.ParsePKIXPublicKey(f.public(id).PublicKey)
	f.must(parsed, err)
	for algorithm, most := range map[types.EncryptionAlgorithmSpec]int{
		types.EncryptionAlgorithmSpecRsaesOaepSha1: 214, types.EncryptionAlgorithmSpecRsaesOaepSha256: 190,
	} {
		text := make([]byte, most)
		_, _ = rand.Read(text)
		sealed, err := f.Encrypt(f.ctx(), &kms.EncryptInput{KeyId: &id, Plaintext: text, EncryptionAlgorithm: algorithm})
		f.must(sealed, err)
		outside, err := rsa.EncryptOAEP(oaepHashes[algorithm].New(), rand.Reader, parsed.(*rsa.PublicKey), text, nil)
		f.must(outside, err)
		for _, blob := range [][]byte{sealed.CiphertextBlob, outside} {
			out, err := f.Decrypt(f.ctx(), &kms.DecryptInput{KeyId: &id, CiphertextBlob: blob, EncryptionAlgorithm: algorithm})
			if err != nil || !bytes.Equal(out.Plaintext, text) || out.EncryptionAlgorithm != algorithm || out.KeyMaterialId != nil {
				t.Errorf("%s: %+v, %v", algorithm, out, err)
			}
			blob[17] ^= 1
			_, err = f.Decrypt(f.ctx(), &kms.DecryptInput{KeyId: &id, CiphertextBlob: blob, EncryptionAlgorithm: algorithm})
			wantError(t, err, "InvalidCiphertextException", "")
		}
		_, err = f.Encrypt(f.ctx(), &kms.EncryptInput{KeyId: &id, Plaintext: make([]byte, most+1), EncryptionAlgorithm: algorithm})
		wantError(t, err, "ValidationException", "Algorithm "+string(algorithm)+" and key spec RSA_2048 cannot encrypt data larger than "+map[bool]string{true: "214", false: "190"}[most == 214]+" bytes.")
		_, err = f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: outside, EncryptionAlgorithm: algorithm})
		wantError(t, err, "ValidationException", "1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null")
	}
	_, err = f.Encrypt(f.ctx(), &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
	wantError(t, err, "InvalidKeyUsageException", "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048.")
	_, err = f.GenerateDataKey(f.ctx(), &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: types.DataKeySpecAes256})
	wantError(t, err, "InvalidKeyUsageException", "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048.")
	_, err = f.Encrypt(f.ctx(), &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), EncryptionAlgorithm: types.EncryptionAlgorithmSpecRsaesOaepSha1,
		EncryptionContext: map[string]string{"a": "b"}})
	wantError(t, err, "ValidationException", "EncryptionContext is not valid for algorithm RSAES_OAEP_SHA_1.")
}

func TestReEncryptBetweenRSAAndSymmetricKeys(t *testing.T) {
	f := newService(t)
	symmetric, pair := f.key(), f.keyOf(types.KeySpecRsa2048, types.KeyUsageTypeEncryptDecrypt)
	const oaep = types.EncryptionAlgorithmSpecRsaesOaepSha256
	context := map[string]string{"a": "b"}
	blob := f.encrypt(symmetric, "text", context)
	there, err := f.ReEncrypt(f.ctx(), &kms.ReEncryptInput{CiphertextBlob: blob, SourceEncryptionContext: context, DestinationKeyId: &pair, DestinationEncryptionAlgorithm: oaep})
	f.must(there, err)
	if there.SourceKeyMaterialId == nil || there.DestinationKeyMaterialId != nil || there.DestinationEncryptionAlgorithm != oaep {
		t.Errorf("%+v", there)
	}
	back, err := f.ReEncrypt(f.ctx(), &kms.ReEncryptInput{CiphertextBlob: there.CiphertextBlob, SourceKeyId: &pair, SourceEncryptionAlgorithm: oaep,
		DestinationKeyId: &symmetric, DestinationEncryptionContext: context})
	f.must(back, err)
	f.decrypts(back.CiphertextBlob, "text", context)
	_, err = f.ReEncrypt(f.ctx(), &kms.ReEncryptInput{CiphertextBlob: there.CiphertextBlob, SourceEncryptionAlgorithm: oaep, DestinationKeyId: &symmetric})
	wantError(t, err, "ValidationException", "*")
	public, err := publickey.Parse(f.public(pair).PublicKey)
	f.must(public, err)
	nothing, err := public.EncryptOAEP(sha256.New(), nil) // which nobody could encrypt here
	f.must(nothing, err)
	_, err = f.ReEncrypt(f.ctx(), &kms.ReEncryptInput{CiphertextBlob: nothing, SourceKeyId: &pair, SourceEncryptionAlgorithm: oaep, DestinationKeyId: &symmetric})
	wantError(t, err, "ValidationException", "*")
	long := f.encrypt(symmetric, strings.Repeat("x", 191), nil)
	_, err = f.ReEncrypt(f.ctx(), &kms.ReEncryptInput{CiphertextBlob: long, DestinationKeyId: &pair, DestinationEncryptionAlgorithm: oaep})
	wantError(t, err, "ValidationException", "Algorithm RSAES_OAEP_SHA_256 and key spec RSA_2048 cannot encrypt data larger than 190 bytes.")
}

func TestMACsAreVerifiedAndBound(t *testing.T) {
	f := newService(t)
	for spec, algorithm := range map[types.KeySpec]types.MacAlgorithmSpec{
		types.KeySpecHmac224: types.MacAlgorithmSpecHmacSha224, types.KeySpecHmac256: types.MacAlgorithmSpecHmacSha256,
		types.KeySpecHmac384: types.MacAlgorithmSpecHmacSha384, types.KeySpecHmac512: types.MacAlgorithmSpecHmacSha512,
	} {
		id, other := f.keyOf(spec, types.KeyUsageTypeGenerateVerifyMac), f.keyOf(spec, types.KeyUsageTypeGenerateVerifyMac)
		out, err := f.GenerateMac(f.ctx(), &kms.GenerateMacInput{KeyId: &id, Message: []byte("message"), MacAlgorithm: algorithm})
		f.must(out, err)
		in := &kms.VerifyMacInput{KeyId: &id, Message: []byte("message"), MacAlgorithm: algorithm, Mac: out.Mac}
		if good, err := f.VerifyMac(f.ctx(), in); err != nil || !good.MacValid || len(out.Mac) != keySpecs[spec].made.MACHash().Size() {
			t.Errorf("%s: %+v, %v", spec, good, err)
		}
		for name, wrong := range map[string]kms.VerifyMacInput{
			"message": {KeyId: &id, Message: []byte("massage"), MacAlgorithm: algorithm, Mac: out.Mac},
			"key":     {KeyId: &other, Message: []byte("message"), MacAlgorithm: algorithm, Mac: out.Mac},
			"cut":     {KeyId: &id, Message: []byte("message"), MacAlgorithm: algorithm, Mac: out.Mac[:20]},
		} {
			var e *Error
			if _, err := f.VerifyMac(f.ctx(), &wrong); !errors.As(err, &e) || e.Kind != KindInvalidMac || e.Message != "" {
				t.Errorf("%s, another %s: %v", spec, name, err)
			}
		}
	}
	id := f.keyOf(types.KeySpecHmac224, types.KeyUsageTypeGenerateVerifyMac)
	_, err := f.GenerateMac(f.ctx(), &kms.GenerateMacInput{KeyId: &id, Message: []byte("m"), MacAlgorithm: types.MacAlgorithmSpecHmacSha256})
	wantError(t, err, "InvalidKeyUsageException", "Algorithm HMAC_SHA_256 is incompatible with key spec HMAC_224.")
	_, err = f.GetPublicKey(f.ctx(), &kms.GetPublicKeyInput{KeyId: &id})
	wantError(t, err, "UnsupportedOperationException", "")
	_, err = f.RotateKeyOnDemand(f.ctx(), &kms.RotateKeyOnDemandInput{KeyId: &id})
	wantError(t, err, "UnsupportedOperationException", "")
	_, err = f.EnableKeyRotation(f.ctx(), &kms.EnableKeyRotationInput{KeyId: &id})
	wantError(t, err, "UnsupportedOperationException", "")
}

func TestSharedSecretIsThatOfTheOtherSide(t *testing.T) {
	f := newService(t)
	for spec, curve := range map[types.KeySpec]ecdh.Curve{
		types.KeySpecEccNistP256: ecdh.P256(), types.KeySpecEccNistP384: ecdh.P384(), types.KeySpecEccNistP521: ecdh.P521(),
	} {
		id := f.keyOf(spec, types.KeyUsageTypeKeyAgreement)
		parsed, err := x509.ParsePKIXPublicKey(f.public(id).PublicKey)
		f.must(parsed, err)
		theirs, err := parsed.(*ecdsa.PublicKey).ECDH()
		f.must(theirs, err)
		mine, err := curve.GenerateKey(rand.Reader)
		f.must(mine, err)
		want, err := mine.ECDH(theirs)
		f.must(want, err)
		der, err := x509.MarshalPKIXPublicKey(mine.PublicKey())
		f.must(der, err)
		out, err := f.DeriveSharedSecret(f.ctx(), &kms.DeriveSharedSecretInput{KeyId: &id, KeyAgreementAlgorithm: types.KeyAgreementAlgorithmSpecEcdh, PublicKey: der})
		if err != nil || !bytes.Equal(out.SharedSecret, want) || out.KeyOrigin != types.OriginTypeAwsKms {
			t.Errorf("%s: %+v, %v", spec, out, err)
		}
		other := f.public(f.keyOf(types.KeySpecEccSecgP256k1, types.KeyUsageTypeSignVerify)).PublicKey
		for _, bad := range [][]byte{other, der[:len(der)-1], []byte("junk")} {
			_, err := f.DeriveSharedSecret(f.ctx(), &kms.DeriveSharedSecretInput{KeyId: &id, KeyAgreementAlgorithm: types.KeyAgreementAlgorithmSpecEcdh, PublicKey: bad})
			wantError(t, err, "ValidationException", "")
		}
	}
}

func TestDataKeyPairsAreWholeAndWrapped(t *testing.T) {
	f := newService(t)
	id := f.key()
	context := map[string]string{"a": "b"}
	for _, spec := range types.DataKeyPairSpec("").Values() {
		in := &kms.GenerateDataKeyPairInput{KeyId: &id, KeyPairSpec: spec, EncryptionContext: context}
		if keyPairs[spec] == nil {
			_, err := f.GenerateDataKeyPair(f.ctx(), in)
			wantError(t, err, "UnsupportedOperationException", "KeyPairSpec "+string(spec)+" is not supported.")
			continue
		}
		if testing.Short() && (spec == types.DataKeyPairSpecRsa3072 || spec == types.DataKeyPairSpecRsa4096) {
			continue
		}
		check := checkHalves
		if strings.HasPrefix(string(spec), "ML_KEM_") {
			check = checkMLKEMHalves
		}
		out, err := f.GenerateDataKeyPair(f.ctx(), in)
		f.must(out, err)
		f.decrypts(out.PrivateKeyCiphertextBlob, string(out.PrivateKeyPlaintext), context)
		check(t, out.PrivateKeyPlaintext, out.PublicKey)
		_, err = f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: out.PrivateKeyCiphertextBlob})
		wantError(t, err, "InvalidCiphertextException", "")
		hidden, err := f.GenerateDataKeyPairWithoutPlaintext(f.ctx(), &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: &id, KeyPairSpec: spec})
		f.must(hidden, err)
		opened, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: hidden.PrivateKeyCiphertextBlob})
		f.must(opened, err)
		check(t, opened.Plaintext, hidden.PublicKey)
	}
}

// checkHalves checks that a PKCS #8 private key belongs to a public key.
func checkHalves(t *testing.T, private, public []byte) {
	t.Helper()
	k, err := publickey.Parse(public)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil && k.Type() == "secp256k1" {
		if !bytes.Contains(private, public[len(public)-65:]) {
			t.Error("a private key of another public key")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(parsed.(crypto.Signer).Public())
	if err != nil || !bytes.Equal(der, public) {
		t.Errorf("%s: a private key of another public key", k.Type())
	}
	digest := sha256.Sum256([]byte("message"))
	if signer, ok := parsed.(*ecdsa.PrivateKey); ok {
		signature, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil || !k.Verify("ECDSA", crypto.SHA256, digest[:], signature) {
			t.Error("the pair doesn't work")
		}
	}
}
