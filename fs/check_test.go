package fs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

// checked runs Check and returns its faults sorted by code and path.
func (s *testStore) check(change func(*CheckOptions)) (CheckResult, []Fault) {
	s.t.Helper()
	var faults []Fault
	o := CheckOptions{Backing: s.dir, Keys: s.keys.Service(), Workers: 3,
		Report: func(f Fault) { faults = append(faults, f) }, Progress: func(int, int64) {}}
	if change != nil {
		change(&o)
	}
	res, err := Check(s.t.Context(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	sort.Slice(faults, func(i, j int) bool {
		return string(faults[i].Code)+faults[i].Path < string(faults[j].Code)+faults[j].Path
	})
	return res, faults
}

// repair is Check with Repair, salvaging to a directory that is returned.
func (s *testStore) repair() (CheckResult, []Fault, string) {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "salvage")
	res, faults := s.check(func(o *CheckOptions) { o.Repair, o.SalvageDir = true, dir })
	return res, faults, dir
}

// names lists faults as "code path".
func names(faults []Fault) []string {
	out := []string{}
	for _, f := range faults {
		where := f.Path
		if where == "" {
			where = "(store)"
		}
		out = append(out, string(f.Code)+" "+where)
	}
	return out
}

// snapshot maps each name in the store to everything about it but its change and access times.
func (s *testStore) snapshot() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(s.dir, func(path string, _ iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		what := fmt.Sprint(st.Ino, st.Mode, st.Nlink, st.Uid, st.Gid, st.Mtim)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(path)
			sum := sha256.Sum256(b)
			what += hex.EncodeToString(sum[:]) + fmt.Sprint(st.Size, err)
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			what += fmt.Sprint(target, err)
		}
		buf := make([]byte, 4096)
		n, _ := unix.Llistxattr(path, buf)
		for name := range strings.SplitSeq(string(buf[:max(n, 0)]), "\x00") {
			value := make([]byte, 70000)
			m, _ := unix.Lgetxattr(path, name, value)
			what += name + string(value[:max(m, 0)])
		}
		all[path[len(s.dir):]] = what
		return nil
	})
	ok(s.t, err)
	return all
}

// changes lists the names that differ between two snapshots.
func changes(before, after map[string]string) []string {
	var out []string
	for name := range before {
		if before[name] != after[name] {
			out = append(out, name)
		}
	}
	for name := range after {
		if _, was := before[name]; !was {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// bigSize is the size of /d/big in checkStore: two root pages, two tag pages and more than they cover.
const bigSize = 2_000_000

// bigContent is the content of /d/big.
func bigContent() string {
	var b strings.Builder
	for i := 0; b.Len() < bigSize; i++ {
		fmt.Fprintf(&b, "line %d of the large file\n", i)
	}
	return b.String()[:bigSize]
}

// checkStore is a volume with a file of every kind, and its store paths by plaintext path.
func checkStore(t *testing.T) (*testStore, map[string]string) {
	t.Helper()
	s := newTestStore(t, nil)
	s.sample()
	o := s.open(false)
	ok(t, o.Mkdir("/x", 0o755), o.Symlink("a", "/s1"), o.Symlink("b", "/s2"))
	put(t, o, "/x/a", "content of a")
	put(t, o, "/x/b", "content of b")
	put(t, o, "/d/big", "before")
	put(t, o, "/d/big", bigContent())
	ok(t, o.SetXattr("/x/a", "user.k", []byte("v")), o.SetXattr("/x", "user.k", []byte("v")))
	s.close(o)
	s.overwrite("/d/big", bigContent()[:100]) // so that the second root page is in use
	o = s.open(true)
	defer o.Close()
	store := map[string]string{}
	for path, obj := range walkAll(t, o) {
		store[path] = filepath.Join(s.dir, obj.Store)
	}
	return s, store
}

// overwrite writes to the beginning of a file that is there.
func (s *testStore) overwrite(path, content string) {
	s.t.Helper()
	o := s.open(false)
	in, err := o.fs.find(path, false)
	ok(s.t, err, o.fs.acquire(s.t.Context(), in.in, true))
	_, st := o.fs.Write(nil, &fuse.WriteIn{InHeader: fuse.InHeader{NodeId: in.in.id}}, []byte(content))
	raw{s.t, o.fs}.ok("write", st)
	o.fs.release(in.in, true)
	in.release()
	s.close(o)
}

// clone copies a store; both have one key service.
func (s *testStore) clone(t *testing.T, store map[string]string) (*testStore, map[string]string) {
	t.Helper()
	c := &testStore{t: t, dir: filepath.Join(t.TempDir(), "back"), keys: s.keys, key: s.key}
	if out, err := exec.Command("cp", "-a", s.dir, c.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	paths := map[string]string{}
	for path, at := range store {
		paths[path] = c.dir + at[len(s.dir):]
	}
	return c, paths
}

func TestCheckFindsNothingInAWholeVolumeAndChangesNothing(t *testing.T) {
	s, _ := checkStore(t)
	before := s.snapshot()
	for range 2 {
		res, faults, dir := s.repair()
		if len(faults) > 0 || res.Files != 5 || res.Bytes < bigSize {
			t.Errorf("%+v: %+v", res, faults)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Error("a salvage directory without anything in it")
		}
	}
	if diff := changes(before, s.snapshot()); diff != nil {
		t.Errorf("changed: %q", diff)
	}
}

// patch overwrites a part of a file.
func patch(t *testing.T, path string, off int64, p []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	ok(t, err)
	defer f.Close()
	_, err = f.WriteAt(p, off)
	ok(t, err)
}

// pageWith returns the number of the page of a stored file whose rootPage-ness and age is asked for:
// the newest root page, by its sequence.
func newestRoot(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	ok(t, err)
	defer f.Close()
	var seq [2][8]byte
	for i := range seq {
		_, err := f.ReadAt(seq[i][:], int64(i)*envelope.PageSize+80)
		ok(t, err)
	}
	slices.Reverse(seq[0][:])
	slices.Reverse(seq[1][:])
	if string(seq[1][:]) > string(seq[0][:]) {
		return 1
	}
	return 0
}

// damages are changes of the store by whoever owns it, and the faults that Check must find.
var damages = map[string]struct {
	damage func(t *testing.T, s *testStore, store map[string]string)
	want   []string
}{
	"data block": {func(t *testing.T, _ *testStore, store map[string]string) {
		flip(t, store["/d/big"], 100*envelope.PageSize+7)
	}, []string{"content /d/big"}},
	"whole content zeroed": {func(t *testing.T, _ *testStore, store map[string]string) {
		patch(t, store["/d/big"], 2*envelope.PageSize, make([]byte, bigSize))
	}, []string{"content /d/big"}},
	"newest root page": {func(t *testing.T, _ *testStore, store map[string]string) {
		flip(t, store["/d/big"], newestRoot(t, store["/d/big"])*envelope.PageSize+1000)
	}, []string{"root-page /d/big"}},
	"older root page": {func(t *testing.T, _ *testStore, store map[string]string) {
		flip(t, store["/d/big"], (1-newestRoot(t, store["/d/big"]))*envelope.PageSize+1000)
	}, []string{"spare-page /d/big"}},
	"both root pages": {func(t *testing.T, _ *testStore, store map[string]string) {
		flip(t, store["/d/big"], 1000)
		flip(t, store["/d/big"], envelope.PageSize+1000)
	}, []string{"header /d/big"}},
	"truncated in the content": {func(t *testing.T, _ *testStore, store map[string]string) {
		ok(t, os.Truncate(store["/d/big"], 100*envelope.PageSize))
	}, []string{"content /d/big"}},
	"truncated in the header": {func(t *testing.T, _ *testStore, store map[string]string) {
		ok(t, os.Truncate(store["/d/big"], 100))
	}, []string{"header-cut /d/big"}},
	"space beyond the end": {func(t *testing.T, _ *testStore, store map[string]string) {
		ok(t, os.Truncate(store["/d/big"], 4<<20))
	}, []string{"space-left /d/big"}},
	"later format": {func(t *testing.T, _ *testStore, store map[string]string) {
		patch(t, store["/x/a"], 7, []byte{9})
	}, []string{"format /x/a"}},
	"swapped files": {func(t *testing.T, _ *testStore, store map[string]string) {
		ok(t, unix.Renameat2(unix.AT_FDCWD, store["/x/a"], unix.AT_FDCWD, store["/x/b"], unix.RENAME_EXCHANGE))
	}, []string{"misplaced /x/a", "misplaced /x/b"}},
	"swapped symbolic links": {func(t *testing.T, _ *testStore, store map[string]string) {
		ok(t, unix.Renameat2(unix.AT_FDCWD, store["/s1"], unix.AT_FDCWD, store["/s2"], unix.RENAME_EXCHANGE))
	}, []string{"symlink /s1", "symlink /s2"}},
	"swapped directories": {func(t *testing.T, _ *testStore, store map[string]string) {
		ok(t, unix.Renameat2(unix.AT_FDCWD, store["/x"], unix.AT_FDCWD, store["/d"], unix.RENAME_EXCHANGE))
	}, []string{"dir-moved /d", "dir-moved /x"}},
	"identity missing": {func(t *testing.T, _ *testStore, store map[string]string) {
		ok(t, os.Remove(filepath.Join(store["/x"], dirLink)))
	}, []string{"dir-identity-lost /x"}},
	"identity edited": {func(t *testing.T, _ *testStore, store map[string]string) {
		link := filepath.Join(store["/x"], dirLink)
		ok(t, os.Remove(link), os.Symlink("nonsense", link))
	}, []string{"dir-identity /x"}},
	"stray temporary file": {func(t *testing.T, _ *testStore, store map[string]string) {
		ok(t, os.WriteFile(filepath.Join(store["/x"], "kmsfs.tmp-123"), []byte("x"), 0o600))
	}, []string{"temporary (store)"}},
	"staged identity": {func(t *testing.T, _ *testStore, store map[string]string) {
		ok(t, os.Symlink("x", filepath.Join(store["/x"], dirLinkNew)))
	}, []string{"staged-identity (store)"}},
	"link of a rename that did not happen": {func(t *testing.T, s *testStore, store map[string]string) {
		ok(t, os.Symlink("x", filepath.Join(s.dir, movedName(place{store: filepath.Base(store["/s1"])}))))
	}, []string{"staged-link (store)"}},
	"remains of a file": {func(t *testing.T, s *testStore, _ map[string]string) {
		ok(t, os.WriteFile(filepath.Join(s.dir, "kmsfs.lost-1"), []byte("x"), 0o600))
	}, []string{"remains (store)"}},
	"companion left": {func(t *testing.T, s *testStore, _ map[string]string) {
		ok(t, os.Symlink("x", filepath.Join(s.dir, "kmsfs.long.abc.name")))
	}, []string{"long-name-left (store)"}},
	"companion missing": {func(t *testing.T, _ *testStore, store map[string]string) {
		ok(t, os.Remove(store[longPath()]+longNameSuffix))
	}, []string{"long-name-lost (store)"}},
	"companion edited": {func(t *testing.T, _ *testStore, store map[string]string) {
		link := store[longPath()] + longNameSuffix
		ok(t, os.Remove(link), os.Symlink("nonsense", link))
	}, []string{"long-name (store)"}},
	"foreign file": {func(t *testing.T, _ *testStore, store map[string]string) {
		ok(t, os.WriteFile(filepath.Join(store["/x"], "README"), []byte("x"), 0o600))
	}, []string{"foreign-name (store)"}},
	"attribute of another file": {func(t *testing.T, _ *testStore, store map[string]string) {
		copyXattrs(t, store["/x/a"], store["/x/b"], xattrPrefix)
	}, []string{"xattr /x/b"}},
	"hint of another file": {func(t *testing.T, _ *testStore, store map[string]string) {
		copyXattrs(t, store["/x/a"], store["/d/big"], hintAttr)
	}, []string{"stat-hint /d/big"}},
	"hint edited": {func(t *testing.T, _ *testStore, store map[string]string) {
		ok(t, unix.Setxattr(store["/x/a"], hintAttr, []byte("nonsense"), 0))
	}, []string{"stat-hint /x/a"}},
	"rename log edited": {func(t *testing.T, s *testStore, _ map[string]string) {
		secondRename(t, s)
		flip(t, filepath.Join(s.dir, envelope.RenameLogFile), 9)
	}, []string{"path-unknown /d/big", "path-unknown /d/newer/file", "path-unknown /x/a", "path-unknown /x/b", "rename-log (store)"}},
	"end of the rename log edited": {func(t *testing.T, s *testStore, _ map[string]string) {
		flip(t, filepath.Join(s.dir, envelope.RenameLogFile), 9)
	}, []string{"path-unknown /d/big", "path-unknown /d/new/file", "path-unknown /x/a", "path-unknown /x/b", "rename-log (store)"}},
	"rename log rolled back": {func(t *testing.T, s *testStore, _ map[string]string) {
		log := filepath.Join(s.dir, envelope.RenameLogFile)
		old, err := os.ReadFile(log)
		ok(t, err)
		secondRename(t, s)
		o := s.open(false)
		put(t, o, "/x/b", "younger")
		s.close(o)
		ok(t, os.WriteFile(log, old, 0o600))
	}, []string{"misplaced /d/newer/file", "rename-log-old /x/b"}},
	"mount states": {func(t *testing.T, s *testStore, _ map[string]string) {
		ok(t, os.Remove(filepath.Join(s.dir, envelope.MountsFile)))
	}, []string{"mount-states (store)"}},
	"volume file": {func(t *testing.T, s *testStore, _ map[string]string) {
		flip(t, filepath.Join(s.dir, volumeName), 30)
	}, []string{"volume-file /"}},
	"identity of the root": {func(t *testing.T, s *testStore, _ map[string]string) {
		ok(t, os.Remove(filepath.Join(s.dir, dirLink)))
	}, []string{"root-identity /"}},
}

// secondRename renames the directory /d/new once more.
func secondRename(t *testing.T, s *testStore) {
	t.Helper()
	o := s.open(false)
	in, err := o.fs.find("/d", false)
	ok(t, err)
	raw{t, o.fs}.ok("rename", o.fs.Rename(nil, &fuse.RenameIn{InHeader: fuse.InHeader{NodeId: in.in.id}, Newdir: in.in.id}, "new", "newer"))
	in.release()
	s.close(o)
}

func longPath() string { return "/d/" + strings.Repeat("n", 255) }

// copyXattrs copies the attributes with a prefix.
func copyXattrs(t *testing.T, from, to, prefix string) {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := unix.Listxattr(from, buf)
	ok(t, err)
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		value := make([]byte, 4096)
		m, err := unix.Getxattr(from, name, value)
		ok(t, err, unix.Setxattr(to, name, value[:max(m, 0)], 0))
	}
}

func TestEveryDamageIsFoundAsItsOwnFault(t *testing.T) {
	whole, wholeStore := checkStore(t)
	for name, d := range damages {
		t.Run(name, func(t *testing.T) {
			s, store := whole.clone(t, wholeStore)
			d.damage(t, s, store)
			before := s.snapshot()
			res, faults := s.check(nil)
			if got := names(faults); !slices.Equal(got, d.want) {
				t.Errorf("faults %q, want %q: %+v", got, d.want, faults)
			}
			if int(res.Damaged+res.Orphans+res.Unchecked) != len(faults) {
				t.Errorf("%+v for %d faults", res, len(faults))
			}
			for _, f := range faults {
				if f.Advice == "" || f.Detail == "" || f.Store == "" {
					t.Errorf("%+v says too little", f)
				}
			}
			if diff := changes(before, s.snapshot()); diff != nil {
				t.Errorf("a check changed %q", diff)
			}
		})
	}
}

func TestDisabledKeyIsNotDamage(t *testing.T) {
	s := newTestStore(t, nil)
	o := s.open(false)
	put(t, o, "/f", "content")
	put(t, o, "/g", "content")
	s.close(o)
	calls := &failing{KeyService: s.keys.Service()}
	res, faults := s.check(func(o *CheckOptions) { o.Keys = calls })
	if got := names(faults); !slices.Equal(got, []string{"key-disabled /f", "key-disabled /g"}) || res.Damaged != 0 {
		t.Errorf("%q, %+v", got, res)
	}
	_, err := s.keys.Service().DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &s.key})
	ok(t, err)
	_, err = Check(t.Context(), CheckOptions{Backing: s.dir, Keys: s.keys.Service(), Workers: 1})
	if kindOf(err) != KindKeyDisabled {
		t.Errorf("without the volume's key: %v", err)
	}
}

func TestCheckLeavesToTheNextMountWhatACrashInterrupted(t *testing.T) {
	s, store := checkStore(t)
	moved := filepath.Join(s.dir, movedName(place{store: filepath.Base(store["/s1"])}))
	ok(t, os.Rename(store["/s1"], moved), os.Rename(store["/s2"], store["/s1"])) // as in the rename of /s2 to /s1
	before := s.snapshot()
	if res, faults, _ := s.repair(); len(faults) > 0 {
		t.Errorf("%+v: %+v", res, faults)
	}
	if diff := changes(before, s.snapshot()); diff != nil {
		t.Errorf("changed: %q", diff)
	}
}
