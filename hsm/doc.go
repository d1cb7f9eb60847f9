// Package hsm is the boundary to the hardware security module that holds the
// backing keys of the key service.
//
// It holds only the contract: the [Token] interface, the types that cross it
// and the closed set of error kinds. Package hsm/pkcs11 implements it for any
// PKCS#11 module; package hsm/hsmtest is the conformance suite that every
// implementation runs.
//
// # Model
//
// A backing key is made inside the token and named by a [KeyID]. It never leaves
// the token. Under an AES-256 key a caller can wrap a short secret (a data key),
// bound to additional authenticated data, and get it back. RSA and
// elliptic-curve keys ([KeyPairs]) sign, decrypt or agree; HMAC keys ([MACKeys])
// authenticate messages. Each key has one purpose. What is wrapped, under which circumstances and for whom is the business of
// the key service: this package knows no policy, no key state and no caller.
//
// # Trust
//
// The token is trusted to keep keys and to compute correctly, the latter
// checked by known answers when it is opened. Blobs are not trusted: every
// unwrap authenticates. A token that runs inside the process (SoftHSM) has its
// keys in the process's memory; there the process is the only boundary.
//
// # Concurrency
//
// Every [Token] method may be called from any number of goroutines. Contexts
// bound how long a caller waits; a call that is already inside the module can't
// be cancelled there and finishes in the background.
//
// # Not done here
//
// What needs only a public key is software's: package hsm/publickey.
package hsm
