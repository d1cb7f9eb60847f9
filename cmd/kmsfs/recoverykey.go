package main

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/youmark/pkcs8"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs"
)

// maxPEM bounds a key file, in bytes; one of an RSA key of 8192 bits has about 6 KiB.
const maxPEM = 64 << 10

// isKeyName reports whether an argument names a key of the key service and not a file.
func isKeyName(arg string) bool {
	if strings.HasPrefix(arg, "arn:") || isAlias(arg) {
		return true
	}
	_, err := os.Stat(arg)
	return err != nil && !strings.ContainsAny(arg, "./")
}

// recoveryTarget reads --recovery-key where it names who shall be able to recover: a KEY, or a file with
// an RSA public key. An empty argument is nobody.
func recoveryTarget(arg string) (fs.RecoveryTarget, error) {
	if arg == "" {
		return fs.RecoveryTarget{}, nil
	}
	if isKeyName(arg) {
		return fs.RecoveryTarget{KeyID: arg}, nil
	}
	text, err := readPEM(arg)
	if err != nil {
		return fs.RecoveryTarget{}, err
	}
	defer clear(text)
	r, err := envelope.ParseRecipientPEM(text)
	if err != nil {
		return fs.RecoveryTarget{}, failf(exitUsage, publicKeyHint(arg), "%s is not an RSA public key in PEM: %v", arg, errors.Unwrap(err))
	}
	return fs.RecoveryTarget{Public: r}, nil
}

func publicKeyHint(file string) string {
	return "make it from the private key, which stays elsewhere: openssl pkey -in PRIVATE.pem -pubout -out " + file
}

// recoverySource reads --recovery-key where it names what recovers: a KEY, or a file with an RSA private
// key, whose passphrase is asked for. The caller wipes the key.
func (a *app) recoverySource(arg string) (*fs.RecoverySource, error) {
	if isKeyName(arg) {
		return &fs.RecoverySource{KeyID: arg}, nil
	}
	text, err := readPEM(arg)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	private, err := parsePrivatePEM(text, func() ([]byte, error) { return a.ui.AskSecret("Passphrase of " + arg + ": ") })
	if err != nil {
		return nil, wrapf(err, "read recovery key %s", arg)
	}
	k, err := envelope.NewRecoveryKey(private)
	if err != nil {
		return nil, failf(exitUsage, "", "%s: %v", arg, errors.Unwrap(err))
	}
	return &fs.RecoverySource{Private: k}, nil
}

// readPEM reads a small file.
func readPEM(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(text) > maxPEM {
		err = failf(exitUsage, "", "%s is too large for a key file", name)
	}
	return text, err
}

// parsePrivatePEM reads an RSA private key: PKCS#8 (RFC 5208), also encrypted by PBES2 (RFC 8018), or
// PKCS#1.
func parsePrivatePEM(text []byte, passphrase func() ([]byte, error)) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, failf(exitUsage, "name the file with the private key", "it has no PEM block")
	}
	defer clear(block.Bytes)
	if block.Headers["Proc-Type"] != "" {
		return nil, failf(exitUsage, "convert it: openssl pkcs8 -topk8 -in OLD.pem -out NEW.pem", "its encryption is of the old kind, which is not safe")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		key, err = decryptPKCS8(block.Bytes, passphrase)
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return nil, failf(exitUsage, "recovery needs the private key", "it is a public key")
	default:
		return nil, failf(exitUsage, "", "it has a PEM block of type %q, want a private key", block.Type)
	}
	if err != nil {
		return nil, err
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, failf(exitUsage, "", "a %T is no RSA key", key)
	}
	return private, nil
}

// decryptPKCS8 opens an EncryptedPrivateKeyInfo.
func decryptPKCS8(der []byte, passphrase func() ([]byte, error)) (key any, err error) {
	secret, err := passphrase()
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	defer func() {
		if p := recover(); p != nil { // the library trusts lengths in the file
			key, err = nil, fmt.Errorf("it is damaged: %v", p)
		}
	}()
	if key, _, err = pkcs8.ParsePrivateKey(der, secret); err != nil {
		return nil, failf(exitKeys, "check the passphrase", "it cannot be decrypted: %v", err)
	}
	return key, nil
}
