// Package hsmtest is the conformance suite of hsm.Token: what every
// implementation and every module must do.
//
// [Run] takes a function that opens the token under test. It trusts nothing but
// that function, makes its own backing keys with random ids and destroys most of
// them; run it on tokens made for tests only.
//
// What depends on the kind of token (attributes of keys, faults of a module,
// other processes) is tested beside the implementation.
//
// The suite runs its parts one after the other; some start goroutines of their
// own.
package hsmtest
