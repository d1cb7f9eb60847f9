package envelope

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// logFile is a rename log together with its file.
type logFile struct {
	log  *RenameLog
	file []byte
	ends []int // of each frame
}

// append logs a rename and writes it to the file.
func (l *logFile) append(t testing.TB, e RenameEntry) {
	t.Helper()
	b, err := l.log.Append(e)
	wantKind(t, err, 0)
	l.file = append(l.file, b...)
	l.ends = append(l.ends, len(l.file))
}

// newLogFile logs the given renames.
func newLogFile(t testing.TB, v *Volume, entries ...RenameEntry) *logFile {
	t.Helper()
	l := &logFile{log: v.NewRenameLog()}
	for _, e := range entries {
		l.append(t, e)
	}
	return l
}

func TestPathAtTakesBackTheRenamesSince(t *testing.T) {
	v := volumeWithKey(t, 1)
	l := newLogFile(t, v,
		RenameEntry{Old: "/a", New: "/b"},                   // 1
		RenameEntry{Old: "/b/sub", New: "/sub"},             // 2
		RenameEntry{Old: "/sub", New: "/c", Cancel: false},  // 3
		RenameEntry{Old: "/c", New: "/d"},                   // 4, cancelled by 5
		RenameEntry{Old: "/c", New: "/d", Cancel: true},     // 5
		RenameEntry{Old: "/b", New: "/x/y", Exchange: true}, // 6
	)
	if l.log.Seq() != 6 {
		t.Fatalf("sequence %d", l.log.Seq())
	}
	for _, c := range []struct {
		path string
		seq  uint64
		want string
	}{
		{"/c/f", 6, "/c/f"}, {"/c/f", 3, "/c/f"}, {"/c/f", 2, "/sub/f"}, {"/c/f", 1, "/b/sub/f"}, {"/c/f", 0, "/a/sub/f"},
		{"/c", 0, "/a/sub"}, {"/cc/f", 0, "/cc/f"}, {"/d/f", 3, "/d/f"}, {"/d/f", 4, "/d/f"},
		{"/x/y/f", 5, "/b/f"}, {"/b/f", 5, "/x/y/f"}, {"/x/y/f", 0, "/a/f"}, {"/b/f", 0, "/x/y/f"}, {"/x/yy", 5, "/x/yy"},
		{"/b/sub/f", 1, "/x/y/sub/f"}, {"/a/f", 1, "/a/f"}, {"/a/f", 0, ""}, {"/a", 0, "/a"}, {"/aa", 0, "/aa"},
		{"/sub/f", 2, ""}, {"/sub/f", 1, ""}, {"/sub/f", 3, "/sub/f"}, {"/c/f", 7, ""}, {"/c/f", 1 << 60, ""},
	} {
		if got, ok := l.log.PathAt(c.path, c.seq, l.log.Seq()); got != c.want || ok != (c.want != "") {
			t.Errorf("%s at %d was %s, want %s", c.path, c.seq, got, c.want)
		}
	}
}

func TestRenameLogComesBackFromItsFile(t *testing.T) {
	v := volumeWithKey(t, 1)
	l := newLogFile(t, v,
		RenameEntry{Old: "/a", New: "/b"},
		RenameEntry{Old: "/" + strings.Repeat("n", 255), New: "/é\n"},
		RenameEntry{Old: "/x", New: "/y", Exchange: true},
		RenameEntry{Old: "/x", New: "/y", Exchange: true, Cancel: true},
	)
	for i := range l.file {
		if bytes.HasPrefix(l.file[i:], []byte("nnnn")) {
			t.Fatal("the file shows a path")
		}
	}
	got, n, err := v.ParseRenameLog(l.file)
	wantKind(t, err, 0)
	if n != int64(len(l.file)) || !reflect.DeepEqual(got.Entries(), l.log.Entries()) {
		t.Errorf("%d of %d bytes: %+v", n, len(l.file), got.Entries())
	}
	if was, _ := got.PathAt("/y", 2, got.Seq()); was != "/y" {
		t.Error("the cancellation is forgotten")
	}
	b, err := got.Append(RenameEntry{Seq: 5, Old: "/c", New: "/d"})
	wantKind(t, err, 0)
	_, n, err = v.ParseRenameLog(append(l.file, b...))
	wantKind(t, err, 0)
	if n != int64(len(l.file)+len(b)) {
		t.Error("what a parsed log appends does not follow")
	}
}

func TestEmptyRenameLogIsEmpty(t *testing.T) {
	l, n, err := volumeWithKey(t, 1).ParseRenameLog(nil)
	wantKind(t, err, 0)
	if was, _ := l.PathAt("/a", 0, l.Seq()); n != 0 || l.Seq() != 0 || was != "/a" {
		t.Errorf("%d bytes, sequence %d", n, l.Seq())
	}
}

func TestRenamesThatCannotBeAreRefused(t *testing.T) {
	v := volumeWithKey(t, 1)
	l := newLogFile(t, v, RenameEntry{Old: "/a", New: "/b"})
	long := strings.Repeat("/"+strings.Repeat("n", 255), MaxLoggedPath/256)
	l.append(t, RenameEntry{Old: long, New: long[:len(long)-1]})
	for label, c := range map[string]struct {
		e    RenameEntry
		want Kind
	}{
		"relative":          {RenameEntry{Old: "a", New: "/b"}, KindInvalid},
		"empty":             {RenameEntry{Old: "", New: "/b"}, KindInvalid},
		"root":              {RenameEntry{Old: "/", New: "/b"}, KindInvalid},
		"trailing slash":    {RenameEntry{Old: "/a/", New: "/b"}, KindInvalid},
		"double slash":      {RenameEntry{Old: "/a//c", New: "/b"}, KindInvalid},
		"dot dot":           {RenameEntry{Old: "/a/..", New: "/b"}, KindInvalid},
		"long component":    {RenameEntry{Old: "/" + strings.Repeat("n", 256), New: "/b"}, KindInvalid},
		"too long":          {RenameEntry{Old: long + "/x", New: "/b"}, KindTooLong},
		"into itself":       {RenameEntry{Old: "/a", New: "/a/b"}, KindInvalid},
		"onto its parent":   {RenameEntry{Old: "/a/b", New: "/a"}, KindInvalid},
		"onto itself":       {RenameEntry{Old: "/a", New: "/a"}, KindInvalid},
		"sequence skipped":  {RenameEntry{Seq: 4, Old: "/a", New: "/b"}, KindInvalid},
		"sequence repeated": {RenameEntry{Seq: 2, Old: "/a", New: "/b"}, KindInvalid},
		"cancels nothing":   {RenameEntry{Old: "/b", New: "/a", Cancel: true}, KindInvalid},
		"cancels exchange":  {RenameEntry{Old: "/a", New: "/b", Cancel: true, Exchange: true}, KindInvalid},
	} {
		t.Run(label, func(t *testing.T) {
			_, err := l.log.Append(c.e)
			wantKind(t, err, c.want)
		})
	}
	l.append(t, RenameEntry{Old: "/a", New: "/b", Cancel: true})
	_, err := l.log.Append(RenameEntry{Old: "/a", New: "/b", Cancel: true})
	wantKind(t, err, KindInvalid)
}

func TestUndoTakesBackTheNewestEntryOnly(t *testing.T) {
	v := volumeWithKey(t, 1)
	l := newLogFile(t, v, RenameEntry{Old: "/a", New: "/b"})
	_, err := l.log.Append(RenameEntry{Old: "/a", New: "/b", Cancel: true})
	wantKind(t, err, 0)
	wantKind(t, l.log.Undo(1), KindInvalid)
	wantKind(t, l.log.Undo(3), KindInvalid)
	wantKind(t, l.log.Undo(2), 0)
	if was, _ := l.log.PathAt("/b", 0, l.log.Seq()); l.log.Seq() != 1 || was != "/a" {
		t.Error("the cancellation is still in force")
	}
	l.append(t, RenameEntry{Old: "/b", New: "/c"})
	_, n, err := v.ParseRenameLog(l.file)
	wantKind(t, err, 0)
	if n != int64(len(l.file)) {
		t.Error("the entry after an undone one does not follow")
	}
	wantKind(t, v.NewRenameLog().Undo(0), KindInvalid)
}

func TestRetiredLogStillKnowsTheRest(t *testing.T) {
	v := volumeWithKey(t, 1)
	l := newLogFile(t, v,
		RenameEntry{Old: "/a", New: "/b"},               // 1
		RenameEntry{Old: "/p", New: "/q"},               // 2, cancelled by 4
		RenameEntry{Old: "/b", New: "/c"},               // 3
		RenameEntry{Old: "/p", New: "/q", Cancel: true}, // 4
		RenameEntry{Old: "/c", New: "/d"},               // 5
	)
	for _, c := range []struct{ ask, base uint64 }{{0, 0}, {1, 1}, {2, 1}, {3, 1}, {4, 4}, {5, 5}, {99, 5}} {
		small, file, err := l.log.Retired(c.ask)
		wantKind(t, err, 0)
		back, n, err := v.ParseRenameLog(file)
		wantKind(t, err, 0)
		if n != int64(len(file)) || back.Base() != c.base || back.Seq() != 5 || !reflect.DeepEqual(back.Entries(), small.Entries()) {
			t.Errorf("retired %d: base %d, want %d; sequence %d", c.ask, back.Base(), c.base, back.Seq())
		}
		for seq := c.base; seq <= 5; seq++ {
			got, _ := back.PathAt("/d/f", seq, back.Seq())
			if want, _ := l.log.PathAt("/d/f", seq, l.log.Seq()); got != want || got == "" {
				t.Errorf("retired %d: path at %d is %s, want %s", c.ask, seq, got, want)
			}
		}
		if was, ok := back.PathAt("/d/f", c.base-1, back.Seq()); ok {
			t.Errorf("retired %d: the path before the base is %s", c.ask, was)
		}
		again, _, err := back.Retired(0)
		wantKind(t, err, 0)
		if again.Base() != c.base {
			t.Error("retiring less brings entries back")
		}
	}
	if l.log.Base() != 0 || l.log.Seq() != 5 {
		t.Error("Retired changed the log itself")
	}
}

func TestTornAppendIsIgnored(t *testing.T) {
	v := volumeWithKey(t, 1)
	l := newLogFile(t, v, RenameEntry{Old: "/a", New: "/b"}, RenameEntry{Old: "/b", New: "/c"})
	first := l.ends[0]
	for cut := first; cut < len(l.file); cut++ {
		_, n, err := v.ParseRenameLog(l.file[:cut])
		if err != nil || n != int64(first) {
			t.Fatalf("cut at %d: %d bytes valid, %v", cut, n, err)
		}
	}
	for cut := first; cut < len(l.file); cut += frameAlign { // what a device writes is aligned
		for label, file := range map[string][]byte{
			"zeros after":      append(append([]byte(nil), l.file[:cut]...), make([]byte, len(l.file)-cut)...),
			"page not written": append(append(append([]byte(nil), l.file[:first]...), make([]byte, cut-first)...), l.file[cut:]...),
		} {
			if bytes.Equal(file, l.file) {
				continue
			}
			log, n, err := v.ParseRenameLog(file)
			if err != nil || n != int64(first) || log.Seq() != 1 {
				t.Fatalf("%s at %d: %d bytes valid, %v", label, cut, n, err)
			}
		}
	}
}

func TestForgedRenameLogsAreRefused(t *testing.T) {
	v, other := volumeWithKey(t, 1), volumeWithKey(t, 2)
	entries := []RenameEntry{{Old: "/a", New: "/b"}, {Old: "/b", New: "/c"}, {Old: "/c", New: "/d"}}
	l := newLogFile(t, v, entries...)
	frame := func(i int) []byte {
		return l.file[append([]int{0}, l.ends...)[i]:l.ends[i]]
	}
	join := func(b ...[]byte) []byte { return bytes.Join(b, nil) }
	again := newLogFile(t, v, entries...)
	_, base, err := l.log.Retired(1)
	wantKind(t, err, 0)
	_, late, err := l.log.Retired(3)
	wantKind(t, err, 0)
	length := append([]byte(nil), l.file...)
	binary.LittleEndian.PutUint32(length[4:], 1<<31)
	for label, file := range map[string][]byte{
		"first dropped":        join(frame(1), frame(2)),
		"middle dropped":       join(frame(0), frame(2), frame(2)),
		"two swapped":          join(frame(1), frame(0), frame(2)),
		"first repeated":       join(frame(0), frame(0), frame(1)),
		"edited":               flipBit(l.file, 70),
		"sequence edited":      flipBit(l.file, 8),
		"impossible length":    length,
		"other volume":         newLogFile(t, other, entries...).file,
		"other history":        join(frame(0), again.file[again.ends[0]:]),
		"base in the middle":   join(frame(0), base, frame(1)),
		"two bases":            join(base, base),
		"entries before base":  join(base, frame(1), frame(2)),
		"later base, old tail": join(late, frame(2), frame(2)),
		"garbage":              bytes.Repeat([]byte("garbage."), 100),
		"zeros, far too many":  make([]byte, maxFrame+1),
	} {
		t.Run(label, func(t *testing.T) {
			_, _, err := v.ParseRenameLog(file)
			wantKind(t, err, KindCorrupt)
		})
	}
}

func TestAuthenticRenameFramesOfOtherFormsAreRefused(t *testing.T) {
	v := volumeWithKey(t, 1)
	good := encodeRename(0, "/a", "/b")
	set := func(i int, c byte) []byte {
		b := append([]byte(nil), good...)
		b[i] = c
		return b
	}
	for label, c := range map[string]struct {
		seq   uint64
		plain []byte
	}{
		"sequence 0":       {0, good},
		"sequence 2":       {2, good},
		"unknown flag":     {1, set(0, 8)},
		"base and more":    {1, set(0, frameBase|frameCancel)},
		"old too long":     {1, set(5, 0xff)},
		"new too long":     {1, set(7, 0xff)},
		"not a path":       {1, set(8, 'a')},
		"cancels nothing":  {1, set(0, frameCancel)},
		"reserved bytes":   {1, set(1, 1)},
		"padding not zero": {1, set(len(good)-1, 1)},
		"too much padding": {1, append(append([]byte(nil), good...), make([]byte, frameAlign)...)},
	} {
		t.Run(label, func(t *testing.T) {
			b := v.sealFrame(c.seq, c.plain, [tagSize]byte{})
			_, _, err := v.ParseRenameLog(b)
			wantKind(t, err, KindCorrupt)
		})
	}
}

func TestRenameLogIsSafeForConcurrentUse(t *testing.T) {
	v := volumeWithKey(t, 1)
	l := v.NewRenameLog()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				if _, err := l.Append(RenameEntry{Old: fmt.Sprintf("/%d/%d", g, i), New: fmt.Sprintf("/%d/n%d", g, i)}); err != nil {
					t.Error(err)
				}
				l.PathAt("/a/b", 0, l.Seq())
				l.Entries()
			}
		})
	}
	wg.Wait()
	if l.Seq() != 200 {
		t.Errorf("sequence %d", l.Seq())
	}
}
