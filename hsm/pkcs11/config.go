package pkcs11

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"runtime"

	"github.com/kmsfs/kmsfs/hsm"
)

// PIN is a user or security officer PIN. It prints as [redacted].
type PIN []byte

const redacted = "[redacted]"

// String returns "[redacted]".
func (PIN) String() string { return redacted }

// GoString returns "[redacted]".
func (PIN) GoString() string { return redacted }

// Format writes "[redacted]" for every verb.
func (PIN) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[redacted]".
func (PIN) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON returns "[redacted]".
func (PIN) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// Config selects a token and says how to use it. At least one of TokenLabel,
// TokenSerial and URI is required; what is given must all match.
type Config struct {
	// Module is the path of the PKCS#11 module; "" looks for SoftHSM where
	// distributions install it, see [FindSoftHSM].
	Module string
	// TokenLabel and TokenSerial select the token. Slot numbers are never used:
	// they change.
	TokenLabel  string
	TokenSerial string
	// URI selects the token by RFC 7512. Its module-path, pin-source and
	// x-max-sessions serve where the fields here are empty; a pin-value is refused,
	// because a URI is seen in process lists and logs.
	URI string
	// PIN is the user PIN. It is copied, and the copy wiped at Close.
	PIN PIN
	// MaxSessions bounds the calls under way at once, each of which may block a
	// thread. 0 means twice the number of CPUs, at least 8. The token's own
	// limit holds too.
	MaxSessions int
	// SoftHSMConf, if not "", is put into the environment as SOFTHSM2_CONF before
	// the module is initialised. A process uses one such file at a time.
	SoftHSMConf string
	// InitArgs is handed to C_Initialize as its reserved argument; NSS softokn
	// takes its database's place that way.
	InitArgs string
	// Logger gets reconnects and refused PINs; nil discards them.
	Logger *slog.Logger
}

// sessions returns the size of the pool for a token's own limit; 0 is unlimited.
func (c Config) sessions(limit uint) int {
	n := c.MaxSessions
	if n <= 0 {
		n = max(8, 2*runtime.GOMAXPROCS(0))
	}
	if limit > 1 { // one is the anchor
		n = min(n, int(min(limit-1, 1<<20)))
	}
	return n
}

// resolve merges what the URI says into the configuration.
func (c Config) resolve() (Config, selection, error) {
	sel := selection{label: c.TokenLabel, serial: c.TokenSerial}
	if c.URI != "" {
		u, err := ParseURI(c.URI)
		if err != nil {
			return c, sel, err
		}
		if err := c.mergeURI(u, &sel); err != nil {
			return c, sel, err
		}
	}
	if sel == (selection{}) {
		return c, sel, invalidConfig("no token selected", "set TokenLabel, TokenSerial or URI")
	}
	if c.Module == "" {
		path, err := FindSoftHSM()
		if err != nil {
			return c, sel, err
		}
		c.Module = path
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, sel, nil
}

func (c *Config) mergeURI(u URI, sel *selection) error {
	if u.PINValue != nil {
		return invalidConfig("the token URI contains a pin-value", "keep the PIN in a file of mode 0600 and name it by pin-source=file:")
	}
	for _, f := range []struct{ have, want *string }{
		{&sel.label, &u.Token}, {&sel.serial, &u.Serial}, {&sel.manufacturer, &u.Manufacturer}, {&sel.model, &u.Model}} {
		if *f.have != "" && *f.want != "" && *f.have != *f.want {
			return invalidConfig(fmt.Sprintf("token is selected as %q and, by the URI, as %q", *f.have, *f.want), "give one of them")
		}
		if *f.want != "" {
			*f.have = *f.want
		}
	}
	if c.Module == "" {
		c.Module = u.ModulePath
	}
	if c.MaxSessions == 0 {
		c.MaxSessions = u.MaxSessions
	}
	if len(c.PIN) == 0 && u.PINSource != "" {
		pin, err := u.readPIN()
		if err != nil {
			return err
		}
		c.PIN = pin
	}
	return nil
}

func invalidConfig(what, hint string) error {
	return &hsm.Error{Op: "Open", Kind: hsm.KindInvalidArgument, Err: fmt.Errorf("%s", what), Help: hint}
}
