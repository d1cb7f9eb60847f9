package shape

import (
	"regexp"
	"strings"
)

// constraint limits a member's value. Lengths are characters of a string, bytes
// of a blob, entries of a list; of a number it is the value.
type constraint struct {
	low, high int
	pattern   string // as AWS prints it; "" = any
	secret    bool   // the value is not quoted
}

// free is the constraint of members that may have any value of their type:
// flags, enumerations, structures, maps and times.
var free = constraint{high: -1}

func length(low, high int) constraint { return constraint{low: low, high: high} }

func between(low, high int) constraint { return constraint{low: low, high: high} }

func text(low, high int, pattern string) constraint {
	return constraint{low: low, high: high, pattern: pattern}
}

func password(low, high int, pattern string) constraint {
	return constraint{low: low, high: high, pattern: pattern, secret: true}
}

// Constraints that several members share.
var (
	principal  = text(1, 256, `^[\w+=,.@:/-]+$`)
	keyID      = length(1, 2048)
	region     = text(1, 32, `^([a-z]+-){2,3}\d+$`)
	ciphertext = length(1, 6144)
	anyList    = length(0, 1<<20)
)

// members has the constraints of every member of the API's inputs, by name.
var members = map[string]constraint{
	// Keys and names.
	"KeyId":            keyID,
	"SourceKeyId":      keyID,
	"DestinationKeyId": keyID,
	"TargetKeyId":      keyID,
	"AliasName":        text(1, 256, `^[a-zA-Z0-9:/_-]+$`),
	"Description":      length(0, 8192),
	"KeyUsage":         free,
	"KeySpec":          free,
	"KeyPairSpec":      free,
	"Origin":           free,
	"MultiRegion":      free,
	"XksKeyId":         text(1, 128, `^[a-zA-Z0-9-_.]+$`),
	"ReplicaRegion":    region,
	"PrimaryRegion":    region,

	"CustomerMasterKeySpec": free,

	// Policies and tags.
	"Policy":     text(1, 131072, `[\u0009\u000A\u000D\u0020-\u00FF]+`),
	"PolicyName": text(1, 128, `[\w]+`),
	"Tags":       anyList,
	"TagKeys":    length(0, 1<<20),
	"TagKey":     length(1, 128),
	"TagValue":   length(0, 256),

	"BypassPolicyLockoutSafetyCheck": free,

	// Cryptography.
	"Plaintext":                      length(1, 4096),
	"Message":                        length(1, 4096),
	"CiphertextBlob":                 ciphertext,
	"SharedSecretCiphertextBlob":     ciphertext,
	"Signature":                      ciphertext,
	"Mac":                            ciphertext,
	"PublicKey":                      length(1, 8192),
	"NumberOfBytes":                  between(1, 1024),
	"EncryptionContext":              free,
	"SourceEncryptionContext":        free,
	"DestinationEncryptionContext":   free,
	"EncryptionAlgorithm":            free,
	"SourceEncryptionAlgorithm":      free,
	"DestinationEncryptionAlgorithm": free,
	"EncapsulationAlgorithm":         free,
	"KeyAgreementAlgorithm":          free,
	"MacAlgorithm":                   free,
	"SigningAlgorithm":               free,
	"MessageType":                    free,
	"DryRun":                         free,
	"DryRunModifiers":                anyList,
	"Recipient":                      free,
	"KeyEncryptionAlgorithm":         free,
	"AttestationDocument":            length(1, 262144),

	// Grants.
	"GrantTokens":              length(0, 10),
	"GrantToken":               length(1, 8192),
	"GrantId":                  length(1, 128),
	"Name":                     text(1, 256, `^[a-zA-Z0-9:/_-]+$`),
	"GranteePrincipal":         principal,
	"RetiringPrincipal":        principal,
	"GranteeServicePrincipal":  principal,
	"RetiringServicePrincipal": principal,
	"Operations":               anyList,
	"Constraints":              free,
	"EncryptionContextEquals":  free,
	"EncryptionContextSubset":  free,
	"SourceArn":                length(1, 2048),

	// Rotation, deletion and import.
	"RotationPeriodInDays":   between(90, 2560),
	"PendingWindowInDays":    between(7, 30),
	"IncludeKeyMaterial":     free,
	"WrappingAlgorithm":      free,
	"WrappingKeySpec":        free,
	"ImportToken":            ciphertext,
	"EncryptedKeyMaterial":   ciphertext,
	"ValidTo":                free,
	"ExpirationModel":        free,
	"ImportType":             free,
	"KeyMaterialDescription": text(0, 256, `^[a-zA-Z0-9:/_\s.-]+$`),
	"KeyMaterialId":          text(64, 64, `^[a-f0-9]+$`),

	// Pages.
	"Limit":  between(1, 1000),
	"Marker": text(1, 1024, `[\u0020-\u00FF]*`),

	// Key stores.
	"CustomKeyStoreId":       length(1, 64),
	"CustomKeyStoreName":     length(1, 256),
	"NewCustomKeyStoreName":  length(1, 256),
	"CustomKeyStoreType":     free,
	"CloudHsmClusterId":      text(19, 24, `cluster-[2-7a-zA-Z]{11,16}`),
	"TrustAnchorCertificate": length(1, 5000),
	"KeyStorePassword":       password(7, 32, ""),
	// AWS has no ports and no http; package xks limits http to loopback addresses.
	"XksProxyUriEndpoint":  text(10, 128, `^https?://[a-zA-Z0-9.-]+(:\d{1,5})?$`),
	"XksProxyUriPath":      text(10, 128, `^(/[a-zA-Z0-9\/_-]+/kms/xks/v\d{1,2})$|^(/kms/xks/v\d{1,2})$`),
	"XksProxyConnectivity": free,
	"AccessKeyId":          text(20, 30, `^[A-Z2-7]+$`),
	"RawSecretAccessKey":   password(43, 64, `^[a-zA-Z0-9\/+=]+$`),

	"XksProxyVpcEndpointServiceName":   text(20, 64, `^(com|eu)\.amazonaws\.vpce\.([a-z]+-){2,3}\d+\.vpce-svc-[0-9a-z]+$`),
	"XksProxyVpcEndpointServiceOwner":  text(12, 12, `[0-9]{12}`),
	"XksProxyAuthenticationCredential": free,
}

// entries has the constraints of the entries of lists of strings.
var entries = map[string]constraint{
	"GrantTokens": length(1, 8192),
	"TagKeys":     length(1, 128),
}

// compile makes a regular expression that matches a whole text of a pattern as
// AWS's model writes it.
func compile(pattern string) (*regexp.Regexp, error) {
	if pattern == "" {
		return nil, nil
	}
	p := unicodeEscape.ReplaceAllString(pattern, `\x{$1}`)
	p = strings.ReplaceAll(p, `9-_.]`, `9_.-]`) // a hyphen behind a range is one in AWS's dialect
	return regexp.Compile(`\A(?:` + p + `)\z`)
}

var unicodeEscape = regexp.MustCompile(`\\u([0-9A-F]{4})`)
