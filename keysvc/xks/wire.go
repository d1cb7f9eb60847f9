package xks

// Metadata tells the proxy why it is asked. The proxy may decide by it.
type Metadata struct {
	PrincipalARN string `json:"awsPrincipalArn,omitempty"`
	KeyARN       string `json:"kmsKeyArn,omitempty"`
	Operation    string `json:"kmsOperation"`
	RequestID    string `json:"kmsRequestId"`
}

// HealthRequest is the body of GetHealthStatus.
type HealthRequest struct {
	Metadata Metadata `json:"requestMetadata"`
}

// Health is the answer of GetHealthStatus.
type Health struct {
	FleetSize int       `json:"xksProxyFleetSize"`
	Vendor    string    `json:"xksProxyVendor"`
	Model     string    `json:"xksProxyModel"`
	EKMVendor string    `json:"ekmVendor"`
	Fleet     []Manager `json:"ekmFleetDetails"`
}

// Manager is one external key manager behind the proxy.
type Manager struct {
	ID     string `json:"id"`
	Model  string `json:"model"`
	Status string `json:"healthStatus"` // ACTIVE, DEGRADED or UNAVAILABLE
}

// available tells whether any key manager can work.
func (h *Health) available() bool {
	for _, m := range h.Fleet {
		if m.Status == "ACTIVE" || m.Status == "DEGRADED" {
			return true
		}
	}
	return false
}

// KeyRequest is the body of GetKeyMetadata.
type KeyRequest struct {
	Metadata Metadata `json:"requestMetadata"`
}

// KeyMetadata is the answer of GetKeyMetadata.
type KeyMetadata struct {
	Spec   string   `json:"keySpec"`   // AES_256
	Usage  []string `json:"keyUsage"`  // with ENCRYPT and DECRYPT
	Status string   `json:"keyStatus"` // ENABLED or DISABLED
}

// The only values of the algorithm members in this version of the API.
const (
	algorithmGCM    = "AES_GCM"
	integritySHA256 = "SHA_256"
)

// EncryptRequest is the body of Encrypt. Its []byte members are base64.
type EncryptRequest struct {
	Metadata           Metadata `json:"requestMetadata"`
	AAD                []byte   `json:"additionalAuthenticatedData,omitempty"`
	Plaintext          []byte   `json:"plaintext"`
	Algorithm          string   `json:"encryptionAlgorithm"`
	IntegrityAlgorithm string   `json:"ciphertextDataIntegrityValueAlgorithm,omitempty"`
}

// EncryptAnswer is the answer of Encrypt.
type EncryptAnswer struct {
	Ciphertext
	Integrity []byte `json:"ciphertextDataIntegrityValue,omitempty"`
}

// Ciphertext is what a proxy makes of a plaintext, which is as long as Text.
type Ciphertext struct {
	Text     []byte `json:"ciphertext"`
	Metadata []byte `json:"ciphertextMetadata,omitempty"` // at most 20 bytes, the proxy's own
	IV       []byte `json:"initializationVector"`         // 12 or 16 bytes
	Tag      []byte `json:"authenticationTag"`            // 16 bytes
}

// DecryptRequest is the body of Decrypt.
type DecryptRequest struct {
	Metadata  Metadata `json:"requestMetadata"`
	AAD       []byte   `json:"additionalAuthenticatedData,omitempty"`
	Algorithm string   `json:"encryptionAlgorithm"`
	Ciphertext
}

// DecryptAnswer is the answer of Decrypt.
type DecryptAnswer struct {
	Plaintext []byte `json:"plaintext"`
}

// Refusal is the body of an answer that isn't 200.
type Refusal struct {
	Name    string `json:"errorName"`
	Message string `json:"errorMessage,omitempty"`
}
