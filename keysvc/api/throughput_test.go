package api

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// The same calls embedded and over HTTP, with the SDK's client, which signs on
// the same cores.
func BenchmarkService(b *testing.B) {
	e := serve(b)
	remote := e.client(e.admin, keys.Config().Region)
	made, err := keys.Service().CreateKey(b.Context(), &kms.CreateKeyInput{})
	if err != nil {
		b.Fatal(err)
	}
	generate := &kms.GenerateDataKeyInput{KeyId: made.KeyMetadata.KeyId, KeySpec: types.DataKeySpecAes256}
	sealed, err := keys.Service().GenerateDataKey(b.Context(), generate)
	if err != nil {
		b.Fatal(err)
	}
	decrypt := &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob}
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"GenerateDataKey/embedded", func() error { _, err := keys.Service().GenerateDataKey(b.Context(), generate); return err }},
		{"GenerateDataKey/http", func() error { _, err := remote.GenerateDataKey(b.Context(), generate); return err }},
		{"Decrypt/embedded", func() error { _, err := keys.Service().Decrypt(b.Context(), decrypt); return err }},
		{"Decrypt/http", func() error { _, err := remote.Decrypt(b.Context(), decrypt); return err }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := c.call(); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
