package sharedword

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// size is that of the file, in bytes.
const size = int(unsafe.Sizeof(atomic.Uint64{}))

// Word is the number, in the byte order of the machine. It is read in memory and
// written with a system call: a write to memory that the device has no room for
// would kill the process.
type Word struct {
	file    *os.File
	mapping []byte
	word    *atomic.Uint64
}

// Open maps the file at path, making it with the number 0 and the mode 0600 if
// there is none.
func Open(path string) (*Word, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	w := &Word{file: f}
	if err := w.open(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

func (w *Word) open() error {
	info, err := w.file.Stat()
	if err == nil && info.Size() < int64(size) {
		err = w.Store(0)
	}
	if err != nil {
		return err
	}
	if w.mapping, err = unix.Mmap(int(w.file.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map %s: %w", w.file.Name(), err)
	}
	w.word = (*atomic.Uint64)(unsafe.Pointer(&w.mapping[0]))
	return nil
}

// Load returns the number.
func (w *Word) Load() uint64 { return w.word.Load() }

// Store changes the number for everybody. It fails if the device has no room for it.
func (w *Word) Store(value uint64) error {
	_, err := w.file.WriteAt(binary.NativeEndian.AppendUint64(nil, value), 0)
	return err
}

// Close unmaps the file. Nothing may be called after it.
func (w *Word) Close() error { return errors.Join(unix.Munmap(w.mapping), w.file.Close()) }
