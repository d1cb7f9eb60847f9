package integration

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// keyServer is kmsfs serve on a state directory of its own, and an unmodified aws command line that
// uses it as an administrator.
type keyServer struct {
	t    *testing.T
	url  string
	env  []string // of the aws command line
	vol  *volume  // only its state directory
	dir  string
	last string // of aws on standard error

	flags []string // of kmsfs serve
	proc  *exec.Cmd
	log   bytes.Buffer
}

func startKeyServer(t *testing.T, flags ...string) *keyServer {
	t.Helper()
	return startKeyServerOf(t, "000000000000", flags...)
}

// startKeyServerOf is startKeyServer for the keys of another account.
func startKeyServerOf(t *testing.T, account string, flags ...string) *keyServer {
	t.Helper()
	return startKeyServerMadeWith(t, []string{"--account", account}, flags...)
}

// startKeyServerMadeWith is startKeyServer with flags for the first use of its state directory.
func startKeyServerMadeWith(t *testing.T, first []string, flags ...string) *keyServer {
	t.Helper()
	dir := t.TempDir()
	s := &keyServer{t: t, dir: dir, vol: &volume{t: t, State: filepath.Join(dir, "state")}, flags: flags}
	s.env = s.credentials("admin", append([]string{"--admin"}, first...)...)
	s.start()
	t.Cleanup(s.stop)
	return s
}

// start starts kmsfs serve, on any port, and waits until it is ready.
func (s *keyServer) start() {
	s.t.Helper()
	s.proc = exec.Command(binary, append([]string{"serve", "--listen", "127.0.0.1:0"}, s.flags...)...)
	s.proc.Env = append(os.Environ(), "KMSFS_STATE_DIR="+s.vol.State)
	s.proc.Stderr = &s.log
	out, err := s.proc.StdoutPipe()
	must(s.t, err)
	must(s.t, s.proc.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.t.Fatalf("kmsfs serve printed no URL: %v\n%s", err, &s.log)
	}
	s.url = strings.TrimSpace(line)
}

// stop ends kmsfs serve as a restart of its host would, unless it is not running.
func (s *keyServer) stop() {
	s.t.Helper()
	if s.proc == nil {
		return
	}
	must(s.t, s.proc.Process.Signal(unix.SIGTERM))
	if err := s.proc.Wait(); err != nil {
		s.t.Errorf("kmsfs serve ended with %v\n%s", err, &s.log)
	}
	s.proc = nil
}

// addr is the host and port that it serves on.
func (s *keyServer) addr() string { return s.url[strings.Index(s.url, "//")+2:] }

// credentials makes a principal and returns the environment in which aws acts as it.
func (s *keyServer) credentials(name string, flags ...string) []string {
	s.t.Helper()
	var made struct {
		AccessKey struct{ AccessKeyId, SecretAccessKey string }
	}
	out := s.vol.kmsfs(append([]string{"principal", "create", "--json", name}, flags...)...)
	must(s.t, json.Unmarshal([]byte(out), &made))
	return append(os.Environ(), "AWS_ACCESS_KEY_ID="+made.AccessKey.AccessKeyId, "AWS_SECRET_ACCESS_KEY="+made.AccessKey.SecretAccessKey,
		"AWS_DEFAULT_REGION=us-east-1", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "AWS_SESSION_TOKEN=", "HOME="+s.dir)
}

// aws runs aws kms and decodes what it prints.
func (s *keyServer) aws(args ...string) map[string]any {
	s.t.Helper()
	out, err := s.tryAWS(s.env, args...)
	if err != nil {
		s.t.Fatalf("aws kms %s: %v\n%s", strings.Join(args, " "), err, s.last)
	}
	var answer map[string]any
	if out != "" {
		must(s.t, json.Unmarshal([]byte(out), &answer))
	}
	return answer
}

func (s *keyServer) tryAWS(env []string, args ...string) (string, error) {
	cmd := exec.Command(awsCommand(), append([]string{"--endpoint-url", s.url, "--output", "json", "kms"}, args...)...)
	cmd.Env, cmd.Dir = env, s.dir
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	s.last = errOut.String()
	return strings.TrimSpace(out.String()), err
}

// awsCommand is the distribution's own, if it is there.
func awsCommand() string {
	if _, err := os.Stat("/usr/bin/aws"); err == nil {
		return "/usr/bin/aws"
	}
	return "aws"
}

// refused runs aws kms, which must fail with this error.
func (s *keyServer) refused(env []string, want string, args ...string) {
	s.t.Helper()
	if _, err := s.tryAWS(env, args...); err == nil || !strings.Contains(s.last, want) {
		s.t.Errorf("aws kms %s: %v, want %s\n%s", strings.Join(args, " "), err, want, s.last)
	}
}

// blob writes what aws takes as fileb:// and returns that argument.
func (s *keyServer) blob(name string, content []byte) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	must(s.t, os.WriteFile(path, content, 0o600))
	return "fileb://" + path
}

func decoded(t *testing.T, blob any) []byte {
	t.Helper()
	text, _ := blob.(string)
	raw, err := base64.StdEncoding.DecodeString(text)
	must(t, err)
	return raw
}

// The aws command line, as its packages ship it, takes a key through its whole life.
func TestTheAWSCommandLineTakesAKeyThroughItsWholeLife(t *testing.T) {
	s := startKeyServer(t)
	key := s.aws("create-key", "--description", "from aws", "--tags", "TagKey=team,TagValue=a")["KeyMetadata"].(map[string]any)
	id, arn := key["KeyId"].(string), key["Arn"].(string)
	if key["KeyState"] != "Enabled" || arn != "arn:aws:kms:us-east-1:000000000000:key/"+id {
		t.Fatalf("%v", key)
	}
	s.aws("create-alias", "--alias-name", "alias/app", "--target-key-id", id)
	if got := s.aws("list-aliases")["Aliases"].([]any)[0].(map[string]any); got["TargetKeyId"] != id {
		t.Errorf("%v", got)
	}
	sealed := s.aws("encrypt", "--key-id", "alias/app", "--plaintext", s.blob("plain", []byte("attack at dawn\x00\xff")), "--encryption-context", "purpose=test")
	cipher := s.blob("cipher", decoded(t, sealed["CiphertextBlob"]))
	opened := s.aws("decrypt", "--ciphertext-blob", cipher, "--encryption-context", "purpose=test")
	if got := string(decoded(t, opened["Plaintext"])); got != "attack at dawn\x00\xff" || opened["KeyId"] != arn {
		t.Errorf("%q, %v", got, opened)
	}
	s.refused(s.env, "InvalidCiphertextException", "decrypt", "--ciphertext-blob", cipher, "--encryption-context", "purpose=other")
	s.aws("enable-key-rotation", "--key-id", id)
	if got := s.aws("get-key-rotation-status", "--key-id", id); got["KeyRotationEnabled"] != true {
		t.Errorf("%v", got)
	}
	s.aws("disable-key", "--key-id", id)
	s.refused(s.env, "(DisabledException) when calling the Decrypt operation: "+arn+" is disabled.", "decrypt", "--ciphertext-blob", cipher, "--encryption-context", "purpose=test")
	s.aws("enable-key", "--key-id", id)
	if got := s.aws("schedule-key-deletion", "--key-id", id, "--pending-window-in-days", "7"); got["KeyState"] != "PendingDeletion" {
		t.Errorf("%v", got)
	}
	s.refused(s.env, "KMSInvalidStateException", "enable-key", "--key-id", id)
	s.aws("cancel-key-deletion", "--key-id", id)
	if got := s.aws("list-resource-tags", "--key-id", id)["Tags"].([]any); len(got) != 1 {
		t.Errorf("%v", got)
	}
	s.refused(s.env, "NotFoundException", "describe-key", "--key-id", id, "--region", "eu-west-1")
}

// A principal gets what a grant with constraints gives it, and no more.
func TestTheAWSCommandLineUsesAGrantWithConstraints(t *testing.T) {
	s := startKeyServer(t)
	id := s.aws("create-key")["KeyMetadata"].(map[string]any)["KeyId"].(string)
	bob := s.credentials("bob")
	use := []string{"generate-data-key", "--key-id", id, "--key-spec", "AES_256", "--encryption-context", "Department=IT,Purpose=Test"}
	s.refused(bob, "AccessDeniedException", use...)
	grant := s.aws("create-grant", "--key-id", id, "--grantee-principal", "arn:aws:iam::000000000000:user/bob",
		"--operations", "GenerateDataKey", "--constraints", "EncryptionContextSubset={Department=IT}")
	out, err := s.tryAWS(bob, use...)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.last)
	}
	var made map[string]any
	must(t, json.Unmarshal([]byte(out), &made))
	if n := len(decoded(t, made["Plaintext"])); n != 32 {
		t.Errorf("a data key of %d bytes", n)
	}
	s.refused(bob, "AccessDeniedException", "generate-data-key", "--key-id", id, "--key-spec", "AES_256", "--encryption-context", "Department=HR")
	if got := s.aws("list-grants", "--key-id", id)["Grants"].([]any); len(got) != 1 || got[0].(map[string]any)["GrantId"] != grant["GrantId"] {
		t.Errorf("%v", got)
	}
	s.aws("revoke-grant", "--key-id", id, "--grant-id", grant["GrantId"].(string))
	s.refused(bob, "AccessDeniedException", use...)
}

// A wrong secret, and a principal that was deleted while the service runs, get nothing.
func TestTheAWSCommandLineIsRefusedWithoutAGoodAccessKey(t *testing.T) {
	s := startKeyServer(t)
	s.refused(append(s.env, "AWS_SECRET_ACCESS_KEY=wrong"), "InvalidSignatureException", "list-keys")
	eve := s.credentials("eve", "--admin")
	if _, err := s.tryAWS(eve, "list-keys"); err != nil {
		t.Fatalf("%v\n%s", err, s.last)
	}
	s.vol.kmsfs("principal", "delete", "eve")
	s.refused(eve, "UnrecognizedClientException", "list-keys")
}

// With a certificate the service speaks TLS, and only who trusts the certificate talks to it.
func TestTheAWSCommandLineUsesTLS(t *testing.T) {
	cert, key := selfSigned(t)
	s := startKeyServer(t, "--tls-cert", cert, "--tls-key", key)
	if !strings.HasPrefix(s.url, "https://127.0.0.1:") {
		t.Fatal(s.url)
	}
	s.refused(s.env, "SSL validation failed", "list-keys")
	s.env = append(s.env, "AWS_CA_BUNDLE="+cert)
	s.aws("create-key")
	if got := s.aws("list-keys")["Keys"].([]any); len(got) != 1 {
		t.Errorf("%v", got)
	}
	cmd := exec.Command(binary, "key", "list", "--endpoint", s.url, "--json")
	cmd.Env = s.env
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), `"KeyState": "Enabled"`) {
		t.Errorf("kmsfs key list --endpoint: %v\n%s", err, out)
	}
}

// selfSigned makes a certificate for 127.0.0.1 and its private key.
func selfSigned(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return certFile, keyFile
}
