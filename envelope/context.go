package envelope

// Keys of the encryption contexts. They show in audit logs and are matched by key policies and
// grants, so they never change.
const (
	ContextVolumeID = "kmsfs:volume-id"
	ContextPath     = "kmsfs:path"
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
