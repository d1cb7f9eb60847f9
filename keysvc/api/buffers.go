package api

import (
	"io"
	"sync"
)

// maxKept is the longest buffer that is kept for the next request, in bytes.
// Bodies and answers of the usual operations are shorter.
const maxKept = 16 << 10

// buffer holds a body or an answer, and with it perhaps plaintext.
type buffer struct{ text []byte }

// buffers keeps buffers for the next request. The zero value is ready.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *buffer {
	if kept, ok := b.pool.Get().(*buffer); ok {
		return kept
	}
	return &buffer{make([]byte, 0, 2<<10)}
}

// put takes a buffer back, which it wipes. Nobody may use its text any more.
func (b *buffers) put(used *buffer) {
	clear(used.text[:cap(used.text)])
	if used.text = used.text[:0]; cap(used.text) <= maxKept {
		b.pool.Put(used)
	}
}

// read reads a body up to a limit. Room is made for what has come, not for what a
// client says will come.
func (b *buffer) read(from io.Reader, limit int) error {
	for {
		n, err := from.Read(b.text[len(b.text):cap(b.text)])
		switch b.text = b.text[:len(b.text)+n]; {
		case len(b.text) > limit:
			return errTooLarge
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case len(b.text) == cap(b.text):
			b.grow()
		}
	}
}

// grow makes room and leaves no copy.
func (b *buffer) grow() {
	longer := make([]byte, len(b.text), 2*cap(b.text))
	copy(longer, b.text)
	clear(b.text)
	b.text = longer
}
