// Package patience lets a mount wait for a key service that does not answer: for a bounded time, and without
// a crowd of waiting opens that knock on its door all the time.
//
// Each call to the key service may take Wait, however many attempts that makes. One attempt may take half of
// it, so that a connection that leads nowhere any more is given up while there is time for another one. What
// the key service answers is final, but for failures of its own and throttling, which are tried again with
// the AWS SDK's back-off: exponential, with jitter, at most five seconds.
//
// While it does not answer at all, one attempt at a time is made for all calls that wait, ten a second at
// most; the others go on as soon as one is answered.
//
// Concurrency: a Patience is used by any number of calls at once. gate.mu and connections.mu are leaf locks.
//
// Not here: what an application is told when the wait is over (package fs), the time that commands wait,
// which is what the AWS SDK's configuration says.
package patience
