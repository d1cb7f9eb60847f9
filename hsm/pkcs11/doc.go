// Package pkcs11 implements hsm.Token on any PKCS#11 2.40 module that does
// AES-256-GCM. SoftHSM and NSS softokn run its tests.
//
// [Open] loads the module, finds the token by label, serial number or RFC 7512
// URI, logs in once and probes by known answers what the token does.
// [ProvisionSoftHSM] makes a SoftHSM token from nothing.
//
// # How a blob is sealed
//
// A backing key only derives. Each writer draws a salt per epoch (an hour, or 2^24
// blobs), the token derives a sub-key from it as a session object, and the blob
// carries the salt. So random IVs never come near their limit however long a
// backing key lives, and the data path works on session objects, which modules
// serve from memory. A token that can't derive wraps directly, a limited number
// of times.
//
// # Key pairs and HMAC keys
//
// They are used where they are, as token objects, one private-key operation per call.
// A new key is returned only after it did what it is for and software agreed
// (pair_check.go), so what a token can't do shows when a key is made, as
// KindUnsupported. RSAES-OAEP with a hash that the token doesn't do, as SoftHSM with
// SHA-256, is raw RSA in the token with the padding removed here, in constant time.
//
// # Structure
//
// A module (one per library and process) has a gate that lets calls in and keeps
// them out while it is restarted. A token has a connection: an anchor session
// that keeps the login and owns the session objects, a bounded pool of sessions
// that do the work, and a keyring of handles. A failure has a class, found by its
// return value, and a class has a cure: another session, another handle, another
// connection, a restart of the module, or none. Each is tried once per call.
//
// # Trust
//
// Return values aren't taken at their word. A module that reports forged data and
// its own faults alike is asked to decrypt a known good ciphertext; a PIN that
// was refused is never sent again. PINs and plaintexts cross into C in memory of
// Go's, so no copies stay on the C heap; what the module itself copies can't be
// known.
//
// # Concurrency
//
// Everything is safe for concurrent use. If its context can end, a call runs on a
// goroutine of its own and is left to finish there when the caller gives up.
//
// Processes that use one SoftHSM configuration take turns at logging in, by a lock
// on the configuration file; otherwise they share the token freely.
//
// # Not done here
//
// No fork without exec after Open: the child would share the sessions. No two
// SoftHSM configurations at once in a process. No sharing of the count of direct
// wraps between processes.
package pkcs11
