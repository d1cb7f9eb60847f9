package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/fs"
	"github.com/kmsfs/kmsfs/keysvc/api/principals"
	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/embedded"
	"github.com/kmsfs/kmsfs/keysvc/embedded/archive"
)

// Exit codes; docs/exit-codes.md explains them to users.
const (
	exitOK        = 0
	exitFailure   = 1 // any failure without a code of its own
	exitUsage     = 2 // the command line is wrong
	exitNotFound  = 3 // no such key, alias, grant, volume, mount or state directory
	exitConflict  = 4 // it exists already, is in use, or is in a state that forbids this
	exitDenied    = 5 // the key or its policy refuses: disabled, pending deletion, access denied
	exitKeys      = 6 // the key service or its HSM cannot be used: PIN, module, store
	exitIntegrity = 7 // something was changed that must not be: volume file, header, audit trail
)

// Exit codes that mount(8) expects of its helpers.
const (
	helperUsage   = 1
	helperFailure = 32
)

// appError is an error that brings its exit code and hints along.
type appError struct {
	msg   string
	code  int
	hints []string
	err   error
}

func (e *appError) Error() string {
	switch {
	case e.err == nil:
		return e.msg
	case e.msg == "":
		return e.err.Error()
	}
	return e.msg + ": " + e.err.Error()
}

func (e *appError) Unwrap() error { return e.err }

// silentError ends the command with a code after its output has said all.
type silentError struct{ code int }

func (e *silentError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// failf makes an appError with one hint; an empty hint is left out.
func failf(code int, hint, format string, args ...any) *appError {
	e := &appError{code: code, msg: fmt.Sprintf(format, args...)}
	if hint != "" {
		e.hints = []string{hint}
	}
	return e
}

// usagef reports a wrong command line.
func usagef(format string, args ...any) *appError {
	return failf(exitUsage, "run the command with --help", format, args...)
}

// wrapf names what failed; code and hints follow from the cause.
func wrapf(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// exitCode classifies an error.
func exitCode(err error) int {
	var own *appError
	var quiet *silentError
	var api smithy.APIError
	var mount *fs.Error
	var state *embedded.Error
	var trail *audit.Error
	var daemon *control.Error
	var principal *principals.Error
	switch {
	case errors.As(err, &quiet):
		return quiet.code
	case errors.As(err, &own) && own.code != 0:
		return own.code
	case errors.As(err, &mount) && mount.Kind == fs.KindIO && errors.Is(err, os.ErrNotExist):
		return exitNotFound
	case errors.As(err, &mount):
		return mountExitCode(mount.Kind)
	case errors.As(err, &api):
		return apiExitCode(api.ErrorCode())
	case errors.Is(err, archive.ErrDamaged):
		return exitIntegrity
	case errors.As(err, &state):
		return stateExitCode(state.Kind)
	case errors.As(err, &trail):
		return trailExitCode(trail.Kind)
	case errors.As(err, &daemon):
		return daemonExitCode(daemon.Kind)
	case errors.As(err, &principal):
		return principalExitCode(principal.Kind)
	case isUnreachable(err):
		return exitKeys
	case errors.Is(err, os.ErrNotExist):
		return exitNotFound
	}
	return exitFailure
}

// isUnreachable reports that no answer came from a key service at --endpoint.
func isUnreachable(err error) bool {
	var call *smithy.OperationError
	var answer smithy.APIError
	return errors.As(err, &call) && !errors.As(err, &answer)
}

// apiExitCode classifies an error of the key service by its AWS name.
func apiExitCode(name string) int {
	switch name {
	case "NotFoundException", "CustomKeyStoreNotFoundException", "CloudHsmClusterNotFoundException", "XksKeyNotFoundException":
		return exitNotFound
	case "CustomKeyStoreInvalidStateException", "CustomKeyStoreHasCMKsException", "CustomKeyStoreNameInUseException",
		"CloudHsmClusterInUseException", "XksProxyUriInUseException", "XksKeyAlreadyInUseException",
		"AlreadyExistsException", "KMSInvalidStateException", "ConflictException", "LimitExceededException":
		return exitConflict
	case "DisabledException", "AccessDeniedException", "NotAuthorizedException",
		"InvalidSignatureException", "UnrecognizedClientException", "MissingAuthenticationTokenException", "ExpiredTokenException":
		return exitDenied
	case "XksProxyUriUnreachableException", "XksProxyIncorrectAuthenticationCredentialException", "XksProxyInvalidConfigurationException",
		"XksProxyInvalidResponseException", "KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException", "ThrottlingException":
		return exitKeys
	case "InvalidCiphertextException", "IncorrectKeyException", "KMSInvalidSignatureException", "KMSInvalidMacException",
		"IncorrectKeyMaterialException":
		return exitIntegrity
	case "ValidationException", "InvalidKeyUsageException", "InvalidArnException", "InvalidAliasNameException",
		"InvalidGrantIdException", "InvalidGrantTokenException", "InvalidMarkerException",
		"InvalidImportTokenException", "ExpiredImportTokenException", "MalformedPolicyDocumentException":
		return exitUsage
	}
	return exitFailure
}

// stateExitCode classifies an error of the state directory.
func stateExitCode(k embedded.Kind) int {
	switch k {
	case embedded.KindInvalid:
		return exitUsage
	case embedded.KindMissing:
		return exitNotFound
	}
	return exitKeys
}

// trailExitCode classifies an error of the audit trail.
func trailExitCode(k audit.Kind) int {
	if k == audit.KindDamaged {
		return exitIntegrity
	}
	return exitKeys
}

// daemonExitCode classifies an error of the talk with a daemon.
func daemonExitCode(k control.Kind) int {
	switch k {
	case control.KindNoDaemon:
		return exitNotFound
	case control.KindInUse, control.KindBusy:
		return exitConflict
	}
	return exitFailure
}

// mountExitCode classifies an error of the filesystem.
func mountExitCode(k fs.Kind) int {
	switch k {
	case fs.KindNotVolume, fs.KindKeyMissing:
		return exitNotFound
	case fs.KindNotEmpty, fs.KindLocked:
		return exitConflict
	case fs.KindKeyDisabled, fs.KindKeyExpired, fs.KindKeyDenied:
		return exitDenied
	case fs.KindUnavailable:
		return exitKeys
	case fs.KindBadVolume, fs.KindKeyRejected, fs.KindDamaged, fs.KindRolledBack:
		return exitIntegrity
	}
	return exitFailure
}

// helperExitCode is the answer to mount(8).
func helperExitCode(err error) int {
	if exitCode(err) == exitUsage {
		return helperUsage
	}
	return helperFailure
}

// hinter is what the errors of the other packages implement.
type hinter interface{ Hint() string }

// hints collects the advice for an error: the outermost that it brings along, in each of several
// errors; else what its AWS name suggests.
func hints(err error) []string {
	if h := accessHint(err); h != "" {
		return []string{h}
	}
	found := ownHints(err)
	var api smithy.APIError
	if len(found) == 0 && errors.As(err, &api) && apiHints[api.ErrorCode()] != "" {
		found = append(found, apiHints[api.ErrorCode()])
	}
	if len(found) == 0 && isUnreachable(err) {
		found = append(found, "check --endpoint, and that kmsfs serve runs there")
	}
	return found
}

// accessHint tells what to try when it is the way to the key service that is wrong: nothing that another
// package knows of its own case leads further then. "" if it is not that.
func accessHint(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		if region, other := strings.CutPrefix(api.ErrorMessage(), "Invalid arn "); other && !strings.Contains(region, ":") {
			return "the key is in the region " + region + ": set AWS_REGION=" + region + ", and name the endpoint of that region"
		}
		return credentialHints[api.ErrorCode()]
	}
	switch {
	case !isUnreachable(err):
		return ""
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "name the key service's certificate authority: --ca FILE, or AWS_CA_BUNDLE; kmsfs serve --tls tells which file when it starts"
	case errors.As(err, new(x509.HostnameError)):
		return "name the key service as its certificate does, or have it serve under this name: kmsfs serve --tls-name NAME"
	case errors.As(err, new(x509.CertificateInvalidError)):
		return "compare the dates of the certificate with the clock of this machine"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "this endpoint is plain HTTP: write http:// for kmsfs serve without --tls"
	case strings.Contains(err.Error(), "failed to refresh cached credentials"), strings.Contains(err.Error(), "get credentials"):
		return "get new credentials: aws sso login, or whatever AWS_PROFILE or --profile names as their source"
	}
	return ""
}

// credentialHints is for what a key service says of whoever calls it.
var credentialHints = map[string]string{
	"InvalidSignatureException":           "the secret access key is wrong, or the clocks of the two machines differ by more than five minutes",
	"SignatureDoesNotMatch":               "the secret access key is wrong, or the clocks of the two machines differ by more than five minutes",
	"UnrecognizedClientException":         "the service at --endpoint does not know this access key: kmsfs principal list",
	"InvalidClientTokenId":                "the service at --endpoint does not know this access key: kmsfs principal list",
	"MissingAuthenticationToken":          "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
	"MissingAuthenticationTokenException": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
	"ExpiredTokenException":               "the session has ended: set a new AWS_SESSION_TOKEN with its access key, or let AWS_PROFILE name a source that renews itself",
	"ExpiredToken":                        "the session has ended: set a new AWS_SESSION_TOKEN with its access key, or let AWS_PROFILE name a source that renews itself",
}

// ownHints walks the tree of causes.
func ownHints(err error) []string {
	switch e := err.(type) {
	case nil:
		return nil
	case *appError:
		if len(e.hints) > 0 {
			return e.hints
		}
	case hinter:
		if h := e.Hint(); h != "" {
			return []string{h}
		}
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, cause := range joined.Unwrap() {
			all = append(all, ownHints(cause)...)
		}
		return slices.Compact(all)
	}
	return ownHints(errors.Unwrap(err))
}

// apiHints tells what to try after an error of the key service.
var apiHints = map[string]string{
	"NotFoundException":                                  "see what there is: kmsfs key list, kmsfs alias list; or name another state directory with --state-dir",
	"DisabledException":                                  "enable it: kmsfs key enable KEY",
	"KMSInvalidStateException":                           "see its state: kmsfs key describe KEY; if it is pending deletion: kmsfs key cancel-deletion KEY",
	"AlreadyExistsException":                             "see who has it: kmsfs alias list; or point it elsewhere: kmsfs alias update NAME KEY",
	"NotAuthorizedException":                             "names under alias/aws/ and their keys belong to the service; use a key of your own: kmsfs key create",
	"AccessDeniedException":                              "ask the key's administrator for a grant: kmsfs grant create KEY --grantee ARN --operations Decrypt",
	"InvalidAliasNameException":                          "an alias is alias/ and then letters, digits, / _ or -",
	"KMSInternalException":                               "see why in the log; the audit trail and the store in the state directory must be writable",
	"UnsupportedOperationException":                      "see what the key is: kmsfs key describe KEY; docs/key-service.md says what each kind of key can",
	"LimitExceededException":                             "delete what is no longer needed, then try again",
	"InvalidGrantIdException":                            "see the grants: kmsfs grant list KEY",
	"InvalidGrantTokenException":                         "pass the token that kmsfs grant create printed, whole",
	"ThrottlingException":                                "call more slowly, or raise the rates of kmsfs serve --throttle",
	"ConflictException":                                  "another change of this key is under way; try again in a moment",
	"DependencyTimeoutException":                         "the HSM, or the database of the key service, did not answer in time; try again",
	"KeyUnavailableException":                            "the HSM is not reachable; try again when it is",
	"InvalidCiphertextException":                         "the wrapped key or its context was changed, or belongs to another key service",
	"KMSInvalidSignatureException":                       "the message or the signature was changed, or another key or algorithm was used",
	"KMSInvalidMacException":                             "the message or the MAC was changed, or another key or algorithm was used",
	"InvalidKeyUsageException":                           "see what the key is for: kmsfs key describe KEY",
	"IncorrectKeyMaterialException":                      "import material that the key had before; a symmetric key can get new material: kmsfs key import --import-type NEW_KEY_MATERIAL",
	"ExpiredImportTokenException":                        "get new parameters: kmsfs key import-parameters KEY",
	"IncorrectKeyException":                              "it was wrapped by another key",
	"CustomKeyStoreInvalidStateException":                "see its state: kmsfs store list; then kmsfs store connect or kmsfs store disconnect STORE",
	"CustomKeyStoreNotFoundException":                    "see what there is: kmsfs store list",
	"CustomKeyStoreHasCMKsException":                     "see its keys: kmsfs key list; schedule their deletion: kmsfs key schedule-deletion KEY",
	"CustomKeyStoreNameInUseException":                   "choose another name, or see who has it: kmsfs store list",
	"CloudHsmClusterNotFoundException":                   "name the token first: kmsfs store cluster add CLUSTER; see what there is: kmsfs store cluster list",
	"CloudHsmClusterInUseException":                      "a token is for one key store: kmsfs store list",
	"XksProxyUriUnreachableException":                    "see whether the proxy runs at --xks-endpoint, and its certificate is valid",
	"XksProxyIncorrectAuthenticationCredentialException": "--xks-config must have the access key that the proxy knows",
	"XksKeyNotFoundException":                            "make the key in the external key manager first, or correct --xks-key-id",
	"XksKeyAlreadyInUseException":                        "an external key is for one KMS key; name another with --xks-key-id",
}
