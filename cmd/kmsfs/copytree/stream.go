package copytree

import (
	"errors"
	"fmt"
	"io"

	"github.com/kmsfs/kmsfs/fs"
)

// Stream is a Sink that passes everything on at once, in order: standard output, a pipe, a device.
type Stream struct {
	Out   io.Writer
	at    int64
	close func() error
}

// zeros stands for holes.
var zeros [64 << 10]byte

// WriteAt implements Sink. Holes are written as zeros; going back is an error.
func (s *Stream) WriteAt(p []byte, off int64) (int, error) {
	if off < s.at {
		return 0, fmt.Errorf("write at %d after %d: a stream cannot go back", off, s.at)
	}
	if err := s.Truncate(off); err != nil {
		return 0, err
	}
	n, err := s.Out.Write(p)
	s.at += int64(n)
	return n, err
}

// Truncate implements Sink: it writes zeros up to size.
func (s *Stream) Truncate(size int64) error {
	for s.at < size {
		n, err := s.Out.Write(zeros[:min(size-s.at, int64(len(zeros)))])
		s.at += int64(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// SetXattr implements Sink: a stream has no attributes.
func (s *Stream) SetXattr(string, []byte) error { return errors.ErrUnsupported }

// Commit implements Sink.
func (s *Stream) Commit(fs.Meta) error {
	if s.close == nil {
		return nil
	}
	c := s.close
	s.close = nil
	return c()
}

// Abort implements Sink. What was written stays.
func (s *Stream) Abort() { _ = s.Commit(fs.Meta{}) }
