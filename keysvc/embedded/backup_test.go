package embedded

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/embedded/archive"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"golang.org/x/sys/unix"
)

func backup(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Backup(t.Context(), Options{Dir: dir}, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRestoredDirectoryDecryptsWhatTheFirstOneHasEncrypted(t *testing.T) {
	dir, restored := newDir(t), newDir(t)
	blob := create(t, Options{Dir: dir})
	b := backup(t, dir)
	m, err := Restore(t.Context(), Options{Dir: restored}, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{configFile, pinFile, storeFile, tokenDir} {
		if !m.Has(name) {
			t.Errorf("the backup has no %s", name)
		}
	}
	for _, name := range []string{auditDir, lockFile, storeFile + "-wal", storeFile + "-generation"} {
		if m.Has(name) {
			t.Errorf("the backup has %s", name)
		}
	}
	if err := os.RemoveAll(dir); err != nil { // what is in SoftHSM's configuration must not matter
		t.Fatal(err)
	}
	decrypt(t, Options{Dir: restored}, blob)
	if left, _ := fs.Glob(os.DirFS(filepath.Dir(restored)), ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Keys are made, rotated and destroyed while backups are taken: every key of every
// backup can be used.
func TestBackupInUseIsOfOneMoment(t *testing.T) {
	dir := newDir(t)
	e := open(t, Options{Dir: dir, CreateIfMissing: true})
	stop := make(chan struct{})
	var busy sync.WaitGroup
	finish := sync.OnceFunc(func() {
		close(stop)
		busy.Wait()
		mustClose(t, e)
	})
	defer finish()
	for range 3 {
		busy.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				key, err := e.Service().CreateKey(context.Background(), nil)
				if err == nil {
					_, err = e.Service().RotateKeyOnDemand(context.Background(), &kms.RotateKeyOnDemandInput{KeyId: key.KeyMetadata.KeyId})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var backups [][]byte
	for range 4 {
		time.Sleep(100 * time.Millisecond)
		backups = append(backups, backup(t, dir))
	}
	finish()
	for _, b := range backups {
		wantUsable(t, b)
	}
	if left, _ := fs.Glob(os.DirFS(dir), stagePrefix+"*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// wantUsable restores a backup and uses every key that is finished.
func wantUsable(t *testing.T, b []byte) {
	t.Helper()
	dir := newDir(t)
	if _, err := Restore(t.Context(), Options{Dir: dir}, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	e := open(t, Options{Dir: dir})
	defer mustClose(t, e)
	pages := kms.NewListKeysPaginator(e.Service(), &kms.ListKeysInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Keys {
			meta, err := e.Service().DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: k.KeyId})
			if err != nil || meta.KeyMetadata.KeyState != types.KeyStateEnabled {
				continue
			}
			if _, err := e.Service().GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: k.KeyId, KeySpec: types.DataKeySpecAes256}); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestDamagedBackupLeavesNothing(t *testing.T) {
	dir, restored := newDir(t), newDir(t)
	create(t, Options{Dir: dir})
	b := backup(t, dir)
	changed := bytes.Clone(b)
	changed[len(changed)/2] ^= 1
	for name, b := range map[string][]byte{"cut off": b[:len(b)/2], "changed": changed, "empty": nil} {
		_, err := Restore(t.Context(), Options{Dir: restored}, bytes.NewReader(b))
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindDamaged || !strings.Contains(e.Hint(), "nothing was restored") {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(filepath.Dir(restored)); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

func TestRestoreReplacesNothing(t *testing.T) {
	dir := newDir(t)
	blob := create(t, Options{Dir: dir})
	_, err := Restore(t.Context(), Options{Dir: dir}, bytes.NewReader(backup(t, dir)))
	var e *Error
	if !errors.As(err, &e) || e.Kind != KindInvalid {
		t.Errorf("%v", err)
	}
	decrypt(t, Options{Dir: dir}, blob)
}

func TestBackupWithoutStoreIsRefused(t *testing.T) {
	dir := newDir(t)
	create(t, Options{Dir: dir})
	if err := os.Remove(filepath.Join(dir, storeFile)); err != nil {
		t.Fatal(err)
	}
	if m, err := Backup(t.Context(), Options{Dir: dir}, &bytes.Buffer{}); err == nil {
		t.Errorf("%+v", m)
	}
}

func TestBackupOfATornRestIsRefused(t *testing.T) {
	text := []byte(`{"version":1,"account":"000000000000","region":"us-east-1","token":{"label":"kmsfs"}}`)
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, configFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := archive.Write(&b, root, time.Now()); err != nil {
		t.Fatal(err)
	}
	if m, err := Restore(t.Context(), Options{Dir: newDir(t)}, &b); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestBackupFollowsLinksToOtherDevices(t *testing.T) {
	dir, restored, elsewhere := newDir(t), newDir(t), t.TempDir()
	blob := create(t, Options{Dir: dir})
	for _, name := range []string{tokenDir, storeFile, pinFile} {
		there := filepath.Join(elsewhere, name)
		if err := errors.Join(os.Rename(filepath.Join(dir, name), there), os.Symlink(there, filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	decrypt(t, Options{Dir: dir}, blob)
	if _, err := Restore(t.Context(), Options{Dir: restored}, bytes.NewReader(backup(t, dir))); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(elsewhere); err != nil {
		t.Fatal(err)
	}
	decrypt(t, Options{Dir: restored}, blob)
}

func TestBackupWithoutKeysIsRefused(t *testing.T) {
	dir := newDir(t)
	create(t, Options{Dir: dir})
	if err := os.Rename(filepath.Join(dir, tokenDir), filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	_, err := Backup(t.Context(), Options{Dir: dir}, &bytes.Buffer{})
	var e *Error
	if !errors.As(err, &e) || e.Kind != KindDamaged {
		t.Errorf("%v", err)
	}
}

// What a killed backup has left has the keys, also those that are deleted later.
func TestBackupRemovesWhatKilledOnesHaveLeftAndNothingElse(t *testing.T) {
	o := Options{Dir: newDir(t)}
	create(t, o)
	dead := o.path(stagePrefix + "1")
	if err := os.MkdirAll(filepath.Join(dead, tokenDir), 0o700); err != nil {
		t.Fatal(err)
	}
	alive, done, err := o.makeStage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	backup(t, o.Dir)
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed backup has left is still there: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Error(err)
	}
}

func TestRestoreFollowsALinkInsteadOfReplacingIt(t *testing.T) {
	dir, link, device := newDir(t), newDir(t), t.TempDir()
	blob := create(t, Options{Dir: dir})
	b := backup(t, dir)
	empty := filepath.Join(device, "state")
	if err := errors.Join(os.Mkdir(empty, 0o700), os.MkdirAll(filepath.Dir(link), 0o700), os.Symlink(empty, link)); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), Options{Dir: link}, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(empty, configFile)); err != nil {
		t.Error(err)
	}
	decrypt(t, Options{Dir: link}, blob)
	if err := os.RemoveAll(empty); err != nil {
		t.Fatal(err)
	}
	if m, err := Restore(t.Context(), Options{Dir: link}, bytes.NewReader(b)); err == nil {
		t.Errorf("restored to where a link leads nowhere: %+v", m)
	}
}

// A state directory may be a volume of its own, with what its filesystem begins with.
func TestRestoreFillsAMountPoint(t *testing.T) {
	dir, point := newDir(t), newDir(t)
	blob := create(t, Options{Dir: dir})
	b := backup(t, dir)
	if err := os.MkdirAll(point, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", point, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(point, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.Mkdir(filepath.Join(point, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), Options{Dir: point}, bytes.NewReader(b[:len(b)/2])); err == nil {
		t.Error("half a backup was restored")
	}
	if left, err := os.ReadDir(point); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
	if _, err := Restore(t.Context(), Options{Dir: point}, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if left, err := fs.Glob(os.DirFS(point), restoringName+"*"); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	decrypt(t, Options{Dir: point}, blob)
	if _, err := Restore(t.Context(), Options{Dir: point}, bytes.NewReader(b)); err == nil {
		t.Error("what was restored is replaced")
	}
}
