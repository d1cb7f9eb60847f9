// Package storetest is the conformance suite of package store: every implementation of store.Store
// runs it and passes all of it.
//
// Trust: none is needed; the suite makes its own keys, aliases and grants.
//
// Concurrency: Run opens the same store several times, as several processes would.
//
// Not here: the service's rules about what may be stored; those are tested in package keysvc.
package storetest
