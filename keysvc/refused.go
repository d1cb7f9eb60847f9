package keysvc

import (
	"context"
	"strings"
)

// Refusal is why a call was refused before it came to its operation.
type Refusal struct {
	Operation string // the API's name
	Code      string // AWS's name of the error
	Message   string // "" = none
	Others    int    // calls refused alike that have no record of their own
}

// RecordRefusal adds a call to the audit trail that another package has refused
// for the context's caller, such as one that came too soon after others.
func (s *Service) RecordRefusal(ctx context.Context, r Refusal) error {
	c := s.begin(ctx, &operation{name: r.Operation, mutating: !reads(r.Operation)})
	if r.Others > 0 {
		c.details("othersRefusedAlike", r.Others)
	}
	e := c.event(nil)
	e.ErrorCode, e.ErrorMessage = r.Code, r.Message
	return s.config.Audit.Append(context.WithoutCancel(ctx), e)
}

// readingVerbs begin the names of operations that change nothing, as CloudTrail
// sees it.
var readingVerbs = [...]string{"Get", "List", "Describe", "Generate", "Encrypt", "Decrypt", "ReEncrypt", "Sign", "Verify", "Derive", "Encapsulate", "Decapsulate"}

func reads(operation string) bool {
	for _, verb := range readingVerbs {
		if strings.HasPrefix(operation, verb) {
			return true
		}
	}
	return false
}
