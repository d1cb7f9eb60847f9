package pkcs11

import (
	"context"
	"crypto/rand"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/hsmtest"
)

// benchAAD has the size of the key service's.
var benchAAD = make([]byte, 100)

func benchKey(b *testing.B, tok hsm.Token) (hsm.KeyID, []byte) {
	b.Helper()
	ctx := context.Background()
	id := hsm.NewKeyID()
	if err := tok.GenerateKey(ctx, id, "bench"); err != nil {
		b.Fatal(err)
	}
	plain := make([]byte, 32)
	_, _ = rand.Read(plain)
	sealed, err := tok.Wrap(ctx, id, plain, benchAAD)
	if err != nil {
		b.Fatal(err)
	}
	return id, sealed
}

// BenchmarkUnwrap measures Unwrap of a 32-byte key, without and with a context
// that can end.
func BenchmarkUnwrap(b *testing.B) {
	tok := open(b, newSoftHSM(b))
	id, sealed := benchKey(b, tok)
	cancelable, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
	}{{"background", context.Background()}, {"cancelable", cancelable}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tok.Unwrap(c.ctx, id, sealed, benchAAD); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"-parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := tok.Unwrap(c.ctx, id, sealed, benchAAD); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkUnwrapBesideRaw compares Unwrap with the module's own rate: the same
// decryption by one call through the shim on one session. The two take turns, and
// medians are reported, so that the ratio holds on a busy machine.
func BenchmarkUnwrapBesideRaw(b *testing.B) {
	for _, m := range modules {
		b.Run(m.name, func(b *testing.B) { besideRaw(b, open(b, m.make(b)).(*token)) })
	}
}

func besideRaw(b *testing.B, tok *token) {
	id, sealed := benchKey(b, tok)
	p, err := parseBlob(sealed)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := tok.conn.Load()
	sub, err := tok.reader(ctx, c, subID{key: id, alg: p.alg, salt: p.salt})
	if err != nil {
		b.Fatal(err)
	}
	out := make([]byte, len(p.sealed))
	hsmtest.ByTurns(b, func() error {
		_, err := c.api.decrypt(c.anchor, sub.handle, p.iv, benchAAD, p.sealed, out)
		return err
	}, func() error {
		_, err := tok.Unwrap(ctx, id, sealed, benchAAD)
		return err
	})
}

// BenchmarkWrap measures Wrap of a 32-byte key.
func BenchmarkWrap(b *testing.B) {
	tok := open(b, newSoftHSM(b))
	id, _ := benchKey(b, tok)
	plain := make([]byte, 32)
	for b.Loop() {
		if _, err := tok.Wrap(context.Background(), id, plain, benchAAD); err != nil {
			b.Fatal(err)
		}
	}
}
