package keysvc

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func TestCiphertextIsBoundToItsContext(t *testing.T) {
	f := newService(t)
	id := f.key()
	blob := f.encrypt(id, "text", map[string]string{"a": "b", "c": "d"})
	f.decrypts(blob, "text", map[string]string{"c": "d", "a": "b"})
	for _, context := range []map[string]string{
		nil, {}, {"a": "b"}, {"a": "b", "c": "D"}, {"a": "b", "c": "d", "e": ""}, {"ab": "", "c": "d"}, {"a": "bc", "": "d"},
	} {
		_, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: context})
		wantError(t, err, "InvalidCiphertextException", "")
	}
	none := f.encrypt(id, "text", nil)
	f.decrypts(none, "text", map[string]string{})
}

func TestEveryFlippedByteOfACiphertextIsNoticed(t *testing.T) {
	f := newService(t)
	id := f.key()
	blob := f.encrypt(id, "text", nil)
	for i := range blob {
		forged := bytes.Clone(blob)
		forged[i] ^= 1
		_, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: forged, KeyId: &id})
		wantError(t, err, "InvalidCiphertextException", "")
		if out, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: forged}); err == nil {
			t.Errorf("byte %d flipped: %v", i, out)
		}
	}
	for n := 1; n < len(blob); n++ {
		_, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob[:n], KeyId: &id})
		wantError(t, err, "InvalidCiphertextException", "")
	}
	_, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: append(blob, 0), KeyId: &id})
	wantError(t, err, "InvalidCiphertextException", "")
}

func TestDecryptNamesTheWrongKey(t *testing.T) {
	f := newService(t)
	one, two := f.key(), f.key()
	blob := f.encrypt(one, "text", nil)
	const incorrect = "The key ID in the request does not identify a CMK that can perform this operation."
	_, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob, KeyId: &two})
	wantError(t, err, "IncorrectKeyException", incorrect)
	_, err = f.ReEncrypt(f.ctx(), &kms.ReEncryptInput{CiphertextBlob: blob, SourceKeyId: &two, DestinationKeyId: &one})
	wantError(t, err, "IncorrectKeyException", incorrect)
	unknown := bytes.Clone(blob)
	unknown[5] ^= 0xff
	_, err = f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: unknown})
	wantError(t, err, "AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
	elsewhere := WithCaller(f.ctx(), Caller{Region: "us-west-2"})
	_, err = f.Decrypt(elsewhere, &kms.DecryptInput{CiphertextBlob: blob})
	wantError(t, err, "AccessDeniedException", "*")
}

func TestPlaintextSizes(t *testing.T) {
	f := newService(t)
	id := f.key()
	for _, n := range []int{1, 4095, 4096} {
		text := strings.Repeat("x", n)
		blob := f.encrypt(id, text, nil)
		if len(blob) > maxCiphertext {
			t.Errorf("%d bytes become %d, more than Decrypt takes", n, len(blob))
		}
		f.decrypts(blob, text, nil)
	}
	for _, in := range []*kms.GenerateDataKeyInput{
		{NumberOfBytes: aws.Int32(1)}, {NumberOfBytes: aws.Int32(1024)}, {KeySpec: types.DataKeySpecAes128}, {KeySpec: types.DataKeySpecAes256},
	} {
		in.KeyId = &id
		out, err := f.GenerateDataKey(f.ctx(), in)
		if err != nil {
			t.Fatal(err)
		}
		want := map[types.DataKeySpec]int{types.DataKeySpecAes128: 16, types.DataKeySpecAes256: 32, "": int(aws.ToInt32(in.NumberOfBytes))}[in.KeySpec]
		if len(out.Plaintext) != want {
			t.Errorf("data key of %d bytes, want %d", len(out.Plaintext), want)
		}
		f.decrypts(out.CiphertextBlob, string(out.Plaintext), nil)
		hidden, err := f.GenerateDataKeyWithoutPlaintext(f.ctx(), &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &id, KeySpec: in.KeySpec, NumberOfBytes: in.NumberOfBytes})
		if err != nil {
			t.Fatal(err)
		}
		if opened, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: hidden.CiphertextBlob}); err != nil || len(opened.Plaintext) != want {
			t.Errorf("%v, %v", opened, err)
		}
	}
}

func TestRandomBytesDiffer(t *testing.T) {
	f := newService(t)
	one, err := f.GenerateRandom(f.ctx(), &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(1024)})
	if err != nil {
		t.Fatal(err)
	}
	two, err := f.GenerateRandom(f.ctx(), &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(1024)})
	if err != nil || len(one.Plaintext) != 1024 || bytes.Equal(one.Plaintext, two.Plaintext) {
		t.Errorf("%v", err)
	}
}

func TestDryRunChecksAndDoesNothing(t *testing.T) {
	f := newService(t)
	id := f.key()
	blob := f.encrypt(id, "text", nil)
	ctx := f.ctx()
	yes := aws.Bool(true)
	grant := f.grant(id, nil, types.GrantOperationDecrypt)
	for name, call := range map[string]func(key *string) error{
		"Encrypt": func(key *string) error {
			_, err := f.Encrypt(ctx, &kms.EncryptInput{KeyId: key, Plaintext: []byte("x"), DryRun: yes})
			return err
		},
		"Decrypt": func(key *string) error {
			out, err := f.Decrypt(ctx, &kms.DecryptInput{KeyId: key, CiphertextBlob: blob, DryRun: yes})
			if out != nil {
				t.Errorf("a dry run returned %v", out)
			}
			return err
		},
		"Decrypt unread": func(key *string) error {
			_, err := f.Decrypt(ctx, &kms.DecryptInput{KeyId: key, DryRun: yes, DryRunModifiers: []types.DryRunModifierType{types.DryRunModifierTypeIgnoreCiphertext}})
			return err
		},
		"ReEncrypt": func(key *string) error {
			_, err := f.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: blob, DestinationKeyId: key, DryRun: yes})
			return err
		},
		"GenerateDataKey": func(key *string) error {
			_, err := f.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: key, KeySpec: types.DataKeySpecAes256, DryRun: yes})
			return err
		},
		"GenerateDataKeyWithoutPlaintext": func(key *string) error {
			_, err := f.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: key, KeySpec: types.DataKeySpecAes256, DryRun: yes})
			return err
		},
		"RetireGrant": func(key *string) error {
			_, err := f.RetireGrant(ctx, &kms.RetireGrantInput{KeyId: key, GrantId: grant.GrantId, DryRun: yes})
			return err
		},
		"RevokeGrant": func(key *string) error {
			_, err := f.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: key, GrantId: grant.GrantId, DryRun: yes})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, call(&id), "DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
			wantError(t, call(aws.String("00000000-0000-0000-0000-000000000000")), "NotFoundException", "*")
		})
	}
	if out, err := f.ListGrants(ctx, &kms.ListGrantsInput{KeyId: &id}); err != nil || len(out.Grants) != 1 {
		t.Errorf("the grant: %v, %v", out, err)
	}
	_, err := f.Decrypt(ctx, &kms.DecryptInput{DryRun: yes, DryRunModifiers: []types.DryRunModifierType{types.DryRunModifierTypeIgnoreCiphertext}})
	wantError(t, err, "ValidationException", "1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null")
}

// Frozen: ciphertexts made by a released version must decrypt for ever.
func TestFrozenFormats(t *testing.T) {
	context := map[string]string{"kmsfs:path": "/ä", "": "x"}
	if got := hex.EncodeToString(canonicalContext(context)); got != "00000002"+"00000000"+"0000000178"+"0000000a6b6d7366733a70617468"+"000000032fc3a4" {
		t.Errorf("canonical context %s", got)
	}
	if got := hex.EncodeToString(canonicalContext(nil)); got != "00000000" {
		t.Errorf("canonical empty context %s", got)
	}
	backing := store.BackingID{0: 0xaa, 15: 0xbb}
	if got := hex.EncodeToString(additionalData(backing, nil)); got != "01aa0000000000000000000000000000bb"+"df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119" {
		t.Errorf("additional data %s", got)
	}
	if got := materialID("k", backing); got != "8f8053392938209a1d99f8ec1f2b5c040cd776b5e884b356cb7500fab193c152" {
		t.Errorf("material id %s", got)
	}
}

func FuzzCiphertext(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, headerSize))
	f.Add(append([]byte{ciphertextVersion}, make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, blob []byte) {
		ct, err := parseCiphertext(blob)
		if err != nil {
			return
		}
		again := append(append([]byte{ciphertextVersion}, ct.backing[:]...), ct.wrapped...)
		if !bytes.Equal(again, blob) || len(ct.wrapped) == 0 {
			t.Errorf("%x parses to %x", blob, again)
		}
	})
}

func FuzzCanonicalContext(f *testing.F) {
	f.Add("a", "b", "c", "d", "a", "b", "c", "d")
	f.Add("", "", "a", "", "a", "", "", "")
	f.Add("ab", "", "c", "", "a", "b", "c", "")
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g, h, i string) {
		one, two := map[string]string{a: b, c: d}, map[string]string{e: g, h: i}
		equal := len(one) == len(two) && containsPairs(one, two)
		if bytes.Equal(canonicalContext(one), canonicalContext(two)) != equal {
			t.Errorf("%q and %q", one, two)
		}
	})
}

func FuzzKeyName(f *testing.F) {
	for _, seed := range []string{"alias/x", "00000000-1111-2222-3333-444444444444", "mrk-00000000000000000000000000000000",
		"arn:aws:kms:eu-central-1:111122223333:key/00000000-1111-2222-3333-444444444444", "arn:aws:kms:eu-central-1:111122223333:alias/x", "arn:::::"} {
		f.Add(seed)
	}
	scope := store.Scope{Account: testAccount, Region: testRegion}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := parseKeyName(scope, text)
		if err != nil {
			return
		}
		if (name.id == "") == (name.alias == "") {
			t.Fatalf("%q is %+v", text, name)
		}
		// The ARN of what was parsed is the same key.
		full := arn(scope, name.alias)
		if name.id != "" {
			full = keyARN(scope, name.id)
		}
		if again, err := parseKeyName(scope, full); err != nil || again != name {
			t.Errorf("%q is %+v, its ARN %+v, %v", text, name, again, err)
		}
	})
}

func FuzzGrantToken(f *testing.F) {
	f.Add(newGrantToken("00000000-1111-2222-3333-444444444444", "ab"))
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		keyID, grantID, err := parseGrantToken(token)
		if err != nil {
			return
		}
		if k, g, err := parseGrantToken(newGrantToken(keyID, grantID)); err != nil || k != keyID || g != grantID {
			t.Errorf("%q names %q %q; a new token names %q %q, %v", token, keyID, grantID, k, g, err)
		}
	})
}

func FuzzMarker(f *testing.F) {
	f.Add(newMarker("ListKeys", "", "x"))
	f.Add("")
	f.Fuzz(func(t *testing.T, marker string) {
		last, ok := parseMarker("ListKeys", "", marker)
		if !ok {
			return
		}
		if again, ok := parseMarker("ListKeys", "", newMarker("ListKeys", "", last)); !ok || again != last {
			t.Errorf("%q stands behind %q, again %q", marker, last, again)
		}
	})
}
