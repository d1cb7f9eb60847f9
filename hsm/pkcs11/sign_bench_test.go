package pkcs11

import (
	"context"
	"crypto"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/hsmtest"
)

// BenchmarkSignBesideRaw compares Sign and MAC with the module's own rate: the same
// signature by one call through the shim on one session. The two take turns, and
// medians are reported.
func BenchmarkSignBesideRaw(b *testing.B) {
	tok := open(b, newSoftHSM(b)).(*token)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	digest := make([]byte, 32)
	for _, c := range []struct {
		name   string
		typ    hsm.KeyType
		scheme hsm.SignatureScheme
	}{{"ECDSA-P256", hsm.P256, hsm.ECDSA}, {"RSA-2048-PSS", hsm.RSA2048, hsm.RSAPSS}, {"HMAC-256", hsm.HMAC256, ""}} {
		id, which := hsm.NewKeyID(), algPrivateKey
		whole := func() error { _, err := tok.Sign(ctx, id, c.scheme, crypto.SHA256, digest); return err }
		err := error(nil)
		m := mechanism{id: macMechanisms[c.typ]}
		if c.scheme == "" {
			which = algMACKey
			whole = func() error { _, err := tok.MAC(ctx, id, c.typ, digest); return err }
			err = tok.GenerateMACKey(ctx, id, c.typ, "bench")
		} else {
			m, _, _ = signing(c.scheme, crypto.SHA256, digest)
			err = tok.GenerateKeyPair(ctx, id, c.typ, hsm.PurposeSign, "bench")
		}
		if err != nil {
			b.Fatal(err)
		}
		conn := tok.conn.Load()
		sub, err := tok.holder(ctx, conn, id, which)
		if err != nil {
			b.Fatal(err)
		}
		out := make([]byte, maxSignature)
		raw := func() error { _, err := conn.api.sign(conn.anchor, m, sub.handle, digest, out); return err }
		b.Run(c.name, func(b *testing.B) { hsmtest.ByTurns(b, raw, whole) })
	}
}
