package keysvc

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

// Kind is a class of errors. The set is closed; each kind is one AWS error name.
type Kind int

// The kinds, with the AWS name in errorTable.
const (
	KindInternal Kind = iota
	KindUnavailable
	KindTimeout
	KindValidation
	KindNotFound
	KindDisabled
	KindInvalidState
	KindInvalidCiphertext
	KindIncorrectKey
	KindInvalidKeyUsage
	KindInvalidArn
	KindInvalidMarker
	KindInvalidGrantToken
	KindAlreadyExists
	KindLimitExceeded
	KindTag
	KindUnsupported
	KindNotAuthorized
	KindAccessDenied
	KindDryRun
	KindConflict
	KindInvalidSignature
	KindInvalidMac
	KindInvalidImportToken
	KindExpiredImportToken
	KindIncorrectKeyMaterial
	KindMalformedPolicy

	KindKeyStoreNotFound
	KindKeyStoreNameInUse
	KindKeyStoreHasKeys
	KindKeyStoreState
	KindClusterNotFound
	KindClusterInUse
	KindClusterNotRelated
	KindClusterConfiguration
	KindTrustAnchor
	KindXksKeyInUse
	KindXksKeyConfiguration
	KindXksKeyNotFound
	KindXksCredential
	KindXksConfiguration
	KindXksResponse
	KindXksURIInUse
	KindXksUnreachable
	KindXksVPC
)

// errorTable maps each kind to AWS's name, the HTTP status and the SDK's type.
// A nil type is an error that the SDK doesn't model.
var errorTable = [...]struct {
	name   string
	status int
	typed  func(message *string) smithy.APIError
}{
	KindInternal:          {"KMSInternalException", http.StatusInternalServerError, func(m *string) smithy.APIError { return &types.KMSInternalException{Message: m} }},
	KindUnavailable:       {"KeyUnavailableException", http.StatusInternalServerError, func(m *string) smithy.APIError { return &types.KeyUnavailableException{Message: m} }},
	KindTimeout:           {"DependencyTimeoutException", http.StatusServiceUnavailable, func(m *string) smithy.APIError { return &types.DependencyTimeoutException{Message: m} }},
	KindValidation:        {"ValidationException", http.StatusBadRequest, nil},
	KindNotFound:          {"NotFoundException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.NotFoundException{Message: m} }},
	KindDisabled:          {"DisabledException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.DisabledException{Message: m} }},
	KindInvalidState:      {"KMSInvalidStateException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.KMSInvalidStateException{Message: m} }},
	KindInvalidCiphertext: {"InvalidCiphertextException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.InvalidCiphertextException{Message: m} }},
	KindIncorrectKey:      {"IncorrectKeyException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.IncorrectKeyException{Message: m} }},
	KindInvalidKeyUsage:   {"InvalidKeyUsageException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.InvalidKeyUsageException{Message: m} }},
	KindInvalidArn:        {"InvalidArnException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.InvalidArnException{Message: m} }},
	KindInvalidMarker:     {"InvalidMarkerException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.InvalidMarkerException{Message: m} }},
	KindInvalidGrantToken: {"InvalidGrantTokenException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.InvalidGrantTokenException{Message: m} }},
	KindAlreadyExists:     {"AlreadyExistsException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.AlreadyExistsException{Message: m} }},
	KindLimitExceeded:     {"LimitExceededException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.LimitExceededException{Message: m} }},
	KindTag:               {"TagException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.TagException{Message: m} }},
	KindUnsupported:       {"UnsupportedOperationException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.UnsupportedOperationException{Message: m} }},
	KindNotAuthorized:     {"NotAuthorizedException", http.StatusBadRequest, nil},
	KindAccessDenied:      {"AccessDeniedException", http.StatusBadRequest, nil},
	KindDryRun:            {"DryRunOperationException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.DryRunOperationException{Message: m} }},
	KindConflict:          {"ConflictException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.ConflictException{Message: m} }},
	KindInvalidSignature:  {"KMSInvalidSignatureException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.KMSInvalidSignatureException{Message: m} }},
	KindInvalidMac:        {"KMSInvalidMacException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.KMSInvalidMacException{Message: m} }},

	KindInvalidImportToken:   {"InvalidImportTokenException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.InvalidImportTokenException{Message: m} }},
	KindExpiredImportToken:   {"ExpiredImportTokenException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.ExpiredImportTokenException{Message: m} }},
	KindIncorrectKeyMaterial: {"IncorrectKeyMaterialException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.IncorrectKeyMaterialException{Message: m} }},
	KindMalformedPolicy:      {"MalformedPolicyDocumentException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.MalformedPolicyDocumentException{Message: m} }},
	KindKeyStoreNotFound:     {"CustomKeyStoreNotFoundException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.CustomKeyStoreNotFoundException{Message: m} }},
	KindKeyStoreNameInUse:    {"CustomKeyStoreNameInUseException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.CustomKeyStoreNameInUseException{Message: m} }},
	KindKeyStoreHasKeys:      {"CustomKeyStoreHasCMKsException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.CustomKeyStoreHasCMKsException{Message: m} }},
	KindKeyStoreState:        {"CustomKeyStoreInvalidStateException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.CustomKeyStoreInvalidStateException{Message: m} }},
	KindClusterNotFound:      {"CloudHsmClusterNotFoundException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.CloudHsmClusterNotFoundException{Message: m} }},
	KindClusterInUse:         {"CloudHsmClusterInUseException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.CloudHsmClusterInUseException{Message: m} }},
	KindClusterNotRelated:    {"CloudHsmClusterNotRelatedException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.CloudHsmClusterNotRelatedException{Message: m} }},
	KindClusterConfiguration: {"CloudHsmClusterInvalidConfigurationException", http.StatusBadRequest, func(m *string) smithy.APIError {
		return &types.CloudHsmClusterInvalidConfigurationException{Message: m}
	}},
	KindTrustAnchor:         {"IncorrectTrustAnchorException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.IncorrectTrustAnchorException{Message: m} }},
	KindXksKeyInUse:         {"XksKeyAlreadyInUseException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.XksKeyAlreadyInUseException{Message: m} }},
	KindXksKeyConfiguration: {"XksKeyInvalidConfigurationException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.XksKeyInvalidConfigurationException{Message: m} }},
	KindXksKeyNotFound:      {"XksKeyNotFoundException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.XksKeyNotFoundException{Message: m} }},
	KindXksCredential: {"XksProxyIncorrectAuthenticationCredentialException", http.StatusBadRequest, func(m *string) smithy.APIError {
		return &types.XksProxyIncorrectAuthenticationCredentialException{Message: m}
	}},
	KindXksConfiguration: {"XksProxyInvalidConfigurationException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.XksProxyInvalidConfigurationException{Message: m} }},
	KindXksResponse:      {"XksProxyInvalidResponseException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.XksProxyInvalidResponseException{Message: m} }},
	KindXksURIInUse:      {"XksProxyUriInUseException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.XksProxyUriInUseException{Message: m} }},
	KindXksUnreachable:   {"XksProxyUriUnreachableException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.XksProxyUriUnreachableException{Message: m} }},
	KindXksVPC:           {"XksProxyVpcEndpointServiceNotFoundException", http.StatusBadRequest, func(m *string) smithy.APIError { return &types.XksProxyVpcEndpointServiceNotFoundException{Message: m} }},
}

// String returns the AWS name.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(errorTable) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return errorTable[k].name
}

// HTTPStatus returns the status that AWS answers errors of this kind with.
func (k Kind) HTTPStatus() int { return errorTable[k].status }

// Error is what every operation fails with. errors.As finds in it the SDK's
// type (such as *types.DisabledException), a smithy.APIError, and the cause.
type Error struct {
	Op      string // operation, such as "Decrypt"
	Kind    Kind
	Message string // AWS's text; empty where AWS sends none
	Err     error  // cause, for logs; not part of the answer; may be nil
}

var _ smithy.APIError = (*Error)(nil)

// Error returns operation, AWS name, text and cause on one line.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s", e.Op, e.Kind)
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// ErrorCode returns the AWS name.
func (e *Error) ErrorCode() string { return e.Kind.String() }

// ErrorMessage returns the text that AWS would send.
func (e *Error) ErrorMessage() string { return e.Message }

// ErrorFault says whose fault it is; clients retry the server's.
func (e *Error) ErrorFault() smithy.ErrorFault {
	if e.Kind.HTTPStatus() >= http.StatusInternalServerError {
		return smithy.FaultServer
	}
	return smithy.FaultClient
}

// Unwrap returns the SDK's form of the error and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.sdk()}
	}
	return []error{e.sdk(), e.Err}
}

// sdk returns the error as the SDK's client would decode it.
func (e *Error) sdk() smithy.APIError {
	if typed := errorTable[e.Kind].typed; typed != nil {
		if e.Message == "" {
			return typed(nil)
		}
		return typed(&e.Message)
	}
	return &smithy.GenericAPIError{Code: e.ErrorCode(), Message: e.Message, Fault: e.ErrorFault()}
}

// refuse makes an error with AWS's text. serve fills in the operation.
func refuse(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// internal wraps a fault of the store, the audit trail or the machine.
func internal(err error) *Error {
	switch {
	case errors.Is(err, store.ErrUncertain):
		return &Error{Kind: KindTimeout, Message: "The database of the key service was lost during the call; look whether the change was made.", Err: err}
	case errors.Is(err, store.ErrUnavailable):
		return &Error{Kind: KindTimeout, Message: "The database of the key service can't be reached now; try again.", Err: err}
	case errors.Is(err, store.ErrText):
		return &Error{Kind: KindValidation, Message: "A text in the request has a zero byte or is not UTF-8.", Err: err}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &Error{Kind: KindTimeout, Message: "The call ended before the key service could answer it.", Err: err}
	}
	return &Error{Kind: KindInternal, Message: "The key service failed; its log has the cause.", Err: err}
}

// fromToken turns an error of the token into the service's.
func fromToken(err error) *Error {
	kind, _ := hsm.KindOf(err)
	switch kind {
	case hsm.KindInvalidCiphertext:
		return &Error{Kind: KindInvalidCiphertext, Err: err}
	case hsm.KindCanceled:
		return internal(err) // wraps the context's error
	case hsm.KindKeyNotFound, hsm.KindUnavailable, hsm.KindKeyExhausted, hsm.KindPIN, hsm.KindTokenNotFound, hsm.KindModule, hsm.KindClosed:
		return &Error{Kind: KindUnavailable, Message: "The token that holds the key material can't use it now.", Err: err}
	default:
		return internal(err)
	}
}

// lacking says what the token that holds the key material can't do.
func lacking(err error, what string, args ...any) error {
	e := refuse(KindUnsupported, what+" is not supported by the token that holds the key material.", args...)
	e.Err = err
	return e
}

// fromTokenFor is fromToken for an operation with an algorithm that tokens may
// lack.
func (c *call) fromTokenFor(err error, member, algorithm string) error {
	if hsm.IsKind(err, hsm.KindUnsupported) {
		return lacking(err, "%s %s", member, algorithm)
	}
	return fromToken(err)
}
