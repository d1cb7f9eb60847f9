// Package keypolicy reads key policies: JSON documents in the grammar of IAM
// policies that say who may do what with a KMS key.
//
// [Parse] checks a document's form and gives it structure. [Document.MeansDefault]
// tells whether it lets exactly the account's root do everything, as the policy
// does that a key has when none was given ([Default]).
//
// Trust: a document is untrusted input. What this package accepts is well formed;
// whether its principals exist is not looked at.
//
// Concurrency: the package has no state.
//
// Not here: evaluating a policy for a caller, an action and their conditions.
package keypolicy
