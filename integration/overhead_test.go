package integration

import (
	"crypto/rand"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// space is what a set of files takes.
type space struct {
	files, small          int   // small: up to 2560 bytes
	content, pages        int64 // bytes, and the same with each file rounded up to 4096
	length, taken, beyond int64 // of the backing files: length, space on the disk, and that beyond pages and one page each
}

// add counts the file at plain, which is stored at stored.
func (s *space) add(t *testing.T, plain, stored string) {
	t.Helper()
	var p, b unix.Stat_t
	must(t, unix.Lstat(plain, &p))
	must(t, unix.Lstat(stored, &b))
	const page = 4096
	const recycled = 16 // pages that a commit in the middle of a long write has left, and a later write uses
	pages, taken := (p.Size+page-1)/page*page, b.Blocks*512
	s.files++
	s.content, s.pages, s.length, s.taken = s.content+p.Size, s.pages+pages, s.length+b.Size, s.taken+taken
	if p.Size <= 2560 {
		s.small++
		if taken > page || b.Size > page {
			t.Errorf("%s: %d bytes take %d, length %d", plain, p.Size, taken, b.Size)
		}
		return
	}
	over := taken - pages - page
	s.beyond += over
	if blocks := pages / page; over > ((blocks+111)/112+(blocks+112*112-1)/(112*112)+recycled)*page {
		t.Errorf("%s: %d blocks take %d more than a page", plain, blocks, over)
	}
}

// report prints the sums and fails the test when a write-once file costs more than it may.
func (s *space) report(t *testing.T, limit float64) {
	t.Helper()
	part := func(n int64) float64 { return 100 * float64(n) / float64(s.pages) }
	t.Logf("%d files, %d of them up to 2560 bytes; %d bytes of content, %d in pages", s.files, s.small, s.content, s.pages)
	t.Logf("backing files: %d bytes on the disk (%.1f %% of the pages), length %d (%.1f %%)", s.taken, part(s.taken), s.length, part(s.length))
	t.Logf("beyond the content's pages and one page per file: %.2f %%", part(s.beyond))
	if part(s.beyond) > limit {
		t.Errorf("overhead above %.1f %%", limit)
	}
	if s.length > s.taken+int64(s.files)*2*4096 {
		t.Errorf("the store is sparse: tar and rsync would inflate it")
	}
}

// TestStorageOverhead stores the Go source tree and a file of random bytes (1 GiB with -long) and
// compares what the backing files take with the content. Files up to 2560 bytes must take one page,
// each other file a page and one tag page for 112 blocks more than its content (and one for 112 of these), all together at most 1 % beyond
// the first page.
func TestStorageOverhead(t *testing.T) {
	for name, flags := range map[string][]string{"raw": nil, "compressed": {"--compress"}} {
		t.Run(name, func(t *testing.T) {
			v := mountedVolume(t, append(flags, "--plaintext-names")...)
			src := someSource(t)
			shell(t, `cp -a "$1" "$2"`, src, v.path("src"))
			n := int64(64 << 20)
			if *long {
				n = 1 << 30
			}
			f, err := os.Create(v.path("random"))
			must(t, err)
			_, err = io.CopyN(f, rand.Reader, n)
			must(t, err)
			must(t, f.Close())
			v.umount()
			var tree, random space
			must(t, filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					rel, _ := filepath.Rel(src, path)
					tree.add(t, path, filepath.Join(v.Back, "src", rel))
				}
				return err
			}))
			plain := filepath.Join(t.TempDir(), "size")
			must(t, os.WriteFile(plain, nil, 0o600))
			must(t, os.Truncate(plain, n))
			random.add(t, plain, filepath.Join(v.Back, "random"))
			t.Log("Go source tree", src)
			tree.report(t, 1)
			t.Log("random file")
			random.report(t, 1)
		})
	}
}
