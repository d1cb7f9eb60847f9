package envelope

import (
	"bytes"
	"testing"
)

// A commit that was lost because its root page was torn does not come back when the next root, written over
// it, is torn too, wherever.
func TestATornRootNeverBecomesWholeAgain(t *testing.T) {
	const sectors = PageSize / 512
	key, err := NewDataKey(bytes.Repeat([]byte{1}, KeySize))
	must(t, err)
	for bad := range sectors {
		s := newCrashStore()
		o := FileOptions{Store: s, Key: key, Stat: zeroStat{}, MountID: 1}
		f, err := CreateFile(o, VolumeID{1}, FileID{2}, bytes.Repeat([]byte{7}, 1500), 0)
		must(t, err)
		must(t, f.Truncate(10_000))
		must(t, f.Sync())
		must(t, f.Truncate(90_000)) // the commit that gets lost: it needs no page but its root
		must(t, f.Commit())
		slot := int64(f.last.slot)
		f.Wipe()
		torn := *s.cur[slot]
		for i := bad * 512; i < (bad+1)*512; i++ {
			torn[i] ^= 0x55
		}
		s.put(slot, &torn)
		must(t, s.Sync())

		f = reopenUnsettled(t, o)
		if f.Size() != 10_000 {
			t.Fatalf("sector %d torn: size %d", bad, f.Size())
		}
		must(t, f.Truncate(20_000))
		must(t, f.Commit())
		f.Wipe()
		before, after := *s.durable[slot], *s.cur[slot]
		for mix := range 1 << sectors {
			page := before
			for i := range sectors {
				if mix>>i&1 == 1 {
					copy(page[i*512:(i+1)*512], after[i*512:])
				}
			}
			s.put(slot, &page)
			f := reopenUnsettled(t, o)
			if f.Size() != 10_000 && f.Size() != 20_000 {
				t.Fatalf("sector %d torn, then %08b of the next root written: size %d", bad, mix, f.Size())
			}
			f.Wipe()
		}
	}
}

func reopenUnsettled(t *testing.T, o FileOptions) *File {
	t.Helper()
	r, err := ReadRoots(o.Store)
	must(t, err)
	f, err := OpenFile(o, r, Trust{})
	must(t, err)
	return f
}
