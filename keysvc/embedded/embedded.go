package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/pkcs11"
	"github.com/kmsfs/kmsfs/keysvc"
	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"
)

// sweepEvery is how often an open directory looks for work that is due.
const sweepEvery = time.Minute

// Options say which state directory to open and how to make it.
type Options struct {
	Dir string // required; see DefaultDir

	// PINSource is where the token's PIN comes from: "" is what the directory was
	// made with (at first use: a random PIN in its file pin), else "prompt",
	// "file:PATH", "env:VARIABLE" or "cmd:COMMAND".
	PINSource string
	// Prompt asks the user for "prompt"; nil means that nobody is there to ask.
	Prompt func(text string) ([]byte, error)

	// The rest but Logger and AuditSync counts only when the directory is made.

	Module   string // PKCS#11 module; "" = SoftHSM, where it is installed
	TokenURI string // RFC 7512 URI of an existing token; "" = make a SoftHSM token
	Account  string // twelve digits; "" = 000000000000
	Region   string // "" = us-east-1
	Postgres string // connection string of a database for the store, without a password; "" = SQLite in Dir

	AuditSync       string // "" or "second", or "always"; see keysvc/audit
	CreateIfMissing bool
	Logger          *slog.Logger // nil = nothing is logged

	made pkcs11.PIN // of a token that was just made, so that it isn't asked for again
}

func (o *Options) path(name string) string { return filepath.Join(o.Dir, name) }

// Embedded is an open state directory.
type Embedded struct {
	config  Config
	dir     string
	token   hsm.Token
	store   store.Store
	audit   *audit.File
	service *keysvc.Service

	stop   context.CancelFunc
	swept  sync.WaitGroup
	closed sync.Once
}

// Open opens a state directory, making it if need be and if it may. Its errors
// are of type [*Error] and have a Hint.
func Open(ctx context.Context, o Options) (*Embedded, error) {
	auditSync, err := o.complete()
	if err != nil {
		return nil, err
	}
	defer func() { clear(o.made) }()
	config, err := o.load(ctx)
	if err != nil {
		return nil, err
	}
	e := &Embedded{config: config, dir: o.Dir}
	if err := e.open(ctx, &o, auditSync); err != nil {
		_ = e.Close() // err is the reason
		return nil, err
	}
	e.startSweeping(o.Logger)
	return e, nil
}

// complete checks the options and fills in defaults.
func (o *Options) complete() (audit.Sync, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Dir == "" {
		return 0, &Error{Kind: KindInvalid, Err: errors.New("no state directory"), Help: "use --state-dir"}
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return 0, &Error{Kind: KindInvalid, Path: o.Dir, Err: err}
	}
	o.Dir = dir
	if _, err := parsePINSource(o.PINSource); err != nil {
		return 0, &Error{Kind: KindInvalid, Err: err}
	}
	switch o.AuditSync {
	case "", "second":
		return audit.SyncSecond, nil
	case "always":
		return audit.SyncAlways, nil
	default:
		return 0, &Error{Kind: KindInvalid, Err: fmt.Errorf("audit sync is %q; it must be second or always", o.AuditSync)}
	}
}

// load reads config.json, after provisioning if there is none.
func (o *Options) load(ctx context.Context) (Config, error) {
	path := o.path(configFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := o.refuseOrphans(); err != nil {
			return Config{}, err
		}
		if !o.CreateIfMissing {
			return Config{}, &Error{Kind: KindMissing, Path: o.Dir, Err: errors.New("there is no key service yet"),
				Help: "'kmsfs init BACKING' or 'kmsfs key create' makes one; for another directory use --state-dir"}
		}
		if err := o.provision(ctx); err != nil {
			return Config{}, err
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return Config{}, unreadable(o.Dir, err)
	}
	config, err := ParseConfig(text)
	if err != nil {
		return Config{}, &Error{Kind: KindDamaged, Path: path, Err: err, Help: "correct the file or restore it from a backup"}
	}
	return config, nil
}

// open opens token, store and audit trail, in this order, and the service on
// them. After an error Close closes what was opened.
func (e *Embedded) open(ctx context.Context, o *Options, auditSync audit.Sync) error {
	var err error
	if e.token, err = o.openToken(ctx, e.config); err != nil {
		return err
	}
	if e.store, err = o.openStore(ctx, &e.config); err != nil {
		return err
	}
	if err := e.checkToken(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(o.path(auditDir), 0o700); err != nil {
		return unreadable(o.path(auditDir), err)
	}
	if e.audit, err = audit.Open(audit.Config{Path: e.AuditPath(), Sync: auditSync}); err != nil {
		return &Error{Kind: KindAudit, Path: o.Dir, Err: err}
	}
	e.service, err = keysvc.New(ctx, keysvc.Config{
		Token: e.token, Store: e.store, Audit: e.audit,
		Account: e.config.Account, Region: e.config.Region, Quotas: e.config.Quotas, Logger: o.Logger,
		Clusters: clusters{Options{Dir: o.Dir, Logger: o.Logger}},
	})
	return err
}

// startSweeping runs the service's sweep in the background until Close.
func (e *Embedded) startSweeping(log *slog.Logger) {
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	e.swept.Go(func() {
		ticker := time.NewTicker(sweepEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if err := e.service.Sweep(ctx); err != nil && ctx.Err() == nil {
				log.Warn("scheduled work on keys failed and will be tried again", "error", err)
			}
		}
	})
}

// Service is the key service. It must not be used after Close.
func (e *Embedded) Service() *keysvc.Service { return e.service }

// Config is the directory's recorded configuration.
func (e *Embedded) Config() Config { return e.config }

// Dir is the state directory's absolute path.
func (e *Embedded) Dir() string { return e.dir }

// TokenInfo describes the token that holds the backing keys.
func (e *Embedded) TokenInfo() hsm.Info { return e.token.Info() }

// AuditPath is the audit trail's file.
func (e *Embedded) AuditPath() string { return AuditPath(e.dir) }

// AuditPath is the file of the audit trail in a state directory, open or not.
func AuditPath(dir string) string { return filepath.Join(dir, auditDir, auditFile) }

// Close ends the background work, writes the audit trail to disk and closes
// everything. Closing again does nothing.
func (e *Embedded) Close() error {
	var err error
	e.closed.Do(func() { err = e.close() })
	return err
}

func (e *Embedded) close() error {
	if e.stop != nil {
		e.stop()
		e.swept.Wait()
	}
	if e.service != nil {
		e.service.Close()
	}
	var err error
	if e.audit != nil {
		err = e.audit.Close()
	}
	if e.store != nil {
		err = errors.Join(err, e.store.Close())
	}
	if e.token != nil {
		err = errors.Join(err, e.token.Close())
	}
	return err
}
