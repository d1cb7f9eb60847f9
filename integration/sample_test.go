package integration

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	iofs "io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The sample volumes were written once, with the key service that opens them. Every later build must
// read all of it: docs/FORMAT.md is frozen by them.

// updateSample writes the sample volumes anew: make sample-volume.
var updateSample = flag.Bool("update-sample", false, "write testdata/sample-volume anew with the present build")

const (
	sampleArchive  = "testdata/sample-volume/sample.tar.gz"
	sampleManifest = "testdata/sample-volume/manifest.json"
	maxSample      = 300 << 10 // bytes
)

// sampleEntry is an object of a volume as applications see it.
type sampleEntry struct {
	Type   string            `json:"type"`
	Mode   string            `json:"mode"`
	Mtime  string            `json:"mtime,omitempty"` // seconds.nanoseconds
	Size   int64             `json:"size,omitempty"`
	Digest string            `json:"sha256,omitempty"`
	Target string            `json:"target,omitempty"`
	Xattrs map[string]string `json:"xattrs,omitempty"` // values in hex
}

// describeTree lists what is below dir, by path.
func describeTree(t *testing.T, dir string) map[string]sampleEntry {
	t.Helper()
	all := map[string]sampleEntry{}
	must(t, filepath.WalkDir(dir, func(path string, e iofs.DirEntry, err error) error {
		if err == nil && path != dir {
			all[path[len(dir):]], err = describeEntry(path)
		}
		return err
	}))
	return all
}

func describeEntry(path string) (e sampleEntry, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return e, err
	}
	e = sampleEntry{Mode: fmt.Sprintf("%04o", st.Mode&0o7777), Mtime: fmt.Sprintf("%d.%09d", st.Mtim.Sec, st.Mtim.Nsec)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		content, err := os.ReadFile(path)
		if err != nil {
			return e, err
		}
		sum := sha256.Sum256(content)
		e.Type, e.Size, e.Digest, e.Xattrs = "file", st.Size, hex.EncodeToString(sum[:]), hexValues(userXattrs(path))
	case unix.S_IFDIR:
		e.Type, e.Xattrs = "directory", hexValues(userXattrs(path))
	case unix.S_IFLNK:
		e.Type, e.Mode = "symlink", ""
		e.Target, err = os.Readlink(path)
	case unix.S_IFIFO:
		e.Type = "fifo"
	}
	return e, err
}

func hexValues(attrs map[string]string) map[string]string {
	for name, value := range attrs {
		attrs[name] = hex.EncodeToString([]byte(value))
	}
	return attrs
}

// wantTree compares two trees.
func wantTree(t *testing.T, what string, got, want map[string]sampleEntry) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(want)) {
		g, ok := got[path]
		switch a, b := mustJSON(t, g), mustJSON(t, want[path]); {
		case !ok:
			t.Errorf("%s: %q is missing", what, path)
		case a != b:
			t.Errorf("%s: %q is\n %s, want\n %s", what, path, a, b)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s: %q is too much", what, path)
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return string(b)
}

// unpackSample unpacks the sample; its volumes come with what is in them.
func unpackSample(t *testing.T) (dir string, manifest map[string]map[string]sampleEntry) {
	t.Helper()
	dir = t.TempDir()
	unpackTree(t, sampleArchive, dir)
	b, err := os.ReadFile(sampleManifest)
	must(t, err)
	must(t, json.Unmarshal(b, &manifest))
	if len(manifest) != len(sampleVolumes) {
		t.Fatalf("%d volumes in the manifest", len(manifest))
	}
	return dir, manifest
}

func TestSampleVolumesOpenWithThisBuild(t *testing.T) {
	if *updateSample {
		writeSample(t)
	}
	if info, err := os.Stat(sampleArchive); err != nil || info.Size() > maxSample {
		t.Fatalf("%v, or larger than %d bytes", err, maxSample)
	}
	dir, manifest := unpackSample(t)
	for name, want := range manifest {
		t.Run(name, func(t *testing.T) {
			v := &volume{t: t, State: filepath.Join(dir, "state"), Back: filepath.Join(dir, name), Mnt: filepath.Join(dir, "mnt-"+name)}
			v.kmsfs("fsck", v.Back)
			v.wantSampleOffline(want)
			if name == recoverableSample {
				out := filepath.Join(t.TempDir(), "recovered")
				v.kmsfs("recover", "--recovery-key", filepath.Join(dir, recoveryKey), "--extract", out, v.Back)
				wantTree(t, "recover", describeTree(t, out), want)
			}
			must(t, os.Mkdir(v.Mnt, 0o755))
			v.mount("-o", "ro")
			wantTree(t, "read-only mount", describeTree(t, v.Mnt), want)
			v.umount()
			v.mount()
			wantTree(t, "mount", describeTree(t, v.Mnt), want)
			v.wantWritable()
			v.umount()
			v.kmsfs("fsck", v.Back)
		})
	}
}

// wantSampleOffline compares what ls, cat and cp give with the manifest.
func (v *volume) wantSampleOffline(want map[string]sampleEntry) {
	v.t.Helper()
	out := filepath.Join(v.t.TempDir(), "copy")
	v.kmsfs("cp", "-rp", v.Back+":/", out)
	wantTree(v.t, "cp", describeTree(v.t, out), want)
	listed := map[string]bool{}
	var files, content []string
	for _, path := range slices.Sorted(maps.Keys(want)) {
		switch e := want[path]; {
		case e.Type == "directory":
			v.listInto(listed, path)
		case e.Type == "file" && e.Size < 1<<20:
			files = append(files, v.Back+":"+path)
			b, err := os.ReadFile(out + path)
			must(v.t, err)
			content = append(content, string(b))
		}
	}
	v.listInto(listed, "/")
	for path := range want {
		if !listed[path] {
			v.t.Errorf("ls: %q is missing", path)
		}
	}
	if got := v.kmsfs(append([]string{"cat"}, files...)...); got != strings.Join(content, "") {
		v.t.Errorf("cat of %d files gives %d bytes that differ", len(files), len(got))
	}
}

func (v *volume) listInto(listed map[string]bool, dir string) {
	v.t.Helper()
	var found []struct {
		Path string `json:"path"`
	}
	must(v.t, json.Unmarshal([]byte(v.kmsfs("ls", "--json", v.Back+":"+dir)), &found))
	for _, f := range found {
		listed[f.Path] = true
	}
}

// wantWritable changes the volume in the ways that touch old state: renamed directories, old slots, old
// pages.
func (v *volume) wantWritable() {
	v.t.Helper()
	must(v.t, os.Rename(v.path("renamed"), v.path("renamed again")))
	wantContent(v.t, v.path("renamed again", "below"), "below a renamed directory\n")
	f, err := os.OpenFile(v.path("tree.txt"), os.O_RDWR, 0)
	must(v.t, err)
	_, err = f.WriteAt([]byte("changed"), 10_000)
	must(v.t, err)
	must(v.t, f.Close())
	must(v.t, os.Remove(v.path("link one")))
	wantContent(v.t, v.path("directory", "link two"), "two names, one file\n")
}
