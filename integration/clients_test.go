package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go/middleware"
)

// clientsAccount is the account in the documents that describe AWS's commands.
const clientsAccount = "111122223333"

// Clients of AWS, as their makers ship them, work with one key service over TLS. Those that "make
// clients" has not put into bin/clients are left out.
func TestClientsOfAWSWorkUnchanged(t *testing.T) {
	s := startKeyServerOf(t, clientsAccount, "--tls")
	ca := filepath.Join(s.vol.State, "tls", "ca.pem")
	s.env = append(s.env, "AWS_CA_BUNDLE="+ca, "NODE_EXTRA_CA_CERTS="+ca, "AWS_ENDPOINT_URL_KMS="+s.url, "AWS_REGION=us-east-1")
	t.Run("boto3", s.boto3)
	t.Run("aws-sdk-go-v2", func(t *testing.T) { s.goSDK(t, ca) })
	t.Run("AWS Encryption SDK for JavaScript", s.encryptionSDK)
	t.Run("sops", s.sops)
	t.Run("aws-sdk-go, Tink and Vault's seal", func(t *testing.T) { s.run(t, nil, fetched(t, "kmslibs"), s.keyARN()) })
	t.Run("commands of the documentation", s.documentedCommands)
}

// run runs a program as the administrator and returns what it prints.
func (s *keyServer) run(t *testing.T, input []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir, cmd.Stdin = s.env, s.dir, bytes.NewReader(input)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &out, &errOut)
	}
	return out.Bytes()
}

// testdata is the absolute path of a file that belongs to the tests.
func testdata(t *testing.T, path ...string) string {
	t.Helper()
	abs, err := filepath.Abs(filepath.Join(append([]string{"testdata"}, path...)...))
	must(t, err)
	return abs
}

// fetched is the path of something that "make clients" gets.
func fetched(t *testing.T, path ...string) string {
	t.Helper()
	abs, err := filepath.Abs(filepath.Join(append([]string{"..", "bin", "clients"}, path...)...))
	must(t, err)
	if _, err := os.Stat(abs); err != nil {
		t.Skipf("%v: run make clients first", err)
	}
	return abs
}

func (s *keyServer) boto3(t *testing.T) {
	const python = "/usr/bin/python3" // of the distribution, which python3-boto3 belongs to
	if exec.Command(python, "-c", "import boto3").Run() != nil {
		t.Skip("python3-boto3 is not installed")
	}
	s.run(t, nil, python, testdata(t, "boto3", "life.py"), s.url)
}

// goSDK is what a Go program does that knows nothing but its configuration.
func (s *keyServer) goSDK(t *testing.T, ca string) {
	ctx := t.Context()
	bundle, err := os.ReadFile(ca)
	must(t, err)
	loaded, err := config.LoadDefaultConfig(ctx, config.WithBaseEndpoint(s.url), config.WithRegion("us-west-2"),
		config.WithHTTPClient(awshttp.NewBuildableClient()), config.WithCustomCABundle(bytes.NewReader(bundle)),
		config.WithCredentialsProvider(s.provider()))
	must(t, err)
	client := kms.NewFromConfig(loaded)
	made, err := client.CreateKey(ctx, &kms.CreateKeyInput{})
	must(t, err)
	id := made.KeyMetadata.KeyId
	unused, err := client.GetKeyLastUsage(ctx, &kms.GetKeyLastUsageInput{KeyId: id})
	must(t, err)
	if last := unused.KeyLastUsage; last == nil || last.Operation != "" || last.Timestamp != nil || !aws.ToTime(unused.TrackingStartDate).Equal(aws.ToTime(made.KeyMetadata.CreationDate)) {
		t.Errorf("of a new key: %+v, %+v", unused, last)
	}
	dataKey, err := client.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: id, KeySpec: types.DataKeySpecAes256})
	must(t, err)
	opened, err := client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: dataKey.CiphertextBlob})
	must(t, err)
	if !bytes.Equal(opened.Plaintext, dataKey.Plaintext) || aws.ToString(opened.KeyId) != aws.ToString(made.KeyMetadata.Arn) {
		t.Errorf("%+v", opened)
	}
	used, err := client.GetKeyLastUsage(ctx, &kms.GetKeyLastUsageInput{KeyId: id})
	must(t, err)
	if last := used.KeyLastUsage; last.Operation != types.KeyLastUsageTrackingOperationDecrypt || aws.ToString(last.KmsRequestId) != requestOf(opened.ResultMetadata) {
		t.Errorf("%+v, want the request %s", last, requestOf(opened.ResultMetadata))
	}
	_, err = client.Encapsulate(ctx, &kms.EncapsulateInput{KeyId: id, EncapsulationAlgorithm: types.EncapsulationAlgorithmSpecMlKem})
	var usage *types.InvalidKeyUsageException
	if !errors.As(err, &usage) {
		t.Errorf("%v, want InvalidKeyUsageException", err)
	}
	_, err = client.DisableKey(ctx, &kms.DisableKeyInput{KeyId: id})
	must(t, err)
	_, err = client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: dataKey.CiphertextBlob})
	var disabled *types.DisabledException
	if !errors.As(err, &disabled) {
		t.Errorf("%v, want DisabledException", err)
	}
}

// requestOf is the id that an answer's header names.
func requestOf(answer middleware.Metadata) string {
	id, _ := awsmiddleware.GetRequestIDMetadata(answer)
	return id
}

// provider has the administrator's access key.
func (s *keyServer) provider() aws.CredentialsProvider {
	value := func(name string) (v string) {
		for _, e := range s.env {
			if rest, ok := strings.CutPrefix(e, name+"="); ok {
				v = rest
			}
		}
		return v
	}
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		return credentials.NewStaticCredentialsProvider(value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY"), "").Retrieve(ctx)
	}))
}

// keyARN makes a key and returns its ARN.
func (s *keyServer) keyARN() string {
	s.t.Helper()
	return s.aws("create-key")["KeyMetadata"].(map[string]any)["Arn"].(string)
}

func (s *keyServer) encryptionSDK(t *testing.T) {
	modules := fetched(t, "encryption-sdk", "node_modules")
	script := filepath.Join(filepath.Dir(modules), "roundtrip.cjs")
	content, err := os.ReadFile(testdata(t, "encryption-sdk", "roundtrip.cjs"))
	must(t, err)
	must(t, os.WriteFile(script, content, 0o600)) // node looks for modules beside the program
	plaintext := bytes.Repeat([]byte("attack at dawn\n"), 20000)
	if got := s.run(t, plaintext, "node", script, s.keyARN(), s.keyARN()); !bytes.Equal(got, plaintext) {
		t.Errorf("%d bytes came back of %d", len(got), len(plaintext))
	}
}

func (s *keyServer) sops(t *testing.T) {
	sops := fetched(t, "sops")
	const secret = "password: correct horse\nlist:\n    - 1\n    - two\n"
	file := filepath.Join(s.dir, "secrets.yaml")
	must(t, os.WriteFile(file, []byte(secret), 0o600))
	arn := s.keyARN()
	s.run(t, nil, sops, "encrypt", "--in-place", "--kms", arn, "--encryption-context", "Role:test", file)
	sealed, err := os.ReadFile(file)
	must(t, err)
	if bytes.Contains(sealed, []byte("correct horse")) || !bytes.Contains(sealed, []byte(arn)) {
		t.Fatalf("not encrypted:\n%s", sealed)
	}
	if got := s.run(t, nil, sops, "decrypt", file); string(got) != secret {
		t.Errorf("%s", got)
	}
	other := s.keyARN()
	s.run(t, nil, sops, "rotate", "--in-place", "--add-kms", other, file)
	s.aws("disable-key", "--key-id", arn)
	if got := s.run(t, nil, sops, "decrypt", file); string(got) != secret {
		t.Errorf("with the other key: %s", got)
	}
	s.aws("disable-key", "--key-id", other)
	cmd := exec.Command(sops, "decrypt", file)
	cmd.Env = s.env
	if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("DisabledException")) {
		t.Errorf("with disabled keys: %v\n%s", err, out)
	}
}

// documentedCommands are AWS's own examples of a grant with a constraint, but for the key's id.
func (s *keyServer) documentedCommands(t *testing.T) {
	id := s.keyARN()
	id = id[strings.LastIndex(id, "/")+1:]
	user := append(s.credentials("exampleUser"), "AWS_CA_BUNDLE="+filepath.Join(s.vol.State, "tls", "ca.pem"))
	generate := strings.Fields("generate-data-key --key-id " + id + " --key-spec AES_256 --encryption-context Purpose=Test")
	s.refused(user, "AccessDeniedException", generate...)
	s.aws(strings.Fields("create-grant --key-id " + id + " --grantee-principal arn:aws:iam::111122223333:user/exampleUser" +
		" --retiring-principal arn:aws:iam::111122223333:role/adminRole --operations GenerateDataKey" +
		" --constraints EncryptionContextEquals={Purpose=Test}")...)
	out, err := s.tryAWS(user, generate...)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.last)
	}
	var made map[string]any
	must(t, json.Unmarshal([]byte(out), &made))
	if n := len(decoded(t, made["Plaintext"])); n != 32 {
		t.Errorf("a data key of %d bytes", n)
	}
	for _, context := range []string{"purpose=Test", "Purpose=Test,More=x"} {
		s.refused(user, "AccessDeniedException", "generate-data-key", "--key-id", id, "--key-spec", "AES_256", "--encryption-context", context)
	}
}
