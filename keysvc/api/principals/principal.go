package principals

import (
	"crypto/rand"
	"encoding/base64"
	"regexp"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/api/sigv4"
)

// Principal is somebody who may call the key service, as an IAM user with one
// access key.
type Principal struct {
	Name        string
	Admin       bool // may do everything with the account's keys; else grants decide
	AccessKeyID string
	Secret      sigv4.Secret
	Created     time.Time
}

// ARN is the principal's name in an account, as grants use it.
func (p *Principal) ARN(account string) string { return "arn:aws:iam::" + account + ":user/" + p.Name }

// namePattern is IAM's for user names.
var namePattern = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)

// newPrincipal makes an access key of AWS's form: an id of 20 characters and a
// secret of 40 with 240 random bits.
func newPrincipal(name string, admin bool) Principal {
	var secret [30]byte
	_, _ = rand.Read(secret[:]) // never fails
	defer clear(secret[:])
	return Principal{
		Name: name, Admin: admin, AccessKeyID: "AKIA" + rand.Text()[:16],
		Secret: sigv4.Secret(base64.StdEncoding.EncodeToString(secret[:])), Created: time.Now().UTC().Truncate(time.Second),
	}
}
