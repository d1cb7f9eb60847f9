package keysvc

import (
	"crypto"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/hsmtest"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// BenchmarkSignBesideToken compares the service's Sign, with its record, with the
// token's. The two take turns, and medians are reported.
func BenchmarkSignBesideToken(b *testing.B) {
	for _, c := range []struct {
		spec      types.KeySpec
		algorithm types.SigningAlgorithmSpec
		scheme    hsm.SignatureScheme
	}{
		{types.KeySpecEccNistP256, types.SigningAlgorithmSpecEcdsaSha256, hsm.ECDSA},
		{types.KeySpecRsa2048, types.SigningAlgorithmSpecRsassaPssSha256, hsm.RSAPSS},
	} {
		b.Run(string(c.spec), func(b *testing.B) {
			f := newService(b)
			id := f.keyOf(c.spec, types.KeyUsageTypeSignVerify)
			backing := f.backings(id)[0]
			digest := make([]byte, 32)
			hsmtest.ByTurns(b, func() error {
				_, err := token.Sign(f.ctx(), backing, c.scheme, crypto.SHA256, digest)
				return err
			}, func() error {
				_, err := f.Sign(f.ctx(), &kms.SignInput{KeyId: &id, Message: digest, MessageType: types.MessageTypeDigest, SigningAlgorithm: c.algorithm})
				return err
			})
		})
	}
}
