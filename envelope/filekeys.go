package envelope

import (
	"crypto/cipher"
	"encoding/binary"
	"sync"
)

// epochKeys are the ciphers of one epoch.
type epochKeys struct {
	tree  cipher.AEAD
	block cipher.AEAD
}

// fileKeys derives and caches the subkeys of one file. Safe for concurrent use.
type fileKeys struct {
	tree   *keyTree
	mu     sync.Mutex
	epochs map[uint16]*epochKeys
}

// newFileKeys derives the key tree of a file; key may be wiped afterwards.
func newFileKeys(key *DataKey, id FileID, suite uint16) *fileKeys {
	return &fileKeys{
		tree:   newKeyTree(key.key, id[:], suite),
		epochs: make(map[uint16]*epochKeys),
	}
}

// epoch returns the ciphers of epoch e.
func (k *fileKeys) epoch(e uint16) *epochKeys {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.epochs[e]; c != nil {
		return c
	}
	c := &epochKeys{tree: k.subkey(purposeTree, e), block: k.subkey(purposeBlock, e)}
	k.epochs[e] = c
	return c
}

// subkey derives one cipher of epoch e.
func (k *fileKeys) subkey(p purpose, e uint16) cipher.AEAD {
	var key [KeySize]byte
	var parameter [4]byte
	binary.LittleEndian.PutUint32(parameter[:], uint32(e))
	k.tree.derive(&key, p, parameter[:])
	a := newAEAD(&key)
	clear(key[:])
	burnStack()
	return a
}

// wipe overwrites every key and key schedule.
func (k *fileKeys) wipe() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tree.wipe()
	for e, c := range k.epochs {
		wipeAEAD(c.tree)
		wipeAEAD(c.block)
		delete(k.epochs, e)
	}
}
