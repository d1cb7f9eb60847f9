package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/spf13/pflag"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/patience"
)

// socketPrefix marks the endpoint of a unix socket.
const socketPrefix = "unix:"

// defaultRegion is used if neither the environment nor AWS's configuration names one. It is that of
// a new state directory too.
const defaultRegion = "us-east-1"

// remote says how a key service at an endpoint is reached.
type remote struct {
	endpoint string // URL or unix:PATH; "" selects the embedded key service
	ca       string // certificate authority to trust, PEM file; "" = the system's
	profile  string // of the AWS configuration; "" = as AWS_PROFILE says

	wait time.Duration // how long a mount waits for an answer; 0 = ten seconds
}

// addEndpointFlag defines the flags of the commands that can use a remote key service.
func (a *app) addEndpointFlag(f *pflag.FlagSet) {
	f.StringVar(&a.remote.endpoint, "endpoint", "", "use the key service at this URL, of kmsfs serve or AWS KMS, with AWS's usual credentials; unix:PATH is a socket")
	f.StringVar(&a.remote.ca, "ca", "", "with --endpoint: trust this certificate authority alone, PEM (default AWS_CA_BUNDLE, else the system's)")
	f.StringVar(&a.remote.profile, "profile", "", "with --endpoint: profile of ~/.aws to use (default AWS_PROFILE)")
}

// openEndpoint makes a client of the remote key service. Credentials and region come from where the
// AWS SDK looks for them: environment, ~/.aws, instance roles.
func (a *app) openEndpoint(ctx context.Context, wait *patience.Patience) (*openedKeys, error) {
	if err := checkEndpoint(a.remote.endpoint); err != nil {
		return nil, err
	}
	transport, base, err := a.remote.transport()
	if err != nil {
		return nil, err
	}
	loaded, err := a.remote.configure(ctx, transport, wait)
	if err != nil {
		return nil, failf(exitKeys, "check AWS_PROFILE, --profile and ~/.aws/config", "read the AWS configuration: %v", err)
	}
	if _, err := loaded.Credentials.Retrieve(ctx); err != nil {
		return nil, failf(exitKeys, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; kmsfs principal create makes an access key for kmsfs serve",
			"there are no AWS credentials for %s: %v", a.remote.endpoint, err)
	}
	return &openedKeys{
		client: kms.NewFromConfig(loaded, func(o *kms.Options) { o.BaseEndpoint = aws.String(base) }),
		close:  func() error { return nil },
		caller: func(ctx context.Context) (string, error) { return callerARN(ctx, loaded, base) },
	}, nil
}

// configure reads the AWS configuration. Without wait the client tries again as the configuration says.
func (r *remote) configure(ctx context.Context, transport *awshttp.BuildableClient, wait *patience.Patience) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{config.WithDefaultRegion(regionOf(r.endpoint))}
	if r.profile != "" {
		options = append(options, config.WithSharedConfigProfile(r.profile))
	}
	if wait != nil {
		transport = transport.WithTransportOptions(wait.Transport)
		options = append(options, wait.Options()...)
	}
	loaded, err := config.LoadDefaultConfig(ctx, append(options, config.WithHTTPClient(transport))...)
	if own, ok := loaded.HTTPClient.(*awshttp.BuildableClient); ok {
		loaded.HTTPClient = own.Freeze() // AWS_DEFAULTS_MODE would put another dialer into it
	}
	return loaded, err
}

// commandWait is how long a command waits for one answer, such as that to the making of a large RSA key.
const commandWait = time.Minute

// transport makes the HTTP client, and the URL that it is used with.
func (r *remote) transport() (client *awshttp.BuildableClient, base string, err error) {
	client, base = awshttp.NewBuildableClient(), r.endpoint
	client = client.WithTransportOptions(func(t *http.Transport) { t.ResponseHeaderTimeout = commandWait })
	if name, ok := strings.CutPrefix(r.endpoint, socketPrefix); ok {
		path, err := filepath.Abs(name) // a daemon leaves this directory
		if err != nil {
			return nil, "", err
		}
		return client.WithTransportOptions(func(t *http.Transport) {
			t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			}
		}), "http://localhost", nil
	}
	if r.ca == "" {
		return client, base, nil
	}
	pool, text := x509.NewCertPool(), []byte(nil)
	if text, err = os.ReadFile(r.ca); err == nil && !pool.AppendCertsFromPEM(text) {
		err = errors.New("it holds no certificate")
	}
	if err != nil {
		return nil, "", failf(exitUsage, "kmsfs serve --tls names the file when it starts", "read the certificate authority %s: %v", r.ca, err)
	}
	return client.WithTransportOptions(func(t *http.Transport) {
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}), base, nil
}

// usualWait is how long an open waits for a key service that doesn't answer.
const usualWait = 10 * time.Second

// patient is for a mount, whose opens wait for a key service that restarts.
func (r *remote) patient() *patience.Patience { return patience.New(cmp.Or(r.wait, usualWait)) }

// callerARN asks who the credentials belong to. kmsfs serve answers it itself; for AWS it is another
// service than KMS.
func callerARN(ctx context.Context, loaded aws.Config, base string) (string, error) {
	client := sts.NewFromConfig(loaded, func(o *sts.Options) {
		if _, ofAWS := awsRegion(base); !ofAWS {
			o.BaseEndpoint = aws.String(base)
		}
	})
	out, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Arn), nil
}

// regionOf is the region of a client to which nobody has named one.
func regionOf(endpoint string) string {
	if region, ofAWS := awsRegion(endpoint); ofAWS && region != "" {
		return region
	}
	return defaultRegion
}

// awsRegion reads the region from a host name of AWS's, such as kms.eu-central-1.amazonaws.com,
// kms-fips.us-gov-west-1.api.aws or vpce-1a2b.kms.eu-central-1.vpce.amazonaws.com; "" where there is none.
func awsRegion(endpoint string) (region string, ofAWS bool) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", false
	}
	name := "." + u.Hostname()
	if !strings.Contains(name, ".amazonaws.") && !strings.HasSuffix(name, ".api.aws") {
		return "", false
	}
	label := strings.Split(name, ".")
	for i := range label[:len(label)-1] {
		if (label[i] == "kms" || label[i] == "kms-fips") && strings.Count(label[i+1], "-") >= 2 {
			return label[i+1], true
		}
	}
	return "", true
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
		return failf(exitUsage, "use https, which kmsfs serve speaks with --tls",
			"over http the key service is used on loopback addresses only, not at %s: answers hold data keys in plaintext", u.Host)
	}
	return nil
}
