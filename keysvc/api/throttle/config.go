package throttle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Rates are requests a second by group.
type Rates map[string]float64

// Config says what is limited. The zero value limits nothing.
type Config struct {
	Rates      Rates            `json:"rates"`
	Principals map[string]Rates `json:"principals"` // by name; they take precedence
}

const (
	cryptographic = "cryptographic"
	everyOther    = "*"
)

// AWS are the request quotas that AWS gives an account in most regions.
func AWS() Config {
	return Config{Rates: Rates{
		cryptographic: 10000, "DescribeKey": 2000, "GetPublicKey": 2000, "GetKeyPolicy": 1000, "GetKeyRotationStatus": 1000,
		"ListAliases": 500, "ListKeys": 500, "ListResourceTags": 2000, "ListGrants": 100, "ListKeyPolicies": 100,
		"ListKeyRotations": 100, "ListRetirableGrants": 100, "CreateGrant": 50, "RetireGrant": 30, "RevokeGrant": 30,
		"PutKeyPolicy": 15, "TagResource": 10, "CreateKey": 5, "CreateAlias": 5, "ReplicateKey": 5, everyOther: 5,
	}}
}

// Parse reads a configuration. isOperation tells whether a name is one of the
// API's operations.
func Parse(text []byte, isOperation func(string) bool) (Config, error) {
	var c Config
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return Config{}, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Config{}, errors.New("there is something behind the object")
	}
	for _, rates := range c.all() {
		for group, rate := range rates {
			if group != cryptographic && group != everyOther && !isOperation(group) {
				return Config{}, fmt.Errorf("%q is no operation; groups are %q, %q and names of operations", group, cryptographic, everyOther)
			}
			if rate < 0 || math.IsInf(rate, 0) || rate > math.MaxInt32 {
				return Config{}, fmt.Errorf("the rate of %q is %g; it must be a number of requests a second", group, rate)
			}
		}
	}
	return c, nil
}

func (c *Config) all() []Rates {
	list := []Rates{c.Rates}
	for _, rates := range c.Principals {
		list = append(list, rates)
	}
	return list
}

// group names the group of an operation.
func group(operation string) string {
	if usesMaterial(operation) {
		return cryptographic
	}
	return operation
}

// usesMaterial tells whether an operation is one of those that AWS calls
// cryptographic.
func usesMaterial(operation string) bool {
	return strings.HasPrefix(operation, "Generate") || slices.Contains([]string{
		"Decapsulate", "Decrypt", "DeriveSharedSecret", "Encapsulate", "Encrypt", "ReEncrypt", "Sign", "Verify", "VerifyMac",
	}, operation)
}

// rate finds how often a principal may call a group; limited is false if there is
// no limit.
func (c *Config) rate(principal, group string) (rate float64, limited bool) {
	for _, rates := range []Rates{c.Principals[principal], c.Rates} {
		for _, name := range []string{group, everyOther} {
			if name == everyOther && group == cryptographic {
				continue
			}
			if rate, ok := rates[name]; ok {
				return rate, true
			}
		}
	}
	return 0, false
}
