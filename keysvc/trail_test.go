package keysvc

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/keysvc/audit"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// last returns the newest record.
func (f *fixture) last() audit.Record {
	f.t.Helper()
	all := f.records()
	return all[len(all)-1]
}

func TestRecordHasTheShapeOfCloudTrail(t *testing.T) {
	f := newService(t)
	id := f.key()
	path := map[string]any{"kmsfs:path": "/a & b", "kmsfs:volume-id": "vol-1"}
	blob := f.encrypt(id, "text", map[string]string{"kmsfs:path": "/a & b", "kmsfs:volume-id": "vol-1"})
	f.decrypts(blob, "text", map[string]string{"kmsfs:path": "/a & b", "kmsfs:volume-id": "vol-1"})
	r := f.last()
	if r.EventName != "Decrypt" || r.EventSource != "kms.amazonaws.com" || r.AWSRegion != testRegion || !r.ReadOnly || !r.ManagementEvent ||
		r.EventType != "AwsApiCall" || r.EventCategory != "Management" || r.RecipientAccountID != testAccount || r.ErrorCode != "" ||
		r.SourceIPAddress != "AWS Internal" || r.UserAgent != "kmsfs" || len(r.EventID) != 36 || len(r.RequestID) != 36 {
		t.Errorf("%+v", r.Event)
	}
	if r.UserIdentity != (audit.UserIdentity{Type: "Root", PrincipalID: testAccount, ARN: "arn:aws:iam::111122223333:root", AccountID: testAccount}) {
		t.Errorf("%+v", r.UserIdentity)
	}
	if len(r.Resources) != 1 || r.Resources[0] != (audit.Resource{AccountID: testAccount, Type: "AWS::KMS::Key", ARN: f.arn(id)}) {
		t.Errorf("%+v", r.Resources)
	}
	context, _ := r.RequestParameters["encryptionContext"].(map[string]any)
	if len(context) != 2 || context["kmsfs:path"] != path["kmsfs:path"] || r.RequestParameters["encryptionAlgorithm"] != "SYMMETRIC_DEFAULT" || r.ResponseElements != nil {
		t.Errorf("%+v", r.RequestParameters)
	}
	if !bytes.Contains(r.Line, []byte(`"responseElements":null`)) {
		t.Errorf("%s", r.Line)
	}
}

func TestRecordNamesTheCaller(t *testing.T) {
	f := newService(t)
	ctx := WithCaller(f.ctx(), Caller{ARN: "arn:aws:sts::111122223333:assumed-role/r/s", AccessKeyID: "AKIA", SourceIP: "192.0.2.1",
		UserAgent: "aws-cli", RequestID: "request", Region: "us-west-2", Details: audit.Params{"pid": 42}})
	_, err := f.CreateKey(ctx, nil)
	wantError(t, err, "AccessDeniedException", "*")
	r := f.last()
	if r.UserIdentity.Type != "AssumedRole" || r.UserIdentity.AccessKeyID != "AKIA" || r.SourceIPAddress != "192.0.2.1" || r.UserAgent != "aws-cli" ||
		r.RequestID != "request" || r.AWSRegion != "us-west-2" || r.AdditionalEventData["pid"] != float64(42) || r.ReadOnly || r.ErrorCode != "AccessDeniedException" {
		t.Errorf("%+v", r.Event)
	}
}

// Each operation, good or refused, leaves exactly one record with its name.
func TestEveryCallIsRecordedOnce(t *testing.T) {
	from := newTemplate(t)
	for op, attempt := range attempts {
		for _, state := range []types.KeyState{types.KeyStateEnabled, types.KeyStatePendingDeletion} {
			s := from.subject(newService(t), state)
			_ = attempt(s)
			name := strings.TrimSuffix(strings.TrimSuffix(op, "Source"), "Target")
			if strings.HasPrefix(op, "ReEncrypt") {
				name = "ReEncrypt"
			}
			n := 0
			for _, r := range s.records() {
				if r.EventName == name && r.EventType == "AwsApiCall" {
					n++
				}
			}
			want := 1
			if op == "Decrypt" {
				want = 2 // this attempt calls it twice
			}
			if n != want {
				t.Errorf("%s on a key that is %s: %d records", op, state, n)
			}
		}
	}
}

func TestTrailHoldsNoSecrets(t *testing.T) {
	f := newService(t)
	id := f.key()
	const text = "very secret plaintext"
	blob := f.encrypt(id, text, nil)
	made, err := f.GenerateDataKey(f.ctx(), &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: types.DataKeySpecAes256})
	f.must(made, err)
	random, err := f.GenerateRandom(f.ctx(), &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(32)})
	f.must(random, err)
	grant := f.grant(id, nil, types.GrantOperationDecrypt)
	f.must(f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob, GrantTokens: []string{*grant.GrantToken}}))
	f.must(f.ReEncrypt(f.ctx(), &kms.ReEncryptInput{CiphertextBlob: made.CiphertextBlob, DestinationKeyId: &id}))
	f.must(f.RetireGrant(f.ctx(), &kms.RetireGrantInput{GrantToken: grant.GrantToken}))
	trail, err := os.ReadFile(filepath.Join(f.dir, "audit.jsonl"))
	f.must(trail, err)
	for name, secret := range map[string][]byte{
		"plaintext": []byte(text), "ciphertext": blob, "data key": made.Plaintext, "wrapped data key": made.CiphertextBlob, "random bytes": random.Plaintext,
	} {
		for _, form := range []string{string(secret), base64.StdEncoding.EncodeToString(secret), hex.EncodeToString(secret)} {
			if bytes.Contains(trail, []byte(form)) {
				t.Errorf("the trail holds the %s", name)
			}
		}
	}
	if bytes.Contains(trail, []byte(*grant.GrantToken)) {
		t.Error("the trail holds the grant token")
	}
}

// full is a trail that can't be written, as on a full disk.
type full struct{}

func (full) Append(context.Context, *audit.Event) error {
	return &audit.Error{Op: "append", Kind: audit.KindIO, Err: errors.New("no space left on device")}
}

func TestCallThatCannotBeRecordedFails(t *testing.T) {
	f := newService(t)
	id := f.key()
	blob := f.encrypt(id, "text", nil)
	f.config.Audit = full{}
	out, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob})
	wantError(t, err, "KMSInternalException", "*")
	if out != nil {
		t.Errorf("an unrecorded call was answered: %v", out)
	}
	var cause *audit.Error
	if !errors.As(err, &cause) {
		t.Errorf("the cause is lost: %v", err)
	}
	_, err = f.DescribeKey(f.ctx(), &kms.DescribeKeyInput{KeyId: aws.String("alias/none")})
	wantError(t, err, "KMSInternalException", "*")
}

func TestCancelledCallIsATimeoutAndRecorded(t *testing.T) {
	f := newService(t)
	id := f.key()
	ctx, cancel := context.WithCancel(f.ctx())
	cancel()
	_, err := f.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id})
	wantError(t, err, "DependencyTimeoutException", "*")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the cause is lost: %v", err)
	}
	if r := f.last(); r.EventName != "DisableKey" || r.ErrorCode != "DependencyTimeoutException" {
		t.Errorf("%+v", r.Event)
	}
}

func TestHugeInvalidInputDoesNotFillTheTrail(t *testing.T) {
	f := newService(t)
	_, err := f.DescribeKey(f.ctx(), &kms.DescribeKeyInput{KeyId: aws.String(strings.Repeat("ä", 1<<20))})
	wantError(t, err, "ValidationException", "*")
	if r := f.last(); len(r.Line) > 3*maxRecorded {
		t.Errorf("a record of %d bytes", len(r.Line))
	}
}
