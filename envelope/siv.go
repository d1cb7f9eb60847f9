package envelope

import (
	"crypto/aes"
	"crypto/cipher"
)

// sivIVSize is the length of the synthetic initialization vector, and the least length of its tag.
const sivIVSize = 16

// siv is deterministic authenticated encryption in the manner of RFC 5297, put together from
// HMAC-SHA256 and AES-256-CTR: the tag over header and plaintext is also the counter's start. There
// is no nonce to repeat, hence no limit on messages below the birthday bound of a 128-bit tag.
type siv struct {
	mac macKey
	enc cipher.Block
}

// init sets the subkeys.
func (k *siv) init(mac, enc *[KeySize]byte) {
	k.mac.key = *mac
	block, err := aes.NewCipher(enc[:])
	if err != nil {
		panic("envelope: AES refuses a 32-byte key: " + err.Error())
	}
	k.enc = block
}

// wipe overwrites both subkeys.
func (k *siv) wipe() {
	k.mac.wipe()
	wipeStruct(k.enc)
}

// seal returns tag || ciphertext in memory of s. Header must have the same length for every message
// of the key, or begin with a byte that tells its length.
func (k *siv) seal(s *macState, header []byte, plain string, tagLen int) []byte {
	buf := append(s.buf[:0], header...)
	buf = append(buf, s.sum[:tagLen]...) // room for the tag
	buf = append(buf, plain...)
	out := buf[len(header):]
	k.tag(s, buf[:len(header)], out[tagLen:])
	copy(out, s.sum[:tagLen])
	k.xor(s, out[:sivIVSize], out[tagLen:])
	return out
}

// open checks and decrypts tag || ciphertext in place, which must be on the heap, and returns the
// plaintext part. A forgery is overwritten with zeros.
func (k *siv) open(s *macState, header, sealed []byte, tagLen int) ([]byte, bool) {
	if len(sealed) < tagLen {
		return nil, false
	}
	plain := sealed[tagLen:]
	k.xor(s, sealed[:sivIVSize], plain)
	k.tag(s, append(s.buf[:0], header...), plain)
	if !equalMAC(sealed[:tagLen], &s.sum) {
		clear(plain)
		return nil, false
	}
	return plain, true
}

// tag computes HMAC(mac key, header || plain) into s.sum; both must be on the heap.
func (k *siv) tag(s *macState, header, plain []byte) {
	s.hash.Reset()
	s.hash.Write(header)
	s.hash.Write(plain)
	s.hash.Sum(s.sum[:0])
}

// xor applies the AES-CTR key stream that begins at iv, counting big-endian over all 16 bytes.
// cipher.NewCTR would do, but it copies the key schedule to the heap for every message and offers
// no way to wipe it.
func (k *siv) xor(s *macState, iv, data []byte) {
	copy(s.ctr[:], iv)
	for len(data) > 0 {
		k.enc.Encrypt(s.pad[:], s.ctr[:])
		n := min(len(data), len(s.pad))
		for i := range n {
			data[i] ^= s.pad[i]
		}
		data = data[n:]
		for i := len(s.ctr) - 1; i >= 0; i-- {
			s.ctr[i]++
			if s.ctr[i] != 0 {
				break
			}
		}
	}
}
