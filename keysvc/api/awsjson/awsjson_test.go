package awsjson

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func TestDecodeRefusesWrongForms(t *testing.T) {
	for _, c := range []struct {
		name, body string
		into       any
		kind       Kind
		member     string
	}{
		{"no JSON", `{`, &kms.EncryptInput{}, KindSyntax, ""},
		{"two values", `{} {}`, &kms.EncryptInput{}, KindSyntax, ""},
		{"not UTF-8", "{\"KeyId\":\"\xff\"}", &kms.EncryptInput{}, KindSyntax, ""},
		{"a list", `[]`, &kms.EncryptInput{}, KindType, ""},
		{"null", `null`, &kms.EncryptInput{}, KindType, ""},
		{"a number for a string", `{"KeyId":1}`, &kms.EncryptInput{}, KindType, "KeyId"},
		{"a string for a number", `{"NumberOfBytes":"32"}`, &kms.GenerateDataKeyInput{}, KindType, "NumberOfBytes"},
		{"a fraction", `{"NumberOfBytes":1.5}`, &kms.GenerateDataKeyInput{}, KindType, "NumberOfBytes"},
		{"more than 32 bits", `{"NumberOfBytes":2147483648}`, &kms.GenerateDataKeyInput{}, KindType, "NumberOfBytes"},
		{"a number for a flag", `{"DryRun":1}`, &kms.EncryptInput{}, KindType, "DryRun"},
		{"no base64", `{"Plaintext":"a"}`, &kms.EncryptInput{}, KindType, "Plaintext"},
		{"base64 of URLs", `{"Plaintext":"_-8="}`, &kms.EncryptInput{}, KindType, "Plaintext"},
		{"base64 without padding", `{"Plaintext":"AAA"}`, &kms.EncryptInput{}, KindType, "Plaintext"},
		{"base64 with bits left over", `{"Plaintext":"AB=="}`, &kms.EncryptInput{}, KindType, "Plaintext"},
		{"base64 with a line break", `{"Plaintext":"AA\nAA"}`, &kms.EncryptInput{}, KindType, "Plaintext"},
		{"a list for a blob", `{"Plaintext":[1]}`, &kms.EncryptInput{}, KindType, "Plaintext"},
		{"a string for a list", `{"GrantTokens":"x"}`, &kms.EncryptInput{}, KindType, "GrantTokens"},
		{"null in a list", `{"GrantTokens":[null]}`, &kms.EncryptInput{}, KindType, "GrantTokens.0"},
		{"a list for a map", `{"EncryptionContext":[]}`, &kms.EncryptInput{}, KindType, "EncryptionContext"},
		{"a number in a map", `{"EncryptionContext":{"a":1}}`, &kms.EncryptInput{}, KindType, "EncryptionContext"},
		{"null in a map", `{"EncryptionContext":{"a":null}}`, &kms.EncryptInput{}, KindType, "EncryptionContext"},
		{"deep inside", `{"Tags":[{"TagKey":"a"},{"TagKey":{}}]}`, &kms.CreateKeyInput{}, KindType, "Tags.1.TagKey"},
		{"a text for a time", `{"ValidTo":"2030-01-01T00:00:00Z"}`, &kms.ImportKeyMaterialInput{}, KindType, "ValidTo"},
		{"a time too far", `{"ValidTo":1e300}`, &kms.ImportKeyMaterialInput{}, KindType, "ValidTo"},
		{"depth", `{"x":` + strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth) + `}`, &kms.EncryptInput{}, KindDepth, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e *Error
			if err := Decode([]byte(c.body), c.into); !errors.As(err, &e) || e.Kind != c.kind || e.Member != c.member {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestDecodeIgnoresWhatTheAPIDoesNotHave(t *testing.T) {
	var in kms.EncryptInput
	body := ` {"KeyId":null,"keyId":"lower","ResultMetadata":{},"noSmithyDocumentSerde":1,"New":[{"a":null}],"Plaintext":"QQ\u003d=","DryRun":false} `
	if err := Decode([]byte(body), &in); err != nil {
		t.Fatal(err)
	}
	if in.KeyId != nil || string(in.Plaintext) != "A" || in.DryRun == nil || *in.DryRun {
		t.Errorf("%+v", in)
	}
	if err := Decode(nil, &in); err != nil {
		t.Errorf("an empty body: %v", err)
	}
}

func TestDecodeLeavesNoCopyOfABlobInTheBodysMembers(t *testing.T) {
	members, err := object([]byte(`{"Plaintext":"c2VjcmV0"}`))
	if err != nil {
		t.Fatal(err)
	}
	wipe(members)
	if got := string(members["Plaintext"]); strings.Trim(got, "\x00") != "" {
		t.Errorf("%q is left", got)
	}
}

func TestEncodeLeavesOutWhatDoesNotApply(t *testing.T) {
	moment := time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
	for _, c := range []struct {
		name string
		out  any
		want string
	}{
		{"no members", &kms.CreateAliasOutput{}, ``},
		{"nothing set", &kms.EncryptOutput{}, `{}`},
		{"blob", &kms.EncryptOutput{CiphertextBlob: []byte{0, 0xff}, KeyId: aws.String("k")}, `{"CiphertextBlob":"AP8=","KeyId":"k"}`},
		{"empty list and false flag", &kms.ListKeysOutput{Keys: []types.KeyListEntry{}}, `{"Keys":[],"Truncated":false}`},
		{"time", &kms.ScheduleKeyDeletionOutput{DeletionDate: &moment, KeyState: types.KeyStatePendingDeletion},
			`{"DeletionDate":1767323045.678,"KeyState":"PendingDeletion"}`},
		{"map in order", &kms.ListGrantsOutput{Grants: []types.GrantListEntry{{Constraints: &types.GrantConstraints{
			EncryptionContextSubset: map[string]string{"b": "2", "a": "1"}}}}},
			`{"Grants":[{"Constraints":{"EncryptionContextSubset":{"a":"1","b":"2"}}}],"Truncated":false}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Encode(c.out)
			if err != nil || string(got) != c.want {
				t.Errorf("%s, %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestEncodeDoesNotGrowTheAnswerOfASecret(t *testing.T) {
	out := &kms.DecryptOutput{Plaintext: make([]byte, 4096), KeyId: aws.String(strings.Repeat("k", 80))}
	text, err := Encode(out)
	if err != nil || cap(text) != size(reflect.ValueOf(out).Elem()) {
		t.Errorf("capacity %d, %v", cap(text), err)
	}
}

// What is decoded can be encoded, and then means the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"KeyId":"alias/a","Plaintext":"QUI=","EncryptionContext":{"a":"b"},"GrantTokens":["t"],"DryRun":true}`))
	f.Add([]byte(`{"Tags":[{"TagKey":"a","TagValue":"b"}],"MultiRegion":false,"KeySpec":"RSA_2048"}`))
	f.Add([]byte(`{"ValidTo":1767323045.678,"ImportToken":"AA=="}`))
	f.Add([]byte(`{"Constraints":{"EncryptionContextEquals":{"a":"b"}},"Operations":["Decrypt"]}`))
	f.Add([]byte(`{"Plaintext":"\u0041A=\/"`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, in := range []func() any{
			func() any { return new(kms.EncryptInput) }, func() any { return new(kms.CreateKeyInput) },
			func() any { return new(kms.ImportKeyMaterialInput) }, func() any { return new(kms.CreateGrantInput) },
			func() any { return new(kms.ListKeysInput) },
		} {
			first, second := in(), in()
			err := Decode(body, first)
			var e *Error
			if err != nil && !errors.As(err, &e) {
				t.Fatalf("%T: %v", err, err)
			}
			if err != nil {
				continue
			}
			text, err := Encode(first)
			if err == nil {
				err = Decode(text, second)
			}
			if err != nil || !reflect.DeepEqual(first, second) {
				t.Fatalf("%+v is written as %s and read as %+v, %v", first, text, second, err)
			}
		}
	})
}
