package hsmtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
)

// Open opens the token under test: the same one at every call, with what was made
// in it before. The suite closes what it opens.
type Open func(t *testing.T) hsm.Token

// Run runs the suite as subtests of t.
func Run(t *testing.T, open func(t *testing.T) hsm.Token) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Open)
	}{
		{"InfoNamesTokenAndModule", testInfo},
		{"WrapUnwrapRoundTripsEverySize", testRoundTrip},
		{"BlobHasTheDocumentedLayout", testLayout},
		{"EqualPlaintextsGiveDifferentBlobs", testFreshness},
		{"OtherAADIsRefused", testWrongAAD},
		{"EveryFlippedBitIsRefused", testFlippedBits},
		{"EveryOtherLengthIsRefused", testLengths},
		{"JunkIsRefused", testJunk},
		{"OtherKeyIsRefused", testOtherKey},
		{"BadArgumentsAreRefused", testArguments},
		{"BuffersStayTheCallers", testBuffers},
		{"UnknownKeyIsNotFound", testUnknownKey},
		{"KeyIDsAreUnique", testKeyExists},
		{"DestroyedKeyIsGone", testDestroy},
		{"KeyDestroyedInUseNeverMisleads", testDestroyInUse},
		{"ForgetFindsTheKeyAgain", testForget},
		{"ForgetNoticesWhatAnotherTokenDestroyed", testForgetDestroyed},
		{"EightGoroutinesShareAToken", testConcurrency},
		{"RandomFillsAnyLength", testRandom},
		{"EndedContextIsCanceled", testContext},
		{"ClosedTokenSaysSo", testClosed},
		{"KeysSurviveReopening", testReopen},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
}

var testAAD = []byte("hsmtest")

// opened opens the token for the time of a test.
func (open Open) opened(t *testing.T) hsm.Token {
	t.Helper()
	tok := open(t)
	t.Cleanup(func() {
		if err := tok.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return tok
}

// newKey makes a key for the time of a test.
func newKey(t *testing.T, tok hsm.Token) hsm.KeyID {
	t.Helper()
	id := hsm.NewKeyID()
	if err := tok.GenerateKey(t.Context(), id, "hsmtest "+t.Name()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tok.DestroyKey(context.Background(), id); err != nil && !hsm.IsKind(err, hsm.KindKeyNotFound) && !hsm.IsKind(err, hsm.KindClosed) {
			t.Errorf("DestroyKey: %v", err)
		}
	})
	return id
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func wrap(t *testing.T, tok hsm.Token, id hsm.KeyID, plaintext []byte) []byte {
	t.Helper()
	b, err := tok.Wrap(t.Context(), id, plaintext, testAAD)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustUnwrap(t *testing.T, tok hsm.Token, id hsm.KeyID, blob, want []byte) {
	t.Helper()
	got, err := tok.Unwrap(t.Context(), id, blob, testAAD)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("Unwrap gives another plaintext")
	}
}

func wantKind(t *testing.T, err error, want hsm.Kind) {
	t.Helper()
	if !hsm.IsKind(err, want) {
		t.Fatalf("error is %v, want kind %q", err, want)
	}
}
