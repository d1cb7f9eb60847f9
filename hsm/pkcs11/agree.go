package pkcs11

import (
	"context"

	"github.com/kmsfs/kmsfs/hsm"
)

// Agree implements hsm.Token.
func (t *token) Agree(ctx context.Context, id hsm.KeyID, peer []byte) ([]byte, error) {
	const op = "Agree"
	public, err := t.publicKey(ctx, op, id)
	if err != nil {
		return nil, err
	}
	size := public.Type().CoordinateSize()
	if size == 0 || len(peer) != 1+2*size || peer[0] != 4 {
		return nil, t.report(op, badArgument("the peer's point is not on the key's curve"))
	}
	in := append([]byte(nil), peer...)
	out := make([]byte, size)
	use := keyUse{op: op, id: id, which: algPrivateKey, purpose: hsm.PurposeAgree, wipe: nothing, discard: func() { clear(out) }}
	err = t.useKey(ctx, use, func(c *connection, s session, key object) error {
		return c.api.agree(s, key, in, out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
