package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
)

// modelState is what the file must hold: whole blocks by number (absent: zeros), size, slot area, and
// whether it is compressed.
type modelState struct {
	blocks map[int64]*[PageSize]byte // never changed in place
	size   int64
	area   []byte

	compress bool
}

func (m modelState) clone() modelState {
	m.blocks = maps.Clone(m.blocks)
	return m
}

// write changes bytes, copying the blocks that it touches.
func (m *modelState) write(p []byte, off int64) {
	for n := 0; n < len(p); {
		block, in := (off+int64(n))/PageSize, int((off+int64(n))%PageSize)
		var b [PageSize]byte
		if old := m.blocks[block]; old != nil {
			b = *old
		}
		n += copy(b[in:], p[n:])
		m.blocks[block] = &b
	}
}

// zero clears bytes that lie within the size.
func (m *modelState) zero(lo, hi int64) {
	for block, old := range m.blocks {
		from, to := max(lo, block*PageSize), min(hi, (block+1)*PageSize)
		if from < to {
			b := *old
			clear(b[from-block*PageSize : to-block*PageSize])
			m.blocks[block] = &b
		}
	}
}

func (m *modelState) resize(size int64) {
	if size < m.size {
		m.zero(size, m.size)
		maps.DeleteFunc(m.blocks, func(b int64, _ *[PageSize]byte) bool { return b*PageSize >= size })
	}
	m.size = size
}

// recover opens the file after a crash, possibly with the next crash to come during it, and
// returns which candidate it holds.
func (c *crashRun) recover(candidates []modelState) (int, error) {
	if err := c.open(Trust{}); err != nil {
		return 0, fmt.Errorf("open after crash: %w", err)
	}
	var why error
	for i := len(candidates) - 1; i >= 0; i-- {
		if err := c.compare(&candidates[i]); err == nil {
			return i, c.file.Verify(nil)
		} else if why == nil || !errors.Is(err, errDiffers) {
			why = err
		}
	}
	return 0, fmt.Errorf("holds none of %d states: %w", len(candidates), why)
}

var errDiffers = errors.New("differs")

// compare checks the open file against m.
func (c *crashRun) compare(m *modelState) error {
	if c.file.Size() != m.size || !bytes.Equal(c.file.SlotArea(), m.area) || c.file.Compresses() != m.compress {
		return fmt.Errorf("%w: size %d, want %d, or slot area or compression", errDiffers, c.file.Size(), m.size)
	}
	var got [PageSize]byte
	for block, want := range m.blocks {
		n, err := c.file.ReadAt(got[:], block*PageSize)
		if err != nil {
			return err
		}
		if !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("%w: block %d", errDiffers, block)
		}
	}
	return c.compareHoles(m)
}

// compareHoles checks that the file has no data but zeros outside the blocks of m.
func (c *crashRun) compareHoles(m *modelState) error {
	var got [PageSize]byte
	for hole := int64(0); hole < m.size; {
		data, err := c.file.SeekData(hole)
		if KindOf(err) == KindNoData {
			return nil
		} else if err != nil {
			return err
		}
		if hole, err = c.file.SeekHole(data); err != nil {
			return err
		}
		for block := data / PageSize; block*PageSize < hole; block++ {
			if m.blocks[block] != nil {
				continue
			}
			n, err := c.file.ReadAt(got[:], block*PageSize)
			if err != nil {
				return err
			}
			if !allZero(got[:n]) {
				return fmt.Errorf("%w: data in the hole at block %d", errDiffers, block)
			}
		}
	}
	return nil
}
