package keysvc

import (
	"context"
	"strings"

	"github.com/kmsfs/kmsfs/keysvc/audit"
)

// Caller is the principal on whose behalf an operation is called, and where the
// call came from. Whoever puts one into a context vouches for it.
type Caller struct {
	Type        string // CloudTrail's userIdentity type; "" = derived from ARN
	ARN         string // principal; "" = the root of Account
	Account     string // twelve digits; "" = the service's account
	PrincipalID string
	AccessKeyID string
	UserName    string
	SourceIP    string // "" = AWS Internal, CloudTrail's word for no network
	UserAgent   string // "" = kmsfs
	Region      string // region of the request's credential scope; "" = the service's
	RequestID   string // "" = made up by the service

	// Administrator says that an identity policy allows the principal everything
	// in its Account, as AWS's AdministratorAccess does.
	Administrator bool

	// Details go into the record's additionalEventData, for example the process
	// that opened a file.
	Details audit.Params
}

type callerKey struct{}

// WithCaller returns a context whose calls are made by c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// caller returns the context's caller with defaults filled in.
func (s *Service) caller(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	c.Account = fallback(c.Account, s.config.Account)
	if c.ARN == "" {
		c.ARN = rootARN(c.Account)
	}
	c.Region = fallback(c.Region, s.config.Region)
	c.SourceIP = fallback(c.SourceIP, "AWS Internal")
	c.UserAgent = fallback(c.UserAgent, "kmsfs")
	return c
}

func fallback(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// A root's ARN has its account's id between these.
const (
	rootPrefix = "arn:aws:iam::"
	rootSuffix = ":root"
)

func rootARN(account string) string { return rootPrefix + account + rootSuffix }

// isRoot tells whether the caller is its account's root.
func (c *Caller) isRoot() bool {
	account, found := strings.CutPrefix(c.ARN, rootPrefix)
	account, whole := strings.CutSuffix(account, rootSuffix)
	return found && whole && account == c.Account
}

// ownsAccount tells whether the caller may do with its account's keys what the
// account's root may.
func (c *Caller) ownsAccount() bool { return c.Administrator || c.isRoot() }

// identity is the caller as CloudTrail shows it.
func (c *Caller) identity() audit.UserIdentity {
	id := audit.UserIdentity{
		Type: c.Type, PrincipalID: c.PrincipalID, ARN: c.ARN,
		AccountID: c.Account, AccessKeyID: c.AccessKeyID, UserName: c.UserName,
	}
	if id.Type == "" {
		id.Type = identityType(c)
	}
	if id.PrincipalID == "" && id.Type == "Root" {
		id.PrincipalID = c.Account
	}
	return id
}

func identityType(c *Caller) string {
	switch {
	case c.isRoot():
		return "Root"
	case strings.Contains(c.ARN, ":assumed-role/"):
		return "AssumedRole"
	default:
		return "IAMUser"
	}
}
