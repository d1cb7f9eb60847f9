package awsjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func decode(body []byte, into any) error {
	return Describe(reflect.TypeOf(into).Elem()).Decode(body, into)
}

func encode(out any) []byte { return Describe(reflect.TypeOf(out).Elem()).Append(nil, out) }

func TestDecodeRefusesWrongForms(t *testing.T) {
	for _, c := range []struct {
		name, body string
		into       any
		kind       Kind
		member     string
	}{
		{"no JSON", `{`, &kms.EncryptInput{}, KindSyntax, ""},
		{"a byte order mark", "\ufeff{}", &kms.EncryptInput{}, KindSyntax, ""},
		{"a space that is none in JSON", "\u00a0{}", &kms.EncryptInput{}, KindSyntax, ""},
		{"half a surrogate pair", `{"EncryptionContext":{"a":"\ud800"}}`, &kms.EncryptInput{}, KindSyntax, ""},
		{"the other half", `{"EncryptionContext":{"\udfff":"a"}}`, &kms.EncryptInput{}, KindSyntax, ""},
		{"two first halves", `{"KeyId":"\uD83D\uD83D"}`, &kms.EncryptInput{}, KindSyntax, ""},
		{"half before another escape", `{"KeyId":"\ud83d\ndd11"}`, &kms.EncryptInput{}, KindSyntax, ""},
		{"not a number", `{"ValidTo":NaN}`, &kms.ImportKeyMaterialInput{}, KindSyntax, ""},
		{"not a number as a text", `{"ValidTo":"NaN"}`, &kms.ImportKeyMaterialInput{}, KindType, "ValidTo"},
		{"an exponent", `{"NumberOfBytes":1e1}`, &kms.GenerateDataKeyInput{}, KindType, "NumberOfBytes"},
		{"true for a number", `{"NumberOfBytes":true}`, &kms.GenerateDataKeyInput{}, KindType, "NumberOfBytes"},
		{"null for a flag in a list", `{"Operations":[null]}`, &kms.CreateGrantInput{}, KindType, "Operations.0"},
		{"a text for a structure", `{"Constraints":"x"}`, &kms.CreateGrantInput{}, KindType, "Constraints"},
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
			if err := decode([]byte(c.body), c.into); !errors.As(err, &e) || e.Kind != c.kind || e.Member != c.member {
				t.Errorf("%v", err)
			}
		})
	}
}

// Every way to write a text means that text.
func TestDecodeReadsWhatAnyEncoderWrites(t *testing.T) {
	var in kms.EncryptInput
	body := "\r\n{ \"\\u004beyId\" :\t\"\\\\ud800 \\/\\ud83d\\udd11\\u00e4\\\"}\" , \"KeyID\":{\"]\":[[],{\"}\":\"]\"}, 1 ,true]} ,\"EncryptionContext\":{ \"\\u0061\" : \"1\",\"a\":\"2\" , \"\":\"\"},\n" +
		`"GrantTokens":[ "x" , "y,]" ],"DryRun": true,"DryRun" :false , "EncryptionAlgorithm":"A","EncryptionAlgorithm":null}` + "\n"
	if err := decode([]byte(body), &in); err != nil {
		t.Fatal(err)
	}
	want := kms.EncryptInput{KeyId: aws.String("\\ud800 /\U0001f511ä\"}"), EncryptionContext: map[string]string{"a": "2", "": ""},
		GrantTokens: []string{"x", "y,]"}, DryRun: aws.Bool(false)}
	if !reflect.DeepEqual(in, want) {
		t.Errorf("%+v", in)
	}
}

func TestDecodeIgnoresWhatTheAPIDoesNotHave(t *testing.T) {
	var in kms.EncryptInput
	body := ` {"KeyId":null,"keyId":"lower","ResultMetadata":{},"noSmithyDocumentSerde":1,"New":[{"a":null}],"Plaintext":"QQ\u003d=","DryRun":false} `
	if err := decode([]byte(body), &in); err != nil {
		t.Fatal(err)
	}
	if in.KeyId != nil || string(in.Plaintext) != "A" || in.DryRun == nil || *in.DryRun {
		t.Errorf("%+v", in)
	}
	if err := decode(nil, &in); err != nil {
		t.Errorf("an empty body: %v", err)
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
			if got := encode(c.out); string(got) != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestAppendDoesNotGrowTheAnswerOfASecret(t *testing.T) {
	out := &kms.DecryptOutput{Plaintext: make([]byte, 4096), KeyId: aws.String(strings.Repeat("k", 80))}
	s := Describe(reflect.TypeOf(out).Elem())
	room := make([]byte, 0, s.size(reflect.ValueOf(out).Elem()))
	if text := s.Append(room, out); &text[0] != &room[:1][0] {
		t.Error("the answer is somewhere else")
	}
}

func TestABlobThatIsGivenTwiceLeavesNoCopyOfTheFirst(t *testing.T) {
	var in kms.EncryptInput
	s := Describe(reflect.TypeOf(in))
	if err := s.Decode([]byte(`{"Plaintext":"c2VjcmV0"}`), &in); err != nil {
		t.Fatal(err)
	}
	first := in.Plaintext
	if err := s.Decode([]byte(`{"Plaintext":"bmV3"}`), &in); err != nil || string(in.Plaintext) != "new" {
		t.Fatal(err)
	}
	if strings.Trim(string(first), "\x00") != "" {
		t.Errorf("%q is left", first)
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
			err := decode(body, first)
			var e *Error
			if err != nil && !errors.As(err, &e) {
				t.Fatalf("%T: %v", err, err)
			}
			if err != nil {
				continue
			}
			text := encode(first)
			err = decode(text, second)
			if err != nil || !reflect.DeepEqual(first, second) {
				t.Fatalf("%+v is written as %s and read as %+v, %v", first, text, second, err)
			}
		}
	})
}

// The walk over valid JSON finds what encoding/json finds.
func FuzzMembers(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[{"c":"]\\\""}, null , -1e5],"":{}, "\u0041" : true}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var want map[string]json.RawMessage
		if checkText(text) != nil || json.Unmarshal(text, &want) != nil || want == nil {
			return
		}
		got := map[string]json.RawMessage{}
		for name, value := range members(bytes.Trim(text, " \t\r\n")) {
			plain, _ := unquote(name)
			got[plain] = value
		}
		if len(got) != len(want) {
			t.Fatalf("%q, want %q", got, want)
		}
		for name, value := range want {
			if !bytes.Equal(got[name], value) {
				t.Fatalf("%q is %q, want %q", name, got[name], value)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	s := Describe(reflect.TypeFor[kms.GenerateDataKeyInput]())
	body := []byte(`{"KeyId":"1234abcd-12ab-34cd-56ef-1234567890ab","KeySpec":"AES_256","EncryptionContext":{"kmsfs:path":"/a/b.txt","kmsfs:volume-id":"vol-1"}}`)
	b.ReportAllocs()
	for b.Loop() {
		var in kms.GenerateDataKeyInput
		if err := s.Decode(body, &in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	s := Describe(reflect.TypeFor[kms.GenerateDataKeyOutput]())
	out := &kms.GenerateDataKeyOutput{KeyId: aws.String(strings.Repeat("k", 80)), KeyMaterialId: aws.String(strings.Repeat("m", 64)),
		Plaintext: make([]byte, 32), CiphertextBlob: make([]byte, 180)}
	room := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		s.Append(room, out)
	}
}
