package xks

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 10

// attempts are how long the client waits for an answer, attempt by attempt.
var attempts = [...]time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second}

// Config says where a proxy is and how to sign for it.
type Config struct {
	Endpoint   string // https://HOST[:PORT], or http:// on a loopback address
	Path       string // ends in /kms/xks/v1
	Region     string // for the scope of signatures
	Credential Credential
	Transport  http.RoundTripper // nil = HTTP/1.1 with the system's certificate authorities
	Now        func() time.Time  // nil = time.Now
}

// Client asks one proxy.
type Client struct {
	config Config
	http   *http.Client
}

// New checks the configuration and returns a Client. It does no I/O.
func New(config Config) (*Client, error) {
	if err := CheckEndpoint(config.Endpoint); err != nil {
		return nil, err
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Transport == nil {
		config.Transport = &http.Transport{
			MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		}
	}
	client := &http.Client{Transport: config.Transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a redirect is no answer, and its target isn't trusted
	}}
	return &Client{config: config, http: client}, nil
}

// CheckEndpoint refuses what is no URL of a host, and plain HTTP on a network.
func CheckEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%q is no URL of a host", endpoint)
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("an external key store proxy needs https but on a loopback address")
	}
	return nil
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Health asks whether the proxy and at least one key manager behind it work
// (GetHealthStatus).
func (c *Client) Health(ctx context.Context, m Metadata) (*Health, error) {
	var out Health
	if err := c.call(ctx, "GetHealthStatus", "/health", &HealthRequest{m}, &out); err != nil {
		return nil, err
	}
	switch {
	case len(out.Fleet) == 0 || len(out.Fleet) > 10:
		return nil, malformed("GetHealthStatus", "it names %d key managers", len(out.Fleet))
	case !out.available():
		return nil, &Error{"GetHealthStatus", KindUnreachable, errors.New("no key manager behind the proxy is available")}
	}
	return &out, nil
}

// Key asks for the properties of an external key (GetKeyMetadata).
func (c *Client) Key(ctx context.Context, id string, m Metadata) (*KeyMetadata, error) {
	var out KeyMetadata
	if err := c.call(ctx, "GetKeyMetadata", keyPath(id, "metadata"), &KeyRequest{m}, &out); err != nil {
		return nil, err
	}
	if out.Spec == "" || out.Status != "ENABLED" && out.Status != "DISABLED" || len(out.Usage) > 10 {
		return nil, malformed("GetKeyMetadata", "keySpec %q, keyStatus %q", out.Spec, out.Status)
	}
	return &out, nil
}

// Encrypt has the key manager encrypt at most 4300 bytes, authenticating aad, and
// checks what comes back against its integrity value.
func (c *Client) Encrypt(ctx context.Context, id string, plaintext, aad []byte, m Metadata) (*Ciphertext, error) {
	var out EncryptAnswer
	in := EncryptRequest{Metadata: m, AAD: aad, Plaintext: plaintext, Algorithm: algorithmGCM, IntegrityAlgorithm: integritySHA256}
	if err := c.call(ctx, "Encrypt", keyPath(id, "encrypt"), &in, &out); err != nil {
		return nil, err
	}
	if err := out.check(len(plaintext)); err != nil {
		return nil, &Error{"Encrypt", KindMalformed, err}
	}
	if !bytes.Equal(out.Integrity, out.Digest(aad)) {
		return nil, &Error{"Encrypt", KindWrongCiphertext, errors.New("the ciphertext does not fit its integrity value")}
	}
	return &out.Ciphertext, nil
}

// Decrypt reverses Encrypt. The caller owns the plaintext.
func (c *Client) Decrypt(ctx context.Context, id string, ct *Ciphertext, aad []byte, m Metadata) ([]byte, error) {
	var out DecryptAnswer
	in := DecryptRequest{Metadata: m, AAD: aad, Algorithm: algorithmGCM, Ciphertext: *ct}
	if err := c.call(ctx, "Decrypt", keyPath(id, "decrypt"), &in, &out); err != nil {
		return nil, err
	}
	if len(out.Plaintext) != len(ct.Text) {
		clear(out.Plaintext)
		return nil, malformed("Decrypt", "%d bytes of plaintext for %d of ciphertext", len(out.Plaintext), len(ct.Text))
	}
	return out.Plaintext, nil
}

func keyPath(id, operation string) string { return "/keys/" + url.PathEscape(id) + "/" + operation }

func malformed(op, format string, args ...any) *Error {
	return &Error{op, KindMalformed, fmt.Errorf("the answer makes no sense: "+format, args...)}
}

// call makes attempts until one is answered, unless the answer says to come back.
func (c *Client) call(ctx context.Context, op, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return &Error{op, KindMalformed, err}
	}
	defer clear(body)
	var failure *Error
	for _, patience := range attempts {
		if failure = c.attempt(ctx, op, path, body, out, patience); failure == nil {
			return nil
		}
		if ctx.Err() != nil || !failure.Kind.passing() {
			break
		}
	}
	return failure
}

func (c *Client) attempt(ctx context.Context, op, path string, body []byte, out any, patience time.Duration) *Error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.Endpoint+c.config.Path+path, nil)
	if err == nil {
		err = sign(ctx, r, body, c.config.Credential, c.config.Region, c.config.Now())
	}
	if err != nil {
		return &Error{op, KindMalformed, err}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	answer, err := c.http.Do(r)
	if err != nil {
		return &Error{op, networkKind(err), err}
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	defer clear(text)
	if err != nil {
		return &Error{op, networkKind(err), err}
	}
	if answer.StatusCode != http.StatusOK {
		return refused(op, answer.StatusCode, text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return malformed(op, "%v", err)
	}
	return nil
}

// refused reads the proxy's own word for what it refuses.
func refused(op string, status int, text []byte) *Error {
	var r Refusal
	kind, known := KindMalformed, false
	if json.Unmarshal(text, &r) == nil {
		kind, known = names[r.Name]
	}
	if !known {
		return malformed(op, "status %d", status)
	}
	return &Error{op, kind, fmt.Errorf("status %d, %s: %q", status, r.Name, r.Message)}
}

// networkKind tells what kept an answer from coming.
func networkKind(err error) Kind {
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.As(err, &verification), errors.As(err, &record), strings.Contains(err.Error(), "tls: "),
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return KindTLS
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return KindTimeout
	}
	return KindUnreachable
}
