package integration

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/keysvc/embedded"
)

// dataKeys unwraps the data keys of files as the key service's owner can: the wrapped key is in the
// file's header, the context is volume and path. The mount's daemon takes no part in it.
func (v *volume) dataKeys(paths ...string) map[string][]byte {
	v.t.Helper()
	volume, err := envelope.ParseVolumeID(v.id())
	must(v.t, err)
	keys := map[string][]byte{}
	e, err := embedded.Open(v.t.Context(), embedded.Options{Dir: v.State})
	must(v.t, err)
	defer e.Close()
	for _, p := range paths {
		out, err := e.Service().Decrypt(v.t.Context(), &kms.DecryptInput{
			CiphertextBlob:    v.wrappedKey(p),
			EncryptionContext: envelope.FileContext(volume, "/"+p),
		})
		must(v.t, err)
		if len(out.Plaintext) != envelope.KeySize {
			v.t.Fatalf("data key of %d bytes", len(out.Plaintext))
		}
		keys[p] = out.Plaintext
	}
	return keys
}

// volumeKey unwraps the volume's key.
func (v *volume) volumeKey() []byte {
	v.t.Helper()
	text, err := os.ReadFile(filepath.Join(v.Back, envelope.VolumeFileName))
	must(v.t, err)
	file, err := envelope.ParseVolumeFile(text)
	must(v.t, err)
	e, err := embedded.Open(v.t.Context(), embedded.Options{Dir: v.State})
	must(v.t, err)
	defer e.Close()
	out, err := e.Service().Decrypt(v.t.Context(), &kms.DecryptInput{
		KeyId: aws.String(file.Keys[file.WrappedBy]), CiphertextBlob: file.Wrapped,
		EncryptionContext: envelope.VolumeContext(file.ID),
	})
	must(v.t, err)
	return out.Plaintext
}

// id is the volume's id.
func (v *volume) id() string {
	id, _ := v.info()
	return id
}

// wrappedKey reads the wrapped data key from a file's header with kmsfs info.
func (v *volume) wrappedKey(path string) []byte {
	v.t.Helper()
	var info struct {
		Slots []struct {
			Wrapped []byte `json:"wrappedKey"`
		} `json:"slots"`
	}
	must(v.t, json.Unmarshal([]byte(v.kmsfs("info", "--json", v.storePath(path))), &info))
	if len(info.Slots) != 1 {
		v.t.Fatalf("%s has %d key slots", path, len(info.Slots))
	}
	return info.Slots[0].Wrapped
}
