package pkcs11

import (
	"context"
	"fmt"

	"github.com/kmsfs/kmsfs/hsm"
)

// MAC implements hsm.Token.
func (t *token) MAC(ctx context.Context, id hsm.KeyID, typ hsm.KeyType, message []byte) ([]byte, error) {
	const op = "MAC"
	if macMechanisms[typ] == 0 {
		return nil, t.report(op, badArgument("%s is no type of HMAC keys", typ))
	}
	if len(message) == 0 || len(message) > hsm.MaxMessage {
		return nil, t.report(op, badArgument("the message has %d bytes, want 1 to %d", len(message), hsm.MaxMessage))
	}
	in, wipe := private(ctx, message)
	var out []byte
	use := keyUse{op: op, id: id, which: algMACKey, purpose: hsm.PurposeSign, wipe: wipe, discard: func() { clear(out) }}
	err := t.useKey(ctx, use, func(c *connection, s session, key object) (err error) {
		out, err = computeMAC(c.api, s, key, typ, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func computeMAC(api cryptoki, s session, key object, typ hsm.KeyType, message []byte) ([]byte, error) {
	out := make([]byte, typ.MACHash().Size())
	n, err := api.sign(s, mechanism{id: macMechanisms[typ]}, key, message, out)
	if err == nil && n != len(out) {
		err = fmt.Errorf("the module made an HMAC of %d bytes, want %d", n, len(out))
	}
	return out, err
}
