package audit

import (
	"encoding/json"
	"time"
)

// Params holds the members of requestParameters, responseElements and the like,
// with CloudTrail's lower-camel names. A nil map is written as null. It must
// never hold plaintext, ciphertext or grant tokens.
type Params map[string]any

// UserIdentity is CloudTrail's userIdentity element.
type UserIdentity struct {
	Type        string `json:"type"` // Root, IAMUser, AssumedRole, AWSService
	PrincipalID string `json:"principalId,omitempty"`
	ARN         string `json:"arn,omitempty"`
	AccountID   string `json:"accountId,omitempty"`
	AccessKeyID string `json:"accessKeyId,omitempty"`
	UserName    string `json:"userName,omitempty"`
	InvokedBy   string `json:"invokedBy,omitempty"`
}

// Resource is one key that a call has touched.
type Resource struct {
	AccountID string `json:"accountId"`
	Type      string `json:"type"` // AWS::KMS::Key
	ARN       string `json:"ARN"`
}

// Event is a CloudTrail record without its place in the chain. Members have
// CloudTrail's names and order.
type Event struct {
	EventVersion        string       `json:"eventVersion"`
	UserIdentity        UserIdentity `json:"userIdentity"`
	EventTime           string       `json:"eventTime"` // RFC 3339, UTC, seconds
	EventSource         string       `json:"eventSource"`
	EventName           string       `json:"eventName"`
	AWSRegion           string       `json:"awsRegion"`
	SourceIPAddress     string       `json:"sourceIPAddress"`
	UserAgent           string       `json:"userAgent"`
	ErrorCode           string       `json:"errorCode,omitempty"`
	ErrorMessage        string       `json:"errorMessage,omitempty"`
	RequestParameters   Params       `json:"requestParameters"`
	ResponseElements    Params       `json:"responseElements"`
	AdditionalEventData Params       `json:"additionalEventData,omitempty"`
	RequestID           string       `json:"requestID,omitempty"`
	EventID             string       `json:"eventID"`
	ReadOnly            bool         `json:"readOnly"`
	Resources           []Resource   `json:"resources,omitempty"`
	EventType           string       `json:"eventType"` // AwsApiCall, AwsServiceEvent
	ServiceEventDetails Params       `json:"serviceEventDetails,omitempty"`
	ManagementEvent     bool         `json:"managementEvent"`
	RecipientAccountID  string       `json:"recipientAccountId"`
	EventCategory       string       `json:"eventCategory"`
}

// Values of Event.EventType.
const (
	TypeAPICall      = "AwsApiCall"
	TypeServiceEvent = "AwsServiceEvent"
)

// Stamp fills in what every record of the key service has in common.
func (e *Event) Stamp(now time.Time) {
	e.EventVersion = "1.11"
	e.EventTime = now.UTC().Format(time.RFC3339)
	e.EventSource = "kms.amazonaws.com"
	e.ManagementEvent = true
	e.EventCategory = "Management"
}

// Chain is a record's place in the trail.
type Chain struct {
	Sequence uint64 `json:"seq"`  // counts from 1
	Previous string `json:"prev"` // hash of the record before; zeros in the first
	Hash     string `json:"hash"` // SHA-256 of this line up to its hash member
}

// Record is an event as it stands in the trail.
type Record struct {
	Event
	Chain Chain `json:"chain"`

	// Line is the record's own text without the newline.
	Line json.RawMessage `json:"-"`
}
