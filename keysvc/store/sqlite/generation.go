package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// generationWord is a 64-bit counter in a file that several processes map. It is read
// in memory and written with a system call: a write to memory that the device has no
// room for would kill the process.
type generationWord struct {
	file    *os.File
	mapping []byte
	word    *atomic.Uint64
}

const wordSize = int(unsafe.Sizeof(atomic.Uint64{}))

func openGenerationWord(path string) (*generationWord, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	g := &generationWord{file: f}
	if err := g.open(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return g, nil
}

func (g *generationWord) open() error {
	info, err := g.file.Stat()
	if err == nil && info.Size() < int64(wordSize) {
		err = g.store(0)
	}
	if err != nil {
		return err
	}
	if g.mapping, err = unix.Mmap(int(g.file.Fd()), 0, wordSize, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map %s: %w", g.file.Name(), err)
	}
	g.word = (*atomic.Uint64)(unsafe.Pointer(&g.mapping[0]))
	return nil
}

func (g *generationWord) load() uint64 { return g.word.Load() }

func (g *generationWord) store(value uint64) error {
	_, err := g.file.WriteAt(binary.NativeEndian.AppendUint64(nil, value), 0)
	return err
}

func (g *generationWord) close() error { return errors.Join(unix.Munmap(g.mapping), g.file.Close()) }
