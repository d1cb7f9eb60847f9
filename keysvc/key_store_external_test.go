package keysvc

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kmsfs/kmsfs/keysvc/xks"
	"github.com/kmsfs/kmsfs/keysvc/xks/proxy"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

const (
	proxyPath      = "/kms/xks/v1"
	proxyAccessKey = "ABCDEFGHIJKLMNOPQRST"
	proxySecret    = "0123456789012345678901234567890123456789012"
)

// manager is an external key manager behind a proxy that tests can look into.
type manager struct {
	*httptest.Server
	broken atomic.Pointer[string] // error name to answer with
	seen   atomic.Pointer[xks.EncryptRequest]
}

func newManager(t *testing.T) *manager {
	t.Helper()
	key := func(b byte) *proxy.Key {
		k, err := proxy.NewKey(bytes.Repeat([]byte{b}, proxy.KeySize))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	keys := map[string]*proxy.Key{"key-1": key(1), "key-2": key(2), "off": key(3).Disabled(), "sign": key(4).For("SIGN")}
	p := proxy.New(proxy.Config{Path: proxyPath, Credential: xks.Credential{AccessKeyID: proxyAccessKey, Secret: proxySecret},
		Find: func(id string) *proxy.Key { return keys[id] }})
	m := &manager{}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := m.broken.Load(); name != nil {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(xks.Refusal{Name: *name})
			return
		}
		if strings.HasSuffix(r.URL.Path, "/encrypt") {
			body, _ := io.ReadAll(r.Body)
			var in xks.EncryptRequest
			_ = json.Unmarshal(body, &in)
			m.seen.Store(&in)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		p.ServeHTTP(w, r)
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *manager) input(name string) *kms.CreateCustomKeyStoreInput {
	return &kms.CreateCustomKeyStoreInput{
		CustomKeyStoreName: &name, CustomKeyStoreType: types.CustomKeyStoreTypeExternalKeyStore,
		XksProxyUriEndpoint: aws.String(m.URL), XksProxyUriPath: aws.String(proxyPath), XksProxyConnectivity: types.XksProxyConnectivityTypePublicEndpoint,
		XksProxyAuthenticationCredential: &types.XksProxyAuthenticationCredentialType{AccessKeyId: aws.String(proxyAccessKey), RawSecretAccessKey: aws.String(proxySecret)},
	}
}

// externalStore makes a connected key store on a manager.
func (f *fixture) externalStore(m *manager) string {
	f.t.Helper()
	out, err := f.CreateCustomKeyStore(f.ctx(), m.input("outside"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.connect(*out.CustomKeyStoreId)
	f.wantConnection(*out.CustomKeyStoreId, types.ConnectionStateTypeConnected, "")
	return *out.CustomKeyStoreId
}

func (f *fixture) externalKey(store, external string) (*types.KeyMetadata, error) {
	out, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{CustomKeyStoreId: &store, Origin: types.OriginTypeExternalKeyStore, XksKeyId: &external})
	if err != nil {
		return nil, err
	}
	return out.KeyMetadata, nil
}

func TestKeysOfAnExternalKeyStoreEncryptTwice(t *testing.T) {
	f, m := newService(t), newManager(t)
	id := f.externalStore(m)
	key, err := f.externalKey(id, "key-1")
	if err != nil {
		t.Fatal(err)
	}
	if *key.CustomKeyStoreId != id || *key.XksKeyConfiguration.Id != "key-1" || key.Origin != types.OriginTypeExternalKeyStore || key.CurrentKeyMaterialId != nil || key.CloudHsmClusterId != nil {
		t.Errorf("%+v", key)
	}
	pairs := map[string]string{"path": "/a"}
	made, err := f.GenerateDataKey(f.ctx(), &kms.GenerateDataKeyInput{KeyId: key.KeyId, KeySpec: types.DataKeySpecAes256, EncryptionContext: pairs})
	if err != nil {
		t.Fatal(err)
	}
	seen := m.seen.Load()
	if bytes.Contains(seen.Plaintext, made.Plaintext) || !bytes.Equal(seen.AAD, canonicalContext(pairs)) {
		t.Error("the proxy saw the data key, or not the encryption context")
	}
	if why := seen.Metadata; why.Operation != "GenerateDataKey" || why.KeyARN != *key.Arn || why.PrincipalARN != rootARN(testAccount) || why.RequestID == "" {
		t.Errorf("%+v", why)
	}
	if _, err := token.Unwrap(f.ctx(), f.backing(*key.KeyId), made.CiphertextBlob[headerSize:], additionalData([16]byte(f.backing(*key.KeyId)), pairs)); err == nil {
		t.Error("the token alone decrypts")
	}
	f.decrypts(made.CiphertextBlob, string(made.Plaintext), pairs)
	long := bytes.Repeat([]byte("x"), 4096)
	f.decrypts(f.encrypt(*key.KeyId, string(long), nil), string(long), nil)
	endless := map[string]string{"k": strings.Repeat("v", 2*maxExternalAAD)}
	f.decrypts(f.encrypt(*key.KeyId, "text", endless), "text", endless)
	for i := range made.CiphertextBlob {
		forged := bytes.Clone(made.CiphertextBlob)
		forged[i] ^= 0x40
		if _, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: forged, EncryptionContext: pairs}); err == nil {
			t.Errorf("a ciphertext with another byte %d decrypts", i)
		}
	}
	_, err = f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: made.CiphertextBlob})
	wantError(t, err, "KMSInvalidStateException", proxyFailures[xks.KindRejectedCiphertext].message)
	_, err = f.GenerateRandom(f.ctx(), &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(16), CustomKeyStoreId: &id})
	wantError(t, err, "UnsupportedOperationException", "*")
}

func TestExternalKeysMustBeUsableAndUnused(t *testing.T) {
	f, m := newService(t), newManager(t)
	id := f.externalStore(m)
	if _, err := f.externalKey(id, "key-1"); err != nil {
		t.Fatal(err)
	}
	for external, want := range map[string]string{
		"key-1": "XksKeyAlreadyInUseException", "none": "XksKeyNotFoundException",
		"off": "XksKeyInvalidConfigurationException", "sign": "XksKeyInvalidConfigurationException",
	} {
		_, err := f.externalKey(id, external)
		wantError(t, err, want, "*")
	}
	f.disconnect(id)
	_, err := f.externalKey(id, "key-2")
	wantError(t, err, "CustomKeyStoreInvalidStateException", "*")
}

func TestFailuresOfAProxyHaveAWSsNames(t *testing.T) {
	f, m := newService(t), newManager(t)
	id := f.externalStore(m)
	key, err := f.externalKey(id, "key-1")
	if err != nil {
		t.Fatal(err)
	}
	blob := f.encrypt(*key.KeyId, "text", nil)
	for name, c := range map[string]struct {
		kind           xks.Kind
		create, newKey string
		code           types.ConnectionErrorCodeType
	}{
		"InternalException":             {xks.KindManager, "XksProxyInvalidResponseException", "CustomKeyStoreInvalidStateException", "XKS_PROXY_INVALID_RESPONSE"},
		"AuthenticationFailedException": {xks.KindUnauthenticated, "XksProxyIncorrectAuthenticationCredentialException", "CustomKeyStoreInvalidStateException", "INVALID_CREDENTIALS"},
		"InvalidUriPathException":       {xks.KindPath, "XksProxyInvalidConfigurationException", "CustomKeyStoreInvalidStateException", "XKS_PROXY_INVALID_CONFIGURATION"},
		"AccessDeniedException":         {xks.KindDenied, "XksProxyInvalidConfigurationException", "KMSInvalidStateException", "XKS_PROXY_ACCESS_DENIED"},
		"nonsense":                      {xks.KindMalformed, "XksProxyInvalidResponseException", "CustomKeyStoreInvalidStateException", "XKS_PROXY_INVALID_RESPONSE"},
	} {
		t.Run(name, func(t *testing.T) {
			m.broken.Store(&name)
			defer m.broken.Store(nil)
			text := proxyFailures[c.kind].message
			_, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob})
			wantError(t, err, "KMSInvalidStateException", text)
			in := m.input("new")
			in.XksProxyUriPath = aws.String("/other" + proxyPath)
			_, err = f.CreateCustomKeyStore(f.ctx(), in)
			wantError(t, err, c.create, text)
			_, err = f.externalKey(id, "key-2")
			wantError(t, err, c.newKey, text)
			f.disconnect(id)
			f.connect(id)
			f.wantConnection(id, types.ConnectionStateTypeFailed, c.code)
			f.disconnect(id)
			m.broken.Store(nil)
			f.connect(id)
			f.decrypts(blob, "text", nil)
		})
	}
	m.Close()
	_, err = f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob})
	wantError(t, err, "KMSInvalidStateException", proxyFailures[xks.KindUnreachable].message)
}

func TestACustomKeyStoreMustBeWellFormedAndNew(t *testing.T) {
	f, m := newService(t), newManager(t)
	f.clusterStore(secondCluster, clusterPIN)
	f.externalStore(m)
	cluster := func(change func(*kms.CreateCustomKeyStoreInput)) *kms.CreateCustomKeyStoreInput {
		in := &kms.CreateCustomKeyStoreInput{CustomKeyStoreName: aws.String("new"), CloudHsmClusterId: aws.String(missingCluster), KeyStorePassword: aws.String(clusterPIN)}
		change(in)
		return in
	}
	external := func(change func(*kms.CreateCustomKeyStoreInput)) *kms.CreateCustomKeyStoreInput {
		in := m.input("new")
		in.XksProxyUriPath = aws.String("/other" + proxyPath)
		change(in)
		return in
	}
	for name, c := range map[string]struct {
		in   *kms.CreateCustomKeyStoreInput
		want string
	}{
		"name in use":     {cluster(func(in *kms.CreateCustomKeyStoreInput) { in.CustomKeyStoreName = aws.String("outside") }), "CustomKeyStoreNameInUseException"},
		"cluster in use":  {cluster(func(in *kms.CreateCustomKeyStoreInput) { in.CloudHsmClusterId = aws.String(secondCluster) }), "CloudHsmClusterInUseException"},
		"no such cluster": {cluster(func(in *kms.CreateCustomKeyStoreInput) { in.CloudHsmClusterId = aws.String("cluster-unheardofit") }), "CloudHsmClusterNotFoundException"},
		"no certificate":  {cluster(func(in *kms.CreateCustomKeyStoreInput) { in.TrustAnchorCertificate = aws.String("PEM") }), "IncorrectTrustAnchorException"},
		"no password":     {cluster(func(in *kms.CreateCustomKeyStoreInput) { in.KeyStorePassword = nil }), "ValidationException"},
		"no cluster":      {cluster(func(in *kms.CreateCustomKeyStoreInput) { in.CloudHsmClusterId = nil }), "ValidationException"},
		"both types":      {cluster(func(in *kms.CreateCustomKeyStoreInput) { in.XksProxyUriPath = aws.String(proxyPath) }), "ValidationException"},
		"URI in use":      {external(func(in *kms.CreateCustomKeyStoreInput) { in.XksProxyUriPath = aws.String(proxyPath) }), "XksProxyUriInUseException"},
		"no such path":    {external(func(in *kms.CreateCustomKeyStoreInput) {}), "XksProxyInvalidConfigurationException"},
		"VPC": {external(func(in *kms.CreateCustomKeyStoreInput) {
			in.XksProxyConnectivity = types.XksProxyConnectivityTypeVpcEndpointService
		}), "XksProxyVpcEndpointServiceNotFoundException"},
		"http":             {external(func(in *kms.CreateCustomKeyStoreInput) { in.XksProxyUriEndpoint = aws.String("http://192.0.2.1") }), "XksProxyInvalidConfigurationException"},
		"nobody there":     {external(func(in *kms.CreateCustomKeyStoreInput) { in.XksProxyUriEndpoint = aws.String("http://127.0.0.1:1") }), "XksProxyUriUnreachableException"},
		"no connectivity":  {external(func(in *kms.CreateCustomKeyStoreInput) { in.XksProxyConnectivity = "" }), "ValidationException"},
		"password of both": {external(func(in *kms.CreateCustomKeyStoreInput) { in.KeyStorePassword = aws.String(clusterPIN) }), "ValidationException"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.CreateCustomKeyStore(f.ctx(), c.in)
			wantError(t, err, c.want, "*")
		})
	}
	if out, err := f.DescribeCustomKeyStores(f.ctx(), &kms.DescribeCustomKeyStoresInput{CustomKeyStoreName: aws.String("outside")}); err != nil || len(out.CustomKeyStores) != 1 ||
		*out.CustomKeyStores[0].XksProxyConfiguration.UriEndpoint != m.URL || *out.CustomKeyStores[0].XksProxyConfiguration.AccessKeyId != proxyAccessKey {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestOnlyAdministratorsManageKeyStores(t *testing.T) {
	f := newService(t)
	id := f.clusterStore(secondCluster, clusterPIN)
	ctx := WithCaller(t.Context(), Caller{ARN: userARN})
	for name, call := range map[string]func() error{
		"create": func() error {
			_, err := f.CreateCustomKeyStore(ctx, &kms.CreateCustomKeyStoreInput{CustomKeyStoreName: aws.String("x"), CloudHsmClusterId: aws.String(secondCluster), KeyStorePassword: aws.String(clusterPIN)})
			return err
		},
		"describe": func() error {
			_, err := f.DescribeCustomKeyStores(ctx, &kms.DescribeCustomKeyStoresInput{})
			return err
		},
		"update": func() error {
			_, err := f.UpdateCustomKeyStore(ctx, &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &id, NewCustomKeyStoreName: aws.String("x")})
			return err
		},
		"connect": func() error {
			_, err := f.ConnectCustomKeyStore(ctx, &kms.ConnectCustomKeyStoreInput{CustomKeyStoreId: &id})
			return err
		},
		"disconnect": func() error {
			_, err := f.DisconnectCustomKeyStore(ctx, &kms.DisconnectCustomKeyStoreInput{CustomKeyStoreId: &id})
			return err
		},
		"delete": func() error {
			_, err := f.DeleteCustomKeyStore(ctx, &kms.DeleteCustomKeyStoreInput{CustomKeyStoreId: &id})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, call(), "AccessDeniedException", "*") })
	}
}

// Path and access key of a proxy can be changed while it is connected; the next
// call uses them.
func TestAConnectedProxyCanBeReconfigured(t *testing.T) {
	f, m := newService(t), newManager(t)
	id := f.externalStore(m)
	key, err := f.externalKey(id, "key-1")
	if err != nil {
		t.Fatal(err)
	}
	blob := f.encrypt(*key.KeyId, "text", nil)
	update := func(in kms.UpdateCustomKeyStoreInput) error {
		in.CustomKeyStoreId = &id
		_, err := f.UpdateCustomKeyStore(f.ctx(), &in)
		return err
	}
	wrong := &types.XksProxyAuthenticationCredentialType{AccessKeyId: aws.String(proxyAccessKey), RawSecretAccessKey: aws.String(strings.Repeat("x", 43))}
	wantError(t, update(kms.UpdateCustomKeyStoreInput{XksProxyAuthenticationCredential: wrong}), "XksProxyIncorrectAuthenticationCredentialException", "*")
	wantError(t, update(kms.UpdateCustomKeyStoreInput{XksProxyUriEndpoint: aws.String(m.URL)}), "CustomKeyStoreInvalidStateException", "*")
	wantError(t, update(kms.UpdateCustomKeyStoreInput{KeyStorePassword: aws.String(clusterPIN)}), "ValidationException", "*")
	wantError(t, update(kms.UpdateCustomKeyStoreInput{}), "ValidationException", "*")
	if err := update(kms.UpdateCustomKeyStoreInput{NewCustomKeyStoreName: aws.String("n"), XksProxyUriPath: aws.String(proxyPath)}); err != nil {
		t.Fatal(err)
	}
	f.decrypts(blob, "text", nil)
	f.wantConnection(id, types.ConnectionStateTypeConnected, "")
}
