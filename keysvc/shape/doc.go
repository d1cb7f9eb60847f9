// Package shape knows what values the members of the API's inputs may have, and
// says what is wrong with one in AWS's words.
//
// There are two tables. members.go has the constraints of each member by its
// name: a member has the same ones wherever it occurs. operations.go has a row
// for each operation: which members it requires, and the few constraints that are
// its own. Enumerations are those of the AWS SDK's types. The facts are those of
// the published API model, and the limits that the KMS API reference states
// where they are narrower.
//
//	1 validation error detected: Value 'x' at 'tags.2.member.tagKey' failed to
//	satisfy constraint: Member must have length less than or equal to 128
//
// What depends on more than one member, or on the key, is checked by the
// operations.
//
// An operation or member without a row is an error of this package, which a test
// looks for in every operation of the SDK's client.
//
// Trust: the values checked here come from anybody. Texts are shortened when they
// are quoted, and values of blobs and passwords are never quoted.
//
// Concurrency: a [Table] may be used by any number of goroutines.
package shape
