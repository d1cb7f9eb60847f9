package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	"github.com/spf13/pflag"
)

// socketPrefix marks the endpoint of a unix socket.
const socketPrefix = "unix:"

// defaultRegion is used if neither the environment nor AWS's configuration names one. It is that of
// a new state directory too.
const defaultRegion = "us-east-1"

// addEndpointFlag defines the flag of the commands that can use a remote key service.
func (a *app) addEndpointFlag(f *pflag.FlagSet) {
	f.StringVar(&a.endpoint, "endpoint", "", "use the key service at this URL, of kmsfs serve or AWS KMS, with AWS's usual credentials; unix:PATH is a socket")
}

// openEndpoint makes a client of the remote key service. Credentials and region come from where the
// AWS SDK looks for them: environment, ~/.aws, instance roles.
func (a *app) openEndpoint(ctx context.Context) (*openedKeys, error) {
	if err := checkEndpoint(a.endpoint); err != nil {
		return nil, err
	}
	transport, base := awshttp.NewBuildableClient(), a.endpoint
	if name, ok := strings.CutPrefix(a.endpoint, socketPrefix); ok {
		path, err := filepath.Abs(name) // a daemon leaves this directory
		if err != nil {
			return nil, err
		}
		base = "http://localhost"
		transport = transport.WithTransportOptions(func(t *http.Transport) {
			t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			}
		})
	}
	loaded, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(transport), config.WithDefaultRegion(defaultRegion))
	if err != nil {
		return nil, failf(exitKeys, "check AWS_PROFILE and ~/.aws/config", "read the AWS configuration: %v", err)
	}
	if _, err := loaded.Credentials.Retrieve(ctx); err != nil {
		return nil, failf(exitKeys, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; kmsfs principal create makes an access key for kmsfs serve",
			"there are no AWS credentials for %s: %v", a.endpoint, err)
	}
	client := kms.NewFromConfig(loaded, func(o *kms.Options) {
		o.BaseEndpoint = aws.String(base)
		o.APIOptions = append(o.APIOptions, markUnanswered)
	})
	return &openedKeys{client: client, close: func() error { return nil }}, nil
}

// checkEndpoint refuses what is no URL, and plaintext data keys on a network.
func checkEndpoint(endpoint string) error {
	if path, ok := strings.CutPrefix(endpoint, socketPrefix); ok && path != "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
		return failf(exitUsage, "such as https://kms.eu-central-1.amazonaws.com, http://127.0.0.1:4599 or unix:/run/kmsfs.sock",
			"--endpoint %q is no URL of a key service", endpoint)
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return failf(exitUsage, "use https, which kmsfs serve speaks with --tls-cert and --tls-key",
			"over http the key service is used on loopback addresses only, not at %s: answers hold data keys in plaintext", u.Host)
	}
	return nil
}

// unanswered is a call that the key service has not answered. For whoever asked, that is a timeout,
// whatever the network said: the errno of a dead socket must not reach an application as the errno
// of its file.
type unanswered struct{ err error }

func (e *unanswered) Error() string { return e.err.Error() }

func (e *unanswered) Unwrap() []error { return []error{context.DeadlineExceeded, e.err} }

// markUnanswered makes unanswered of every failure that is neither an answer nor a wrong input.
func markUnanswered(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("kmsfs.unanswered",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			out, meta, err := next.HandleInitialize(ctx, in)
			var answer smithy.APIError
			var invalid smithy.InvalidParamsError
			if err != nil && !errors.As(err, &answer) && !errors.As(err, &invalid) {
				err = &unanswered{err}
			}
			return out, meta, err
		}), middleware.Before)
}
