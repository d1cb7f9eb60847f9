package keysvc

import (
	"regexp"
	"strings"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

const aliasPrefix = "alias/"

var keyIDPattern = regexp.MustCompile(`^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32})$`)

// keyName is a parsed KeyId: either the id of a key or an alias name.
type keyName struct {
	id    string
	alias string // with "alias/"
}

// parseKeyName reads a KeyId member: a key id, key ARN, alias name or alias ARN.
// An ARN must be of the given account and region.
func parseKeyName(scope store.Scope, text string) (keyName, error) {
	resource := text
	isARN := strings.HasPrefix(text, "arn:")
	if isARN {
		var err error
		if resource, err = arnResource(scope, text); err != nil {
			return keyName{}, err
		}
	}
	if strings.HasPrefix(resource, aliasPrefix) {
		return keyName{alias: resource}, nil
	}
	id := resource
	if isARN {
		var isKey bool
		if id, isKey = strings.CutPrefix(resource, "key/"); !isKey {
			return keyName{}, refuse(KindInvalidArn, "Invalid arn %s", text)
		}
	}
	if !keyIDPattern.MatchString(id) {
		return keyName{}, refuse(KindNotFound, "Invalid keyId '%s'", id)
	}
	return keyName{id: id}, nil
}

// arnResource returns the last part of an ARN of the scope's account and region.
func arnResource(scope store.Scope, text string) (string, error) {
	part := strings.SplitN(text, ":", 6)
	if len(part) != 6 || part[1] != "aws" || part[2] != "kms" || part[5] == "" {
		return "", refuse(KindInvalidArn, "Invalid arn %s", text)
	}
	if part[3] != scope.Region {
		return "", refuse(KindNotFound, "Invalid arn %s", part[3])
	}
	if part[4] != scope.Account {
		if strings.HasPrefix(part[5], aliasPrefix) {
			return "", refuse(KindNotFound, "Alias %s is not found.", text)
		}
		return "", refuse(KindNotFound, "Key '%s' does not exist", text)
	}
	return part[5], nil
}

func arn(scope store.Scope, resource string) string {
	return "arn:aws:kms:" + scope.Region + ":" + scope.Account + ":" + resource
}

func keyARN(scope store.Scope, id string) string { return arn(scope, "key/"+id) }

func keyNotFound(scope store.Scope, id string) *Error {
	return refuse(KindNotFound, "Key '%s' does not exist", keyARN(scope, id))
}

func aliasNotFound(scope store.Scope, alias string) *Error {
	return refuse(KindNotFound, "Alias %s is not found.", arn(scope, alias))
}
