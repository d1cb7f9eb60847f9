package fs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// raw drives the request handlers of a filesystem as the kernel does.
type raw struct {
	t *testing.T
	s *fileSystem
}

func (r raw) ok(what string, st fuse.Status) {
	r.t.Helper()
	if st != fuse.OK {
		r.t.Fatalf("%s: %v", what, st)
	}
}

func (r raw) header(dir uint64) fuse.InHeader { return fuse.InHeader{NodeId: dir} }

func (r raw) mkdir(dir uint64, name string) uint64 {
	r.t.Helper()
	var out fuse.EntryOut
	r.ok("mkdir "+name, r.s.Mkdir(nil, &fuse.MkdirIn{InHeader: r.header(dir), Mode: 0o755}, name, &out))
	return out.NodeId
}

func (r raw) file(dir uint64, name, content string) uint64 {
	r.t.Helper()
	var out fuse.CreateOut
	r.ok("create "+name, r.s.Create(nil, &fuse.CreateIn{InHeader: r.header(dir), Mode: 0o644, Flags: unix.O_RDWR}, name, &out))
	_, st := r.s.Write(nil, &fuse.WriteIn{InHeader: r.header(out.NodeId)}, []byte(content))
	r.ok("write "+name, st)
	r.s.Release(nil, &fuse.ReleaseIn{InHeader: r.header(out.NodeId), Flags: unix.O_RDWR})
	return out.NodeId
}

// visited is what a walk found, by plaintext path, or by store path where that is not known.
type visited struct {
	mu   sync.Mutex
	seen map[string]*Object
}

func walkAll(t *testing.T, o *Offline) map[string]*Object {
	t.Helper()
	v := visited{seen: map[string]*Object{}}
	err := o.Walk(t.Context(), 4, func(_ context.Context, obj *Object) {
		v.mu.Lock()
		defer v.mu.Unlock()
		key := obj.Path
		if key == "" {
			key = obj.Store
		}
		if v.seen[key] != nil {
			t.Errorf("%s visited twice", key)
		}
		v.seen[key] = obj
	})
	if err != nil {
		t.Fatal(err)
	}
	return v.seen
}

// sample makes a directory with a renamed one in it, files, a hard link, a symbolic link, long names.
func (s *testStore) sample() {
	s.t.Helper()
	o := s.open(false)
	r := raw{s.t, o.fs}
	d := r.mkdir(1, "d")
	e := r.mkdir(d, "old")
	f := r.file(e, "file", "content")
	var out fuse.EntryOut
	r.ok("link", o.fs.Link(nil, &fuse.LinkIn{InHeader: r.header(d), Oldnodeid: f}, "link", &out))
	h := r.header(d)
	r.ok("symlink", o.fs.Symlink(nil, &h, "old/file", "sym", &out))
	r.file(d, strings.Repeat("n", 255), "long")
	r.ok("rename", o.fs.Rename(nil, &fuse.RenameIn{InHeader: r.header(d), Newdir: d}, "old", "new"))
	s.close(o)
}

func TestWalkFindsEveryObjectAtItsPath(t *testing.T) {
	for name, plaintext := range map[string]bool{"encrypted names": false, "plaintext names": true} {
		t.Run(name, func(t *testing.T) {
			s := newTestStore(t, func(o *InitOptions) { o.PlaintextNames = plaintext })
			s.sample()
			wantSample(t, walkAll(t, s.open(true)))
		})
	}
}

// wantSample checks that a walk found what sample made and, besides, bookkeeping alone.
func wantSample(t *testing.T, seen map[string]*Object) {
	t.Helper()
	for path, kind := range map[string]uint32{
		"/": unix.S_IFDIR, "/d": unix.S_IFDIR, "/d/new": unix.S_IFDIR, "/d/new/file": unix.S_IFREG,
		"/d/link": unix.S_IFREG, "/d/sym": unix.S_IFLNK, "/d/" + strings.Repeat("n", 255): unix.S_IFREG,
	} {
		obj := seen[path]
		if obj == nil || obj.Kind() != kind || obj.Err != nil || obj.Class != ObjectUser {
			t.Errorf("%s: %+v, want kind %o", path, obj, kind)
		}
		delete(seen, path)
	}
	for key, obj := range seen {
		if obj.Class != ObjectOwn {
			t.Errorf("%s: class %d, error %v", key, obj.Class, obj.Err)
		}
	}
}

func TestWalkGivesHeadersWithSlotsForEachLink(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	o := s.open(true)
	var mu sync.Mutex
	slots := map[string]int{}
	err := o.Walk(t.Context(), 4, func(_ context.Context, obj *Object) {
		if !obj.Regular() {
			return
		}
		h, err := o.Head(obj, true)
		if err != nil {
			t.Errorf("%s: %v", obj.Path, err)
			return
		}
		defer h.Close()
		mu.Lock()
		defer mu.Unlock()
		slots[obj.Path] = len(h.Slots.Slots)
	})
	if err != nil || slots["/d/new/file"] != 2 || slots["/d/link"] != 2 || len(slots) != 3 {
		t.Errorf("slots: %v, %v", slots, err)
	}
}

func TestWalkGoesOnBehindWhatCannotBeTold(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	o := s.open(true)
	at := func(path string) string { return filepath.Join(s.dir, walkAll(t, o)[path].Store) }
	d, moved := at("/d"), at("/d/new")
	for _, err := range []error{
		os.WriteFile(filepath.Join(d, "foreign"), nil, 0o600),
		os.WriteFile(filepath.Join(d, "kmsfs.tmp-1"), nil, 0o600),
		os.WriteFile(filepath.Join(d, "kmsfs.what"), nil, 0o600),
		os.Remove(filepath.Join(moved, "kmsfs.dir")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	seen := walkAll(t, o)
	rel := func(name string) string { return filepath.Join(filepath.Base(d), name) }
	for key, class := range map[string]ObjectClass{
		rel("foreign"): ObjectForeign, rel("kmsfs.tmp-1"): ObjectTemporary, rel("kmsfs.what"): ObjectForeign,
	} {
		if obj := seen[key]; obj == nil || obj.Class != class || (class == ObjectForeign) != (obj.Err != nil) {
			t.Errorf("%s: %+v, want class %d", key, obj, class)
		}
	}
	if obj := seen["/d/new"]; obj == nil || obj.Err == nil {
		t.Errorf("a directory without identity: %+v, want an error", obj)
	}
	if obj := seen["/d/link"]; obj == nil || obj.Err != nil {
		t.Errorf("an object beside the damage: %+v", obj)
	}
}

func TestWalkEndsWithItsContext(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	o := s.open(true)
	ctx, cancel := context.WithCancel(t.Context())
	err := o.Walk(ctx, 1, func(context.Context, *Object) { cancel() })
	if err != context.Canceled {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}
