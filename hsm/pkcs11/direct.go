package pkcs11

import (
	"fmt"
	"sync"

	"github.com/kmsfs/kmsfs/hsm"
)

// directLimit is how many blobs one process wraps directly under a backing key.
// NIST SP 800-38D section 8.3 allows 2^32 random IVs per key; a factor is left
// for other processes and restarts, which are not counted together.
const directLimit = 1 << 28

// directCounter counts wraps under backing keys of tokens that can't derive.
type directCounter struct {
	limit uint64

	mu   sync.Mutex // guards what follows; leaf lock
	used map[hsm.KeyID]uint64
}

func newDirectCounter() directCounter {
	return directCounter{limit: directLimit, used: map[hsm.KeyID]uint64{}}
}

// take counts one wrap, or refuses it with KindKeyExhausted.
func (d *directCounter) take(id hsm.KeyID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.used[id] >= d.limit {
		return &hsm.Error{Kind: hsm.KindKeyExhausted,
			Err:  fmt.Errorf("%d wraps under backing key %s, and the token can't derive sub-keys", d.limit, id),
			Help: "rotate the key"}
	}
	d.used[id]++
	return nil
}
