// Package integration holds the tests that run the whole of kmsfs: the real binary, a real FUSE
// mount, a real PKCS#11 token and real applications. Tests of the source tree itself (import
// arrows, style) are here too.
//
// Needed: /dev/fuse, the packages fuse3 and softhsm2, git. The tests fail, and do not skip, where
// one is missing. Tests that take minutes run with -long (make test-long).
//
// Concurrency: each test has directories, state and mounts of its own; nothing is shared but the
// binary, which TestMain builds once.
package integration
