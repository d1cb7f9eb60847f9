// Package awsjson turns the AWS SDK's input and output structs into the JSON of
// the AWS JSON 1.1 protocol and back, by reflection: the structs' fields have the
// names of the API's members. A [Struct] describes one of them, once.
//
//	member     JSON
//	string     string; enumerations too, where "" means absent
//	integer    number without a fraction, within its type
//	blob       string, standard base64 with padding
//	timestamp  number, seconds since 1970 with milliseconds
//	list, map  array, object
//	structure  object; a member that doesn't apply is absent, never null
//
// Texts that two readers could take for different ones are refused: what isn't
// UTF-8, begins with a byte order mark or has half a surrogate pair.
//
// The SDK's own serialisers do the opposite directions only: a server has to
// read what they write and write what they read.
//
// Trust: Decode takes whatever the network brings. It bounds the nesting, it
// never panics, and every fault is an [*Error]. The caller bounds the length.
// Members that the struct doesn't have are ignored; of a member that is given
// twice the last one counts.
//
// Concurrency: a [Struct] doesn't change and may be used by any number of
// goroutines.
//
// Not here: what values are allowed. Lengths, patterns and required members are
// the operations' business.
package awsjson
