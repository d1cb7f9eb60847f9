package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kmsfs/kmsfs/hsm/pkcs11"
)

// PIN lengths that SoftHSM takes, in bytes.
const (
	minPIN = 4
	maxPIN = 255
)

const pinFile = "pin"

// pinSource is a parsed PINSource option.
type pinSource struct {
	kind string // "" (the file pin), "prompt", "file", "env", "cmd"
	arg  string
}

func parsePINSource(s string) (pinSource, error) {
	if s == "" || s == "prompt" {
		return pinSource{kind: s}, nil
	}
	kind, arg, _ := strings.Cut(s, ":")
	switch kind {
	case "file", "env", "cmd":
		if arg != "" {
			return pinSource{kind: kind, arg: arg}, nil
		}
	}
	return pinSource{}, fmt.Errorf("the PIN source is %q; it must be prompt, file:PATH, env:VARIABLE or cmd:COMMAND", s)
}

// newPIN gets the PIN for a token that is about to be made. If it is to be kept
// in the directory it is made up and written there.
func (o *Options) newPIN(ctx context.Context, source pinSource) (pkcs11.PIN, error) {
	switch source.kind {
	case "":
		return o.makeUpPIN()
	case "prompt":
		return o.promptTwice()
	default:
		return o.readPIN(ctx, source)
	}
}

// makeUpPIN writes a random PIN of 32 characters, or returns the one that an
// interrupted first use has left.
func (o *Options) makeUpPIN() (pkcs11.PIN, error) {
	if pin, err := o.readPIN(context.Background(), pinSource{}); err == nil {
		return pin, nil
	}
	pin := pkcs11.PIN((rand.Text() + rand.Text())[:32])
	path := filepath.Join(o.Dir, pinFile)
	if err := writeFile(path, append(bytes.Clone(pin), '\n')); err != nil {
		return nil, &Error{Kind: KindUnreadable, Path: path, Err: err}
	}
	return pin, nil
}

func (o *Options) promptTwice() (pkcs11.PIN, error) {
	first, err := o.prompt("New PIN of the key service's token: ")
	if err != nil {
		return nil, err
	}
	second, err := o.prompt("The same PIN again: ")
	if err != nil {
		return nil, err
	}
	defer clear(second)
	if !bytes.Equal(first, second) {
		clear(first)
		return nil, &Error{Kind: KindPIN, Err: errors.New("the two PINs are not the same"), Help: "try again"}
	}
	return first, nil
}

// readPIN gets the PIN of an existing token.
func (o *Options) readPIN(ctx context.Context, source pinSource) (pkcs11.PIN, error) {
	switch source.kind {
	case "":
		return readPINFile(filepath.Join(o.Dir, pinFile))
	case "file":
		return readPINFile(source.arg)
	case "prompt":
		return o.prompt("PIN of the key service's token: ")
	case "env":
		return checkPIN([]byte(os.Getenv(source.arg)), "the environment variable "+source.arg)
	default:
		return runPINCommand(ctx, source.arg)
	}
}

func (o *Options) prompt(text string) (pkcs11.PIN, error) {
	if o.Prompt == nil {
		return nil, &Error{Kind: KindPIN, Err: errors.New("the PIN must be asked for, and there is no terminal"),
			Help: "run the command in a terminal, or use --pin-source file:PATH, env:VARIABLE or cmd:COMMAND"}
	}
	answer, err := o.Prompt(text)
	if err != nil {
		return nil, &Error{Kind: KindPIN, Err: err}
	}
	return checkPIN(answer, "the answer")
}

// readPINFile refuses a file that others can read.
func readPINFile(path string) (pkcs11.PIN, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, pinFileError(path, err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, &Error{Kind: KindUnreadable, Path: path, Err: fmt.Errorf("others than its owner can use the file with the PIN (mode %04o)", mode),
			Help: "chmod 600 " + path}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, pinFileError(path, err)
	}
	return checkPIN(text, path)
}

func pinFileError(path string, err error) error {
	help := "check who may read the file"
	if errors.Is(err, fs.ErrNotExist) {
		help = "restore the file with the PIN; without it the token's keys can't be used"
	}
	return &Error{Kind: KindPIN, Path: path, Err: err, Help: help}
}

// runPINCommand runs a shell command whose output is the PIN. It may talk to the
// user on standard error.
func runPINCommand(ctx context.Context, command string) (pkcs11.PIN, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		clear(text)
		return nil, &Error{Kind: KindPIN, Err: fmt.Errorf("the PIN command failed: %w", err), Help: "try the command by hand: " + command}
	}
	return checkPIN(text, "the output of the PIN command")
}

// checkPIN takes ownership of text, strips the end of a line and checks the
// length.
func checkPIN(text []byte, origin string) (pkcs11.PIN, error) {
	pin := bytes.TrimRight(text, "\r\n")
	if len(pin) < minPIN || len(pin) > maxPIN || bytes.ContainsAny(pin, "\x00\r\n") {
		clear(text)
		return nil, &Error{Kind: KindPIN, Err: fmt.Errorf("%s is no PIN: it must be one line of %d to %d bytes", origin, minPIN, maxPIN)}
	}
	return pin, nil
}
