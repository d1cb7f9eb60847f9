package pkcs11

import (
	"context"
	"sync"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// faults forwards to a real module, counts calls and makes some fail.
type faults struct {
	cryptoki

	mu    sync.Mutex
	rules []*rule
	calls map[string]int

	// Replacements for whole functions, nil for the module's.
	onDerive  func(hsm.Derivation, *[saltSize]byte) error
	onEncrypt func(iv []byte)
	onDecrypt func(error) error
}

// rule makes a function fail.
type rule struct {
	function string
	skip     int             // calls that pass first
	times    int             // calls that fail then; -1 is for ever
	rv       uint            // what they return
	lost     bool            // the call is made all the same, only its answer is lost
	hang     <-chan struct{} // wait for this first
}

func (f *faults) inject(r rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, &r)
}

func (f *faults) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// count returns how often a function was called since the last reset.
func (f *faults) count(function string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[function]
}

func (f *faults) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = map[string]int{}
}

// hit counts a call and returns the rule that applies to it, or nil.
func (f *faults) hit(function string) *rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[function]++
	for _, r := range f.rules {
		if r.function != function || r.times == 0 {
			continue
		}
		if r.skip > 0 {
			r.skip--
			continue
		}
		if r.times > 0 {
			r.times--
		}
		return r
	}
	return nil
}

// call makes a call that may be made to fail.
func (f *faults) call(function string, real func() error) error {
	r := f.hit(function)
	if r == nil {
		return real()
	}
	if r.hang != nil {
		<-r.hang
	}
	if r.lost || r.rv == p11.CKR_OK {
		if err := real(); err != nil {
			return err
		}
	}
	return callResult(function, r.rv)
}

func (f *faults) initialize(args string) error {
	return f.call("C_Initialize", func() error { return f.cryptoki.initialize(args) })
}

func (f *faults) openSession(s slot) (h session, err error) {
	err = f.call("C_OpenSession", func() (err error) { h, err = f.cryptoki.openSession(s); return err })
	return h, err
}

func (f *faults) closeSession(s session) error {
	return f.call("C_CloseSession", func() error { return f.cryptoki.closeSession(s) })
}

func (f *faults) login(s session, user uint, pin []byte) error {
	return f.call("C_Login", func() error { return f.cryptoki.login(s, user, pin) })
}

func (f *faults) find(s session, tmpl []*p11.Attribute) (found []object, err error) {
	err = f.call("C_FindObjects", func() (err error) { found, err = f.cryptoki.find(s, tmpl); return err })
	return found, err
}

func (f *faults) create(s session, tmpl []*p11.Attribute) (o object, err error) {
	err = f.call("C_CreateObject", func() (err error) { o, err = f.cryptoki.create(s, tmpl); return err })
	return o, err
}

func (f *faults) generate(s session, mech uint, tmpl []*p11.Attribute) (o object, err error) {
	err = f.call("C_GenerateKey", func() (err error) { o, err = f.cryptoki.generate(s, mech, tmpl); return err })
	return o, err
}

func (f *faults) copyObject(s session, from object, tmpl []*p11.Attribute) (o object, err error) {
	err = f.call("C_CopyObject", func() (err error) { o, err = f.cryptoki.copyObject(s, from, tmpl); return err })
	return o, err
}

func (f *faults) destroy(s session, o object) error {
	return f.call("C_DestroyObject", func() error { return f.cryptoki.destroy(s, o) })
}

func (f *faults) derive(s session, base object, how hsm.Derivation, salt [saltSize]byte) (o object, err error) {
	err = f.call("C_DeriveKey", func() (err error) {
		if f.onDerive != nil {
			if err := f.onDerive(how, &salt); err != nil {
				return err
			}
		}
		o, err = f.cryptoki.derive(s, base, how, salt)
		return err
	})
	return o, err
}

func (f *faults) encrypt(s session, key object, iv, aad, in, out []byte) (n int, err error) {
	err = f.call(fnEncrypt, func() (err error) {
		if f.onEncrypt != nil {
			f.onEncrypt(iv)
		}
		n, err = f.cryptoki.encrypt(s, key, iv, aad, in, out)
		return err
	})
	return n, err
}

func (f *faults) decrypt(s session, key object, iv, aad, in, out []byte) (n int, err error) {
	err = f.call(fnDecrypt, func() (err error) {
		n, err = f.cryptoki.decrypt(s, key, iv, aad, in, out)
		if f.onDecrypt != nil {
			err = f.onDecrypt(err)
		}
		return err
	})
	return n, err
}

func (f *faults) random(s session, p []byte) error {
	return f.call("C_GenerateRandom", func() error { return f.cryptoki.random(s, p) })
}

// bench is a SoftHSM token with a key, a blob and a way to make its module fail.
type bench struct {
	*token
	f     *faults
	cfg   Config
	id    hsm.KeyID
	plain []byte
	blob  []byte
}

var testAAD = []byte("test")

// openFaulty opens a token through faults, which prepare may set up first.
func openFaulty(t testing.TB, cfg Config, prepare func(*faults)) (*token, *faults, error) {
	t.Helper()
	f := &faults{calls: map[string]int{}}
	if prepare != nil {
		prepare(f)
	}
	tok, err := openThrough(context.Background(), cfg, func(c cryptoki) cryptoki { f.cryptoki = c; return f })
	if err == nil {
		t.Cleanup(func() { _ = tok.Close() })
	}
	return tok, f, err
}

func newBench(t testing.TB, prepare func(*faults)) *bench {
	t.Helper()
	b := &bench{cfg: newSoftHSM(t), id: hsm.NewKeyID(), plain: []byte("thirty-two bytes of a data key..")}
	var err error
	if b.token, b.f, err = openFaulty(t, b.cfg, prepare); err != nil {
		t.Fatal(err)
	}
	if err := b.GenerateKey(t.Context(), b.id, "bench"); err != nil {
		t.Fatal(err)
	}
	if b.blob, err = b.Wrap(t.Context(), b.id, b.plain, testAAD); err != nil {
		t.Fatal(err)
	}
	b.f.reset()
	return b
}

func (b *bench) unwrap(ctx context.Context) error {
	got, err := b.Unwrap(ctx, b.id, b.blob, testAAD)
	if err == nil && string(got) != string(b.plain) {
		panic("Unwrap gave another plaintext")
	}
	return err
}

func wantKind(t *testing.T, err error, want hsm.Kind) {
	t.Helper()
	if !hsm.IsKind(err, want) {
		t.Fatalf("error is %v, want kind %q", err, want)
	}
}
