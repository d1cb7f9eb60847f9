package keysvc

import (
	"context"
	"strings"

	"github.com/kmsfs/kmsfs/keysvc/audit"

	"github.com/google/uuid"
)

// maxRecorded is how much of a text the audit trail keeps, in bytes: more than
// any member that passes validation has.
const maxRecorded = 8192

// cut shortens what an invalid request may have made endless.
func cut(s string) string {
	if len(s) <= maxRecorded {
		return s
	}
	return strings.ToValidUTF8(s[:maxRecorded], "") + "..."
}

// text records a request parameter that is present.
func (c *call) text(name string, value *string) {
	if value != nil {
		c.params[name] = cut(*value)
	}
}

// number records a request parameter that is present.
func (c *call) number(name string, value *int32) {
	if value != nil {
		c.params[name] = *value
	}
}

// word records an enumeration member that isn't empty.
func word[T ~string](c *call, name string, value T) {
	if value != "" {
		c.params[name] = cut(string(value))
	}
}

// context records an encryption context that isn't empty.
func (c *call) context(name string, pairs map[string]string) {
	if len(pairs) > 0 {
		c.params[name] = pairs
	}
}

// dry records a dry run.
func (c *call) dry(dryRun *bool) {
	if isSet(dryRun) {
		c.params["dryRun"] = true
	}
}

// dryRun ends a dry run that has passed all checks.
func dryRun(flag *bool) error {
	if isSet(flag) {
		return refuse(KindDryRun, "The request would have succeeded, but the DryRun option is set.")
	}
	return nil
}

func isSet(flag *bool) bool { return flag != nil && *flag }

// serviceEvent records what the service did to a key of its own accord.
func (s *Service) serviceEvent(ctx context.Context, name string, k *keySnapshot, details audit.Params) error {
	details["keyId"] = k.ID
	event := &audit.Event{
		UserIdentity:        audit.UserIdentity{Type: "AWSService", InvokedBy: "AWS Internal"},
		EventName:           name,
		AWSRegion:           k.Region,
		SourceIPAddress:     "AWS Internal",
		UserAgent:           "AWS Internal",
		EventID:             uuid.NewString(),
		Resources:           []audit.Resource{{AccountID: k.Account, Type: "AWS::KMS::Key", ARN: k.arn}},
		EventType:           audit.TypeServiceEvent,
		ServiceEventDetails: details,
		RecipientAccountID:  k.Account,
	}
	event.Stamp(s.config.Now())
	return s.config.Audit.Append(context.WithoutCancel(ctx), event)
}
