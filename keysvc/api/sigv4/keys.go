package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"
)

// maxKeys bounds the keys that are kept; beyond it all are derived anew.
const maxKeys = 1024

// Keys keeps the signing keys that were derived from secrets: one for each
// secret, day and region that a good signature was made for. The zero value is
// ready, and any number of goroutines may use it.
type Keys struct {
	room sync.Pool // of *[roomSize]byte, for the texts that are signed

	mu      sync.RWMutex // guards derived
	derived map[keyScope]*signingKey
}

// roomSize is enough for the canonical text of a usual request, in bytes.
const roomSize = 1024

// takeRoom returns room for texts, which putting it into the pool gives back.
func (k *Keys) takeRoom() *[roomSize]byte {
	if room, ok := k.room.Get().(*[roomSize]byte); ok {
		return room
	}
	return new([roomSize]byte)
}

type keyScope struct {
	secret                            Secret
	date, region, service, terminator string
}

// signingKey signs texts of one scope. Any number of goroutines may use it.
type signingKey struct {
	macs sync.Pool // of hash.Hash: HMACs with the key, as keying one costs as much as using it
}

// find returns a scope's key, and whether it was kept.
func (k *Keys) find(id *keyScope) (key *signingKey, kept bool) {
	k.mu.RLock()
	key = k.derived[*id]
	k.mu.RUnlock()
	if key != nil {
		return key, true
	}
	return derive(id), false
}

// keep keeps a key that a good signature was made with: others could be asked
// for in any number, as regions are the client's words.
func (k *Keys) keep(id keyScope, key *signingKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.derived == nil || len(k.derived) >= maxKeys {
		k.derived = make(map[keyScope]*signingKey)
	}
	k.derived[id] = key
}

// sign appends the signature of a text.
func (k *signingKey) sign(to, text []byte) []byte {
	mac := k.macs.Get().(hash.Hash)
	defer k.macs.Put(mac)
	mac.Reset()
	mac.Write(text)
	return mac.Sum(to)
}

// derive makes the day's key of a secret.
func derive(id *keyScope) *signingKey {
	key := []byte("AWS4" + string(id.secret))
	for _, part := range []string{id.date, id.region, id.service, id.terminator} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		clear(key)
		key = mac.Sum(nil)
	}
	return &signingKey{sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}
