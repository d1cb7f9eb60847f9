package envelope

import (
	"crypto/hmac"
	"crypto/sha256"
)

// SuiteAES256GCM is the only cipher suite of version 1: AES-256-GCM with HKDF-SHA256 and a 32-byte
// key commitment.
const SuiteAES256GCM uint16 = 1

// infoPrefix begins every HKDF info string; it carries the format's version.
const infoPrefix = "kmsfs/1 "

// purpose is the name of a subkey in the HKDF info string. This table is the whole key tree.
type purpose string

// Subkeys of a file's data key (salt: file id).
const (
	purposeRoot  purpose = "root"  // parameter: 24-byte root salt; one message, zero nonce
	purposeTree  purpose = "tree"  // parameter: epoch u32; tag pages
	purposeBlock purpose = "block" // parameter: epoch u32; data blocks
)

// Subkeys of the volume key (salt: volume id), none takes a parameter.
const (
	purposeNameMAC      purpose = "name-mac"
	purposeNameEnc      purpose = "name-enc"
	purposeDir          purpose = "dir"
	purposePathTag      purpose = "path-tag"
	purposeSlots        purpose = "slots"
	purposeStatMAC      purpose = "stat-mac"
	purposeStatEnc      purpose = "stat-enc"
	purposeSymlink      purpose = "symlink"
	purposeXattr        purpose = "xattr"
	purposeXattrNameMAC purpose = "xattr-name-mac"
	purposeXattrNameEnc purpose = "xattr-name-enc"
	purposeRenames      purpose = "renames"
	purposeVolumeFile   purpose = "volume-file"
	purposeMounts       purpose = "mounts"
	purposeLedger       purpose = "ledger"
)

// purposeCommit is the key commitment of a data key or a volume key.
const purposeCommit purpose = "commit"

// keyTree derives the subkeys of one data key or volume key by HKDF-SHA256 (RFC 5869).
type keyTree struct {
	prk   [sha256.Size]byte
	suite uint16
}

// newKeyTree is HKDF-Extract(ikm = key, salt). Standard crypto/hkdf would leave copies of the key
// in hash buffers on the heap, hence HMAC here and the wiping in hmacOnce.
func newKeyTree(key *[KeySize]byte, salt []byte, suite uint16) *keyTree {
	t := &keyTree{suite: suite}
	hmacOnce(&t.prk, salt, key[:])
	return t
}

// derive is HKDF-Expand to 32 bytes, which is one HMAC block:
// HMAC(prk, "kmsfs/1 " || purpose || 0 || suite u8 || parameter || 1).
func (t *keyTree) derive(out *[KeySize]byte, p purpose, parameter []byte) {
	var buf [96]byte
	info := append(buf[:0], infoPrefix...)
	info = append(info, p...)
	info = append(info, 0, byte(t.suite))
	info = append(info, parameter...)
	info = append(info, 1)
	hmacOnce(out, t.prk[:], info)
}

// wipe overwrites the pseudorandom key with zeros.
func (t *keyTree) wipe() { clear(t.prk[:]) }

// hmacOnce computes out = HMAC-SHA256(key, msg) and overwrites the hash objects, which hold the
// padded key and what they buffered.
func hmacOnce(out *[sha256.Size]byte, key, msg []byte) {
	burnStack() // makes room first: a stack that grows leaves its old copy behind
	h := hmac.New(sha256.New, key)
	h.Write(msg)
	h.Sum(out[:0])
	wipeHash(h)
	burnStack()
}

// burnStack overwrites dead stack below the caller, where returned functions may have left key
// material, and makes sure that what is called next does not have to grow the stack.
//
//go:noinline
func burnStack() {
	var pad [4096]byte
	burn(&pad)
}

//go:noinline
func burn(p *[4096]byte) { clear(p[:]) }
