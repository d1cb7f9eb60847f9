package shape

import (
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// inputs has an empty input of every operation of the SDK's client.
func inputs() map[string]reflect.Value {
	all := map[string]reflect.Value{}
	client := reflect.TypeFor[*kms.Client]()
	for i := range client.NumMethod() {
		m := client.Method(i)
		if m.Type.NumIn() == 4 && strings.HasSuffix(m.Type.In(2).String(), "Input") {
			all[m.Name] = reflect.New(m.Type.In(2).Elem())
		}
	}
	return all
}

func TestEveryOperationOfTheAPIHasARuleAndEveryMemberAConstraint(t *testing.T) {
	var table Table
	all := inputs()
	if len(all) < 56 {
		t.Fatalf("only %d operations in the SDK", len(all))
	}
	for name, in := range all {
		if _, err := table.Check(name, in.Interface()); err != nil {
			t.Error(err)
		}
	}
	for name := range operations {
		if _, ok := all[name]; !ok {
			t.Errorf("%s has a rule, but is no operation", name)
		}
	}
}

func TestRequiredMembersAreMembers(t *testing.T) {
	for name, in := range inputs() {
		required := map[string]bool{}
		for _, path := range operations[name].required {
			required[path] = true
		}
		fields, err := compileStruct(name, operations[name], in.Elem().Type(), "")
		if err != nil {
			t.Fatal(err)
		}
		mark(fields, in.Elem().Type(), "", required)
		for path := range required {
			t.Errorf("%s requires %s, which is no member of it", name, path)
		}
	}
}

// mark removes the members that fields require.
func mark(fields []field, in reflect.Type, path string, required map[string]bool) {
	for _, f := range fields {
		member := in.Field(f.index)
		if f.required {
			delete(required, path+member.Name)
		}
		switch t := member.Type; {
		case f.inner != nil:
			mark(f.inner, t.Elem(), path+member.Name+".", required)
		case f.entry != nil && f.entry.inner != nil:
			mark(f.entry.inner, t.Elem(), path+member.Name+".", required)
		}
	}
}

func TestFaultsAreSaidInAWSWords(t *testing.T) {
	long := strings.Repeat("x", 9000)
	key := aws.String("k")
	for name, c := range map[string]struct {
		operation string
		in        any
		want      string
	}{
		"nothing wrong": {"DescribeKey", &kms.DescribeKeyInput{KeyId: key}, ""},
		"absent":        {"DescribeKey", &kms.DescribeKeyInput{}, "1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null"},
		"two faults": {"CreateAlias", &kms.CreateAliasInput{AliasName: aws.String("a b")},
			"2 validation errors detected: Value 'a b' at 'aliasName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$; Value null at 'targetKeyId' failed to satisfy constraint: Member must not be null"},
		"long text is cut": {"DescribeKey", &kms.DescribeKeyInput{KeyId: &long},
			"1 validation error detected: Value '" + long[:8192] + "...' at 'keyId' failed to satisfy constraint: Member must have length less than or equal to 2048"},
		"characters, not bytes": {"UpdateKeyDescription", &kms.UpdateKeyDescriptionInput{KeyId: key, Description: aws.String(strings.Repeat("ä", 8192))}, ""},
		"blob":                  {"Encrypt", &kms.EncryptInput{KeyId: key, Plaintext: []byte{}}, "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"number": {"ScheduleKeyDeletion", &kms.ScheduleKeyDeletionInput{KeyId: key, PendingWindowInDays: aws.Int32(31)},
			"1 validation error detected: Value '31' at 'pendingWindowInDays' failed to satisfy constraint: Member must have value less than or equal to 30"},
		"an operation's own limit": {"ListResourceTags", &kms.ListResourceTagsInput{KeyId: key, Limit: aws.Int32(51)},
			"1 validation error detected: Value '51' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 50"},
		"enumeration": {"GenerateDataKey", &kms.GenerateDataKeyInput{KeyId: key, KeySpec: "AES"},
			"1 validation error detected: Value 'AES' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set: [AES_256, AES_128]"},
		"entry of a list": {"DescribeKey", &kms.DescribeKeyInput{KeyId: key, GrantTokens: []string{"a", ""}},
			"1 validation error detected: Value '' at 'grantTokens.2.member' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"long list": {"DescribeKey", &kms.DescribeKeyInput{KeyId: key, GrantTokens: make([]string, 11)},
			"1 validation error detected: Value at 'grantTokens' failed to satisfy constraint: Member must have length less than or equal to 10"},
		"member of a structure in a list": {"TagResource", &kms.TagResourceInput{KeyId: key, Tags: []types.Tag{{TagKey: key, TagValue: key}, {TagKey: key}}},
			"1 validation error detected: Value null at 'tags.2.member.tagValue' failed to satisfy constraint: Member must not be null"},
		"member of a structure": {"Decrypt", &kms.DecryptInput{Recipient: &types.RecipientInfo{AttestationDocument: []byte{}}},
			"1 validation error detected: Value at 'recipient.attestationDocument' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"a password is not repeated": {"UpdateCustomKeyStore", &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: key, KeyStorePassword: aws.String("secret")},
			"1 validation error detected: Value at 'keyStorePassword' failed to satisfy constraint: Member must have length greater than or equal to 7"},
		"a pattern holds for the whole text": {"ReplicateKey", &kms.ReplicateKeyInput{KeyId: key, ReplicaRegion: aws.String("us-east-1\n")},
			"1 validation error detected: Value 'us-east-1\n' at 'replicaRegion' failed to satisfy constraint: Member must satisfy regular expression pattern: ^([a-z]+-){2,3}\\d+$"},
		"control characters": {"PutKeyPolicy", &kms.PutKeyPolicyInput{KeyId: key, Policy: aws.String("{\x00}")},
			"1 validation error detected: Value '{\x00}' at 'policy' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+"},
	} {
		t.Run(name, func(t *testing.T) {
			var table Table
			got, err := table.Check(c.operation, c.in)
			if err != nil || got != c.want {
				t.Errorf("%v\n got %q\nwant %q", err, got, c.want)
			}
		})
	}
}

func TestAnUnknownOperationIsAnError(t *testing.T) {
	var table Table
	if _, err := table.Check("Explode", &kms.DescribeKeyInput{}); err == nil {
		t.Error("checked")
	}
}

func TestAMessageHasAnEnd(t *testing.T) {
	var table Table
	in := &kms.UntagResourceInput{KeyId: aws.String("k"), TagKeys: make([]string, 10000)}
	got, err := table.Check("UntagResource", in)
	if err != nil || len(got) > 4096 || !strings.HasPrefix(got, "16 validation errors") {
		t.Errorf("%d characters: %.100s, %v", len(got), got, err)
	}
}

func BenchmarkCheck(b *testing.B) {
	var table Table
	in := &kms.DecryptInput{CiphertextBlob: make([]byte, 90), EncryptionContext: map[string]string{"a": "b"}, KeyId: aws.String("k")}
	for b.Loop() {
		if message, err := table.Check("Decrypt", in); message != "" || err != nil {
			b.Fatal(message, err)
		}
	}
}
