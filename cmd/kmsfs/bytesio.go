package main

import (
	"encoding/pem"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// maxInput is how much a command reads that sends it to a key service: more than any member takes.
const maxInput = 64 << 10

// bytesFlags say where a command reads bytes and where it writes them.
type bytesFlags struct{ in, out string }

// add defines --in and --out; what an operation doesn't take is left out.
func (b *bytesFlags) add(c *cobra.Command, in, out string) {
	if in != "" {
		c.Flags().StringVar(&b.in, "in", "-", in+"; - is standard input")
	}
	if out != "" {
		c.Flags().StringVar(&b.out, "out", "-", out+"; - is standard output")
	}
}

// readBytes reads a file, or standard input for "-".
func (a *app) readBytes(path string) ([]byte, error) {
	from := a.ui.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	p, err := io.ReadAll(io.LimitReader(from, maxInput+1))
	if err == nil && len(p) > maxInput {
		err = failf(exitUsage, "a key service takes 4 KiB at most; encrypt larger things with a data key: kmsfs key data-key", "%s is longer than %d bytes", path, maxInput)
	}
	return p, err
}

// writeBytes writes a file that is its owner's alone, or to standard output for "-". A terminal gets
// no bytes that are no text.
func (a *app) writeBytes(path string, p []byte) error {
	if path != "-" {
		return os.WriteFile(path, p, 0o600)
	}
	if f, ok := a.ui.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return failf(exitUsage, "name a file with --out, or use --json", "the result is not text for a terminal")
	}
	return a.ui.Raw(p)
}

// readPublicKey reads a public key, PEM or DER, as DER.
func (a *app) readPublicKey(path string) ([]byte, error) {
	p, err := a.readBytes(path)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(p); block != nil {
		if block.Type != "PUBLIC KEY" {
			return nil, errors.New("the PEM file holds a " + block.Type + ", not a PUBLIC KEY")
		}
		return block.Bytes, nil
	}
	return p, nil
}
