// Package certs provides the TLS certificates of the key service: from files that
// somebody else renews, or from a private certificate authority of its own.
//
// The [Authority] is a key and a self-signed certificate in a directory, made on
// first use. Clients trust its certificate, ca.pem, which is public; its key,
// ca-key.pem, has mode 0600. Certificates of servers live for [ServerLife], are
// kept in memory with their keys, and are replaced when two thirds of that are
// over, so that a server that runs for years needs no attention.
//
// [Files] reads a certificate and its key from files, and again when they change.
//
// Trust: who can read ca-key.pem can pretend to be the key service to every
// client that trusts ca.pem.
//
// Concurrency: [Authority], [Server] and [Files] may be used by any number of
// goroutines; processes that share a directory make one authority.
//
// Not here: client certificates. Requests are signed.
package certs
