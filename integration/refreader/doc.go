// Command refreader is a second, small implementation of the format in docs/FORMAT.md. It only
// reads, uses nothing but the standard library and a zstd decoder, and shares no code with package envelope, so that
// where both agree the document says enough. It is written for comparison, not for use: it holds
// whole files in memory and wipes nothing.
//
//	refreader vector FILE...          checks test vectors
//	refreader cat HEX-DATA-KEY FILE   prints the content of an encrypted file
package main
