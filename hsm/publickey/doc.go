// Package publickey does in software what needs only the public half of a key
// pair in a token: parse and write SubjectPublicKeyInfo, verify signatures,
// encrypt with RSAES-OAEP, and check and name points on curves.
//
// It also makes key pairs on secp256k1 that are for use outside of a token. It knows
// secp256k1 beside what crypto/x509 knows. Its input is not trusted:
// everything is parsed strictly, and a point that isn't on its curve is refused.
//
// Its functions have no state and may be used by any number of goroutines.
package publickey
