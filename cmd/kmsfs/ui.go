package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// Rules of everything this program prints:
//
//   - stdout carries what the command was asked for and nothing else, so that it can be piped;
//   - everything else goes to stderr;
//   - an error is one line, "kmsfs: ", then lower case and no full stop, then "hint:" lines that
//     name the next thing to try;
//   - progress appears on a terminal only;
//   - control characters that come from file names or the key service are never passed on.

// ui writes to the terminal.
type ui struct {
	in          *os.File
	out, err    io.Writer
	interrupted <-chan struct{} // closed by a signal; nil: never
}

// Line prints one line of the result.
func (u *ui) Line(format string, args ...any) {
	fmt.Fprintln(u.out, printable(fmt.Sprintf(format, args...)))
}

// Raw passes bytes of the result on unchanged; for records that are JSON lines already.
func (u *ui) Raw(p []byte) error {
	_, err := u.out.Write(p)
	return err
}

// Note tells something that is not part of the result.
func (u *ui) Note(format string, args ...any) {
	fmt.Fprintln(u.err, "kmsfs: "+printable(fmt.Sprintf(format, args...)))
}

// Hint suggests what to do after a success.
func (u *ui) Hint(format string) { fmt.Fprintln(u.err, "hint: "+printable(oneLine(format))) }

// Fail prints an error and its hints.
func (u *ui) Fail(err error) {
	var quiet *silentError
	if errors.As(err, &quiet) {
		return
	}
	fmt.Fprintln(u.err, "kmsfs: "+printable(oneLine(message(err))))
	for _, h := range hints(err) {
		fmt.Fprintln(u.err, "hint: "+printable(oneLine(h)))
	}
}

// failures are the errors of a command that goes on after each. It is safe for concurrent use.
type failures struct {
	ui    *ui
	mu    sync.Mutex
	code  int // of the first, 0 without one
	hints []string
}

// Failures begins a list of errors that are printed as they come.
func (u *ui) Failures() *failures { return &failures{ui: u} }

// Add prints an error and keeps its hints for the end.
func (f *failures) Add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fmt.Fprintln(f.ui.err, "kmsfs: "+printable(oneLine(message(err))))
	if f.code == 0 {
		f.code = exitCode(err)
	}
	for _, h := range hints(err) {
		if !slices.Contains(f.hints, h) {
			f.hints = append(f.hints, h)
		}
	}
}

// Result prints each hint once, and returns what ends the command with the code of the first failure.
func (f *failures) Result() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.hints {
		fmt.Fprintln(f.ui.err, "hint: "+printable(oneLine(h)))
	}
	if f.code == 0 {
		return nil
	}
	return &silentError{f.code}
}

// errIsTerminal reports whether somebody sees what is printed beside the result.
func (u *ui) errIsTerminal() bool {
	f, ok := u.err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// status overwrites the last line of the terminal; "" clears it.
func (u *ui) status(line string) {
	fmt.Fprint(u.err, "\r\x1b[K"+printable(line))
}

// Table prints rows under a header in aligned columns.
func (u *ui) Table(header []string, rows [][]string) error {
	w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = printable(c)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// column is one cell of a row that is printed before the next one is known.
type column struct {
	text  string
	width int // in characters; longer text pushes the rest
}

// Columns prints one row with fixed widths.
func (u *ui) Columns(cells ...column) {
	var b strings.Builder
	for _, c := range cells {
		fmt.Fprintf(&b, "%-*s  ", c.width, printable(c.text))
	}
	fmt.Fprintln(u.out, strings.TrimRight(b.String(), " "))
}

// Fields prints name and value pairs, one per line; pairs with an empty value are left out.
func (u *ui) Fields(pairs ...string) error {
	w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(w, "%s:\t%s\n", pairs[i], printable(pairs[i+1]))
		}
	}
	return w.Flush()
}

// JSON prints v, without null members and without what the AWS SDK adds for its own use.
func (u *ui) JSON(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return err
	}
	enc := json.NewEncoder(u.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(prune(tree))
}

// JSONLine prints v as JSON on one line.
func (u *ui) JSONLine(v any) error {
	enc := json.NewEncoder(u.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// AskSecret reads a line from the terminal without echo, or from standard input if that is none. A
// signal ends it and gives the terminal its echo back.
func (u *ui) AskSecret(prompt string) ([]byte, error) {
	fd := int(u.in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return readSecretLine(u.in)
	}
	fmt.Fprint(u.err, prompt)
	defer fmt.Fprintln(u.err)
	type answer struct {
		secret []byte
		err    error
	}
	read := make(chan answer, 1)
	go func() {
		secret, err := term.ReadPassword(fd)
		read <- answer{secret, err}
	}()
	select {
	case a := <-read:
		return a.secret, a.err
	case <-u.interrupted:
		return nil, errors.Join(errors.New("interrupted"), term.Restore(fd, before))
	}
}

// Heading prints the title of a section, with a blank line before it.
func (u *ui) Heading(format string, args ...any) {
	fmt.Fprintln(u.out, "\n"+printable(fmt.Sprintf(format, args...)))
}

// message is what an error says, without the "kmsfs:" of nested programs.
func message(err error) string { return strings.TrimPrefix(err.Error(), "kmsfs: ") }

// oneLine joins the lines of s.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// printable replaces control characters, so that a name cannot move the cursor or fake output.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if (r < ' ' && r != '\n' && r != '\t') || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '?'
		}
		return r
	}, s)
}

// prune drops what does not apply from a decoded JSON tree, as AWS does: null members, unset enums
// (empty strings; an empty description is a value) and the SDK's ResultMetadata.
func prune(v any) any {
	switch t := v.(type) {
	case map[string]any:
		for k, m := range t {
			if m == nil || k == "ResultMetadata" || (m == "" && k != "Description") {
				delete(t, k)
				continue
			}
			t[k] = prune(m)
		}
	case []any:
		for i := range t {
			t[i] = prune(t[i])
		}
	}
	return v
}

// readSecretLine reads up to the first newline or the end.
func readSecretLine(r io.Reader) ([]byte, error) {
	var line []byte
	var b [1]byte
	for len(line) < maxSecret {
		n, err := r.Read(b[:])
		if n == 1 && b[0] == '\n' {
			return line, nil
		}
		line = append(line, b[:n]...)
		if err == io.EOF && len(line) > 0 {
			return line, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the PIN from standard input: %w", err)
		}
	}
	return nil, fmt.Errorf("the PIN on standard input is longer than %d bytes", maxSecret)
}

// maxSecret bounds a PIN, in bytes.
const maxSecret = 1024

// localTime formats a moment for people; the zero time is "".
func localTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
