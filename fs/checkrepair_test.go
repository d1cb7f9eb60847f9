package fs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/kmsfs/kmsfs/envelope"
)

// failing is a key service whose key is disabled as soon as the volume is open.
type failing struct {
	KeyService
	disabled bool
}

// Decrypt disables the key after its first answer, that for the volume key.
func (k *failing) Decrypt(ctx context.Context, in *kms.DecryptInput, opts ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	out, err := k.KeyService.Decrypt(ctx, in, opts...)
	if err == nil && !k.disabled {
		k.disabled = true
		type disabler interface {
			DisableKey(context.Context, *kms.DisableKeyInput, ...func(*kms.Options)) (*kms.DisableKeyOutput, error)
			EnableKey(context.Context, *kms.EnableKeyInput, ...func(*kms.Options)) (*kms.EnableKeyOutput, error)
		}
		_, err = k.KeyService.(disabler).DisableKey(ctx, &kms.DisableKeyInput{KeyId: in.KeyId})
	}
	return out, err
}

func TestRepairReclaimsOrphansAndChangesNothingElse(t *testing.T) {
	s, store := checkStore(t)
	clean := s.snapshot()
	for _, name := range []string{"stray temporary file", "staged identity", "companion left", "space beyond the end"} {
		damages[name].damage(t, s, store)
	}
	for _, name := range []string{"swapped symbolic links", "foreign file"} { // no repair touches these
		damages[name].damage(t, s, store)
	}
	before := s.snapshot()
	res, faults, _ := s.repair()
	if res.Repaired != 4 || res.Orphans != 0 || res.Damaged != 3 {
		t.Errorf("%+v: %+v", res, faults)
	}
	rel := func(path, name string) string { return filepath.Join(store[path][len(s.dir):], name) }
	want := []string{rel("/d/big", ""), rel("/x", "kmsfs.dir.new"), rel("/x", "kmsfs.tmp-123"), "/kmsfs.long.abc.name"}
	slices.Sort(want)
	if got := changes(before, s.snapshot()); !slices.Equal(got, want) {
		t.Errorf("changed %q, want %q", got, want)
	}
	big := rel("/d/big", "")
	if after := s.snapshot(); stripTime(after[big]) != stripTime(clean[big]) {
		t.Errorf("the file whose space was cut is %q, was %q", after[big], clean[big])
	}
	res, _, _ = s.repair()
	if res.Repaired != 0 || res.Damaged != 3 {
		t.Errorf("a second repair: %+v", res)
	}
}

// stripTime leaves the digest, size and attributes of a snapshot's entry.
func stripTime(entry string) string { return entry[strings.IndexByte(entry, '}'):] }

// salvaged reads a salvage's report.
func salvaged(t *testing.T, dir string) map[string]SalvagedFile {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, SalvageReport))
	ok(t, err)
	all := map[string]SalvagedFile{}
	for dec := json.NewDecoder(bytes.NewReader(b)); dec.More(); {
		var f SalvagedFile
		ok(t, dec.Decode(&f))
		all[f.Path] = f
	}
	return all
}

// wantSalvage checks a salvaged file: the right bytes outside of lost, zeros in it.
func wantSalvage(t *testing.T, dir, path, content string, lost []Range) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, SalvageFiles, path))
	ok(t, err)
	want := []byte(content)
	for _, r := range lost {
		clear(want[r.Start:r.End])
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, not the %d that were written less %v", path, len(got), len(want), lost)
	}
}

func TestSalvageHasEveryReadableByte(t *testing.T) {
	s, store := checkStore(t)
	const page = envelope.PageSize
	flip(t, store["/d/big"], 100*page)
	flip(t, store["/d/big"], 101*page)
	flip(t, store["/d/big"], 300*page)
	before := s.snapshot()
	res, faults, dir := s.repair()
	if got := names(faults); !slices.Equal(got, []string{"content /d/big"}) || res.Salvaged != 1 {
		t.Fatalf("%q, %+v", got, res)
	}
	f := faults[0]
	if f.Salvaged != filepath.Join(dir, SalvageFiles, "d", "big") {
		t.Errorf("salvaged to %q", f.Salvaged)
	}
	lost := int64(0)
	for _, r := range f.Lost {
		lost += r.End - r.Start
	}
	if lost != 3*page {
		t.Errorf("lost %v, want three pages", f.Lost)
	}
	wantSalvage(t, dir, "/d/big", bigContent(), f.Lost)
	if report := salvaged(t, dir); !slices.Equal(report["/d/big"].Lost, f.Lost) || report["/d/big"].Size != bigSize || len(report) != 1 {
		t.Errorf("report %+v", report)
	}
	if diff := changes(before, s.snapshot()); diff != nil {
		t.Errorf("changed: %q", diff)
	}
}

// Which page of a file is a tag page is not known from outside, so each page is damaged in its turn:
// one that costs more than a block is a tag page.
func TestTagPageCostsWhatItPins(t *testing.T) {
	s, store := checkStore(t)
	tagPages := 0
	pages := int64(bigSize/envelope.PageSize) + 7
	for page := int64(2); page < pages && tagPages == 0; page++ {
		raw, err := os.ReadFile(store["/d/big"])
		ok(t, err)
		if (page+1)*envelope.PageSize > int64(len(raw)) {
			break
		}
		if page > 20 && page < pages-16 {
			continue
		}
		flip(t, store["/d/big"], page*envelope.PageSize)
		_, faults, dir := s.repair()
		flip(t, store["/d/big"], page*envelope.PageSize)
		if len(faults) == 0 {
			continue // a free page
		}
		f := faults[0]
		wantSalvage(t, dir, "/d/big", bigContent(), f.Lost)
		if len(f.Lost) == 1 && f.Lost[0].End-f.Lost[0].Start > envelope.PageSize {
			tagPages++
		}
	}
	if tagPages == 0 {
		t.Error("no page was found to be a tag page")
	}
}

func TestSalvageOfALostRootPageIsTheStateBefore(t *testing.T) {
	s := newTestStore(t, nil)
	o := s.open(false)
	first := strings.Repeat("first ", 1000)
	put(t, o, "/f", first)
	s.close(o)
	s.overwrite("/f", "SECOND")
	o = s.open(true)
	store := filepath.Join(s.dir, walkAll(t, o)["/f"].Store)
	ok(t, o.Close())
	flip(t, store, newestRoot(t, store)*envelope.PageSize+1000)
	res, faults, dir := s.repair()
	if got := names(faults); !slices.Equal(got, []string{"root-page /f"}) || res.Salvaged != 1 {
		t.Fatalf("%q, %+v", got, res)
	}
	wantSalvage(t, dir, "/f", first, nil)
}

func TestSalvageRefusesADirectoryInTheStoreOrInUse(t *testing.T) {
	s := newTestStore(t, nil)
	used := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(used, "x"), nil, 0o600))
	for _, dir := range []string{filepath.Join(s.dir, "salvage"), s.dir, used} {
		_, err := Check(t.Context(), CheckOptions{Backing: s.dir, Keys: s.keys.Service(), Workers: 1, Repair: true, SalvageDir: dir})
		if kindOf(err) != KindNotEmpty {
			t.Errorf("%s: %v, want KindNotEmpty", dir, err)
		}
	}
}

func TestCheckRefusesAVolumeInUse(t *testing.T) {
	s := newTestStore(t, nil)
	s.open(false)
	_, err := Check(t.Context(), CheckOptions{Backing: s.dir, Keys: s.keys.Service(), Workers: 1})
	if kindOf(err) != KindLocked {
		t.Errorf("%v, want KindLocked", err)
	}
}

func TestInterruptedCheckEndsAndReportsNoDamage(t *testing.T) {
	s, _ := checkStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Check(ctx, CheckOptions{Backing: s.dir, Keys: s.keys.Service(), Workers: 2,
		Report:   func(f Fault) { t.Errorf("%+v", f) },
		Progress: func(int, int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}
