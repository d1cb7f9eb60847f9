// Package sigv4 verifies AWS Signature Version 4 in its header form, as the key
// service demands it: POST to / without a query, with a signed body.
//
// A request is checked in two steps, so that nobody without an access key makes
// the server read a body: [Parse] looks at the headers, and [Request.Verify] at
// the signature, once the caller has found the access key's secret and read the
// body.
//
// Source: AWS's "Signature Version 4 signing process"; the canonical form is
// written here anew and held against the AWS SDK's signer in the tests.
//
// Trust: everything in the request is the attacker's until Verify returns nil.
// The signature covers the method, the path, the headers that it names, which
// must include host, x-amz-date and, if it is there, x-amz-target, and the body. Headers that it
// doesn't name are not protected. A captured request can be sent again within
// [Window]; TLS is the protection from being captured.
//
// Concurrency: a [Request] belongs to one goroutine; [Keys] may be used by any
// number.
//
// Not here: presigned URLs, chunked uploads, unsigned payloads and session
// tokens, all of which are refused; where access keys are kept.
package sigv4
