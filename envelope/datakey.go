package envelope

// DataKey is the 32-byte key of one encrypted file. It prints as "[redacted]". CreateFile and
// OpenFile derive what they need from it and keep no reference.
type DataKey struct{ secret }

// NewDataKey copies b, which must be KeySize bytes; the caller still wipes b. Other lengths are of
// KindInvalid.
func NewDataKey(b []byte) (*DataKey, error) {
	s, err := newSecret("data key", b)
	if err != nil {
		return nil, err
	}
	return &DataKey{s}, nil
}

// Wipe overwrites the key. It is safe to call more than once and on nil.
func (k *DataKey) Wipe() {
	if k != nil {
		k.wipe()
	}
}

// Wrap calls wrap with the key's bytes, which it must not keep: for a key service that takes plaintext
// (AWS: Encrypt). KindClosed if the key was wiped.
func (k *DataKey) Wrap(wrap func(plaintext []byte) ([]byte, error)) ([]byte, error) {
	return k.lend("wrap data key", wrap)
}
