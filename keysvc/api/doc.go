// Package api serves the key service over HTTP as AWS KMS does, in the AWS JSON
// 1.1 protocol, so that the aws command line and every AWS SDK can use it with an
// endpoint URL.
//
// A request passes, in this order: the limits of the HTTP server (serve.go), the
// form, time and access key of its signature, the length of its body, the
// signature itself (authenticate.go), the operation's name, its body's form
// (operations.go), and then the operation in package keysvc, which validates,
// authorises and records it. So nobody without an access key makes the server
// read a body, and nothing unsigned reaches an operation.
//
//	keysvc/api/sigv4       signatures
//	keysvc/api/awsjson     bodies
//	keysvc/api/principals  access keys
//	keysvc/api/throttle    rates of requests
//	keysvc/api/metrics     counters for Prometheus
//	keysvc/api/certs       TLS certificates
//
// Beside KMS it answers GetCallerIdentity of the Security Token Service, by which
// clients find out which principal they are.
//
// A request's credential scope names its region; one service stands for all
// regions, each with its own keys.
//
// GET /health answers while the process lives, GET /ready while the store and
// the token can be used and the server isn't stopping. They need no signature.
//
// Trust: the network sees plaintext data keys unless the listener has TLS; the
// package serves what listener it is given, and leaves that decision to its
// caller. Error texts are AWS's and never hold secrets; causes go to the log.
//
// Concurrency: a [Server] may be used by any number of goroutines.
//
// Calls of a principal that are refused before they come to the operation, as they
// are too many or can't be read, are recorded too, bounded in number
// (refusal_trail.go). Requests without a valid signature, which anybody can send,
// leave a line in the log, also bounded (refusal_log.go), and no record.
//
// Not here: presigned requests, sessions, HTTP/2; what a principal may do.
package api
