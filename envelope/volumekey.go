package envelope

// VolumeKey is the 32-byte key of a volume, as the key service unwrapped it. It prints as
// "[redacted]". A Volume holds subkeys of it only, so it can be wiped once the Volume is made.
type VolumeKey struct{ secret }

// NewVolumeKey copies b, which must be KeySize bytes long (else KindInvalid); the caller still
// wipes b.
func NewVolumeKey(b []byte) (*VolumeKey, error) {
	s, err := newSecret("volume key", b)
	if err != nil {
		return nil, err
	}
	return &VolumeKey{s}, nil
}

// Wipe overwrites the key with zeros; it can't be used afterwards.
func (k *VolumeKey) Wipe() { k.wipe() }

// Wrap calls wrap with the key's bytes, which it must not keep: for a key service that takes plaintext
// (AWS: Encrypt). KindClosed if the key was wiped.
func (k *VolumeKey) Wrap(wrap func(plaintext []byte) ([]byte, error)) ([]byte, error) {
	return k.lend("wrap volume key", wrap)
}
