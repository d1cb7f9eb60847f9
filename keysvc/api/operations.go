package api

import (
	"context"
	"reflect"
	"sync"

	"github.com/kmsfs/kmsfs/keysvc"
	"github.com/kmsfs/kmsfs/keysvc/api/awsjson"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// operation decodes a request's body, calls the service and appends the answer to
// what has room for it.
type operation func(ctx context.Context, s *keysvc.Service, body, to []byte) ([]byte, error)

// method is an operation of the service.
type method[In, Out any] func(*keysvc.Service, context.Context, *In, ...func(*kms.Options)) (*Out, error)

// call makes an operation of a method. It wipes the plaintext in its input and
// output, which nobody needs after it.
func call[In, Out any](m method[In, Out]) operation {
	input, output := described[In](), described[Out]()
	return func(ctx context.Context, s *keysvc.Service, body, to []byte) ([]byte, error) {
		in := new(In)
		defer wipePlaintext(in)
		if err := input().Decode(body, in); err != nil {
			return nil, err
		}
		out, err := m(s, ctx, in)
		if err != nil {
			return nil, err
		}
		defer wipePlaintext(out)
		return output().Append(to, out), nil
	}
}

// described describes a struct when it is first asked to: most programs that hold
// the table serve nothing.
func described[T any]() func() *awsjson.Struct {
	return sync.OnceValue(func() *awsjson.Struct { return awsjson.Describe(reflect.TypeFor[T]()) })
}

// wipePlaintext wipes the one secret that inputs and outputs have.
func wipePlaintext(v any) {
	switch v := v.(type) {
	case *kms.EncryptInput:
		clear(v.Plaintext)
	case *kms.SignInput:
		clear(v.Message)
	case *kms.GenerateMacInput:
		clear(v.Message)
	case *kms.DeriveSharedSecretOutput:
		clear(v.SharedSecret)
	case *kms.GenerateDataKeyPairOutput:
		clear(v.PrivateKeyPlaintext)
	case *kms.DecryptOutput:
		clear(v.Plaintext)
	case *kms.GenerateDataKeyOutput:
		clear(v.Plaintext)
	case *kms.GenerateRandomOutput:
		clear(v.Plaintext)
	}
}

// operations are all operations by their API names.
var operations = map[string]operation{
	"CancelKeyDeletion":                   call((*keysvc.Service).CancelKeyDeletion),
	"ConnectCustomKeyStore":               call((*keysvc.Service).ConnectCustomKeyStore),
	"CreateAlias":                         call((*keysvc.Service).CreateAlias),
	"CreateCustomKeyStore":                call((*keysvc.Service).CreateCustomKeyStore),
	"CreateGrant":                         call((*keysvc.Service).CreateGrant),
	"CreateKey":                           call((*keysvc.Service).CreateKey),
	"Decapsulate":                         call((*keysvc.Service).Decapsulate),
	"Decrypt":                             call((*keysvc.Service).Decrypt),
	"DeleteAlias":                         call((*keysvc.Service).DeleteAlias),
	"DeleteImportedKeyMaterial":           call((*keysvc.Service).DeleteImportedKeyMaterial),
	"DeleteCustomKeyStore":                call((*keysvc.Service).DeleteCustomKeyStore),
	"DeriveSharedSecret":                  call((*keysvc.Service).DeriveSharedSecret),
	"DescribeCustomKeyStores":             call((*keysvc.Service).DescribeCustomKeyStores),
	"DescribeKey":                         call((*keysvc.Service).DescribeKey),
	"DisableKey":                          call((*keysvc.Service).DisableKey),
	"DisableKeyRotation":                  call((*keysvc.Service).DisableKeyRotation),
	"DisconnectCustomKeyStore":            call((*keysvc.Service).DisconnectCustomKeyStore),
	"EnableKey":                           call((*keysvc.Service).EnableKey),
	"EnableKeyRotation":                   call((*keysvc.Service).EnableKeyRotation),
	"Encapsulate":                         call((*keysvc.Service).Encapsulate),
	"Encrypt":                             call((*keysvc.Service).Encrypt),
	"GenerateDataKey":                     call((*keysvc.Service).GenerateDataKey),
	"GenerateDataKeyPair":                 call((*keysvc.Service).GenerateDataKeyPair),
	"GenerateDataKeyPairWithoutPlaintext": call((*keysvc.Service).GenerateDataKeyPairWithoutPlaintext),
	"GenerateDataKeyWithoutPlaintext":     call((*keysvc.Service).GenerateDataKeyWithoutPlaintext),
	"GenerateMac":                         call((*keysvc.Service).GenerateMac),
	"GenerateRandom":                      call((*keysvc.Service).GenerateRandom),
	"GetKeyLastUsage":                     call((*keysvc.Service).GetKeyLastUsage),
	"GetKeyPolicy":                        call((*keysvc.Service).GetKeyPolicy),
	"GetKeyRotationStatus":                call((*keysvc.Service).GetKeyRotationStatus),
	"GetParametersForImport":              call((*keysvc.Service).GetParametersForImport),
	"GetPublicKey":                        call((*keysvc.Service).GetPublicKey),
	"ImportKeyMaterial":                   call((*keysvc.Service).ImportKeyMaterial),
	"ListAliases":                         call((*keysvc.Service).ListAliases),
	"ListGrants":                          call((*keysvc.Service).ListGrants),
	"ListKeyPolicies":                     call((*keysvc.Service).ListKeyPolicies),
	"ListKeyRotations":                    call((*keysvc.Service).ListKeyRotations),
	"ListKeys":                            call((*keysvc.Service).ListKeys),
	"ListResourceTags":                    call((*keysvc.Service).ListResourceTags),
	"ListRetirableGrants":                 call((*keysvc.Service).ListRetirableGrants),
	"PutKeyPolicy":                        call((*keysvc.Service).PutKeyPolicy),
	"ReEncrypt":                           call((*keysvc.Service).ReEncrypt),
	"ReplicateKey":                        call((*keysvc.Service).ReplicateKey),
	"RetireGrant":                         call((*keysvc.Service).RetireGrant),
	"RevokeGrant":                         call((*keysvc.Service).RevokeGrant),
	"RotateKeyOnDemand":                   call((*keysvc.Service).RotateKeyOnDemand),
	"ScheduleKeyDeletion":                 call((*keysvc.Service).ScheduleKeyDeletion),
	"Sign":                                call((*keysvc.Service).Sign),
	"TagResource":                         call((*keysvc.Service).TagResource),
	"UntagResource":                       call((*keysvc.Service).UntagResource),
	"UpdateAlias":                         call((*keysvc.Service).UpdateAlias),
	"UpdateCustomKeyStore":                call((*keysvc.Service).UpdateCustomKeyStore),
	"UpdateKeyDescription":                call((*keysvc.Service).UpdateKeyDescription),
	"UpdatePrimaryRegion":                 call((*keysvc.Service).UpdatePrimaryRegion),
	"Verify":                              call((*keysvc.Service).Verify),
	"VerifyMac":                           call((*keysvc.Service).VerifyMac),
}
