package pkcs11

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// softHSMConfEnv names SoftHSM's configuration file.
const softHSMConfEnv = "SOFTHSM2_CONF"

// drainTimeout bounds how long a reconnect or a Close waits for calls that are
// inside the module.
const drainTimeout = 10 * time.Second

// module is one PKCS#11 library. PKCS#11 has one state per process and library,
// so all tokens opened through it share it.
//
// Lock order: registry, gate, then whatever a token locks.
type module struct {
	path string
	api  cryptoki
	gate gate // readers are calls into the module; the writer initialises it

	refs     int    // guarded by the registry
	args     string // for C_Initialize
	conf     string // SOFTHSM2_CONF when initialised
	foreign  bool   // somebody else in the process initialised it
	libName  string
	gen      uint64 // guarded by gate; 0 is not initialised
	shutdown bool   // guarded by gate: finalised, and to be initialised at next use
}

// registry holds the modules that the process has loaded. It is the only global
// state of the package, as a library's state is global to the process anyway.
// Modules are finalised when their last token closes, but never unloaded.
var registry = struct {
	sync.Mutex
	modules map[string]*module
}{modules: map[string]*module{}}

// acquireModule returns the initialised module of the configuration, shared with
// the other tokens that use it. through, if not nil, wraps the module's functions
// when nobody uses it yet.
func acquireModule(ctx context.Context, cfg Config, through func(cryptoki) cryptoki) (*module, error) {
	path, err := canonicalModule(cfg.Module)
	if err != nil {
		return nil, err
	}
	registry.Lock()
	defer registry.Unlock()
	m := registry.modules[path]
	if m == nil {
		m = &module{path: path, gate: newGate()}
		registry.modules[path] = m
	}
	if m.refs == 0 {
		if err := m.start(ctx, cfg, through); err != nil {
			return nil, err
		}
	} else if err := m.sameSettings(cfg); err != nil {
		return nil, err
	}
	m.refs++
	return m, nil
}

// canonicalModule resolves the path, so that one library isn't taken for two, and
// refuses names that dlopen would search for.
func canonicalModule(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err == nil && strings.ContainsRune(path, filepath.Separator) {
		abs, err = filepath.EvalSymlinks(abs)
	} else if err == nil {
		err = fmt.Errorf("%q is not a path", path)
	}
	if err != nil {
		return "", moduleError(fmt.Errorf("PKCS#11 module: %w", err), "give the full path of the module's .so file")
	}
	return abs, nil
}

func moduleError(err error, hint string) error {
	return &hsm.Error{Op: "Open", Kind: hsm.KindModule, Err: err, Help: hint}
}

// start loads the library and initialises it.
func (m *module) start(ctx context.Context, cfg Config, through func(cryptoki) cryptoki) error {
	lib, err := loadNative(m.path)
	if err != nil {
		return moduleError(err, "is this a PKCS#11 module for this machine's architecture?")
	}
	m.api = lib
	if through != nil {
		m.api = through(m.api)
	}
	m.args, m.conf = cfg.InitArgs, wantedConf(cfg)
	if err := m.gate.lock(ctx); err != nil {
		return err
	}
	defer m.gate.unlock()
	if err := m.initialize(ctx); err != nil {
		return moduleError(fmt.Errorf("%s: %w", m.path, err), initHint(m.conf))
	}
	m.libName, err = m.api.library()
	if err != nil {
		_ = m.api.finalize()
		return moduleError(err, "")
	}
	return nil
}

// wantedConf is the SoftHSM configuration that the caller asks for.
func wantedConf(cfg Config) string {
	if cfg.SoftHSMConf != "" {
		return cfg.SoftHSMConf
	}
	return os.Getenv(softHSMConfEnv)
}

func initHint(conf string) string {
	if conf == "" {
		return "SoftHSM reads the file that " + softHSMConfEnv + " names"
	}
	return "check the SoftHSM configuration " + conf + " and the directory of its tokens"
}

// sameSettings refuses a second configuration while the first is in use.
func (m *module) sameSettings(cfg Config) error {
	if cfg.InitArgs == m.args && (wantedConf(cfg) == m.conf || !strings.Contains(filepath.Base(m.path), "softhsm")) {
		return nil
	}
	return moduleError(fmt.Errorf("%s is in use in this process with another configuration (%q)", m.path, m.conf),
		"close the other token first, or use one configuration for both")
}

// initialize calls C_Initialize in a new generation. The gate is locked.
func (m *module) initialize(ctx context.Context) error {
	if m.conf != "" && os.Getenv(softHSMConfEnv) != m.conf {
		if err := os.Setenv(softHSMConfEnv, m.conf); err != nil {
			return err
		}
	}
	defer m.lockConf(ctx, syscall.LOCK_EX)()
	err := m.api.initialize(m.args)
	m.foreign = isCall(err, p11.CKR_CRYPTOKI_ALREADY_INITIALIZED)
	if err != nil && !m.foreign {
		return err
	}
	m.gen++
	m.shutdown = false
	return nil
}

// restart finalises and initialises the module if it is still in generation gen:
// the only way back after a fault of the module or the loss of its connection.
// Every session and handle is void afterwards.
func (m *module) restart(ctx context.Context, gen uint64) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	if err := m.gate.lock(ctx); err != nil {
		return fmt.Errorf("calls under way in the module don't end: %w", err)
	}
	defer m.gate.unlock()
	if m.gen != gen && !m.shutdown {
		return nil
	}
	m.shutdown = true
	if !m.foreign {
		_ = m.api.finalize() // a module in trouble may refuse; Initialize tells
	}
	return m.initialize(ctx)
}

// unshared reports whether only one token uses the module, so that a restart
// disturbs nobody.
func (m *module) unshared() bool {
	registry.Lock()
	defer registry.Unlock()
	return m.refs == 1
}

// release gives the module up; the last user finalises it.
func (m *module) release() error {
	registry.Lock()
	defer registry.Unlock()
	m.refs--
	if m.refs > 0 || m.foreign {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := m.gate.lock(ctx); err != nil {
		return fmt.Errorf("calls under way in the module don't end: %w", err)
	}
	defer m.gate.unlock()
	if m.shutdown {
		return nil
	}
	m.shutdown = true
	return m.api.finalize()
}
