package pkcs11

import "context"

// randomChunk is the most that is asked of the module at once, in bytes; NSS
// refuses requests of 1 MiB.
const randomChunk = 16 << 10

// Random implements hsm.Token.
func (t *token) Random(ctx context.Context, p []byte) error {
	const op = "Random"
	if len(p) > 0 && t.randomFast(ctx, p) {
		return nil
	}
	if err := t.enter(ctx, op); err != nil {
		return err
	}
	buf, wipe := private(ctx, p)
	job := func(ctx context.Context) error {
		return t.attempt(ctx, op, func(ctx context.Context, c *connection) error {
			return c.withSession(ctx, func(s session) error { return fillRandom(ctx, c.api, s, buf) })
		})
	}
	if err := t.run(ctx, op, job, wipe); err != nil {
		return err
	}
	if ctx.Done() != nil {
		copy(p, buf)
		wipe()
	}
	return nil
}

func fillRandom(ctx context.Context, api cryptoki, s session, p []byte) error {
	for len(p) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(len(p), randomChunk)
		if err := api.random(s, p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}
