// Package keysvc is the key service: AWS KMS's keys, states, aliases, grants and
// rotation over backing keys in a hardware token.
//
// [Service] has a method for each operation, with the signature of the AWS SDK's
// KMS client, so that code written for *kms.Client runs on a *Service embedded in
// the process. Errors are the SDK's types with AWS's messages; see [Error].
// keysvc/embedded opens a Service on a state directory, keysvc/api serves one
// over HTTP.
//
// # Where what lives
//
// The token (package hsm) holds the backing keys and does every encryption with
// them. The store (keysvc/store) holds what AWS calls metadata. The audit trail
// (keysvc/audit) gets one record for every call, before the call is answered; a
// call that can't be recorded fails. Each operation passes one choke point,
// serve, which does that.
//
// # Order of checks
//
// Shape of the input (package keysvc/shape), resolve the key, authorise the caller, the key's state
// (one table, operations.go), then what the operation needs. A caller without
// permission learns nothing about the key's state.
//
// # Freshness
//
// Several processes share one store. A Service keeps what it has read of a key
// and trusts it only while the store's generation, one memory load, is the one
// that it was read at. So a key disabled in one process is refused by the next
// call in every other, and a call on an unchanged key runs no query but one a
// second. When a key is seen to have changed its state, the token forgets what it cached of it.
//
// # Ciphertext
//
// See ciphertext.go for the format of symmetric keys' ciphertexts. They name their
// backing key, so Decrypt needs no KeyId and old ciphertexts outlive rotation. RSA
// ciphertexts are bare.
//
// # Key pairs
//
// Private keys work in the token; what needs only the public key (Verify, Encrypt
// with RSA) is done in software with the key that the token shows (package
// hsm/publickey). key_specs.go has the table of specs, usages and algorithms.
//
// # Imported material
//
// It is unwrapped inside the token, by a key made there for the one import; only
// where the token lacks SHA-256 does it, or the AES key around it, pass through the
// process, which the call's record says. What the store keeps to recognise the same
// material tells nothing of it (import_check.go).
//
// # Custom key stores
//
// Keys may be elsewhere: in a second token ([Clusters] opens it), or also in an
// external key manager (package keysvc/xks). tokenOf says which token a key's
// material is in. A key store's connection state is in the store; each process
// makes its own connection when it first needs one (key_store_connections.go).
//
// # Trust
//
// Who can call the Service's methods is trusted to name the caller
// ([WithCaller]). Who can write the store can enable keys and make grants; who
// also has the token's PIN can decrypt.
//
// # Concurrency
//
// A Service may be used by any number of goroutines. Changes to a key are
// transactions of the store; operations on the token are as concurrent as it is.
//
// # Not here
//
// The wire protocol and signatures (keysvc/api), the evaluation of key policies and
// identity policies, SM2 and post-quantum keys. What is asked for and not there is refused, never ignored.
package keysvc
