package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"
)

// pollEvery is how often a following reader looks for new records.
const pollEvery = 100 * time.Millisecond

// Reader reads a trail from its beginning, while others append to it.
//
// It must be used by one goroutine at a time.
type Reader struct {
	path  string
	file  *os.File
	lines lines
}

// lines reads complete lines; what follows the last one waits to be completed.
type lines struct {
	in      *bufio.Reader
	partial []byte
}

func newLines(r io.Reader) lines { return lines{in: bufio.NewReaderSize(r, 64<<10)} }

// OpenReader opens a trail for reading. It needs no lock.
func OpenReader(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &Error{Op: "read", Path: path, Kind: KindIO, Err: err}
	}
	return &Reader{path: path, file: f, lines: newLines(f)}, nil
}

// Next returns the next record, or io.EOF behind the last complete one; it may
// be called again then. A line that is no record gives an [*Error] of
// KindDamaged, and the next call goes on behind it.
func (r *Reader) Next() (Record, error) {
	line, err := r.lines.next()
	if err != nil {
		return Record{}, r.fail(err)
	}
	record, err := ParseRecord(line)
	var e *Error
	if errors.As(err, &e) {
		e.Path = r.path
	}
	return record, err
}

// fail gives an error of the file its place; io.EOF stays as it is.
func (r *Reader) fail(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return &Error{Op: "read", Path: r.path, Kind: KindIO, Err: err}
}

// next returns the next complete line without its newline, or io.EOF.
func (l *lines) next() ([]byte, error) {
	for {
		piece, err := l.in.ReadSlice('\n')
		l.partial = append(l.partial, piece...)
		switch {
		case err == nil:
			line := bytes.TrimSuffix(l.partial, []byte("\n"))
			l.partial = nil
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// Follow is Next that waits for a record to be appended instead of returning
// io.EOF. It returns the context's error when that ends.
func (r *Reader) Follow(ctx context.Context) (Record, error) {
	for {
		record, err := r.Next()
		if !errors.Is(err, io.EOF) {
			return record, err
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return Record{}, ctx.Err()
		}
	}
}

// SkipToEnd passes over the records that are there, for a following reader that
// wants new ones only.
func (r *Reader) SkipToEnd() error {
	for {
		if _, err := r.lines.next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return r.fail(err)
		}
	}
}

// Close closes the file.
func (r *Reader) Close() error { return r.file.Close() }
