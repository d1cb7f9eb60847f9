package keysvc

import (
	"maps"
	"regexp"
	"slices"

	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// Limits of a grant's constraints.
const (
	maxConstraintPairs = 8
	maxConstraintValue = 384 // characters
)

// principalARN is what may stand in a grant: users, roles, sessions of roles and
// federated users, and the root of an account.
var principalARN = regexp.MustCompile(`^arn:aws:(iam|sts)::[0-9]{12}:(root|(user|role|assumed-role|federated-user)/.+)$`)

// anyKeyGrants are the operations that a grant on any key can give, grantsByUsage
// those on keys of a usage.
var (
	anyKeyGrants  = []types.GrantOperation{types.GrantOperationCreateGrant, types.GrantOperationRetireGrant, types.GrantOperationDescribeKey}
	grantsByUsage = map[types.KeyUsageType][]types.GrantOperation{
		types.KeyUsageTypeEncryptDecrypt: {
			types.GrantOperationDecrypt, types.GrantOperationEncrypt,
			types.GrantOperationReEncryptFrom, types.GrantOperationReEncryptTo,
		},
		types.KeyUsageTypeSignVerify:        {types.GrantOperationSign, types.GrantOperationVerify, types.GrantOperationGetPublicKey},
		types.KeyUsageTypeGenerateVerifyMac: {types.GrantOperationGenerateMac, types.GrantOperationVerifyMac},
		types.KeyUsageTypeKeyAgreement:      {types.GrantOperationDeriveSharedSecret, types.GrantOperationGetPublicKey},
	}
	symmetricGrants = []types.GrantOperation{
		types.GrantOperationGenerateDataKey, types.GrantOperationGenerateDataKeyWithoutPlaintext,
		types.GrantOperationGenerateDataKeyPair, types.GrantOperationGenerateDataKeyPairWithoutPlaintext,
	}
)

// grantable lists the operations that a grant on a key can give.
func grantable(k *keySnapshot) []types.GrantOperation {
	all := slices.Concat(anyKeyGrants, grantsByUsage[k.Usage])
	switch {
	case isSymmetric(&k.Key):
		return append(all, symmetricGrants...)
	case isRSA(k):
		return append(all, types.GrantOperationGetPublicKey)
	}
	return all
}

// grantParams records the members of CreateGrant.
func (c *call) grantParams(in *kms.CreateGrantInput) {
	c.text("keyId", in.KeyId)
	c.text("granteePrincipal", in.GranteePrincipal)
	c.text("retiringPrincipal", in.RetiringPrincipal)
	c.text("name", in.Name)
	c.dry(in.DryRun)
	if len(in.Operations) > 0 {
		c.params["operations"] = in.Operations
	}
	if constraints := in.Constraints; constraints != nil {
		recorded := audit.Params{}
		if len(constraints.EncryptionContextEquals) > 0 {
			recorded["encryptionContextEquals"] = constraints.EncryptionContextEquals
		}
		if len(constraints.EncryptionContextSubset) > 0 {
			recorded["encryptionContextSubset"] = constraints.EncryptionContextSubset
		}
		c.params["constraints"] = recorded
	}
}

// checkGrant checks the shape of a CreateGrant input.
func checkGrant(in *kms.CreateGrantInput) error {
	if in.GranteeServicePrincipal != nil || in.RetiringServicePrincipal != nil {
		return refuse(KindUnsupported, "Service principals are not supported in grants.")
	}
	if err := required("granteePrincipal", in.GranteePrincipal != nil); err != nil {
		return err
	}
	for _, principal := range []*string{in.GranteePrincipal, in.RetiringPrincipal} {
		if principal != nil && !principalARN.MatchString(*principal) {
			return refuse(KindInvalidArn, "ARN does not refer to a valid principal: %s", *principal)
		}
	}
	return checkConstraints(in.Constraints)
}

func checkConstraints(constraints *types.GrantConstraints) error {
	if constraints == nil {
		return nil
	}
	if aws.ToString(constraints.SourceArn) != "" {
		return refuse(KindUnsupported, "The grant constraint SourceArn is not supported.")
	}
	if len(constraints.EncryptionContextEquals) > 0 && len(constraints.EncryptionContextSubset) > 0 {
		return refuse(KindValidation, "A grant can have the constraint EncryptionContextEquals or EncryptionContextSubset, not both.")
	}
	for _, pairs := range []map[string]string{constraints.EncryptionContextEquals, constraints.EncryptionContextSubset} {
		if len(pairs) > maxConstraintPairs {
			return refuse(KindValidation, "A grant constraint can have at most %d encryption context pairs.", maxConstraintPairs)
		}
		for value := range maps.Values(pairs) {
			if len([]rune(value)) > maxConstraintValue {
				return refuse(KindValidation, "A value in a grant constraint can have at most %d characters.", maxConstraintValue)
			}
		}
	}
	return nil
}

// fits refuses operations that the key can't do, a grant of nothing, and limits by
// an encryption context that operations with the key don't have.
func fits(k *keySnapshot, operations []types.GrantOperation, constraints *types.GrantConstraints) error {
	if constraints != nil && !isSymmetric(&k.Key) && len(constraints.EncryptionContextEquals)+len(constraints.EncryptionContextSubset) > 0 {
		return refuse(KindValidation, "Encryption context constraints are valid for symmetric encryption keys only; the key %s has the key spec %s.", k.arn, k.Spec)
	}
	if len(operations) == 0 {
		return refuse(KindValidation, "A grant must have at least one operation.")
	}
	for _, op := range operations {
		if !slices.Contains(grantable(k), op) {
			return refuse(KindValidation, "The grant operation %s is not valid for the key %s, whose key usage is %s.", op, k.arn, k.Usage)
		}
	}
	return nil
}

// grantEntry is a grant as lists show it.
func grantEntry(scope store.Scope, g *store.Grant) types.GrantListEntry {
	e := types.GrantListEntry{
		KeyId: aws.String(keyARN(scope, g.KeyID)), GrantId: aws.String(g.ID), Name: aws.String(g.Name),
		CreationDate: aws.Time(g.Created), GranteePrincipal: aws.String(g.Grantee),
		IssuingAccount: aws.String(g.IssuingAccount), Operations: g.Operations, Constraints: g.Constraints,
	}
	if g.Retiring != "" {
		e.RetiringPrincipal = aws.String(g.Retiring)
	}
	return e
}
