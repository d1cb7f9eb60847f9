// Package throttle bounds how often a principal may call the key service, as
// AWS's request quotas do: per principal and group of operations, in requests a
// second. What exceeds a rate is answered with ThrottlingException, which clients
// retry later by themselves.
//
// A configuration is JSON. Groups are "cryptographic", which the operations that
// use key material share, or the name of an operation; "*" is for every other
// operation on its own. Principals can have rates that are their own. A rate of 0
// forbids; what has no rate is not limited.
//
//	{"rates": {"cryptographic": 1000, "CreateKey": 5, "*": 100},
//	 "principals": {"backup": {"cryptographic": 50}}}
//
// A principal that was quiet may make the requests of one second at once.
//
// Concurrency: [Limits] may be used by any number of goroutines.
package throttle
