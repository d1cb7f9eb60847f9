package pkcs11

import (
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"
)

// Functions whose return values mean something else than elsewhere.
const (
	fnEncrypt = "C_Encrypt"
	fnDecrypt = "C_Decrypt"
	fnUnwrap  = "C_UnwrapKey"
)

// Return values that the binding has no name for.
const (
	ckrActionProhibited = 0x1b
	ckrAEADDecrypt      = 0x42 // PKCS#11 3.0
)

// callError is a PKCS#11 function that didn't return CKR_OK.
type callError struct {
	function string
	rv       uint
}

func (e *callError) Error() string {
	switch e.rv {
	case ckrActionProhibited:
		return e.function + ": CKR_ACTION_PROHIBITED"
	case ckrAEADDecrypt:
		return e.function + ": CKR_AEAD_DECRYPT_FAILED"
	}
	return e.function + ": " + p11.Error(e.rv).Error()
}

// callResult turns a return value into an error; CKR_OK is nil.
func callResult(function string, rv uint) error {
	if rv == p11.CKR_OK {
		return nil
	}
	return &callError{function: function, rv: rv}
}

// wrapCall does the same for the binding's errors.
func wrapCall(function string, err error) error {
	var rv p11.Error
	if errors.As(err, &rv) {
		return callResult(function, uint(rv))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", function, err)
	}
	return nil
}

// class says what a failed call means for the session, the handles and the
// connection, and so what to do about it.
type class int

const (
	classOther     class = iota // no recovery known: report it
	classAuth                   // ciphertext or aad is forged
	classAmbiguous              // forged, or the module is broken: ask the canary
	classStale                  // the object handle is gone: find the key again
	classPolicy                 // key not allowed to do this; also seen when it is destroyed meanwhile
	classSession                // the session is unusable: take another
	classLimit                  // no more sessions: wait for one
	classLogin                  // logged out, or the slot has gone: connect anew
	classFatal                  // module or device failed: reconnect
	classGone                   // the token is not there: look for it for a while
	classPIN                    // PIN refused: never try it again
)

// classes maps return values whose meaning doesn't depend on the function.
var classes = map[uint]class{
	p11.CKR_ENCRYPTED_DATA_INVALID:   classAuth,
	p11.CKR_ENCRYPTED_DATA_LEN_RANGE: classAuth,
	ckrAEADDecrypt:                   classAuth,

	p11.CKR_WRAPPED_KEY_INVALID:   classAuth,
	p11.CKR_WRAPPED_KEY_LEN_RANGE: classAuth,

	p11.CKR_OBJECT_HANDLE_INVALID:         classStale,
	p11.CKR_KEY_HANDLE_INVALID:            classStale,
	p11.CKR_UNWRAPPING_KEY_HANDLE_INVALID: classStale,
	p11.CKR_WRAPPING_KEY_HANDLE_INVALID:   classStale,

	p11.CKR_KEY_FUNCTION_NOT_PERMITTED: classPolicy,
	p11.CKR_KEY_TYPE_INCONSISTENT:      classPolicy,
	p11.CKR_MECHANISM_INVALID:          classPolicy,

	p11.CKR_SESSION_CLOSED:            classSession,
	p11.CKR_SESSION_HANDLE_INVALID:    classSession,
	p11.CKR_OPERATION_ACTIVE:          classSession,
	p11.CKR_OPERATION_NOT_INITIALIZED: classSession,
	p11.CKR_BUFFER_TOO_SMALL:          classSession,

	p11.CKR_SESSION_COUNT: classLimit,

	p11.CKR_USER_NOT_LOGGED_IN: classLogin,
	p11.CKR_SLOT_ID_INVALID:    classLogin, // what NSS says when it was finalised

	p11.CKR_GENERAL_ERROR:            classFatal,
	p11.CKR_DEVICE_ERROR:             classFatal,
	p11.CKR_DEVICE_MEMORY:            classFatal,
	p11.CKR_DEVICE_REMOVED:           classFatal,
	p11.CKR_CRYPTOKI_NOT_INITIALIZED: classFatal,

	p11.CKR_TOKEN_NOT_PRESENT:    classGone,
	p11.CKR_TOKEN_NOT_RECOGNIZED: classGone,
	// What SoftHSM says of a token that is being written to.
	p11.CKR_USER_PIN_NOT_INITIALIZED: classGone,

	p11.CKR_PIN_INCORRECT: classPIN,
	p11.CKR_PIN_LOCKED:    classPIN,
	p11.CKR_PIN_EXPIRED:   classPIN,
}

// classify finds the class of an error; nil and errors that are no return values
// are classOther.
func classify(err error) class {
	var ce *callError
	if !errors.As(err, &ce) {
		return classOther
	}
	if ce.function == fnDecrypt {
		switch ce.rv {
		case p11.CKR_GENERAL_ERROR, p11.CKR_FUNCTION_FAILED:
			return classAmbiguous
		case p11.CKR_DATA_INVALID, p11.CKR_DATA_LEN_RANGE:
			return classAuth
		}
	}
	if ce.function == fnUnwrap {
		switch ce.rv {
		case p11.CKR_GENERAL_ERROR, p11.CKR_FUNCTION_FAILED, p11.CKR_DATA_INVALID, p11.CKR_DATA_LEN_RANGE:
			return classAuth // also of a module in trouble, which the next call will tell
		}
	}
	return classes[ce.rv]
}

// isCall reports whether err is that return value.
func isCall(err error, rv uint) bool {
	var ce *callError
	return errors.As(err, &ce) && ce.rv == rv
}
