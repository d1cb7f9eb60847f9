// Package store is what the key service needs from a database: the types it
// keeps and the [Store] interface. keysvc/store/sqlite implements it over SQLite
// and keysvc/store/storetest is the suite that every implementation passes.
//
// A store holds no secrets: backing keys live in the token and are named here
// by their ids only. Whoever can write to the store can enable a disabled key or
// change grants, so it is protected as the state directory is.
//
// Concurrency: a Store may be used by any number of goroutines and processes at
// once. Update transactions run one after the other; a View sees one consistent
// state. [Store.Generation] is how the key service notices, without a query,
// that another process changed something.
//
// The package does not interpret key states, check permissions or validate what
// it is given beyond referential integrity.
package store
