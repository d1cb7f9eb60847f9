package embedded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/kmsfs/kmsfs/keysvc"
)

// configVersion is the format of config.json that this package writes.
const configVersion = 1

// Config is what a state directory records about itself in config.json.
type Config struct {
	Version int    `json:"version"`
	Account string `json:"account"`
	Region  string `json:"region"`
	// Token selects the token.
	Token TokenConfig `json:"token"`
	// PINSource is where the PIN comes from; "" is the file pin in the directory.
	PINSource string `json:"pinSource,omitempty"`
	// Store is where the state of the keys is; zero = in the directory.
	Store StoreConfig `json:"store,omitzero"`
	// Quotas bound what an account can have; what is absent is as in AWS.
	Quotas keysvc.Quotas `json:"quotas,omitzero"`
}

// TokenConfig selects the token: the directory's own SoftHSM token by its label,
// or another one by its RFC 7512 URI.
type TokenConfig struct {
	Label  string `json:"label,omitempty"`
	URI    string `json:"uri,omitempty"`
	Module string `json:"module,omitempty"` // "" = SoftHSM, where it is installed
}

// own tells whether the token is the SoftHSM token in the directory.
func (t TokenConfig) own() bool { return t.URI == "" }

// ParseConfig reads config.json and checks it. It refuses members that it
// doesn't know, as a misspelt one would be ignored otherwise.
func ParseConfig(text []byte) (Config, error) {
	var c Config
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return c, err
	}
	if version.Version != configVersion {
		return c, fmt.Errorf("version is %d, this program knows %d", version.Version, configVersion)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return c, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return c, errors.New("there is something behind the configuration")
	}
	return c, c.check()
}

func (c *Config) check() error {
	switch {
	case !keysvc.ValidAccount(c.Account):
		return fmt.Errorf("account is %q; it must have twelve digits", c.Account)
	case !keysvc.ValidRegion(c.Region):
		return fmt.Errorf("region is %q; it must be a name such as us-east-1", c.Region)
	case (c.Token.Label == "") == (c.Token.URI == ""):
		return errors.New("token must have either a label or a uri")
	}
	if err := c.Quotas.Check(); err != nil {
		return fmt.Errorf("quotas: %w", err)
	}
	_, err := parsePINSource(c.PINSource)
	return err
}

func (c *Config) format() ([]byte, error) {
	text, err := json.MarshalIndent(c, "", "  ")
	return append(text, '\n'), err
}

// writeFile replaces a file as a whole: after a crash it is the old or the new
// one.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
