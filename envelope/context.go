package envelope

// Keys of the encryption contexts. They show in audit logs and are matched by key policies and
// grants, so they never change.
const (
	ContextVolumeID = "kmsfs:volume-id"
	ContextPath     = "kmsfs:path"
	ContextFileID   = "kmsfs:file-id"
)

// VolumeContext is the encryption context of a volume's key.
func VolumeContext(vol VolumeID) map[string]string {
	return map[string]string{ContextVolumeID: vol.String()}
}

// FileContext is the encryption context of a file's data key: the volume, and the plaintext path
// from the volume's root, with a leading slash.
func FileContext(vol VolumeID, path string) map[string]string {
	return map[string]string{ContextVolumeID: vol.String(), ContextPath: path}
}

// RecoveryContext is the encryption context of a file's data key under a recovery key of a key service:
// the volume and the file's id in hex, but no path, so that a rename leaves it alone. The volume key has
// VolumeContext there too.
func RecoveryContext(vol VolumeID, id FileID) map[string]string {
	return map[string]string{ContextVolumeID: vol.String(), ContextFileID: id.String()}
}
