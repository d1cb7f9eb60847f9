package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"reflect"
	"unsafe"
)

const (
	nonceSize = 12
	tagSize   = 16
)

// newAEAD makes AES-256-GCM under key. Drop the result with wipeAEAD.
func newAEAD(key *[KeySize]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("envelope: AES refuses a 32-byte key: " + err.Error())
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("envelope: GCM refuses AES: " + err.Error())
	}
	wipeStruct(block) // NewGCM holds its own copy of the key schedule
	return gcm
}

// wipeAEAD overwrites the key schedule of a cipher made by newAEAD; it must not be used afterwards.
// Go offers no interface for that, so it clears the struct behind the interface value.
func wipeAEAD(a cipher.AEAD) {
	if a != nil {
		wipeStruct(a)
	}
}

// wipeStruct clears the struct that v points to, if it is one without pointers in it (so that the
// garbage collector can't be confused); reports whether it did.
func wipeStruct(v any) bool {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() || !isPlainMemory(rv.Type().Elem()) {
		return false
	}
	clear(unsafe.Slice((*byte)(rv.UnsafePointer()), rv.Type().Elem().Size()))
	return true
}

// isPlainMemory reports whether values of t hold numbers only.
func isPlainMemory(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if !isPlainMemory(t.Field(i).Type) {
				return false
			}
		}
		return true
	case reflect.Array:
		return isPlainMemory(t.Elem())
	default:
		return t.Kind() >= reflect.Bool && t.Kind() <= reflect.Complex128
	}
}
