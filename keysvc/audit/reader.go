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
	path    string
	file    *os.File
	in      *bufio.Reader
	partial []byte // of a line that isn't complete yet
}

// OpenReader opens a trail for reading. It needs no lock.
func OpenReader(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &Error{Op: "read", Path: path, Kind: KindIO, Err: err}
	}
	return &Reader{path: path, file: f, in: bufio.NewReaderSize(f, 64<<10)}, nil
}

// Next returns the next record, or io.EOF behind the last complete one; it may
// be called again then. A line that is no record gives an [*Error] of
// KindDamaged, and the next call goes on behind it.
func (r *Reader) Next() (Record, error) {
	line, err := r.line()
	if err != nil {
		return Record{}, err
	}
	record, err := ParseRecord(line)
	var e *Error
	if errors.As(err, &e) {
		e.Path = r.path
	}
	return record, err
}

// line returns the next complete line without its newline.
func (r *Reader) line() ([]byte, error) {
	for {
		piece, err := r.in.ReadSlice('\n')
		r.partial = append(r.partial, piece...)
		switch {
		case err == nil:
			line := bytes.TrimSuffix(r.partial, []byte("\n"))
			r.partial = nil
			return line, nil
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, &Error{Op: "read", Path: r.path, Kind: KindIO, Err: err}
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
		if _, err := r.line(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// Close closes the file.
func (r *Reader) Close() error { return r.file.Close() }
