package hsmtest

import (
	"bytes"
	"slices"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
)

func testInfo(t *testing.T, open Open) {
	info := open.opened(t).Info()
	for name, v := range map[string]string{"label": info.Label, "serial": info.Serial, "module": info.Module, "library": info.Library} {
		if v == "" {
			t.Errorf("Info has no %s: %+v", name, info)
		}
	}
}

func testRoundTrip(t *testing.T, open Open) {
	tok := open.opened(t)
	id := newKey(t, tok)
	for _, n := range []int{1, 15, 16, 17, 32, 64, 1000, hsm.MaxPlaintext} {
		plain := randomBytes(n)
		mustUnwrap(t, tok, id, wrap(t, tok, id, plain), plain)
	}
	for _, n := range []int{1, 100, hsm.MaxAAD} {
		aad := randomBytes(n)
		b, err := tok.Wrap(t.Context(), id, testAAD, aad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tok.Unwrap(t.Context(), id, b, aad); err != nil {
			t.Fatalf("aad of %d bytes: %v", n, err)
		}
	}
}

func testLayout(t *testing.T, open Open) {
	tok := open.opened(t)
	id := newKey(t, tok)
	first, second := wrap(t, tok, id, randomBytes(32)), wrap(t, tok, id, randomBytes(32))
	want := hsm.MaxOverhead + 32
	if len(tok.Capabilities().Derivations) == 0 {
		want -= 16
	} else if !bytes.Equal(first[:17], second[:17]) {
		t.Error("blobs of one epoch have different salts")
	}
	if len(first) != want || len(second) != want {
		t.Errorf("blobs of 32 bytes have %d and %d bytes, want %d", len(first), len(second), want)
	}
}

func testFreshness(t *testing.T, open Open) {
	tok := open.opened(t)
	id := newKey(t, tok)
	plain := randomBytes(32)
	seen := map[string]bool{}
	for range 200 {
		b := wrap(t, tok, id, plain)
		iv := string(b[len(b)-32-16-12:][:12])
		if seen[iv] {
			t.Fatal("an IV came twice")
		}
		seen[iv] = true
		if bytes.Contains(b, plain) {
			t.Fatal("the blob contains the plaintext")
		}
	}
}

func testWrongAAD(t *testing.T, open Open) {
	tok := open.opened(t)
	id := newKey(t, tok)
	b := wrap(t, tok, id, randomBytes(32))
	for _, aad := range []string{"hsmtesu", "hsmtest\x00", "hsmtes", "H"} {
		got, err := tok.Unwrap(t.Context(), id, b, []byte(aad))
		wantKind(t, err, hsm.KindInvalidCiphertext)
		if got != nil {
			t.Fatal("a refused blob gave a plaintext")
		}
	}
}

func testFlippedBits(t *testing.T, open Open) {
	tok := open.opened(t)
	id := newKey(t, tok)
	plain := randomBytes(5)
	b := wrap(t, tok, id, plain)
	for i := range b {
		for bit := range 8 {
			forged := slices.Clone(b)
			forged[i] ^= 1 << bit
			if _, err := tok.Unwrap(t.Context(), id, forged, testAAD); !hsm.IsKind(err, hsm.KindInvalidCiphertext) {
				t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
	}
	mustUnwrap(t, tok, id, b, plain)
}

func testLengths(t *testing.T, open Open) {
	tok := open.opened(t)
	id := newKey(t, tok)
	b := wrap(t, tok, id, randomBytes(32))
	for n := range b {
		_, err := tok.Unwrap(t.Context(), id, b[:n], testAAD)
		wantKind(t, err, hsm.KindInvalidCiphertext)
		_, err = tok.Unwrap(t.Context(), id, b[n+1:], testAAD)
		wantKind(t, err, hsm.KindInvalidCiphertext)
	}
	for _, extra := range []int{1, 16, 5000} {
		_, err := tok.Unwrap(t.Context(), id, append(slices.Clone(b), make([]byte, extra)...), testAAD)
		wantKind(t, err, hsm.KindInvalidCiphertext)
	}
}

func testJunk(t *testing.T, open Open) {
	tok := open.opened(t)
	id := newKey(t, tok)
	for alg := range 256 {
		junk := randomBytes(77)
		junk[0] = byte(alg)
		_, err := tok.Unwrap(t.Context(), id, junk, testAAD)
		wantKind(t, err, hsm.KindInvalidCiphertext)
	}
}

func testOtherKey(t *testing.T, open Open) {
	tok := open.opened(t)
	mine, other := newKey(t, tok), newKey(t, tok)
	b := wrap(t, tok, mine, randomBytes(32))
	_, err := tok.Unwrap(t.Context(), other, b, testAAD)
	wantKind(t, err, hsm.KindInvalidCiphertext)
}

func testArguments(t *testing.T, open Open) {
	tok := open.opened(t)
	id := newKey(t, tok)
	b := wrap(t, tok, id, randomBytes(32))
	for name, c := range map[string]struct{ plain, aad []byte }{
		"empty plaintext": {nil, testAAD},
		"long plaintext":  {make([]byte, hsm.MaxPlaintext+1), testAAD},
		"empty aad":       {testAAD, nil},
		"long aad":        {testAAD, make([]byte, hsm.MaxAAD+1)},
	} {
		if _, err := tok.Wrap(t.Context(), id, c.plain, c.aad); !hsm.IsKind(err, hsm.KindInvalidArgument) {
			t.Errorf("Wrap with %s: %v", name, err)
		}
	}
	for _, aad := range [][]byte{nil, make([]byte, hsm.MaxAAD+1)} {
		_, err := tok.Unwrap(t.Context(), id, b, aad)
		wantKind(t, err, hsm.KindInvalidArgument)
	}
}

func testBuffers(t *testing.T, open Open) {
	tok := open.opened(t)
	id := newKey(t, tok)
	plain, aad := randomBytes(32), slices.Clone(testAAD)
	wantPlain := slices.Clone(plain)
	b, err := tok.Wrap(t.Context(), id, plain, aad)
	if err != nil {
		t.Fatal(err)
	}
	wantBlob := slices.Clone(b)
	got, err := tok.Unwrap(t.Context(), id, b, aad)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(plain, wantPlain) || !bytes.Equal(aad, testAAD) || !bytes.Equal(b, wantBlob) {
		t.Fatal("an argument was changed")
	}
	clear(got) // must not be shared with anything
	mustUnwrap(t, tok, id, b, wantPlain)
}
