package keysvc

import (
	"crypto"
	"slices"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"

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
			var raw, whole []time.Duration
			for b.Loop() {
				start := time.Now()
				_, tokenErr := token.Sign(f.ctx(), backing, c.scheme, crypto.SHA256, digest)
				middle := time.Now()
				_, err := f.Sign(f.ctx(), &kms.SignInput{KeyId: &id, Message: digest, MessageType: types.MessageTypeDigest, SigningAlgorithm: c.algorithm})
				if tokenErr != nil || err != nil {
					b.Fatal(tokenErr, err)
				}
				raw, whole = append(raw, middle.Sub(start)), append(whole, time.Since(middle))
			}
			slices.Sort(raw)
			slices.Sort(whole)
			r, w := raw[len(raw)/2], whole[len(whole)/2]
			b.ReportMetric(0, "ns/op") // of both together says nothing
			b.ReportMetric(float64(r), "token-p50-ns")
			b.ReportMetric(float64(w), "service-p50-ns")
			b.ReportMetric(100*float64(r)/float64(w), "%-of-token-rate")
		})
	}
}
