package keysvc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store/sqlite"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// The test binary runs as a second process of a key service if these name a
// token's directory and a state directory. It takes one command a line.
const (
	childTokenEnv = "KEYSVC_TEST_TOKEN"
	childStateEnv = "KEYSVC_TEST_STATE"
)

func child() error {
	dir := os.Getenv(childStateEnv)
	db, err := sqlite.Open(context.Background(), filepath.Join(dir, "keys.db"))
	if err != nil {
		return err
	}
	trail, err := audit.Open(audit.Config{Path: filepath.Join(dir, "audit.jsonl")})
	if err != nil {
		return err
	}
	s, err := New(context.Background(), Config{Token: token, Store: db, Audit: trail, Account: testAccount, Region: testRegion})
	if err != nil {
		return err
	}
	fmt.Println("ok") // ready
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		command, key, _ := strings.Cut(lines.Text(), " ")
		if err := obey(s, command, key); err != nil {
			fmt.Println(err)
		} else {
			fmt.Println("ok")
		}
	}
	return errors.Join(lines.Err(), trail.Close(), db.Close())
}

func obey(s *Service, command, key string) (err error) {
	ctx := context.Background()
	switch command {
	case "disable":
		_, err = s.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &key})
	case "enable":
		_, err = s.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &key})
	case "rotate":
		_, err = s.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &key})
	case "use":
		for range 50 {
			if _, err = s.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: types.DataKeySpecAes256}); err != nil {
				return err
			}
		}
	default:
		err = errors.New("unknown command " + command)
	}
	return err
}

// process is a second process; tell returns when it has done what it was told.
type process struct {
	t   *testing.T
	in  *os.File
	out *bufio.Reader
}

func startProcess(t *testing.T, stateDir string) *process {
	t.Helper()
	in, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childTokenEnv+"="+tokenDir, childStateEnv+"="+stateDir)
	cmd.Stdin, cmd.Stderr = in, os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error("second process:", err)
		}
	})
	p := &process{t: t, in: stdin, out: bufio.NewReader(stdout)}
	// SoftHSM may refuse a login while another process logs in.
	p.answer("start")
	return p
}

func (p *process) tell(command string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		p.t.Fatal(err)
	}
	p.answer(command)
}

func (p *process) answer(command string) {
	p.t.Helper()
	if answer, err := p.out.ReadString('\n'); err != nil || answer != "ok\n" {
		p.t.Fatalf("second process, told to %s: %q, %v", command, answer, err)
	}
}

func TestAnotherProcessDisablesTheKeyForTheVeryNextCall(t *testing.T) {
	f := newService(t)
	id := f.key()
	blob := f.encrypt(id, "text", nil)
	other := startProcess(t, f.dir)
	for range 20 {
		f.decrypts(blob, "text", nil)
		other.tell("disable " + id)
		_, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob})
		wantError(t, err, "DisabledException", f.arn(id)+" is disabled.")
		other.tell("enable " + id)
	}
	other.tell("rotate " + id)
	fresh := f.encrypt(id, "new", nil)
	if string(fresh[:headerSize]) == string(blob[:headerSize]) {
		t.Error("the rotation in the other process isn't used")
	}
	f.decrypts(blob, "text", nil)
	f.decrypts(fresh, "new", nil)
}

// Whoever removes the generation word must not thereby keep a change from a
// running service for more than a second.
func TestLostGenerationWordHidesNoChangeForLong(t *testing.T) {
	f := newService(t)
	id := f.key()
	blob := f.encrypt(id, "text", nil)
	if err := os.Remove(filepath.Join(f.dir, "keys.db-generation")); err != nil {
		t.Fatal(err)
	}
	second := openService(t, f.dir, f.clock, token)
	f.must(second.DisableKey(f.ctx(), &kms.DisableKeyInput{KeyId: &id}))
	time.Sleep(maxAge)
	_, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob})
	wantError(t, err, "DisabledException", "*")
}

func TestSeveralProcessesWriteOneTrail(t *testing.T) {
	f := newService(t)
	id := f.key()
	var group sync.WaitGroup
	for range 3 {
		p := startProcess(t, f.dir)
		group.Go(func() { p.tell("use " + id) })
	}
	for range 50 {
		f.encrypt(id, "x", nil)
	}
	group.Wait()
	report, err := audit.Verify(filepath.Join(f.dir, "audit.jsonl"))
	if err != nil || !report.Intact() || report.Records != 1+50+3*50 {
		t.Errorf("report %+v, %v", report, err)
	}
}

// Under -race, this is also the service's concurrency test.
func TestKeyIsUsedAndChangedByManyAtOnce(t *testing.T) {
	f := newService(t)
	id := f.key()
	blob := f.encrypt(id, "text", nil)
	second := openService(t, f.dir, f.clock, token)
	var users, changers sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		s := []*fixture{f, second}[i%2].Service
		users.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				out, err := s.Decrypt(context.Background(), &kms.DecryptInput{CiphertextBlob: blob})
				if err == nil && string(out.Plaintext) != "text" {
					t.Errorf("decrypts to %q", out.Plaintext)
				}
				if err != nil {
					var disabled *types.DisabledException
					if !errors.As(err, &disabled) {
						t.Error(err)
					}
				}
			}
		})
	}
	changers.Go(func() {
		for range 10 {
			_, err := f.DisableKey(context.Background(), &kms.DisableKeyInput{KeyId: &id})
			_, err2 := second.Decrypt(context.Background(), &kms.DecryptInput{CiphertextBlob: blob})
			var disabled *types.DisabledException
			if err != nil || !errors.As(err2, &disabled) {
				t.Errorf("disable gives %v, the next Decrypt %v", err, err2)
			}
			if _, err := second.EnableKey(context.Background(), &kms.EnableKeyInput{KeyId: &id}); err != nil {
				t.Error(err)
			}
		}
	})
	changers.Go(func() {
		for range 10 {
			grant, err := second.CreateGrant(context.Background(), &kms.CreateGrantInput{KeyId: &id,
				GranteePrincipal: aws.String("arn:aws:iam::111122223333:user/u"), Operations: []types.GrantOperation{types.GrantOperationDecrypt}})
			var disabled *types.DisabledException
			if errors.As(err, &disabled) {
				continue
			}
			if err != nil {
				t.Error(err)
				continue
			}
			if _, err := f.RetireGrant(context.Background(), &kms.RetireGrantInput{GrantToken: grant.GrantToken}); err != nil {
				t.Error(err)
			}
		}
	})
	changers.Wait()
	close(stop)
	users.Wait()
	report, err := audit.Verify(filepath.Join(f.dir, "audit.jsonl"))
	if err != nil || !report.Intact() {
		t.Errorf("report %+v, %v", report, err)
	}
}

func BenchmarkTokenUnwrap(b *testing.B) {
	f := newService(b)
	blob := f.encrypt(f.key(), "0123456789abcdef0123456789abcdef", benchmarkContext)
	ct, err := parseCiphertext(blob)
	if err != nil {
		b.Fatal(err)
	}
	aad := additionalData(ct.backing, benchmarkContext)
	for b.Loop() {
		if _, err := token.Unwrap(b.Context(), [16]byte(ct.backing), ct.wrapped, aad); err != nil {
			b.Fatal(err)
		}
	}
}

var benchmarkContext = map[string]string{"kmsfs:volume-id": "vol-0123456789abcdef", "kmsfs:path": "/home/user/documents/report.txt"}

func BenchmarkDecrypt(b *testing.B) {
	f := newService(b)
	id := f.key()
	in := &kms.DecryptInput{
		KeyId: aws.String(f.arn(id)), EncryptionContext: benchmarkContext,
		CiphertextBlob: f.encrypt(id, "0123456789abcdef0123456789abcdef", benchmarkContext)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Decrypt(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGenerateDataKey(b *testing.B) {
	f := newService(b)
	in := &kms.GenerateDataKeyInput{KeyId: aws.String(f.key()), KeySpec: types.DataKeySpecAes256, EncryptionContext: benchmarkContext}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.GenerateDataKey(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecryptParallel(b *testing.B) {
	f := newService(b)
	in := &kms.DecryptInput{EncryptionContext: benchmarkContext, CiphertextBlob: f.encrypt(f.key(), "0123456789abcdef0123456789abcdef", benchmarkContext)}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := f.Decrypt(b.Context(), in); err != nil {
				b.Fatal(err)
			}
		}
	})
}
