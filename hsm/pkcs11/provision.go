package pkcs11

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// Limits of what ProvisionSoftHSM takes, in bytes.
const (
	minPIN   = 4
	maxPIN   = 255
	maxLabel = 32
)

// SoftHSMConf returns the path of the configuration that ProvisionSoftHSM writes
// in dir, for Config.SoftHSMConf or the environment's SOFTHSM2_CONF.
func SoftHSMConf(dir string) string { return filepath.Join(dir, "softhsm2.conf") }

// ProvisionSoftHSM makes a SoftHSM token: dir/softhsm2.conf, dir/tokens (mode
// 0700) and in it one token with the label and the user PIN (4 to 255 bytes). The
// security officer's PIN is random and forgotten, so the user PIN can be changed
// with the old one, but not reset. SOFTHSM2_CONF in the environment is set to the
// new file. KindKeyExists if a token of that label exists; KindModule if SoftHSM
// is missing, or in use in this process with another configuration.
func ProvisionSoftHSM(dir string, pin []byte, label string) error {
	module, err := FindSoftHSM()
	if err != nil {
		return err
	}
	if err := provisionSoftHSM(module, dir, pin, label); err != nil {
		var e *hsm.Error
		if errors.As(err, &e) {
			return err
		}
		return &hsm.Error{Op: "ProvisionSoftHSM", Kind: hsm.KindModule, Err: err, Help: "is " + dir + " writable, and its file system not full?"}
	}
	return nil
}

func provisionSoftHSM(module, dir string, pin []byte, label string) error {
	if err := checkProvision(pin, label); err != nil {
		return err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := writeSoftHSMConf(dir); err != nil {
		return err
	}
	ctx := context.Background()
	m, err := acquireModule(ctx, Config{Module: module, SoftHSMConf: SoftHSMConf(dir)}, nil)
	if err != nil {
		return err
	}
	err = m.initializeToken(ctx, pin, label)
	return errors.Join(err, m.release())
}

func checkProvision(pin []byte, label string) error {
	switch {
	case len(pin) < minPIN || len(pin) > maxPIN:
		return provisionArgument(fmt.Errorf("the PIN has %d bytes, want %d to %d", len(pin), minPIN, maxPIN))
	case label == "" || len(label) > maxLabel || strings.TrimRight(label, " ") != label:
		return provisionArgument(fmt.Errorf("token label %q: want 1 to %d bytes without blanks at the end", label, maxLabel))
	}
	return nil
}

func provisionArgument(err error) error {
	return &hsm.Error{Op: "ProvisionSoftHSM", Kind: hsm.KindInvalidArgument, Err: err}
}

// writeSoftHSMConf makes the directories and the configuration.
func writeSoftHSMConf(dir string) error {
	if strings.ContainsAny(dir, "\n\r") {
		return provisionArgument(errors.New("the directory's name contains a line break, which SoftHSM can't read"))
	}
	tokens := filepath.Join(dir, "tokens")
	if err := os.MkdirAll(tokens, 0o700); err != nil {
		return err
	}
	conf := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n", tokens)
	return os.WriteFile(SoftHSMConf(dir), []byte(conf), 0o600)
}

// initializeToken initialises the module's free slot and sets the user PIN. No
// other token in the process may be doing the same, which the gate ensures.
func (m *module) initializeToken(ctx context.Context, pin []byte, label string) error {
	if err := m.gate.lock(ctx); err != nil {
		return err
	}
	defer m.gate.unlock()
	defer m.lockConf(ctx, syscall.LOCK_EX)()
	if _, _, err := (selection{label: label}).locate(m.api); !isTokenNotFound(err) {
		if err == nil {
			err = &hsm.Error{Op: "ProvisionSoftHSM", Kind: hsm.KindKeyExists, Err: fmt.Errorf("there is a token labelled %q", label)}
		}
		return err
	}
	free, err := freeSlot(m.api)
	if err != nil {
		return err
	}
	soPIN := randomPIN()
	defer clear(soPIN)
	var padded [32]byte
	copy(padded[:], label+strings.Repeat(" ", maxLabel))
	if err := m.api.initToken(free, soPIN, padded); err != nil {
		return err
	}
	return setUserPIN(m.api, free, soPIN, pin)
}

// setUserPIN gives a fresh token its user PIN, as its security officer.
func setUserPIN(api cryptoki, sl slot, soPIN, pin []byte) error {
	s, err := api.openSession(sl)
	if err != nil {
		return err
	}
	defer func() { _ = api.closeSession(s) }() // logs out, too
	if err := api.login(s, p11.CKU_SO, soPIN); err != nil {
		return err
	}
	return api.initPIN(s, pin)
}

// freeSlot finds the slot with a token that isn't initialised; SoftHSM always has
// one.
func freeSlot(api cryptoki) (slot, error) {
	slots, err := api.slots()
	if err != nil {
		return 0, err
	}
	for _, s := range slots {
		info, err := api.tokenInfo(s)
		if err == nil && info.Flags&p11.CKF_TOKEN_INITIALIZED == 0 {
			return s, nil
		}
	}
	return 0, errors.New("the module has no free slot for a new token")
}

// randomPIN returns 32 random hexadecimal digits.
func randomPIN() []byte {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.AppendEncode(nil, b[:])
}
