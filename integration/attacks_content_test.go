package integration

import (
	"bytes"
	bin "encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const pageSize = 4096

// victimSizes are the ways in which a file is kept: in its root page, in pages that the root names,
// and below tag pages.
var victimSizes = map[string]int{"inline": 1000, "pages": 20*pageSize + 500, "tree": 130*pageSize + 500}

// victim is a file whose store is attacked. Of the versions that it had, content is the last.
type victim struct {
	name, kind string
	content    []byte
	versions   [][]byte // of the plaintext
	stores     [][]byte // of the whole backing file, one for each
	store      string   // backing file
	old, inUse bool     // has versions that are older; is in use since before the attack
	fd         *os.File
}

// attackedBytes is one attack on the bytes of a backing file.
type attackedBytes struct {
	name   string
	on     []string // kinds of victims
	damage func(v, other *victim, b []byte) []byte
	want   []unix.Errno // what open or read gives; none: the right bytes
	unseen bool         // a file in use since before may not notice
	ledger bool         // only a ledger can tell; without it the whole old version comes back
}

var (
	allKinds = []string{"inline", "pages", "tree"}
	bigKinds = []string{"pages", "tree"}
	eio      = []unix.Errno{unix.EIO}
	rejected = []unix.Errno{unix.EKEYREJECTED}
)

// newestRoot returns the number of the root page with the highest sequence and revision.
func newestRoot(b []byte) int {
	if len(b) < 2*pageSize {
		return 0
	}
	key := func(p []byte) [2]uint64 {
		return [2]uint64{bin.LittleEndian.Uint64(p[80:]), uint64(bin.LittleEndian.Uint32(p[156:]))}
	}
	a, c := key(b), key(b[pageSize:])
	if slices.Compare(c[:], a[:]) > 0 {
		return 1
	}
	return 0
}

// editRoot changes the newest root page and, as any attacker can, makes its checksum right again.
func editRoot(b []byte, edit func(page []byte)) []byte {
	page := b[newestRoot(b)*pageSize:][:pageSize]
	edit(page)
	clear(page[160:164])
	bin.LittleEndian.PutUint32(page[160:], crc32.Checksum(page, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func editRoots(edit func(page []byte)) func(v, other *victim, b []byte) []byte {
	return func(_, _ *victim, b []byte) []byte { return editRoot(b, edit) }
}

// contentAttacks are the attacks on single files, by row.
var contentAttacks = map[string][]attackedBytes{
	"bitflip": {
		{name: "in each page", on: bigKinds, want: eio, damage: func(_, _ *victim, b []byte) []byte {
			for p := 2; p*pageSize < len(b); p++ {
				b[p*pageSize+(p*677)%pageSize] ^= 4
			}
			return b
		}},
		{name: "in the root's body", on: allKinds, want: eio, unseen: true, damage: editRoots(func(p []byte) { p[4070] ^= 1 })},
		{name: "in the root's tag", on: allKinds, want: eio, unseen: true, damage: editRoots(func(p []byte) { p[4095] ^= 128 })},
		{name: "in the sequence", on: allKinds, want: eio, unseen: true, damage: editRoots(func(p []byte) { p[81] ^= 1 })},
		{name: "in the slots", on: allKinds, want: rejected, unseen: true, damage: editRoots(func(p []byte) { p[190] ^= 1 })},
		{name: "without a new checksum", on: allKinds, want: eio, unseen: true, damage: func(_, _ *victim, b []byte) []byte {
			b[newestRoot(b)*pageSize+3000] ^= 1
			return b
		}},
	},
	"swap-blocks": {
		{name: "in the file", on: bigKinds, want: eio, damage: func(_, _ *victim, b []byte) []byte {
			for p := 2; (p+2)*pageSize <= len(b); p += 2 {
				swapPages(b[p*pageSize:], b[(p+1)*pageSize:])
			}
			return b
		}},
		{name: "between files", on: bigKinds, want: eio, damage: func(_, other *victim, b []byte) []byte {
			copy(b[2*pageSize:], other.newest()[2*pageSize:])
			return b
		}},
	},
	"rollback-block": {{name: "data pages", on: bigKinds, want: eio, damage: func(v, _ *victim, b []byte) []byte {
		copy(b[2*pageSize:], v.stores[0][2*pageSize:])
		return b
	}}},
	"rollback-group": {
		{name: "roots and tag pages without the data", on: bigKinds, want: eio, unseen: true, damage: func(v, _ *victim, b []byte) []byte {
			copy(b[:2*pageSize], v.stores[0])
			return b
		}},
	},
	"rollback-file": {
		{name: "all of it", on: allKinds, want: eio, unseen: true, ledger: true, damage: func(v, _ *victim, _ []byte) []byte {
			return bytes.Clone(v.stores[0])
		}},
		{name: "the commit before", on: bigKinds, want: eio, unseen: true, ledger: true, damage: func(v, _ *victim, b []byte) []byte {
			old := v.stores[0]
			copy(b[newestRoot(b)*pageSize:][:pageSize], old[newestRoot(old)*pageSize:])
			return b
		}},
	},
	"truncate": {
		{name: "the last page", on: bigKinds, want: eio, damage: func(_, _ *victim, b []byte) []byte { return b[:len(b)-pageSize] }},
		{name: "half of the pages", on: bigKinds, want: eio, damage: func(_, _ *victim, b []byte) []byte { return b[:len(b)/2/pageSize*pageSize] }},
		{name: "all but the roots", on: bigKinds, want: eio, damage: func(_, _ *victim, b []byte) []byte { return b[:2*pageSize] }},
		{name: "inside the root", on: allKinds, want: eio, unseen: true, damage: func(_, _ *victim, b []byte) []byte { return b[:1000] }},
		{name: "inside a page", on: bigKinds, want: eio, damage: func(_, _ *victim, b []byte) []byte { return b[:len(b)-100] }},
	},
	"truncate-zero": {{name: "to nothing", on: allKinds, want: eio, unseen: true, damage: func(_, _ *victim, _ []byte) []byte { return nil }}},
	"extend": {
		{name: "by zeros", on: allKinds, damage: func(_, _ *victim, b []byte) []byte { return append(b, make([]byte, 3*pageSize)...) }},
		{name: "by its own pages", on: bigKinds, damage: func(_, _ *victim, b []byte) []byte { return append(b, b[2*pageSize:]...) }},
		{name: "by garbage", on: allKinds, damage: func(_, _ *victim, b []byte) []byte { return append(b, bytes.Repeat([]byte{0xa5}, 777)...) }},
	},
	"zero-hole": {
		{name: "each page", on: bigKinds, want: eio, damage: func(_, _ *victim, b []byte) []byte { clear(b[2*pageSize:]); return b }},
		{name: "one page", on: bigKinds, want: eio, damage: func(_, _ *victim, b []byte) []byte { clear(b[len(b)-pageSize:]); return b }},
		{name: "the roots", on: allKinds, want: eio, unseen: true, damage: func(_, _ *victim, b []byte) []byte { clear(b[:min(len(b), 2*pageSize)]); return b }},
	},
	"header-swap": {
		{name: "both root pages", on: allKinds, want: rejected, unseen: true, damage: func(_, other *victim, b []byte) []byte {
			copy(b[:min(len(b), 2*pageSize)], other.newest())
			return b
		}},
		{name: "the key slots", on: allKinds, want: rejected, unseen: true, damage: func(_, other *victim, b []byte) []byte {
			from := other.newest()[newestRoot(other.newest())*pageSize:]
			return editRoot(b, func(p []byte) { copy(p[168:], from[168:168+int(bin.LittleEndian.Uint16(from[12:]))]) })
		}},
		{name: "the file id", on: allKinds, want: rejected, unseen: true, damage: func(_, other *victim, b []byte) []byte {
			return editRoot(b, func(p []byte) { copy(p[32:48], other.newest()[32:48]) })
		}},
		{name: "the body", on: allKinds, want: eio, unseen: true, damage: func(_, other *victim, b []byte) []byte {
			from := other.newest()[newestRoot(other.newest())*pageSize:]
			return editRoot(b, func(p []byte) { copy(p[2500:], from[2500:pageSize]) })
		}},
	},
	"key-commit": {{name: "another commitment", on: allKinds, want: rejected, unseen: true, damage: func(_, other *victim, b []byte) []byte {
		return editRoot(b, func(p []byte) { copy(p[48:80], other.newest()[48:80]) })
	}}},
	"downgrade": {
		{name: "suite 0", on: allKinds, want: eio, unseen: true, damage: editRoots(func(p []byte) { p[8] = 0 })},
		{name: "suite 2", on: allKinds, want: eio, unseen: true, damage: editRoots(func(p []byte) { p[8] = 2 })},
		{name: "version 0", on: allKinds, want: eio, unseen: true, damage: editRoots(func(p []byte) { p[7] = 0 })},
		{name: "an unknown flag", on: allKinds, want: eio, unseen: true, damage: editRoots(func(p []byte) { p[11] = 0x80 })},
	},
	"parse-bombs": {
		{name: "a slot area of 65535 bytes", on: allKinds, want: eio, unseen: true, damage: editRoots(func(p []byte) { p[12], p[13] = 0xff, 0xff })},
		{name: "a body of 65535 bytes", on: allKinds, want: eio, unseen: true, damage: editRoots(func(p []byte) { p[14], p[15] = 0xff, 0xff })},
		{name: "65535 slots", on: allKinds, want: rejected, unseen: true, damage: editRoots(func(p []byte) { p[172], p[173] = 0xff, 0xff })},
		{name: "the last sequence", on: allKinds, want: eio, unseen: true, damage: editRoots(func(p []byte) { bin.LittleEndian.PutUint64(p[80:], 1<<62) })},
		{name: "a terabyte", on: allKinds, damage: func(_, _ *victim, b []byte) []byte { return b }},
	},
}

func swapPages(a, b []byte) {
	kept := bytes.Clone(a[:pageSize])
	copy(a, b[:pageSize])
	copy(b, kept)
}

// plans are one victim for each attack, kind, and way of being in use.
type plan struct {
	attackedBytes
	v, other *victim
	row      string
}

// newest is the backing file before the attack.
func (x *victim) newest() []byte { return x.stores[len(x.stores)-1] }

// write writes one more version of the file.
func (x *victim) write(v *volume, rng *rand.Rand) {
	v.t.Helper()
	x.content = make([]byte, victimSizes[x.kind])
	for i := range x.content {
		x.content[i] = byte(rng.Uint32())
	}
	f, err := os.OpenFile(v.path(x.name), os.O_CREATE|os.O_RDWR, 0o644)
	must(v.t, err)
	defer f.Close()
	_, err = f.WriteAt(x.content, 0)
	must(v.t, err)
	if x.versions = append(x.versions, x.content); len(x.versions) > 1 || x.old {
		must(v.t, f.Sync()) // so that the pages of the version before are used again
	}
}

// keep keeps what the store has of the newest version; nobody has the file open any more.
func (x *victim) keep(v *volume) {
	v.t.Helper()
	if x.store == "" {
		x.store = v.storeFile(x.name)
	}
	b, err := os.ReadFile(x.store)
	must(v.t, err)
	x.stores = append(x.stores, b)
}

// storeFile is storePath for a file in the root, without a walk.
func (v *volume) storeFile(name string) string {
	v.t.Helper()
	var st unix.Stat_t
	must(v.t, unix.Lstat(v.path(name), &st))
	entries, err := os.ReadDir(v.Back)
	must(v.t, err)
	for _, e := range entries {
		var s unix.Stat_t
		if unix.Lstat(filepath.Join(v.Back, e.Name()), &s) == nil && s.Ino == st.Ino {
			return filepath.Join(v.Back, e.Name())
		}
	}
	v.t.Fatalf("%s is not in the store", name)
	return ""
}

// planContent makes the victims of a row on a volume.
func planContent(v *volume, row string) []*plan {
	rng := rand.New(rand.NewPCG(4711, 1))
	old := strings.HasPrefix(row, "rollback")
	others := map[string]*victim{}
	for _, kind := range allKinds {
		others[kind] = &victim{name: row + " other " + kind, kind: kind}
	}
	var plans []*plan
	victims := slices.Collect(maps.Values(others))
	for _, a := range contentAttacks[row] {
		for _, kind := range a.on {
			for _, inUse := range []bool{false, true} {
				x := &victim{name: fmt.Sprintf("%s %s %s %v", row, a.name, kind, inUse), kind: kind, old: old, inUse: inUse}
				plans = append(plans, &plan{a, x, others[kind], row})
				victims = append(victims, x)
			}
		}
	}
	for version := range 3 {
		for _, x := range victims {
			if version == 0 || x.old {
				x.write(v, rng)
			}
		}
		v.waitNoKeys()
		for _, x := range victims {
			if version == 0 || x.old {
				x.keep(v)
			}
		}
	}
	for _, p := range plans {
		if p.v.inUse {
			var err error
			p.v.fd, err = os.OpenFile(v.path(p.v.name), os.O_RDONLY|unix.O_DIRECT, 0)
			must(v.t, err)
		}
	}
	return plans
}

// attack changes the victim's store.
func (p *plan) attack(t *testing.T) {
	b, err := os.ReadFile(p.v.store)
	must(t, err)
	b = p.damage(p.v, p.other, b)
	must(t, os.WriteFile(p.v.store, b, 0o644))
	if p.name == "a terabyte" {
		must(t, os.Truncate(p.v.store, 1<<40))
	}
}

// check reads the victim and compares every byte that comes back. An open file that cannot have
// noticed, and one whose newest state only a ledger knows, may be right or wholly old.
func (p *plan) check(t *testing.T, path string, f *os.File, ledger bool) {
	t.Helper()
	versions := [][]byte{p.v.content}
	if p.ledger && !ledger {
		versions = p.v.versions
	}
	got := readSome(t, path, f, versions)
	switch {
	case len(p.want) == 0 && got != nil:
		t.Errorf("%s: %v", p.v.name, got)
	case got == nil && len(p.want) > 0 && !(p.unseen && f != nil) && !(p.ledger && !ledger):
		t.Errorf("%s: not noticed", p.v.name)
	case got != nil && !slices.ContainsFunc(p.want, func(e unix.Errno) bool { return errors.Is(got, e) }):
		t.Errorf("%s: %v, want %v", p.v.name, got, p.want)
	}
}

// readSome reads all of a file piece by piece, past errors, without the kernel's cache. It returns
// the first error and fails the test when a piece is not one of the same version.
func readSome(t *testing.T, path string, f *os.File, versions [][]byte) (first error) {
	t.Helper()
	if f == nil {
		var err error
		if f, err = os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0); err != nil {
			return err
		}
		defer f.Close()
	}
	size := len(versions[0])
	got, good := make([]byte, size), make([]bool, size)
	for off := 0; off < size; off += 16 * pageSize {
		want := min(16*pageSize, size-off)
		n, err := f.ReadAt(got[off:off+want], int64(off))
		for i := range n {
			good[off+i] = true
		}
		if errors.Is(err, io.EOF) && n < want {
			t.Errorf("%s ends at %d of %d bytes without an error", path, off+n, size)
		}
		if err != nil && first == nil {
			first = err
		}
	}
	for _, v := range versions {
		if matches(got, v, good) {
			return first
		}
	}
	t.Errorf("%s: wrong bytes were returned", path)
	return first
}

func matches(got, want []byte, good []bool) bool {
	for i := range got {
		if good[i] && got[i] != want[i] {
			return false
		}
	}
	return true
}

// attackContent performs the attacks of one row, on files in use and not, looked at in the same mount
// and in the next one, with the ledger and without.
func attackContent(row string) func(t *testing.T) {
	return func(t *testing.T) {
		for name, flags := range namesModes {
			t.Run(name, func(t *testing.T) {
				v := mountedVolume(t, flags...)
				plans := planContent(v, row)
				for _, p := range plans {
					p.attack(t)
				}
				for _, p := range plans {
					if p.v.fd != nil {
						p.check(t, "", p.v.fd, true)
						p.v.fd.Close()
					}
				}
				for _, p := range plans {
					p.check(t, v.path(p.v.name), nil, true)
				}
				for _, options := range [][]string{nil, {"-o", "noledger"}} {
					v.umount()
					v.mount(options...)
					for _, p := range plans {
						p.check(t, v.path(p.v.name), nil, options == nil)
					}
				}
			})
		}
	}
}
