package keysvc

import "github.com/aws/aws-sdk-go-v2/service/kms/types"

// operation is a row of the service's one table of operations: how it is
// recorded, what its key may be, and in which key states it is allowed.
type operation struct {
	name     string
	mutating bool // not CloudTrail's readOnly, which cryptographic operations are
	aliases  bool // KeyId may also be an alias name or alias ARN
	managed  bool // allowed on keys that KMS manages (alias/aws/...)
	uses     bool // its success is a use of its keys, as GetKeyLastUsage counts them
	states   states
}

// cryptographic is the row of an operation that uses key material.
func cryptographic(name string) *operation {
	return &operation{name: name, aliases: true, managed: true, uses: true, states: whenUsable}
}

// verdict says whether a key state admits an operation, and if not, why. The
// numbers are those of the key state table in the AWS KMS Developer Guide.
type verdict uint8

const (
	yes verdict = iota
	dis         // [1] disabled
	del         // [2], [3] pending deletion
	not         // [4] not pending deletion
	imp         // [5] pending import
	uns         // [6], [7] unsupported for the key's origin or key store
	una         // [11] unavailable
	cre         // [14] creating
	upd         // [15] updating
)

// states has a verdict for each key state, in the order of stateColumn.
type states [7]verdict

// Rows that several operations share.
var (
	//                        Enabled Disabled PendingDel PendingImp Unavail Creating Updating
	whenUsable      = states{yes, dis, del, imp, una, cre, yes}
	always          = states{yes, yes, yes, yes, yes, yes, yes}
	unlessDeleting  = states{yes, yes, del, yes, yes, yes, yes}
	switching       = states{yes, yes, del, imp, yes, cre, upd}
	rotationSwitch  = states{yes, dis, del, uns, uns, cre, yes}
	rotationReading = states{yes, yes, yes, uns, uns, yes, yes}
	granting        = states{yes, dis, del, imp, yes, cre, yes}
	deleting        = states{yes, yes, del, yes, yes, yes, upd}
	cancelling      = states{not, not, yes, not, not, not, not}
	replicating     = states{yes, dis, del, imp, una, cre, upd}
	importing       = states{yes, yes, del, yes, uns, cre, yes}
	importBeginning = states{yes, yes, del, yes, uns, cre, upd}
	importEnding    = states{yes, yes, yes, yes, uns, cre, upd}
)

// The operations. Those without a key have no states.
var (
	opCreateKey      = &operation{name: "CreateKey", mutating: true}
	opListKeys       = &operation{name: "ListKeys"}
	opGenerateRandom = &operation{name: "GenerateRandom"}

	opDescribeKey               = &operation{name: "DescribeKey", aliases: true, managed: true, states: always}
	opEnableKey                 = &operation{name: "EnableKey", mutating: true, states: switching}
	opDisableKey                = &operation{name: "DisableKey", mutating: true, states: switching}
	opScheduleKeyDeletion       = &operation{name: "ScheduleKeyDeletion", mutating: true, states: deleting}
	opCancelKeyDeletion         = &operation{name: "CancelKeyDeletion", mutating: true, states: cancelling}
	opUpdateKeyDescription      = &operation{name: "UpdateKeyDescription", mutating: true, states: unlessDeleting}
	opCreateAlias               = &operation{name: "CreateAlias", mutating: true, states: unlessDeleting}
	opUpdateAlias               = &operation{name: "UpdateAlias", mutating: true, states: unlessDeleting}
	opDeleteAlias               = &operation{name: "DeleteAlias", mutating: true, states: always}
	opListAliases               = &operation{name: "ListAliases", managed: true, states: always}
	opTagResource               = &operation{name: "TagResource", mutating: true, states: unlessDeleting}
	opUntagResource             = &operation{name: "UntagResource", mutating: true, states: unlessDeleting}
	opListResourceTags          = &operation{name: "ListResourceTags", managed: true, states: always}
	opEnableKeyRotation         = &operation{name: "EnableKeyRotation", mutating: true, states: rotationSwitch}
	opDisableKeyRotation        = &operation{name: "DisableKeyRotation", mutating: true, states: rotationSwitch}
	opGetKeyRotationStatus      = &operation{name: "GetKeyRotationStatus", managed: true, states: rotationReading}
	opListKeyRotations          = &operation{name: "ListKeyRotations", managed: true, states: always}
	opRotateKeyOnDemand         = &operation{name: "RotateKeyOnDemand", mutating: true, states: whenUsable}
	opReplicateKey              = &operation{name: "ReplicateKey", mutating: true, states: replicating}
	opUpdatePrimaryRegion       = &operation{name: "UpdatePrimaryRegion", mutating: true, states: whenUsable}
	opGetParametersForImport    = &operation{name: "GetParametersForImport", states: importBeginning}
	opImportKeyMaterial         = &operation{name: "ImportKeyMaterial", mutating: true, states: importing}
	opDeleteImportedKeyMaterial = &operation{name: "DeleteImportedKeyMaterial", mutating: true, states: importEnding}
	opGetKeyPolicy              = &operation{name: "GetKeyPolicy", managed: true, states: always}
	opListKeyPolicies           = &operation{name: "ListKeyPolicies", managed: true, states: always}
	opPutKeyPolicy              = &operation{name: "PutKeyPolicy", mutating: true, states: always}
	opGetKeyLastUsage           = &operation{name: "GetKeyLastUsage", managed: true, states: always}
	opCreateGrant               = &operation{name: "CreateGrant", mutating: true, managed: true, states: granting}
	opRetireGrant               = &operation{name: "RetireGrant", mutating: true, managed: true, states: always}
	opRevokeGrant               = &operation{name: "RevokeGrant", mutating: true, managed: true, states: always}
	opListGrants                = &operation{name: "ListGrants", managed: true, states: always}
	opListRetirableGrants       = &operation{name: "ListRetirableGrants"}
	opEncrypt                   = cryptographic("Encrypt")
	opDecrypt                   = cryptographic("Decrypt")
	opReEncrypt                 = cryptographic("ReEncrypt")
	opGenerateDataKey           = cryptographic("GenerateDataKey")
	opSign                      = cryptographic("Sign")
	opVerify                    = cryptographic("Verify")
	opGetPublicKey              = &operation{name: "GetPublicKey", aliases: true, managed: true, states: whenUsable}
	opGenerateMac               = cryptographic("GenerateMac")
	opVerifyMac                 = cryptographic("VerifyMac")
	opEncapsulate               = cryptographic("Encapsulate")
	opDecapsulate               = cryptographic("Decapsulate")
	opDeriveSharedSecret        = cryptographic("DeriveSharedSecret")
	opGenerateDataKeyPair       = cryptographic("GenerateDataKeyPair")
	opGenerateKeyPairHidden     = cryptographic("GenerateDataKeyPairWithoutPlaintext")
	opGenerateDataKeyHidden     = cryptographic("GenerateDataKeyWithoutPlaintext")
)

// deletionColumn is the column of keys that wait for deletion.
const deletionColumn = 2

// The operations on custom key stores.
var (
	opCreateKeyStore     = &operation{name: "CreateCustomKeyStore", mutating: true}
	opDescribeKeyStores  = &operation{name: "DescribeCustomKeyStores"}
	opUpdateKeyStore     = &operation{name: "UpdateCustomKeyStore", mutating: true}
	opDeleteKeyStore     = &operation{name: "DeleteCustomKeyStore", mutating: true}
	opConnectKeyStore    = &operation{name: "ConnectCustomKeyStore", mutating: true}
	opDisconnectKeyStore = &operation{name: "DisconnectCustomKeyStore", mutating: true}
)

// stateColumn is the position of a key state in states. A state that the table
// doesn't know is treated as unavailable.
func stateColumn(state types.KeyState) int {
	switch state {
	case types.KeyStateEnabled:
		return 0
	case types.KeyStateDisabled:
		return 1
	case types.KeyStatePendingDeletion, types.KeyStatePendingReplicaDeletion:
		return deletionColumn
	case types.KeyStatePendingImport:
		return 3
	case types.KeyStateCreating:
		return 5
	case types.KeyStateUpdating:
		return 6
	default:
		return 4
	}
}

// checkState refuses an operation that the key's state doesn't admit.
func (o *operation) checkState(k *keySnapshot) error {
	switch o.states[stateColumn(k.EffectiveState())] {
	case yes:
		return nil
	case dis:
		return refuse(KindDisabled, "%s is disabled.", k.arn)
	case del:
		return refuse(KindInvalidState, "%s is pending deletion.", k.arn)
	case not:
		return refuse(KindInvalidState, "%s is not pending deletion.", k.arn)
	case imp:
		return refuse(KindInvalidState, "%s is pending import.", k.arn)
	case uns:
		return refuse(KindUnsupported, "%s origin is %s which is not valid for this operation.", k.arn, k.Origin)
	case cre:
		return refuse(KindInvalidState, "%s is creating.", k.arn)
	case upd:
		return refuse(KindInvalidState, "%s is updating.", k.arn)
	default:
		return refuse(KindInvalidState, "%s is unavailable.", k.arn)
	}
}
