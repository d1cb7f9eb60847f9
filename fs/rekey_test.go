package fs

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

// headers returns every file's header, by path.
func headers(t *testing.T, o *Offline) map[string]envelope.Header {
	t.Helper()
	out := map[string]envelope.Header{}
	eachHead(t, o, func(path string, h *Head) { out[path] = *h.Header })
	return out
}

// rekey runs a rekey in which nothing may fail.
func (s *testStore) rekey(paths ...string) RekeyResult {
	s.t.Helper()
	o := s.open(false)
	res, err := o.Rekey(s.t.Context(), RekeyOptions{Paths: paths, Failed: func(path string, err error) { s.t.Errorf("%s: %v", path, err) }})
	if err != nil || res.Failed != 0 {
		s.t.Fatalf("%+v, %v\n%s", res, err, s.log.String())
	}
	s.close(o)
	return res
}

// headersNow is headers of a volume that is closed.
func (s *testStore) headersNow() map[string]envelope.Header {
	s.t.Helper()
	o := s.open(true)
	defer s.close(o)
	return headers(s.t, o)
}

func TestRekeyGivesEveryFileANewKeyAndKeepsTheRest(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	o := s.open(false)
	attrs := map[string]string{"user.a": "1", "user.b": strings.Repeat("b", 1000)}
	for name, value := range attrs {
		if err := o.SetXattr("/d/link", name, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	mtime := unix.Timespec{Sec: 1e9, Nsec: 123456789}
	mode := uint32(0o4751)
	if err := o.SetMeta("/d/link", Meta{Mode: &mode, Mtime: &mtime, Atime: &mtime}); err != nil {
		t.Fatal(err)
	}
	s.close(o)
	before := s.headersNow()
	res := s.rekey()
	if res.Files != 3 || res.Rekeyed != 2 || res.Skipped != 0 || res.Bytes != int64(len("content")+len("long")) {
		t.Errorf("%+v", res)
	}
	after := s.headersNow()
	for path, old := range before {
		h := after[path]
		if h.Commitment == old.Commitment || h.FileID != old.FileID || h.Sequence <= old.Sequence || h.Flags != old.Flags {
			t.Errorf("%s: file %v, key %x, commit %d after file %v, key %x, commit %d", path, h.FileID, h.Commitment[:4], h.Sequence, old.FileID, old.Commitment[:4], old.Sequence)
		}
	}
	r := s.open(true)
	s.wantReadable(r)
	a, err := r.Stat("/d/new/file")
	if err != nil || a.Links != 2 || a.Mode&0o7777 != mode || a.Mtime != mtime {
		t.Errorf("%+v, %v", a, err)
	}
	got, err := r.Xattrs("/d/new/file")
	if err != nil || len(got) != len(attrs) || string(got["user.b"]) != attrs["user.b"] {
		t.Errorf("%d attributes, %v", len(got), err)
	}
	if _, err := r.fs.vol.root.Open(rekeyRuns, true); err == nil {
		t.Error("the run is still on record")
	}
}

func TestRekeyKeepsHolesAndTakesOnlyThePathsNamed(t *testing.T) {
	s := newTestStore(t, nil)
	o := s.open(false)
	r := raw{t, o.fs}
	d := r.mkdir(1, "dir")
	r.file(1, "dirt", "beside")
	id := r.file(d, "sparse", "start")
	f := fuse.InHeader{NodeId: id}
	var out fuse.AttrOut
	in := fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: f, Valid: fuse.FATTR_SIZE, Size: 64 << 20}}
	r.ok("truncate", o.fs.SetAttr(nil, &in, &out))
	s.close(o)
	before := s.headersNow()
	if res := s.rekey("/dir"); res.Rekeyed != 1 || res.Bytes > 8192 {
		t.Errorf("%+v", res)
	}
	after := s.headersNow()
	if after["/dirt"].Commitment != before["/dirt"].Commitment || after["/dir/sparse"].Commitment == before["/dir/sparse"].Commitment {
		t.Error("not the files named, or others too")
	}
	v := s.open(true)
	g, err := v.Open("/dir/sparse")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	b := make([]byte, 8)
	if _, err := g.ReadAt(b, 0); err != nil || !bytes.Equal(b, []byte("start\x00\x00\x00")) || g.Size() != 64<<20 {
		t.Errorf("%q, %d bytes, %v", b, g.Size(), err)
	}
	if start, _, err := g.NextData(8192); err != nil || start != g.Size() {
		t.Errorf("data at %d, %v", start, err)
	}
}

// halfway leaves the volume as a rekey does that is killed when the first of two names is replaced.
func (s *testStore) halfway(path string) {
	s.t.Helper()
	o := s.open(false)
	r := &rekey{s: o.fs, o: &RekeyOptions{}}
	must := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	must(r.begin(s.t.Context()))
	for _, p := range []string{"/d/new/file", "/d/link"} {
		_, err := o.fs.reach(p) // both names are known
		must(err)
	}
	in, err := o.fs.reach(path)
	must(err)
	src, err := r.open(in)
	must(err)
	defer src.close()
	must(r.unlock(s.t.Context(), in, src))
	k, err := o.fs.vol.newKeyFor(s.t.Context(), src.head.header.FileID, src.paths, src.seq)
	must(err)
	d, err := o.fs.dir(src.places[0].dir)
	must(err)
	must(r.write(s.t.Context(), d, tempPrefix+"1", src, k))
	must(o.fs.linkOver(in, d, tempPrefix+"1", src.places[0]))
	o.fs.dirs.release(d)
	o.fs.vol.lock.Close() // killed: the mount is on record as live
	o.fs.vol.crypto.Wipe()
}

func TestRekeyThatWasKilledBetweenTwoNamesIsMadeWhole(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	before := s.headersNow()
	s.halfway("/d/link")
	v := s.open(true)
	s.wantReadable(v) // two files now
	s.close(v)
	res := s.rekey()
	if res.Rekeyed != 2 {
		t.Errorf("%+v", res)
	}
	v = s.open(true)
	s.wantReadable(v)
	a, errA := v.Stat("/d/new/file")
	b, errB := v.Stat("/d/link")
	if errA != nil || errB != nil || a.Ino != b.Ino || a.Links != 2 {
		t.Errorf("%+v and %+v, %v, %v", a, b, errA, errB)
	}
	for path, h := range headers(t, v) {
		if h.Commitment == before[path].Commitment {
			t.Errorf("%s has its old key", path)
		}
	}
}

func TestRekeyDoesNotThrowAwayWhatWasWrittenToOneHalf(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	s.halfway("/d/link")
	o := s.open(false)
	r := raw{t, o.fs}
	for _, p := range []string{"/d/new/file", "/d/link"} { // whichever is the old one
		in, err := o.fs.reach(p)
		if err != nil {
			t.Fatal(err)
		}
		var out fuse.OpenOut
		r.ok("open", o.fs.Open(nil, &fuse.OpenIn{InHeader: r.header(in.id), Flags: unix.O_RDWR}, &out))
		_, st := o.fs.Write(nil, &fuse.WriteIn{InHeader: r.header(in.id), Offset: 7}, []byte(p))
		r.ok("write", st)
		o.fs.Release(nil, &fuse.ReleaseIn{InHeader: r.header(in.id), Flags: unix.O_RDWR})
	}
	if _, err := o.Rekey(t.Context(), RekeyOptions{}); err != nil {
		t.Fatal(err)
	}
	s.close(o)
	v := s.open(true)
	for _, p := range []string{"/d/new/file", "/d/link"} {
		f, err := v.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, f.Size())
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "content"+p {
			t.Errorf("%s: %q, %v", p, b, err)
		}
		f.Close()
	}
}

func TestRekeyThatWasKilledGoesOnWithWhatIsLeft(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	o := s.open(false)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := o.Rekey(ctx, RekeyOptions{Progress: func(files int, _ int64) {
		if files > 0 {
			cancel()
		}
	}})
	if err == nil {
		t.Fatal("not interrupted")
	}
	s.close(o)
	if res := s.rekey(); res.Skipped == 0 || res.Skipped+res.Rekeyed != 2 {
		t.Errorf("%+v", res)
	}
	s.wantReadable(s.open(true))
}
