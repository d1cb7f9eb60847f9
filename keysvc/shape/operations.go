package shape

// rule is what is an operation's own: the members that it requires, with those of
// structures behind a dot, and constraints that differ from the usual ones.
type rule struct {
	required []string
	own      map[string]constraint
}

// need is the rule of an operation that only requires members.
func need(members ...string) rule { return rule{required: members} }

// Pages of some operations are shorter than the API's model lets them be.
var (
	hundred = map[string]constraint{"Limit": between(1, 100)}
	fifty   = map[string]constraint{"Limit": between(1, 50)}
)

// operations has a rule for every operation of the API. Decrypt and ReEncrypt
// require their ciphertext too, except in some dry runs.
var operations = map[string]rule{
	"CancelKeyDeletion":                   need("KeyId"),
	"ConnectCustomKeyStore":               need("CustomKeyStoreId"),
	"CreateAlias":                         need("AliasName", "TargetKeyId"),
	"CreateCustomKeyStore":                need("CustomKeyStoreName", "XksProxyAuthenticationCredential.AccessKeyId", "XksProxyAuthenticationCredential.RawSecretAccessKey"),
	"CreateGrant":                         need("KeyId", "Operations"),
	"CreateKey":                           need("Tags.TagKey", "Tags.TagValue"),
	"Decapsulate":                         need("KeyId", "EncapsulationAlgorithm", "SharedSecretCiphertextBlob"),
	"Decrypt":                             need(),
	"DeleteAlias":                         need("AliasName"),
	"DeleteCustomKeyStore":                need("CustomKeyStoreId"),
	"DeleteImportedKeyMaterial":           need("KeyId"),
	"DeriveSharedSecret":                  need("KeyId", "KeyAgreementAlgorithm", "PublicKey"),
	"DescribeCustomKeyStores":             need(),
	"DescribeKey":                         need("KeyId"),
	"DisableKey":                          need("KeyId"),
	"DisableKeyRotation":                  need("KeyId"),
	"DisconnectCustomKeyStore":            need("CustomKeyStoreId"),
	"EnableKey":                           need("KeyId"),
	"EnableKeyRotation":                   need("KeyId"),
	"Encapsulate":                         need("KeyId", "EncapsulationAlgorithm"),
	"Encrypt":                             need("KeyId", "Plaintext"),
	"GenerateDataKey":                     need("KeyId"),
	"GenerateDataKeyPair":                 need("KeyId", "KeyPairSpec"),
	"GenerateDataKeyPairWithoutPlaintext": need("KeyId", "KeyPairSpec"),
	"GenerateDataKeyWithoutPlaintext":     need("KeyId"),
	"GenerateMac":                         need("KeyId", "Message", "MacAlgorithm"),
	"GenerateRandom":                      need(),
	"GetKeyLastUsage":                     need("KeyId"),
	"GetKeyPolicy":                        need("KeyId"),
	"GetKeyRotationStatus":                need("KeyId"),
	"GetParametersForImport":              need("KeyId", "WrappingAlgorithm", "WrappingKeySpec"),
	"GetPublicKey":                        need("KeyId"),
	"ImportKeyMaterial":                   need("KeyId", "ImportToken", "EncryptedKeyMaterial"),
	"ListAliases":                         {own: hundred},
	"ListGrants":                          {required: []string{"KeyId"}, own: hundred},
	"ListKeyPolicies":                     need("KeyId"),
	"ListKeyRotations":                    need("KeyId"),
	"ListKeys":                            need(),
	"ListResourceTags":                    {required: []string{"KeyId"}, own: fifty},
	"ListRetirableGrants":                 {own: hundred},
	"PutKeyPolicy":                        need("KeyId", "Policy"),
	"ReEncrypt":                           need("DestinationKeyId"),
	"ReplicateKey":                        need("KeyId", "ReplicaRegion", "Tags.TagKey", "Tags.TagValue"),
	"RetireGrant":                         need(),
	"RevokeGrant":                         need("KeyId", "GrantId"),
	"RotateKeyOnDemand":                   need("KeyId"),
	"ScheduleKeyDeletion":                 need("KeyId"),
	"Sign":                                need("KeyId", "Message", "SigningAlgorithm"),
	"TagResource":                         need("KeyId", "Tags", "Tags.TagKey", "Tags.TagValue"),
	"UntagResource":                       need("KeyId", "TagKeys"),
	"UpdateAlias":                         need("AliasName", "TargetKeyId"),
	"UpdateCustomKeyStore":                need("CustomKeyStoreId", "XksProxyAuthenticationCredential.AccessKeyId", "XksProxyAuthenticationCredential.RawSecretAccessKey"),
	"UpdateKeyDescription":                need("KeyId", "Description"),
	"UpdatePrimaryRegion":                 need("KeyId", "PrimaryRegion"),
	"Verify":                              need("KeyId", "Message", "Signature", "SigningAlgorithm"),
	"VerifyMac":                           need("KeyId", "Message", "MacAlgorithm", "Mac"),
}
