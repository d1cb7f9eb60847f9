package main

import (
	"context"
	"io"
	"slices"
)

// interruptible reads and writes a pipe, such as standard input, until a context ends: whoever is at its other end
// may let it wait for ever. After the end nothing can be told of what the last call has done.
type interruptible struct {
	ctx context.Context
	io.Reader
	io.Writer
}

type moved struct {
	n   int
	err error
}

// Read implements io.Reader.
func (i interruptible) Read(p []byte) (int, error) {
	own := make([]byte, len(p)) // p is its owner's again once the context has ended
	n, err := i.wait(func() (int, error) { return i.Reader.Read(own) })
	defer clear(own[:n])
	return copy(p, own[:n]), err
}

// Write implements io.Writer.
func (i interruptible) Write(p []byte) (int, error) {
	own := slices.Clone(p)
	n, err := i.wait(func() (int, error) { return i.Writer.Write(own) })
	if err == nil {
		clear(own)
	}
	return n, err
}

func (i interruptible) wait(call func() (int, error)) (int, error) {
	done := make(chan moved, 1)
	go func() {
		n, err := call()
		done <- moved{n, err}
	}()
	select {
	case m := <-done:
		return m.n, m.err
	case <-i.ctx.Done():
		return 0, i.ctx.Err()
	}
}
