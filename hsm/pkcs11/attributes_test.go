package pkcs11

import (
	"os"
	"strconv"
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// TestBackingKeysCannotBeExtracted reads the attributes of a backing key and of its
// sub-key on both modules, and tries to get at the value.
func TestBackingKeysCannotBeExtracted(t *testing.T) {
	for _, m := range modules {
		t.Run(m.name, func(t *testing.T) {
			tok := open(t, m.make(t)).(*token)
			id := hsm.NewKeyID()
			if err := tok.GenerateKey(t.Context(), id, "kmsfs/key/1"); err != nil {
				t.Fatal(err)
			}
			if _, err := tok.Wrap(t.Context(), id, []byte("x"), testAAD); err != nil {
				t.Fatal(err)
			}
			c := tok.conn.Load()
			base, err := c.resolve(t.Context(), c.anchor, id)
			if err != nil {
				t.Fatal(err)
			}
			checkAttributes(t, c, base.handle, map[uint]bool{
				p11.CKA_TOKEN: true, p11.CKA_PRIVATE: true, p11.CKA_SENSITIVE: true, p11.CKA_ALWAYS_SENSITIVE: true,
				p11.CKA_EXTRACTABLE: false, p11.CKA_NEVER_EXTRACTABLE: true,
				p11.CKA_DERIVE: true, p11.CKA_ENCRYPT: false, p11.CKA_DECRYPT: false, p11.CKA_WRAP: false,
				p11.CKA_UNWRAP: false, p11.CKA_SIGN: false, p11.CKA_VERIFY: false,
			})
			checkValueHidden(t, c, base.handle)
			for _, sub := range c.keys.subs {
				checkAttributes(t, c, sub.handle, map[uint]bool{
					p11.CKA_TOKEN: false, p11.CKA_SENSITIVE: true, p11.CKA_EXTRACTABLE: false,
					p11.CKA_WRAP: false, p11.CKA_UNWRAP: false,
				})
				checkValueHidden(t, c, sub.handle)
			}
		})
	}
}

func checkAttributes(t *testing.T, c *connection, o object, want map[uint]bool) {
	t.Helper()
	for attr, v := range want {
		got, err := c.api.attributes(c.anchor, o, []*p11.Attribute{p11.NewAttribute(attr, nil)})
		if err != nil || isTrue(got[0]) != v {
			t.Errorf("attribute %#x is not %v (%v)", attr, v, err)
		}
	}
}

func checkValueHidden(t *testing.T, c *connection, o object) {
	t.Helper()
	_, err := c.api.attributes(c.anchor, o, []*p11.Attribute{p11.NewAttribute(p11.CKA_VALUE, nil)})
	if !isCall(err, p11.CKR_ATTRIBUTE_SENSITIVE) {
		t.Errorf("reading CKA_VALUE: %v", err)
	}
}

// TestSoftHSMKeyIsLocked tries what the PIN's holder could do to weaken a key.
func TestSoftHSMKeyIsLocked(t *testing.T) {
	b := newBench(t, nil)
	c := b.conn.Load()
	base, err := c.resolve(t.Context(), c.anchor, b.id)
	if err != nil {
		t.Fatal(err)
	}
	n := b.f.cryptoki.(*native)
	h := p11.SessionHandle(c.anchor)
	for name, attr := range map[string]*p11.Attribute{
		"extractable": p11.NewAttribute(p11.CKA_EXTRACTABLE, true),
		"insensitive": p11.NewAttribute(p11.CKA_SENSITIVE, false),
		"decrypt":     p11.NewAttribute(p11.CKA_DECRYPT, true),
	} {
		if n.ctx.SetAttributeValue(h, p11.ObjectHandle(base.handle), []*p11.Attribute{attr}) == nil {
			t.Errorf("the key could be made %s", name)
		}
	}
	if _, err := n.copyObject(c.anchor, base.handle, sessionCopy); err == nil {
		t.Error("the key could be copied")
	}
	iv, out := make([]byte, ivSize), make([]byte, 64)
	if _, err := n.encrypt(c.anchor, base.handle, iv, testAAD, b.plain, out); err == nil {
		t.Error("the key encrypts by itself")
	}
}

// TestForgedBlobsLeakNoMemory: the binding loses a C buffer at every refused
// ciphertext, which a client could use to exhaust memory.
func TestForgedBlobsLeakNoMemory(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("needs tens of thousands of refused blobs, and memory that is only ours")
	}
	const rounds = 30_000
	b := newBench(t, nil)
	forged := append([]byte(nil), b.blob...)
	forged[len(forged)-1] ^= 1
	work := func(n int) {
		for range n {
			_, err := b.Unwrap(t.Context(), b.id, forged, testAAD)
			wantKind(t, err, hsm.KindInvalidCiphertext)
		}
	}
	work(rounds / 3)
	before := residentKiB(t)
	work(rounds)
	grown := residentKiB(t) - before
	if limit := 2048 + rounds*16/1024; grown > limit {
		t.Errorf("%d refused blobs cost %d KiB", rounds, grown)
	}
}

func residentKiB(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() / 1024
}
