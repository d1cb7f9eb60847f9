package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"sync"
)

// maxKeys bounds the keys that are kept; beyond it all are derived anew.
const maxKeys = 1024

// Keys keeps the signing keys that were derived from secrets: one for each
// secret, day and region. The zero value is ready, and any number of goroutines
// may use it.
type Keys struct {
	mu      sync.RWMutex // guards derived
	derived map[keyScope][sha256.Size]byte
}

type keyScope struct {
	secret                            Secret
	date, region, service, terminator string
}

// sign signs a text with the key of a secret for an authorization's scope.
func (k *Keys) sign(secret Secret, a *authorization, text string) []byte {
	id := keyScope{secret, a.date, a.region, a.service, a.terminator}
	k.mu.RLock()
	key, known := k.derived[id]
	k.mu.RUnlock()
	if !known {
		key = derive(id)
		k.keep(id, key)
	}
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func (k *Keys) keep(id keyScope, key [sha256.Size]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.derived == nil || len(k.derived) >= maxKeys {
		clear(k.derived)
		k.derived = make(map[keyScope][sha256.Size]byte)
	}
	k.derived[id] = key
}

// derive makes the day's key of a secret.
func derive(id keyScope) [sha256.Size]byte {
	key := []byte("AWS4" + string(id.secret))
	for _, part := range []string{id.date, id.region, id.service, id.terminator} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		clear(key)
		key = mac.Sum(nil)
	}
	return [sha256.Size]byte(key)
}
