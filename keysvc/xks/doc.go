// Package xks is the client of an external key store proxy: the four operations of
// AWS's External Key Store (XKS) Proxy API Specification, version 1 of the path
// (/kms/xks/v1), by which the key service has an external key manager encrypt and
// decrypt. Package xks/proxy is a proxy to try it with.
//
// Requests are signed with AWS Signature Version 4 for the service kms-xks-proxy,
// the headers host and x-amz-date, as AWS signs them. TLS is required but on
// loopback addresses. Attempts last 250 ms, 500 ms and 1 s: AWS gives a proxy the
// first of them only. All four operations can be repeated without harm, so an
// attempt that got no answer, or one that says to come back, is followed by the
// next.
//
// Trust: the proxy is trusted with what it is given to encrypt, which the key
// service has encrypted before, and to give it back. Its answers are otherwise
// not trusted: lengths, the integrity value over each ciphertext and the forms of
// all members are checked, and its error messages go to the log only.
//
// Concurrency: a [Client] may be used by any number of goroutines.
//
// Not here: VPC endpoint services, client certificates.
package xks
