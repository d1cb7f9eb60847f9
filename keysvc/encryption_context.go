package keysvc

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// canonicalContext is the one encoding of an encryption context, whatever order
// its pairs had: the number of pairs, then keys and values in the order of the
// keys' bytes, each behind its length. Numbers have 32 bits, big endian. An
// absent context is an empty one.
func canonicalContext(pairs map[string]string) []byte {
	size := 4
	for k, v := range pairs {
		size += 8 + len(k) + len(v)
	}
	out := binary.BigEndian.AppendUint32(make([]byte, 0, size), uint32(len(pairs)))
	names := make([]string, 0, 8) // on the stack unless there are more
	for name := range pairs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, k := range names {
		out = appendCounted(out, k)
		out = appendCounted(out, pairs[k])
	}
	return out
}

func appendCounted(out []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(out, uint32(len(s))), s...)
}

func contextDigest(pairs map[string]string) [sha256.Size]byte {
	return sha256.Sum256(canonicalContext(pairs))
}
