package proxy

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/xks"
)

// Limits of what the proxy takes, in bytes: the least that the specification
// allows.
const (
	maxBody      = 64 << 10
	maxPlaintext = 4300
	maxAAD       = 8192
)

// Config is what a Proxy is made of.
type Config struct {
	Path       string               // ends in /kms/xks/v1
	Credential xks.Credential       // what requests are signed with
	Find       func(id string) *Key // nil = there is no such key
	Now        func() time.Time     // nil = time.Now
	Logger     *slog.Logger         // nil = nothing is logged
}

// Proxy answers requests for external keys.
type Proxy struct{ config Config }

// New returns a Proxy.
func New(config Config) *Proxy {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Proxy{config}
}

// refusal is an error as the specification names it.
type refusal struct {
	status int
	name   string
}

// ServeHTTP answers one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, refused, cause := p.answer(w, r)
	status := http.StatusOK
	if refused != nil {
		p.config.Logger.Warn("request refused", "from", r.RemoteAddr, "path", r.URL.Path, "error", refused.name, "cause", cause)
		status, out = refused.status, &xks.Refusal{Name: refused.name}
	}
	text, err := json.Marshal(out)
	if err != nil {
		status = http.StatusInternalServerError
	}
	defer clear(text)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that is gone gets nothing
}

// answer takes a request through all checks.
func (p *Proxy) answer(w http.ResponseWriter, r *http.Request) (out any, refused *refusal, cause error) {
	path, ok := strings.CutPrefix(r.URL.Path, p.config.Path)
	if !ok || r.Method != http.MethodPost {
		return nil, &refusal{http.StatusNotFound, "InvalidUriPathException"}, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, "ValidationException"}, err
	}
	defer clear(body)
	if err := xks.Verify(r, body, p.secret, p.config.Now()); err != nil {
		return nil, &refusal{http.StatusUnauthorized, "AuthenticationFailedException"}, err
	}
	if path == "/health" {
		return health(), nil, nil
	}
	part := strings.Split(path, "/")
	if len(part) != 4 || part[0] != "" || part[1] != "keys" {
		return nil, &refusal{http.StatusNotFound, "InvalidUriPathException"}, nil
	}
	key := p.config.Find(part[2])
	if key == nil {
		return nil, &refusal{http.StatusNotFound, "KeyNotFoundException"}, nil
	}
	return key.answer(part[3], body)
}

func (p *Proxy) secret(accessKeyID string) xks.Secret {
	if accessKeyID == p.config.Credential.AccessKeyID {
		return p.config.Credential.Secret
	}
	return ""
}

func health() *xks.Health {
	return &xks.Health{FleetSize: 1, Vendor: "kmsfs", Model: "kmsfs xks-proxy", EKMVendor: "kmsfs",
		Fleet: []xks.Manager{{ID: "memory", Model: "AES-256-GCM in software", Status: "ACTIVE"}}}
}

// answer does one of the three operations with a key.
func (k *Key) answer(operation string, body []byte) (any, *refusal, error) {
	switch operation {
	case "metadata":
		return k.metadata(), nil, nil
	case "encrypt":
		return k.encrypt(body)
	case "decrypt":
		return k.decrypt(body)
	}
	return nil, &refusal{http.StatusNotFound, "InvalidUriPathException"}, nil
}

// usable refuses what the key isn't for now.
func (k *Key) usable(operation string) *refusal {
	if k.disabled {
		return &refusal{http.StatusBadRequest, "InvalidStateException"}
	}
	for _, u := range k.usage {
		if u == operation {
			return nil
		}
	}
	return &refusal{http.StatusBadRequest, "InvalidKeyUsageException"}
}

func (k *Key) encrypt(body []byte) (any, *refusal, error) {
	var in xks.EncryptRequest
	if err := json.Unmarshal(body, &in); err != nil || !fits(in.Algorithm, in.Plaintext, in.AAD) {
		return nil, &refusal{http.StatusBadRequest, "ValidationException"}, err
	}
	defer clear(in.Plaintext)
	if refused := k.usable("ENCRYPT"); refused != nil {
		return nil, refused, nil
	}
	out, err := k.seal(&in)
	if err != nil {
		return nil, &refusal{http.StatusInternalServerError, "InternalException"}, err
	}
	return out, nil, nil
}

func (k *Key) decrypt(body []byte) (any, *refusal, error) {
	var in xks.DecryptRequest
	if err := json.Unmarshal(body, &in); err != nil || !fits(in.Algorithm, in.Text, in.AAD) {
		return nil, &refusal{http.StatusBadRequest, "ValidationException"}, err
	}
	if refused := k.usable("DECRYPT"); refused != nil {
		return nil, refused, nil
	}
	plaintext, err := k.open(&in)
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, "InvalidCiphertextException"}, err
	}
	return &xks.DecryptAnswer{Plaintext: plaintext}, nil, nil
}

func fits(algorithm string, text, aad []byte) bool {
	return algorithm == "AES_GCM" && len(text) > 0 && len(text) <= maxPlaintext && len(aad) <= maxAAD
}
