package integration

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	p11 "github.com/miekg/pkcs11"
	"golang.org/x/sys/unix"
)

const storePIN = "pin-of-the-second-token"

// input runs the binary with the volume's state directory and a text on standard input.
func (v *volume) input(text string, args ...string) string {
	v.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), "KMSFS_STATE_DIR="+v.State)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		v.t.Fatalf("kmsfs %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// xksProxy is kmsfs xks-proxy on a file of keys. stop ends it.
func xksProxy(t *testing.T, listen, file string) (url string, stop func()) {
	t.Helper()
	cmd := exec.Command(binary, "xks-proxy", "--listen", listen, file)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			must(t, cmd.Process.Signal(unix.SIGTERM))
			must(t, cmd.Wait())
		}
	}
	t.Cleanup(stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	return strings.TrimSpace(line), stop
}

// mountUnder makes a volume under a key of the key store and mounts it.
func (v *volume) mountUnder(store string, keyFlags ...string) {
	v.t.Helper()
	v.kmsfs("store", "connect", store)
	v.kmsfs(append([]string{"key", "create", "--store", store, "--alias", "alias/far"}, keyFlags...)...)
	must(v.t, os.MkdirAll(v.Mnt, 0o755))
	v.kmsfs("init", "--key-id", "alias/far", v.Back)
	v.mount()
	write(v.t, v.path("file"), "before")
	write(v.t, v.path("used"), "in use")
}

func stateOf(t *testing.T) *volume {
	t.Helper()
	dir := t.TempDir()
	v := &volume{t: t, State: filepath.Join(dir, "state"), Back: filepath.Join(dir, "back"), Mnt: filepath.Join(dir, "mnt")}
	v.kmsfs("key", "create")
	return v
}

// Disconnecting works as disabling does, with another errno.
func TestADisconnectedKeyStoreStopsTheNextOpen(t *testing.T) {
	v := stateOf(t)
	v.input(storePIN, "store", "cluster", "add", "cluster-secondtoken")
	v.input(storePIN, "store", "create", "second", "--cluster", "cluster-secondtoken")
	v.mountUnder("second")
	used, err := os.OpenFile(v.path("used"), os.O_RDWR, 0)
	must(t, err)
	defer used.Close() // again, after a failure
	v.kmsfs("store", "disconnect", "second")
	wantErrno(t, "open", openErr(v.path("file")), unix.ENOKEY)
	wantText(t, cat(v.path("file")), "Required key not available")
	wantErrno(t, "create", os.WriteFile(v.path("new"), nil, 0o644), unix.ENOKEY)
	wantStillUsable(t, used)
	v.kmsfs("store", "connect", "second")
	wantContent(t, v.path("file"), "before")
	must(t, used.Close())
	v.remount()
	wantContent(t, v.path("file"), "before")
}

// A proxy that is gone is a key service that doesn't answer; one that is
// disconnected is a key that isn't there.
func TestAnExternalKeyManagerThatIsGoneStopsTheNextOpen(t *testing.T) {
	v := stateOf(t)
	file := filepath.Join(t.TempDir(), "proxy.json")
	proxy, stop := xksProxy(t, "127.0.0.1:0", file)
	v.kmsfs("store", "create", "out", "--xks-endpoint", proxy, "--xks-config", file)
	v.mountUnder("out", "--xks-key-id", "key-1")
	used, err := os.OpenFile(v.path("used"), os.O_RDWR, 0)
	must(t, err)
	defer used.Close()
	stop()
	wantErrno(t, "open", openErr(v.path("file")), unix.ETIMEDOUT)
	wantStillUsable(t, used)
	xksProxy(t, strings.TrimPrefix(proxy, "http://"), file)
	wantContent(t, v.path("file"), "before")
	v.kmsfs("store", "disconnect", "out")
	wantErrno(t, "open", openErr(v.path("file")), unix.ENOKEY)
	v.kmsfs("store", "connect", "out")
	wantContent(t, v.path("file"), "before")
}

// nssToken makes an NSS key database with a PIN and returns what kmsfs store cluster add needs of it.
func nssToken(t *testing.T) (uri, initArgs string) {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/*/libsoftokn3.so")
	more, err2 := filepath.Glob("/usr/lib/*/nss/libsoftokn3.so")
	found = append(found, more...)
	if err != nil || err2 != nil || len(found) == 0 {
		t.Fatal("libsoftokn3.so is missing; apt install libnss3")
	}
	initArgs = fmt.Sprintf("configdir='sql:%s' certPrefix='' keyPrefix='' secmod='secmod.db' flags=", t.TempDir())
	module := p11.New(found[0])
	reserved := append([]byte(initArgs), 0)
	var pinned runtime.Pinner
	pinned.Pin(&reserved[0])
	defer pinned.Unpin()
	must(t, module.Initialize(p11.InitializeWithReserved(unsafe.Pointer(&reserved[0]))))
	defer func() { must(t, module.Finalize()) }()
	session, err := module.OpenSession(2, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION) // the key database's slot
	must(t, err)
	must(t, module.Login(session, p11.CKU_SO, ""))
	must(t, module.InitPIN(session, storePIN))
	must(t, module.CloseSession(session))
	return "pkcs11:token=NSS%20Certificate%20DB?module-path=" + url.PathEscape(found[0]), initArgs
}

// The aws command line makes, connects and uses a key store of each type: keys in NSS, beside the
// service's own SoftHSM token, and keys in an external key manager.
func TestTheAWSCommandLineUsesCustomKeyStores(t *testing.T) {
	s := startKeyServer(t)
	uri, initArgs := nssToken(t)
	s.vol.kmsfs("store", "cluster", "add", "cluster-nsssoftoken", "--token-uri", uri, "--init-args", initArgs)
	cluster := s.aws("create-custom-key-store", "--custom-key-store-name", "nss", "--cloud-hsm-cluster-id", "cluster-nsssoftoken",
		"--key-store-password", storePIN)["CustomKeyStoreId"].(string)
	file := filepath.Join(s.dir, "proxy.json")
	proxy, _ := xksProxy(t, "127.0.0.1:0", file)
	external := s.aws("create-custom-key-store", "--custom-key-store-name", "out", "--custom-key-store-type", "EXTERNAL_KEY_STORE",
		"--xks-proxy-uri-endpoint", proxy, "--xks-proxy-uri-path", "/kms/xks/v1", "--xks-proxy-connectivity", "PUBLIC_ENDPOINT",
		"--xks-proxy-authentication-credential", proxyCredential(t, file))["CustomKeyStoreId"].(string)
	s.refused(s.env, "CustomKeyStoreInvalidStateException", "create-key", "--custom-key-store-id", cluster, "--origin", "AWS_CLOUDHSM")
	for id, flags := range map[string][]string{
		cluster: {"--origin", "AWS_CLOUDHSM"}, external: {"--origin", "EXTERNAL_KEY_STORE", "--xks-key-id", "key-1"},
	} {
		s.aws("connect-custom-key-store", "--custom-key-store-id", id)
		shown := s.aws("describe-custom-key-stores", "--custom-key-store-id", id)["CustomKeyStores"].([]any)[0].(map[string]any)
		if shown["ConnectionState"] != "CONNECTED" {
			t.Fatalf("%v", shown)
		}
		key := s.aws(append([]string{"create-key", "--custom-key-store-id", id}, flags...)...)["KeyMetadata"].(map[string]any)
		if key["CustomKeyStoreId"] != id || key["Origin"] != flags[1] {
			t.Errorf("%v", key)
		}
		s.usesKey(key["KeyId"].(string), id)
		s.refused(s.env, "UnsupportedOperationException", "enable-key-rotation", "--key-id", key["KeyId"].(string))
		s.refused(s.env, "CustomKeyStoreHasCMKsException", "delete-custom-key-store", "--custom-key-store-id", id)
	}
}

// usesKey makes a data key, and sees that disconnecting keeps it from being decrypted.
func (s *keyServer) usesKey(key, store string) {
	s.t.Helper()
	made := s.aws("generate-data-key", "--key-id", key, "--key-spec", "AES_256", "--encryption-context", "a=b")
	blob := s.blob("sealed", decoded(s.t, made["CiphertextBlob"]))
	decrypt := []string{"decrypt", "--ciphertext-blob", blob, "--encryption-context", "a=b"}
	if got := s.aws(decrypt...); got["Plaintext"] != made["Plaintext"] {
		s.t.Errorf("another data key: %v", got)
	}
	s.aws("disconnect-custom-key-store", "--custom-key-store-id", store)
	s.refused(s.env, "is unavailable", decrypt...)
	if meta := s.aws("describe-key", "--key-id", key)["KeyMetadata"].(map[string]any); meta["KeyState"] != "Unavailable" {
		s.t.Errorf("%v", meta)
	}
	s.aws("connect-custom-key-store", "--custom-key-store-id", store)
	s.aws(decrypt...)
}

// proxyCredential is the access key in a proxy's file, as aws takes it.
func proxyCredential(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	member := func(name string) string {
		_, rest, ok := strings.Cut(string(text), `"`+name+`": "`)
		value, _, end := strings.Cut(rest, `"`)
		if !ok || !end {
			t.Fatalf("no %s in %s", name, file)
		}
		return value
	}
	return "AccessKeyId=" + member("AccessKeyId") + ",RawSecretAccessKey=" + member("RawSecretAccessKey")
}
