package pkcs11

/*
#cgo LDFLAGS: -ldl
#cgo noescape shim_gcm
#cgo nocallback shim_gcm
#cgo noescape shim_random
#cgo nocallback shim_random
#cgo noescape shim_private
#cgo nocallback shim_private
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"errors"
	"unsafe"
)

// shim calls the module with buffers that Go owns, so that neither PINs nor
// plaintexts are copied to the C heap, and an AES-GCM operation costs one
// crossing. Sessions and handles are the same as the binding's.
type shim struct{ functions *C.shim_functions }

// loadShim loads the module for the life of the process: modules that are
// unloaded crash at exit when their crypto library has registered handlers.
func loadShim(path string) (shim, error) {
	var message [512]C.char
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	f := C.shim_load(name, &message[0], C.size_t(len(message)))
	if f == nil {
		return shim{}, errors.New(C.GoString(&message[0]))
	}
	return shim{functions: f}, nil
}

// bytesPtr returns the address that C is given for b; nil for an empty slice.
func bytesPtr(b []byte) *C.uint8_t {
	return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(b)))
}

func (s shim) login(session, user uint, pin []byte) uint {
	return uint(C.shim_login(s.functions, C.ck_ulong(session), C.ck_ulong(user), bytesPtr(pin), C.ck_ulong(len(pin))))
}

func (s shim) initToken(slot uint, soPIN []byte, label [32]byte) uint {
	return uint(C.shim_init_token(s.functions, C.ck_ulong(slot), bytesPtr(soPIN), C.ck_ulong(len(soPIN)), bytesPtr(label[:])))
}

func (s shim) initPIN(session uint, pin []byte) uint {
	return uint(C.shim_init_pin(s.functions, C.ck_ulong(session), bytesPtr(pin), C.ck_ulong(len(pin))))
}

func (s shim) random(session uint, p []byte) uint {
	return uint(C.shim_random(s.functions, C.ck_ulong(session), bytesPtr(p), C.ck_ulong(len(p))))
}

// gcm encrypts or decrypts in to out and returns the bytes written and the
// return value. The caller has checked all lengths.
func (s shim) gcm(decrypt bool, session, key uint, iv, aad, in, out []byte) (n, rv uint) {
	mode := C.int(0)
	if decrypt {
		mode = 1
	}
	r := C.shim_gcm(s.functions, mode, C.ck_ulong(session), C.ck_ulong(key), bytesPtr(iv),
		bytesPtr(aad), C.ck_ulong(len(aad)), bytesPtr(in), C.ck_ulong(len(in)), bytesPtr(out), C.ck_ulong(len(out)))
	return uint(r.value), uint(r.rv)
}

func (s shim) deriveECB(session, base uint, input []byte) (key, rv uint) {
	r := C.shim_derive_ecb(s.functions, C.ck_ulong(session), C.ck_ulong(base), bytesPtr(input), C.ck_ulong(len(input)))
	return uint(r.value), uint(r.rv)
}

func (s shim) deriveSP800(session, base uint, input []byte) (key, rv uint) {
	r := C.shim_derive_sp800(s.functions, C.ck_ulong(session), C.ck_ulong(base), bytesPtr(input), C.ck_ulong(len(input)))
	return uint(r.value), uint(r.rv)
}

// private signs or decrypts in to out with a key that isn't for AES-GCM.
func (s shim) private(decrypt bool, session uint, m mechanism, key uint, in, out []byte) (n, rv uint) {
	mode := C.int(0)
	if decrypt {
		mode = 1
	}
	r := C.shim_private(s.functions, mode, C.ck_ulong(session), C.ck_ulong(m.id), bytesPtr(m.param), C.ck_ulong(len(m.param)),
		C.ck_ulong(key), bytesPtr(in), C.ck_ulong(len(in)), bytesPtr(out), C.ck_ulong(len(out)))
	return uint(r.value), uint(r.rv)
}

func (s shim) agree(session, base uint, point, out []byte) (n, rv uint) {
	r := C.shim_agree(s.functions, C.ck_ulong(session), C.ck_ulong(base), bytesPtr(point), C.ck_ulong(len(point)),
		bytesPtr(out), C.ck_ulong(len(out)))
	return uint(r.value), uint(r.rv)
}

// cBytes copies b to the C heap, for arguments that the module may keep.
func cBytes(b []byte) unsafe.Pointer { return C.CBytes(b) }

func freeCBytes(p unsafe.Pointer) { C.free(p) }
