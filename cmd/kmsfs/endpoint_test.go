package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	volume "github.com/kmsfs/kmsfs/fs"
)

func TestRegionIsReadFromHostNamesOfAWS(t *testing.T) {
	for endpoint, want := range map[string]string{
		"https://kms.eu-central-1.amazonaws.com":                               "eu-central-1",
		"https://kms.eu-central-1.amazonaws.com:443/":                          "eu-central-1",
		"https://kms-fips.us-gov-west-1.amazonaws.com":                         "us-gov-west-1",
		"https://kms.cn-north-1.amazonaws.com.cn":                              "cn-north-1",
		"https://kms.eu-west-1.api.aws":                                        "eu-west-1",
		"https://vpce-0a1b2c-3d4e.kms.ap-northeast-1.vpce.amazonaws.com":       "ap-northeast-1",
		"https://vpce-0a1b2c-3d4e-eu-west-1a.kms.eu-west-1.vpce.amazonaws.com": "eu-west-1",
		"https://kms.amazonaws.com":                                            defaultRegion,
		"https://kms.eu-central-1.example.com":                                 defaultRegion,
		"http://127.0.0.1:4599":                                                defaultRegion,
		"unix:/run/kms.eu-central-1.amazonaws.com":                             defaultRegion,
	} {
		if got := regionOf(endpoint); got != want {
			t.Errorf("%s: %s, want %s", endpoint, got, want)
		}
		if _, ofAWS := awsRegion(endpoint); ofAWS != (strings.Contains(endpoint, "https://") && !strings.Contains(endpoint, "example")) {
			t.Errorf("%s is of AWS: %v", endpoint, ofAWS)
		}
	}
}

func TestHintIsAboutTheWayToTheKeyServiceWhenThatIsWrong(t *testing.T) {
	call := func(err error) error {
		return &smithy.OperationError{ServiceID: "KMS", OperationName: "Decrypt", Err: err}
	}
	api := func(code, msg string) error { return call(&smithy.GenericAPIError{Code: code, Message: msg}) }
	for _, c := range []struct {
		cause error
		want  string
	}{
		{api("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than"), "clocks"},
		{api("ExpiredTokenException", "The security token included in the request is expired"), "AWS_SESSION_TOKEN"},
		{api("UnrecognizedClientException", ""), "kmsfs principal list"},
		{call(&types.NotFoundException{Message: ptr("Invalid arn eu-west-1")}), "AWS_REGION=eu-west-1"},
		{call(x509.UnknownAuthorityError{}), "--ca FILE"},
		{call(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "keys"}), "--tls-name"},
		{call(x509.CertificateInvalidError{Reason: x509.Expired}), "clock"},
		{call(errors.New("get identity: get credentials: failed to refresh cached credentials")), "aws sso login"},
		{call(errors.New("http: server gave HTTP response to HTTPS client")), "http://"},
	} {
		err := fmt.Errorf("mount: %w", &volume.Error{Op: "attach", Kind: volume.KindKeyDenied, Err: c.cause})
		if got := hints(err); len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("%v: hints %q, want one with %q", c.cause, got, c.want)
		}
	}
	for _, cause := range []error{api("AccessDeniedException", "no"), call(&types.NotFoundException{Message: ptr("Invalid arn arn:aws:s3:::b")}), call(context.DeadlineExceeded)} {
		err := &volume.Error{Op: "attach", Kind: volume.KindKeyDenied, Err: cause}
		if got := hints(err); len(got) != 1 || got[0] != err.Hint() {
			t.Errorf("%v: hints %q, want the error's own", cause, got)
		}
	}
}

func ptr(s string) *string { return &s }
