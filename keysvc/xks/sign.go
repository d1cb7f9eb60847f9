package xks

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Service is the name of the service in the scope of a signature.
const Service = "kms-xks-proxy"

const (
	timeFormat  = "20060102T150405Z"
	maxSkew     = 5 * time.Minute
	signedNames = "SignedHeaders=host;x-amz-date,"
)

// sign signs a request that has no headers and no body yet: host and x-amz-date
// are all that is signed beside the body's digest.
func sign(ctx context.Context, r *http.Request, body []byte, c Credential, region string, now time.Time) error {
	sum := sha256.Sum256(body)
	credentials := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: string(c.Secret)}
	return v4.NewSigner().SignHTTP(ctx, credentials, r, hex.EncodeToString(sum[:]), Service, region, now)
}

// Verify checks a request's signature as a proxy does: the access key that find
// returns for an id ("" = unknown), the headers that AWS signs, and a time within
// five minutes of now. The error is for the log; a client learns only that it
// failed.
func Verify(r *http.Request, body []byte, find func(accessKeyID string) Secret, now time.Time) error {
	authorization := r.Header.Get("Authorization")
	scope, rest, _ := strings.Cut(strings.TrimPrefix(authorization, "AWS4-HMAC-SHA256 Credential="), ", ")
	part := strings.Split(scope, "/")
	if len(part) != 5 || part[3] != Service || !strings.HasPrefix(rest, signedNames) {
		return errors.New("no signature of host and x-amz-date for " + Service)
	}
	date, err := time.Parse(timeFormat, r.Header.Get("X-Amz-Date"))
	if err != nil || date.Sub(now).Abs() > maxSkew {
		return errors.New("the signature's time is not now")
	}
	secret := find(part[0])
	if secret == "" {
		return errors.New("unknown access key")
	}
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "https://"+r.Host+r.URL.EscapedPath(), nil)
	if err != nil {
		return err
	}
	if err := sign(r.Context(), again, body, Credential{part[0], secret}, part[2], date); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(again.Header.Get("Authorization")), []byte(authorization)) != 1 {
		return errors.New("the signature does not match")
	}
	return nil
}
