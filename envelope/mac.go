package envelope

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"hash"
	"reflect"
	"sync"
	"unsafe"
)

// maxIdleMACs bounds the keyed hash states that a macKey keeps for reuse.
const maxIdleMACs = 16

// macKey computes HMAC-SHA256 under one subkey for many goroutines without setting the key up each
// time. A sync.Pool would do the same but drops its contents unwiped.
type macKey struct {
	mu   sync.Mutex // guards idle
	idle []*macState
	key  [KeySize]byte
}

// macState is one keyed hash with the scratch memory of one operation: what is passed through the
// hash.Hash and cipher.Block interfaces must be on the heap, here it is so once only.
type macState struct {
	hash hash.Hash
	sum  [sha256.Size]byte
	ctr  [sivIVSize]byte
	pad  [sivIVSize]byte
	buf  [640]byte
	text [640]byte
}

// get returns a keyed state that the caller gives back by put.
func (k *macKey) get() *macState {
	k.mu.Lock()
	if n := len(k.idle); n > 0 {
		s := k.idle[n-1]
		k.idle = k.idle[:n-1]
		k.mu.Unlock()
		return s
	}
	k.mu.Unlock()
	return &macState{hash: newReusableHMAC(&k.key)}
}

// put takes back a state of get.
func (k *macKey) put(s *macState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.idle) < maxIdleMACs {
		k.idle = append(k.idle, s)
		return
	}
	s.wipe()
}

// wipe overwrites the key and every idle state. The caller makes sure that none is in use.
func (k *macKey) wipe() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.idle {
		s.wipe()
	}
	k.idle = nil
	clear(k.key[:])
}

// wipe overwrites the keyed hash and the scratch memory.
func (s *macState) wipe() {
	wipeHash(s.hash)
	*s = macState{}
}

// mac computes HMAC(key, parts[0] || parts[1] || ...). Parts of variable length must be told apart
// by the caller's encoding.
func (k *macKey) mac(parts ...[]byte) [sha256.Size]byte {
	s := k.get()
	defer k.put(s)
	s.hash.Reset()
	for _, p := range parts {
		s.write(p)
	}
	s.hash.Sum(s.sum[:0])
	return s.sum
}

// write hashes p by way of the scratch memory, so that the caller's p may live on the stack.
func (s *macState) write(p []byte) {
	for len(p) > 0 {
		n := copy(s.buf[:], p)
		s.hash.Write(s.buf[:n])
		p = p[n:]
	}
}

// equalMAC compares a stored, possibly shortened MAC in constant time.
func equalMAC(stored []byte, sum *[sha256.Size]byte) bool {
	return len(stored) > 0 && len(stored) <= len(sum) &&
		subtle.ConstantTimeCompare(stored, sum[:len(stored)]) == 1
}

// newReusableHMAC returns an HMAC that has replaced its padded key by hash states, which it does at
// the first Reset, and overwrites the padded key that this leaves behind.
func newReusableHMAC(key *[KeySize]byte) hash.Hash {
	h := hmac.New(sha256.New, key[:])
	pads := byteSlices(h)
	h.Reset()
	for _, p := range pads {
		clear(p)
	}
	h.Reset()
	return h
}

// byteSlices returns the byte slices among the fields of the struct that h points to.
func byteSlices(h hash.Hash) [][]byte {
	rv := reflect.ValueOf(h)
	if rv.Kind() != reflect.Pointer || rv.Elem().Kind() != reflect.Struct {
		return nil
	}
	var out [][]byte
	for i := range rv.Elem().NumField() {
		f := rv.Elem().Field(i)
		if f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Uint8 && f.Len() > 0 {
			out = append(out, unsafe.Slice((*byte)(f.UnsafePointer()), f.Len()))
		}
	}
	return out
}

// wipeHash overwrites the keyed states of an HMAC made by newReusableHMAC; it must not be used
// afterwards. Reports whether it knew how.
func wipeHash(h hash.Hash) bool {
	slices := byteSlices(h)
	for _, b := range slices {
		clear(b)
	}
	return wipeInner(h) && len(slices) == 2
}

// wipeInner clears the two running hashes that an HMAC holds behind interface fields.
func wipeInner(h hash.Hash) bool {
	rv := reflect.ValueOf(h)
	if rv.Kind() != reflect.Pointer || rv.Elem().Kind() != reflect.Struct {
		return false
	}
	wiped := 0
	for i := range rv.Elem().NumField() {
		f := rv.Elem().Field(i)
		if f.Kind() != reflect.Interface || f.IsNil() {
			continue
		}
		p := f.Elem()
		if p.Kind() == reflect.Pointer && isPlainMemory(p.Type().Elem()) {
			clear(unsafe.Slice((*byte)(p.UnsafePointer()), p.Type().Elem().Size()))
			wiped++
		}
	}
	return wiped == 2
}
