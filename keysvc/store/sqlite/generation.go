package sqlite

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// generationWord is a 64-bit counter in a file that several processes map.
type generationWord struct {
	mapping []byte
	word    *atomic.Uint64
}

func openGenerationWord(path string) (*generationWord, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const size = int(unsafe.Sizeof(atomic.Uint64{}))
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if info.Size() < int64(size) {
		if err := f.Truncate(int64(size)); err != nil {
			return nil, err
		}
	}
	mapping, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return &generationWord{mapping: mapping, word: (*atomic.Uint64)(unsafe.Pointer(&mapping[0]))}, nil
}

func (g *generationWord) load() uint64       { return g.word.Load() }
func (g *generationWord) store(value uint64) { g.word.Store(value) }
func (g *generationWord) close() error       { return unix.Munmap(g.mapping) }
