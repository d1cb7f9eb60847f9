package fs

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/envelope"
)

// newKey makes a CMK and returns its ARN.
func (s *testStore) newKey() string {
	s.t.Helper()
	out, err := s.keys.Service().CreateKey(s.t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		s.t.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

func (s *testStore) disable(key string) {
	s.t.Helper()
	if _, err := s.keys.Service().DisableKey(s.t.Context(), &kms.DisableKeyInput{KeyId: &key}); err != nil {
		s.t.Fatal(err)
	}
}

// rewrap runs a rewrap that must finish.
func (s *testStore) rewrap(o RewrapOptions) RewrapResult {
	s.t.Helper()
	v := s.open(false)
	o.Failed = func(path string, err error) { s.t.Errorf("%s: %v", path, err) }
	res, err := v.Rewrap(s.t.Context(), o)
	if err != nil || !res.Finished || res.Failed != 0 {
		s.t.Fatalf("%+v, %v\n%s", res, err, s.log.String())
	}
	s.close(v)
	return res
}

// heads returns what every file's header holds, by path, without the attributes of the store.
func heads(t *testing.T, o *Offline) map[string]envelope.SlotTable {
	t.Helper()
	out := map[string]envelope.SlotTable{}
	eachHead(t, o, func(path string, h *Head) {
		if h.Staged {
			t.Errorf("%s: the slots are in the attribute only", path)
		}
		out[path] = h.Slots
	})
	return out
}

// eachHead calls visit for every file, one at a time.
func eachHead(t *testing.T, o *Offline, visit func(path string, h *Head)) {
	t.Helper()
	var mu sync.Mutex
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
		visit(obj.Path, h)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wantReadable opens every file of sample.
func (s *testStore) wantReadable(o *Offline) {
	s.t.Helper()
	for path, want := range map[string]string{"/d/new/file": "content", "/d/link": "content"} {
		in, err := o.fs.reach(path)
		if err != nil {
			s.t.Fatalf("%s: %v", path, err)
		}
		if err := o.fs.acquire(s.t.Context(), in, false); err != nil {
			s.t.Errorf("%s: %v\n%s", path, err, s.log.String())
			continue
		}
		b := make([]byte, len(want))
		if _, err := in.open.Load().file.ReadAt(b, 0); err != nil || string(b) != want {
			s.t.Errorf("%s: %q, %v", path, b, err)
		}
		o.fs.release(in, false)
		o.fs.tree.forget(in.id, 1)
	}
}

func TestRewrapMovesEveryKeyToAnotherCMK(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	arn := s.newKey()
	res := s.rewrap(RewrapOptions{KeyID: arn})
	if res.KeyARN != arn || len(res.Left) != 1 || res.Files != 3 || res.Wrapped != 3 || res.Retired != 1 {
		t.Errorf("%+v", res)
	}
	s.disable(s.key)
	o := s.open(false)
	s.wantReadable(o)
	for path, table := range heads(t, o) {
		for _, slot := range table.Slots {
			if o.fs.vol.list().arns[slot.KeyIndex] != arn || slot.LogSeq != 1 {
				t.Errorf("%s: slot of %d at sequence %d", path, slot.KeyIndex, slot.LogSeq)
			}
		}
	}
	if info := o.Info(); info.CurrentKeyARN != arn || slices.Index(info.KeyARNs, arn) != len(info.KeyARNs)-1 || o.fs.renames.log().Base() != 1 {
		t.Errorf("%+v, rename log from %d", info, o.fs.renames.log().Base())
	}
}

func TestRewrapToTheSameKeyTakesItsNewestMaterial(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	reader := s.open(true)
	before := heads(t, reader)
	s.close(reader)
	if _, err := s.keys.Service().RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: &s.key}); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		res := s.rewrap(RewrapOptions{KeyID: s.key})
		if res.Wrapped != 3 || len(res.Left) != 0 {
			t.Errorf("round %d: %+v", round, res)
		}
	}
	o := s.open(true)
	s.wantReadable(o)
	for path, table := range heads(t, o) {
		if len(table.Slots) != len(before[path].Slots) || slices.Equal(table.Slots[0].Wrapped, before[path].Slots[0].Wrapped) {
			t.Errorf("%s: not wrapped anew", path)
		}
	}
	if n := len(o.Info().KeyARNs); n > 2 {
		t.Errorf("%d keys listed: places are not used again", n)
	}
}

// killedKeys is a key service whose caller is killed after some calls of ReEncrypt.
type killedKeys struct {
	KeyService
	mu   sync.Mutex
	left int
}

func (k *killedKeys) ReEncrypt(ctx context.Context, in *kms.ReEncryptInput, o ...func(*kms.Options)) (*kms.ReEncryptOutput, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left--; k.left < 0 {
		return nil, context.DeadlineExceeded
	}
	return k.KeyService.ReEncrypt(ctx, in, o...)
}

func TestRewrapIsTakenUpWhereItEnded(t *testing.T) {
	s := newTestStore(t, nil)
	made := s.open(false)
	for i := range 4 {
		raw{t, made.fs}.file(1, fmt.Sprint("f", i), "content")
	}
	s.close(made)
	arn := s.newKey()
	done := 0
	for _, calls := range []int{0, 1, 3} { // the volume key is the first
		v := s.open(false)
		v.fs.vol.keys = &killedKeys{KeyService: s.keys.Service(), left: calls}
		if res, err := v.Rewrap(t.Context(), RewrapOptions{KeyID: arn}); err == nil || res.Finished {
			t.Fatalf("after %d calls: %+v, %v", calls, res, err)
		} else {
			done += int(res.Wrapped)
		}
		s.close(v)
	}
	// A slot that was wrapped but not written when another worker failed is wrapped again.
	res := s.rewrap(RewrapOptions{KeyID: arn})
	if done == 0 || done+int(res.Wrapped) != 4 {
		t.Errorf("%d slots wrapped before and %d by the last run, want 4 in all", done, res.Wrapped)
	}
	s.disable(s.key)
	o := s.open(true)
	for i := range 4 {
		f, err := o.Open(fmt.Sprint("/f", i))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

func TestVolumeHalfWayToAThirdKeyEndsThere(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	second, third := s.newKey(), s.newKey()
	v := s.open(false)
	v.fs.vol.keys = &killedKeys{KeyService: s.keys.Service(), left: 2}
	if _, err := v.Rewrap(t.Context(), RewrapOptions{KeyID: second}); err == nil {
		t.Fatal("not killed")
	}
	v.fs.vol.keys = s.keys.Service()
	s.close(v)
	if res := s.rewrap(RewrapOptions{KeyID: third}); len(res.Left) != 2 {
		t.Errorf("%+v", res)
	}
	s.disable(s.key)
	s.disable(second)
	s.wantReadable(s.open(true))
}

func TestRewrapWithADisabledKeyStopsAtOnce(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	v := s.open(false)
	s.disable(s.key)
	_, err := v.Rewrap(t.Context(), RewrapOptions{KeyID: s.newKey()})
	if kindOf(err) != KindKeyDisabled {
		t.Errorf("%v, want KindKeyDisabled", err)
	}
}

func TestRewrapReportsAFileThatDoesNotBelongHereAndDoesNotFinish(t *testing.T) {
	s := newTestStore(t, func(o *InitOptions) { o.PlaintextNames = true })
	s.sample()
	if err := os.Rename(filepath.Join(s.dir, "d", "new", "file"), filepath.Join(s.dir, "d", "moved")); err != nil {
		t.Fatal(err)
	}
	var failed []string
	v := s.open(false)
	arn := s.newKey()
	res, err := v.Rewrap(t.Context(), RewrapOptions{KeyID: arn, Failed: func(path string, _ error) { failed = append(failed, path) }})
	if err != nil || res.Finished || res.Failed != 2 || !slices.Contains(failed, "/d/moved") || !slices.Contains(failed, "/d/link") {
		t.Errorf("%+v, %v, failed %v", res, err, failed)
	}
	s.close(v)
	if err := os.Rename(filepath.Join(s.dir, "d", "moved"), filepath.Join(s.dir, "d", "new", "file")); err != nil {
		t.Fatal(err)
	}
	s.rewrap(RewrapOptions{KeyID: arn})
	s.disable(s.key)
	s.wantReadable(s.open(true))
}

// newRecovery makes an RSA recipient.
func newRecovery(t *testing.T, bits int) *envelope.RecoveryKey {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	k, err := envelope.NewRecoveryKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (s *testStore) wantRecoverySlots(r *envelope.Recipient) {
	s.t.Helper()
	o := s.open(true)
	for path, table := range heads(s.t, o) {
		if slot := table.Recovery(); slot == nil || slot.Tag != r.Tag() {
			s.t.Errorf("%s has no recovery slot for %s", path, r.Fingerprint())
		}
	}
	s.close(o)
}

func TestRecoveryReplacesALostCMK(t *testing.T) {
	for name, late := range map[string]bool{"since init": false, "added later": true} {
		t.Run(name, func(t *testing.T) {
			k := newRecovery(t, 2048)
			target := RecoveryTarget{Public: k.Recipient()}
			s := newTestStore(t, func(o *InitOptions) {
				if !late {
					o.Recovery = target
				}
			})
			s.sample()
			if late {
				s.rewrap(RewrapOptions{Recovery: target})
			}
			s.wantRecoverySlots(k.Recipient())
			s.disable(s.key)
			arn := s.newKey()
			s.recoverTo(RecoverySource{Private: k}, arn)
			s.wantReadable(s.open(true))
			s.wantRecoverySlots(k.Recipient())
		})
	}
}

// recoverTo recovers the volume with src to the CMK arn.
func (s *testStore) recoverTo(src RecoverySource, arn string) {
	s.t.Helper()
	v, err := OpenVolume(s.t.Context(), OfflineOptions{Backing: s.dir, Keys: s.keys.Service(), Recovery: &src})
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := v.Rewrap(s.t.Context(), RewrapOptions{KeyID: arn, Failed: func(path string, err error) { s.t.Errorf("%s: %v", path, err) }})
	if err != nil || !res.Finished || res.KeyARN != arn {
		s.t.Fatalf("%+v, %v", res, err)
	}
	s.close(v)
}

func TestRecoveryKeyOfTheServiceReplacesALostCMK(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	second := s.newKey()
	s.rewrap(RewrapOptions{Recovery: RecoveryTarget{KeyID: second}})
	s.disable(s.key)
	s.recoverTo(RecoverySource{KeyID: second}, s.newKey())
	s.wantReadable(s.open(true))
}

func TestAnotherRecoveryKeyTakesThePlaceOfTheFirst(t *testing.T) {
	first, second := newRecovery(t, 2048), newRecovery(t, 3072)
	s := newTestStore(t, func(o *InitOptions) { o.Recovery = RecoveryTarget{Public: first.Recipient()} })
	s.sample()
	s.rewrap(RewrapOptions{Recovery: RecoveryTarget{Public: second.Recipient()}})
	s.wantRecoverySlots(second.Recipient())
	_, err := OpenVolume(t.Context(), OfflineOptions{Backing: s.dir, Recovery: &RecoverySource{Private: first}})
	if err == nil {
		t.Error("the first key still opens the volume")
	}
}

func TestMountWithRecoveryCannotOpenADisabledKey(t *testing.T) {
	k := newRecovery(t, 2048)
	s := newTestStore(t, func(o *InitOptions) { o.Recovery = RecoveryTarget{Public: k.Recipient()} })
	s.sample()
	o := s.open(false)
	s.disable(s.key)
	in, err := o.fs.reach("/d/link")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.fs.acquire(t.Context(), in, false); kindOf(err) != KindKeyDisabled {
		t.Errorf("open with a disabled key: %v", err)
	}
}

func TestVolumeStaysLockedWhileItsFileIsReplaced(t *testing.T) {
	s := newTestStore(t, nil)
	v := s.open(false)
	if res, err := v.Rewrap(t.Context(), RewrapOptions{KeyID: s.newKey()}); err != nil || !res.Finished {
		t.Fatal(err)
	}
	if _, err := s.tryOpen(false); kindOf(err) != KindLocked {
		t.Errorf("a second writer: %v, want KindLocked", err)
	}
}

func TestRewrapOfFilesInUseGoesOnWithWritersAndRenames(t *testing.T) {
	s := newTestStore(t, nil)
	v := s.open(false)
	r := raw{t, v.fs}
	d := r.mkdir(1, "d")
	const files = 40
	for i := range files {
		r.file(d, fmt.Sprint("f", i), "content")
	}
	g := &grants{v: v.fs.vol}
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() { churn(r, d, files, stop) })
	arn := s.newKey()
	run := &rewrap{s: v.fs, o: &RewrapOptions{KeyID: arn, Failed: func(path string, err error) { t.Errorf("%s: %v", path, err) }}, grants: g}
	res, err := run.run(t.Context())
	close(stop)
	group.Wait()
	if err != nil || !res.Finished {
		t.Fatalf("%+v, %v\n%s", res, err, s.log.String())
	}
	g.retain()
	s.disable(s.key)
	for i := range files {
		for _, name := range []string{fmt.Sprint("f", i), fmt.Sprint("g", i)} {
			in, err := v.fs.reach("/d/" + name)
			if err != nil {
				continue
			}
			if err := v.fs.acquire(t.Context(), in, false); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			v.fs.release(in, false)
		}
	}
}

// churn renames, links, writes and makes files, and renames a directory, until stop is closed.
func churn(r raw, d uint64, files int, stop chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		n := i % files
		from, to := fmt.Sprint("f", n), fmt.Sprint("g", n)
		if i/files%2 == 1 {
			from, to = to, from
		}
		h := r.header(d)
		r.s.Rename(nil, &fuse.RenameIn{InHeader: h, Newdir: d}, from, to)
		var out fuse.EntryOut
		if r.s.Lookup(nil, &h, to, &out) == fuse.OK && out.NodeId != 0 {
			var linked fuse.EntryOut
			r.s.Link(nil, &fuse.LinkIn{InHeader: h, Oldnodeid: out.NodeId}, "link", &linked)
			r.s.Unlink(nil, &h, "link")
			r.s.Forget(out.NodeId, 1)
		}
		if i%7 == 0 {
			r.file(d, fmt.Sprint("new", i), "new")
		}
	}
}

func TestRewrapThatIsCancelledKeepsNoInode(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	v := s.open(false)
	link := walkAll(t, v)["/d/link"]
	known := len(v.fs.tree.byID)
	run := &rewrap{s: v.fs, o: &RewrapOptions{}, grants: &grants{v: v.fs.vol}}
	ctx, cancel := context.WithCancel(t.Context())
	run.visit(ctx, link) // the other name has not come by yet
	cancel()
	if _, err := run.passOnce(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if now := len(v.fs.tree.byID); now != known {
		t.Errorf("%d inodes, %d before", now, known)
	}
}

func TestRewrapHoldsDirectoryRenamesBackForOnePassAtMost(t *testing.T) {
	s := newTestStore(t, nil)
	v := s.open(false)
	r := raw{t, v.fs}
	r.mkdir(1, "a")
	var passes []string
	from, to := "a", "b"
	run := &rewrap{s: v.fs, grants: &grants{v: v.fs.vol}, o: &RewrapOptions{KeyID: s.newKey(), Progress: func(int64) {
		if !v.fs.renames.mu.TryLock() {
			passes = append(passes, "held")
			return
		}
		v.fs.renames.mu.Unlock()
		passes = append(passes, "free")
		r.ok("rename", v.fs.Rename(nil, &fuse.RenameIn{InHeader: r.header(1), Newdir: 1}, from, to))
		from, to = to, from
	}}}
	res, err := run.run(t.Context())
	if want := []string{"free", "free", "free", "held"}; err != nil || !res.Finished || !slices.Equal(passes, want) {
		t.Errorf("%+v, %v, passes %q, want %q", res, err, passes, want)
	}
}
