package integration

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// found is what a walk of the mount sees at one path.
type found struct {
	kind    string // "dir", "file", "symlink"
	target  string
	content []byte
	ino     uint64
}

// look reads everything below the actor's directory. Nothing may fail.
func (a *actor) look() (map[string]found, error) {
	all := map[string]found{}
	err := filepath.WalkDir(a.root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(p, a.root), "/")
		if all[rel], err = lookAt(p, d); err != nil {
			return fmt.Errorf("%s: %w", rel, err)
		}
		return nil
	})
	return all, err
}

func lookAt(p string, d fs.DirEntry) (f found, err error) {
	switch {
	case d.IsDir():
		f.kind = "dir"
	case d.Type() == fs.ModeSymlink:
		f.kind = "symlink"
		f.target, err = os.Readlink(p)
	default:
		f.kind = "file"
		if f.content, err = os.ReadFile(p); err != nil {
			return f, err
		}
		var st unix.Stat_t
		err = unix.Stat(p, &st)
		f.ino = st.Ino
	}
	return f, err
}

func (n node) kind() string {
	switch {
	case n.dir != nil:
		return "dir"
	case n.file != nil:
		return "file"
	}
	return "symlink"
}

// check compares the mount with what may be there after a crash, and goes on from it.
func (a *actor) check(t *testing.T) {
	t.Helper()
	saw, err := a.look()
	if err != nil {
		t.Fatalf("%s: cannot be read: %v\n%s", filepath.Base(a.root), err, a.history())
	}
	var why []string
	for _, s := range slices.Backward(a.past) {
		problem := s.explains(saw)
		if problem == "" {
			a.adopt(s, saw)
			return
		}
		why = append(why, fmt.Sprintf("not as after operation %d: %s", s.op, problem))
	}
	t.Fatalf("%s: neither old nor new:\n%s\n%s", filepath.Base(a.root), strings.Join(why, "\n"), a.history())
}

// history is what the actor did last, with long names shortened.
func (a *actor) history() string {
	return strings.ReplaceAll(strings.Join(a.log[max(0, len(a.log)-60):], "\n"), "-long", "")
}

// explains returns what of saw does not fit the tree, "" when all does.
func (s snapshot) explains(saw map[string]found) string {
	for p, n := range s.tree {
		if f, ok := saw[p]; !ok || f.kind != n.kind() || f.target != n.target {
			return fmt.Sprintf("%s %q: found %q %.40q", n.kind(), p, f.kind, f.target)
		}
	}
	for p, f := range saw {
		n, ok := s.tree[p]
		if !ok {
			return fmt.Sprintf("unexpected %s %q", f.kind, p)
		}
		if n.file != nil {
			if problem := n.file.explains(f.content); problem != "" {
				return fmt.Sprintf("file %q: %s", p, problem)
			}
		}
	}
	return s.explainsLinks(saw)
}

// explainsLinks checks that names of one file lead to one file. Those of a file that was never
// written before the crash may come apart.
func (s snapshot) explainsLinks(saw map[string]found) string {
	inos := map[*fileModel]uint64{}
	for p, n := range s.tree {
		if n.file == nil {
			continue
		}
		ino, seen := inos[n.file]
		if seen && ino != saw[p].ino && (n.file.synced || len(saw[p].content) > 0) {
			return fmt.Sprintf("file %q is no longer one with its other names", p)
		}
		inos[n.file] = saw[p].ino
	}
	return ""
}

// explains returns what of a content a crash cannot have made, "" if it can: each page is as durable
// or as written since, and so is the size.
func (m *fileModel) explains(got []byte) string {
	least, most := len(m.since[0]), 0
	for _, v := range m.since {
		least, most = min(least, len(v)), max(most, len(v))
	}
	if len(got) < least || len(got) > most {
		return fmt.Sprintf("%d bytes, expected %d to %d", len(got), least, most)
	}
	for off := 0; off < len(got); off += 4096 {
		page := got[off:min(off+4096, len(got))]
		if off >= len(m.since[0]) && len(bytes.Trim(page, "\x00")) == 0 {
			continue // never written before, and not since
		}
		if !slices.ContainsFunc(m.since, func(v []byte) bool { return samePage(page, v, off) }) {
			return fmt.Sprintf("page at %d is neither durable nor of %d later contents", off, len(m.since)-1)
		}
	}
	return ""
}

// samePage compares a page with the same place of a content, which continues in zeros.
func samePage(page, content []byte, off int) bool {
	want := make([]byte, len(page))
	if off < len(content) {
		copy(want, content[off:])
	}
	return bytes.Equal(page, want)
}

// adopt makes what was found the actor's knowledge: it came from the device.
func (a *actor) adopt(s snapshot, saw map[string]found) {
	a.tree = maps.Clone(s.tree)
	files := map[uint64]*fileModel{}
	for p, n := range s.tree {
		if n.file == nil {
			continue
		}
		f, there := saw[p], files[saw[p].ino]
		if there == nil {
			there = &fileModel{content: f.content, since: [][]byte{f.content}, synced: n.file.synced || len(f.content) > 0}
			files[f.ino] = there
		}
		a.tree[p] = node{file: there}
	}
	a.past = []snapshot{{a.ops, a.tree}}
	a.synced, a.err = a.ops, nil
	a.stop.Store(false)
	a.down.Store(false)
	a.log = append(a.log, fmt.Sprintf("= crash, mounted again as after %d of %d", s.op, a.ops))
}
