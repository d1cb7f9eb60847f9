// Package proxy is a small external key store proxy: the server's side of package
// xks, with AES-256 keys that it holds in its own memory. It is for trying an
// external key store and for tests of the client; who has an external key manager
// uses that manager's proxy.
//
// It keeps to AWS's External Key Store (XKS) Proxy API Specification: signatures,
// error names, additional authenticated data with its lengths, integrity values,
// and IVs of 96 random bits.
//
// Trust: who has the access key can use every key. Keys are in the process's
// memory, as they are in any key manager of software.
//
// Concurrency: a [Proxy] may be used by any number of goroutines.
//
// Not here: secondary authorization by the caller's metadata, more than one access
// key, rotation of the keys.
package proxy
