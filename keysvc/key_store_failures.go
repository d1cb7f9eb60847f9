package keysvc

import (
	"github.com/kmsfs/kmsfs/keysvc/xks"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// proxyFailure is what a failure of an external key store proxy is called: when a
// key store is made or changed, when a key is, and when a key store is connected.
// The texts are those of the XKS Proxy API Specification, "Error codes".
type proxyFailure struct {
	atStore, atKey Kind
	code           types.ConnectionErrorCodeType
	message        string
}

// Texts of several failures.
const (
	textUninterpretable = "AWS KMS cannot interpret the response from the external key store proxy. If you see this error repeatedly, report it to your external key store proxy administrator."
	textTooSlow         = "The external key store proxy did not respond to the request in the time allotted. Retry the request. If you see this error repeatedly, report it to your external key store proxy administrator."
)

// proxyFailures has a row for each kind of failure.
var proxyFailures = [...]proxyFailure{
	xks.KindMalformed: {KindXksResponse, KindKeyStoreState, types.ConnectionErrorCodeTypeXksProxyInvalidResponse, textUninterpretable},
	xks.KindKeyDisabled: {KindXksConfiguration, KindXksKeyConfiguration, types.ConnectionErrorCodeTypeXksProxyInvalidConfiguration,
		"The external key associated with this KMS key in an external key store is not enabled in the external key manager. Enable the external key in the external key manager and retry the request."},
	xks.KindRejectedCiphertext: {KindXksResponse, KindKeyStoreState, types.ConnectionErrorCodeTypeXksProxyInvalidResponse,
		"The external key store proxy rejected the request because the specified ciphertext or encryption context is corrupted, missing, or otherwise invalid."},
	xks.KindWrongCiphertext: {KindXksResponse, KindKeyStoreState, types.ConnectionErrorCodeTypeXksProxyInvalidResponse,
		"The ciphertext that the external key store proxy submitted for decryption, or the encryption context, is corrupted, missing, or otherwise invalid."},
	xks.KindKeyUsage: {KindXksConfiguration, KindXksKeyConfiguration, types.ConnectionErrorCodeTypeXksProxyInvalidConfiguration,
		"The external key associated with this KMS key in an external key store does not support the requested operation. Enable the operation on the key in your external key manager, and try the request again."},
	xks.KindUnauthenticated: {KindXksCredential, KindKeyStoreState, types.ConnectionErrorCodeTypeInvalidCredentials,
		"The external key store proxy rejected the request because it could not authenticate AWS KMS. Verify the XKS proxy authentication credentials for your external key store and update if necessary."},
	xks.KindDenied: {KindXksConfiguration, KindInvalidState, types.ConnectionErrorCodeTypeXksProxyAccessDenied,
		"The external key store proxy denied access to the operation. Verify that the user and the external key are both authorized for this operation, and try the request again."},
	xks.KindKeyNotFound: {KindXksConfiguration, KindXksKeyNotFound, types.ConnectionErrorCodeTypeXksProxyInvalidConfiguration,
		"The external key associated with this KMS key in an external key store was not found in its external key manager. If the external key ID associated with this KMS key is incorrect, create a new KMS key with the correct external key ID."},
	xks.KindPath: {KindXksConfiguration, KindKeyStoreState, types.ConnectionErrorCodeTypeXksProxyInvalidConfiguration,
		"The external key store proxy rejected the request because of an invalid URI path. Verify the URI path for your external key store and update if necessary."},
	xks.KindUnsupported: {KindXksResponse, KindXksResponse, types.ConnectionErrorCodeTypeXksProxyInvalidResponse,
		"The external key store proxy rejected the request because it does not support the requested operation. If you see this error repeatedly, report it to your external key store proxy administrator."},
	xks.KindDependency: {KindXksUnreachable, KindKeyStoreState, types.ConnectionErrorCodeTypeXksProxyTimedOut, textTooSlow},
	xks.KindThrottled: {KindXksUnreachable, KindKeyStoreState, types.ConnectionErrorCodeTypeXksProxyNotReachable,
		"The external key store proxy rejected the request due to a very high request rate. Reduce the frequency of your calls using KMS keys in this external key store."},
	xks.KindManager: {KindXksResponse, KindKeyStoreState, types.ConnectionErrorCodeTypeXksProxyInvalidResponse,
		"The external key store proxy rejected the request because it cannot communicate with the external key manager. Verify that the external key store proxy configuration is correct and that the external key manager is available."},
	xks.KindUnreachable: {KindXksUnreachable, KindKeyStoreState, types.ConnectionErrorCodeTypeXksProxyNotReachable,
		"AWS KMS cannot communicate with the external key store proxy. This might be a transient network issue. If you see this error repeatedly, verify that your external key store proxy is active and is connected to the network, and that its endpoint URI is correct in your external key store."},
	xks.KindTLS: {KindXksUnreachable, KindKeyStoreState, types.ConnectionErrorCodeTypeXksProxyInvalidTlsConfiguration,
		"AWS KMS cannot establish a TLS connection to the external key store proxy. Verify the TLS configuration, including its certificate."},
	xks.KindTimeout: {KindXksUnreachable, KindKeyStoreState, types.ConnectionErrorCodeTypeXksProxyTimedOut,
		"AWS KMS rejected the request because the external key store proxy did not respond in time. Retry the request. If you see this error repeatedly, report it to your external key store proxy administrator."},
}
