package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/backing/crashdisk"
)

// newModel is a mounted volume on a disk of its own.
func newModel(t *testing.T, seed uint64) (*crashRun, *kernel) {
	t.Helper()
	c := newCrashRun(seed, newModelKeys())
	ok(t, c.makeVolume(), c.mount())
	return c, c.k
}

// crashPoints makes calls on a volume whose disk dies before each one of its changes in turn, with a power
// loss or without, each under several seeds, and then looks at what is left.
func crashPoints(t *testing.T, prepare, calls, look func(k *kernel) error) {
	t.Helper()
	points := 0
	for died := true; died; points++ {
		died = false
		for seed := range uint64(16) {
			c, k := newModel(t, seed)
			ok(t, prepare(k), k.fs.vol.root.SyncFS())
			c.disk.DieAfter(points)
			err := calls(k)
			if died = died || c.disk.Dead(); err != nil && !c.disk.Dead() {
				t.Fatal(err)
			}
			c.disk.Reboot(seed%2 == 0)
			ok(t, c.mount())
			if err := look(c.k); err != nil {
				t.Fatalf("died at change %d, power loss %v, seed %d: %v\n%s", points, seed%2 == 0, seed, err, c.daemon.String())
			}
		}
	}
	if points < 2 {
		t.Error("nothing was changed")
	}
}

// put makes a file and, with sync, flushes it.
func (k *kernel) put(p, content string, sync bool) error {
	o, err := k.create(p)
	if err != nil {
		return err
	}
	err = o.write([]byte(content), 0)
	if err == nil && sync {
		err = o.fsync(false)
	}
	return errors.Join(err, o.close())
}

// oneOf checks that exactly one of names is there, with one of contents.
func (k *kernel) oneOf(names []string, contents ...string) error {
	there := 0
	for _, name := range names {
		b, err := k.readAll(name)
		if errors.Is(err, syscall.ENOENT) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		there++
		if !contains(contents, string(b)) {
			return fmt.Errorf("%s: %d bytes, %.20q", name, len(b), b)
		}
	}
	if there != 1 {
		return fmt.Errorf("%d of %q are there", there, names)
	}
	return nil
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}

// A commit of a renamed file may reach the device before the rename: it must not lack the old name's slot.
func TestCommitOfARenamedFileDoesNotCostItsOldName(t *testing.T) {
	const fresh = "new"
	crashPoints(t, func(k *kernel) error {
		o, err := k.create("f")
		if err != nil {
			return err
		}
		for range 3 { // both root pages have their place, so that a commit changes no metadata
			if err := errors.Join(o.write([]byte("old"), 0), o.fsync(false)); err != nil {
				return err
			}
		}
		return o.close()
	}, func(k *kernel) error {
		if err := k.rename("f", "g", 0); err != nil {
			return err
		}
		k.fs.committer.round() // drops the old slot
		o, err := k.openFile("g")
		if err != nil {
			return err
		}
		if err := o.write([]byte(fresh), 0); err != nil {
			return err
		}
		k.fs.committer.round()
		return o.close()
	}, func(k *kernel) error { return k.oneOf([]string{"f", "g"}, "old", fresh) })
}

// The new path of a file that changes places with a directory is one that the rename log says was left.
func TestFileThatChangedPlacesWithADirectoryOpens(t *testing.T) {
	crashPoints(t, func(k *kernel) error {
		return errors.Join(k.put("f", "file", true), k.mkdir("d"), k.put("d/x", "below", true))
	}, func(k *kernel) error { return k.rename("f", "d", unix.RENAME_EXCHANGE) }, func(k *kernel) error {
		id, err := k.walk("f")
		if err != nil {
			return err
		}
		if k.fs.tree.get(id).isDir() {
			return errors.Join(k.oneOf([]string{"d"}, "file"), k.oneOf([]string{"f/x"}, "below"))
		}
		return errors.Join(k.oneOf([]string{"f"}, "file"), k.oneOf([]string{"d/x"}, "below"))
	})
}

// The last entry of the log is of a rename that happened, and the next has the same paths.
func TestRenameOfADirectoryIsNotTakenForTheOneBefore(t *testing.T) {
	crashPoints(t, func(k *kernel) error {
		return errors.Join(k.mkdir("a"), k.mkdir("b"), k.put("a/x", "first", true), k.rename("a", "b", 0),
			k.rename("b/x", "kept", 0), k.mkdir("a"), k.put("a/x", "second", true), k.rename("kept", "b/x", 0), k.rename("b/x", "b2", 0))
	}, func(k *kernel) error { return k.rename("a", "b", 0) }, func(k *kernel) error {
		return errors.Join(k.oneOf([]string{"b2"}, "first"), k.oneOf([]string{"a/x", "b/x"}, "second"))
	})
	crashPoints(t, func(k *kernel) error {
		return errors.Join(k.mkdir("a"), k.mkdir("b"), k.put("a/x", "first", true), k.put("b/y", "second", true), k.rename("a", "b", unix.RENAME_EXCHANGE), k.unlink("b/x"))
	}, func(k *kernel) error { return k.rename("a", "b", 0) }, func(k *kernel) error {
		return k.oneOf([]string{"a/y", "b/y"}, "second")
	})
}

func TestFileThatWasNeverSyncedIsReadableAfterACrash(t *testing.T) {
	first, second := strings.Repeat("1", 9000), strings.Repeat("2", 30000)
	crashPoints(t, func(k *kernel) error { return k.put("other", "", true) }, func(k *kernel) error {
		o, err := k.create("f")
		if err != nil {
			return err
		}
		if err := o.write([]byte(first), 0); err != nil {
			return err
		}
		k.fs.committer.round()
		if err := o.write([]byte(second), 0); err != nil {
			return err
		}
		return errors.Join(o.close(), k.fsyncDir(""))
	}, func(k *kernel) error {
		if _, err := k.walk("f"); err == syscall.ENOENT {
			return nil
		}
		return k.oneOf([]string{"f"}, "", first, second)
	})
}

// damage overwrites a page of the store's file.
func (k *kernel) damage(t *testing.T, p string, page int64) {
	t.Helper()
	id, err := k.walk(p)
	ok(t, err)
	at, d, done, err := k.fs.locate(k.fs.tree.get(id))
	ok(t, err)
	defer done()
	f, err := d.Open(at.store, false)
	ok(t, err)
	defer f.Close()
	_, err = f.WriteAt(bytes.Repeat([]byte{0x55}, 600), page*4096)
	ok(t, err)
}

// What was synced is never taken for a file that was not.
func TestDamageToASyncedFileAfterACrashIsAnError(t *testing.T) {
	for page, what := range map[int64]string{0: "root page", 2: "content"} {
		for _, synced := range []bool{true, false} {
			c, k := newModel(t, 1)
			ok(t, k.put("f", strings.Repeat("x", 20000), synced))
			k.forget()
			c.disk.Reboot(false)
			ok(t, c.mount())
			c.k.damage(t, "f", page)
			b, err := c.k.readAll("f")
			if synced && !errors.Is(err, syscall.EIO) || !synced && (err != nil || len(b) > 0) {
				t.Errorf("%s damaged, synced %v: %d bytes, %v", what, synced, len(b), err)
			}
		}
	}
}

func TestSymlinkHasOneNameAfterACrashInItsRename(t *testing.T) {
	for _, over := range []bool{false, true} {
		crashPoints(t, func(k *kernel) error {
			if over {
				return errors.Join(k.symlink("target", "a"), k.put("b", "replaced", true))
			}
			return k.symlink("target", "a")
		}, func(k *kernel) error { return k.rename("a", "b", 0) }, func(k *kernel) error {
			links := 0
			for range 2 { // the second time it was finished
				links = 0
				for _, name := range []string{"a", "b"} {
					id, err := k.walk(name)
					if err != nil || k.fs.tree.get(id).kind != unix.S_IFLNK {
						continue
					}
					if target, err := k.readlink(id); err != nil || target != "target" {
						return fmt.Errorf("%s: %q, %w", name, target, err)
					}
					links++
				}
				k.forget()
			}
			if links != 1 {
				return fmt.Errorf("%d links", links)
			}
			return nil
		})
	}
}

func TestDirectoryKeepsItsAttributeWhenACrashPreventsItsRemoval(t *testing.T) {
	for name, remove := range map[string]func(k *kernel) error{
		"rmdir":  func(k *kernel) error { return k.rmdir("d") },
		"rename": func(k *kernel) error { return k.rename("e", "d", 0) },
	} {
		t.Run(name, func(t *testing.T) {
			crashPoints(t, func(k *kernel) error {
				return errors.Join(k.mkdir("d"), k.mkdir("e"), k.setAttr("d", "of d"), k.setAttr("e", "of e"))
			}, remove, func(k *kernel) error {
				for _, name := range []string{"d", "e"} {
					id, err := k.walk(name)
					if err != nil {
						continue
					}
					if value, err := k.attr(id); err != nil || !strings.HasPrefix(value, "of ") {
						return fmt.Errorf("%s: %q, %w", name, value, err)
					}
				}
				return nil
			})
		})
	}
}

// An inode that was given up has names still: the kernel is told to look them up, not that they are gone.
func TestGivenUpInodeIsStaleAndNotGone(t *testing.T) {
	_, k := newModel(t, 1)
	ok(t, k.put("f", "content", true), k.mkdir("d"))
	file, err := k.walk("f")
	ok(t, err)
	dir, err := k.walk("d")
	ok(t, err)
	k.fs.tree.giveUp(k.fs.tree.get(file))
	k.fs.tree.giveUp(k.fs.tree.get(dir))
	k.fs.dirs.drop(k.fs.tree.get(dir))
	var out fuse.EntryOut
	st := k.fs.Link(nil, &fuse.LinkIn{InHeader: header(fuse.FUSE_ROOT_ID), Oldnodeid: file}, "g", &out)
	if st != fuse.Status(syscall.ESTALE) {
		t.Errorf("link: %v", st)
	}
	h := header(dir)
	if st := k.fs.Lookup(nil, &h, "x", &out); st != fuse.Status(syscall.ESTALE) {
		t.Errorf("lookup: %v, node %d", st, out.NodeId)
	}
	ok(t, k.link("f", "g"))
}

// flushes counts the device flushes of a call.
func flushes(t *testing.T, disk *crashdisk.Disk, what string, want int, call func() error) {
	t.Helper()
	before := disk.Stats.Flushes
	ok(t, call())
	if got := disk.Stats.Flushes - before; got != want {
		t.Errorf("%s: %d device flushes, want %d", what, got, want)
	}
}

func TestFsyncIsOneDeviceFlush(t *testing.T) {
	c, k := newModel(t, 1)
	fsync := func(o *opened, dataOnly bool) func() error { return func() error { return o.fsync(dataOnly) } }
	o, err := k.create("f")
	ok(t, err)
	flushes(t, c.disk, "a new file", 1, fsync(o, false))
	flushes(t, c.disk, "nothing since", 0, fsync(o, false))
	ok(t, o.write(make([]byte, 100), 0))
	flushes(t, c.disk, "a small write", 1, fsync(o, false))
	ok(t, o.write(make([]byte, 1<<20), 0))
	flushes(t, c.disk, "a large write", 1, fsync(o, true))
	flushes(t, c.disk, "nothing since, names asked for", 0, fsync(o, false))
	ok(t, o.write([]byte("x"), 5000))
	k.fs.committer.round()
	flushes(t, c.disk, "a write that was committed", 1, fsync(o, true))
	ok(t, k.rename("f", "g", 0))
	flushes(t, c.disk, "a rename, content asked for", 0, fsync(o, true))
	flushes(t, c.disk, "a rename", 1, fsync(o, false))
	ok(t, k.setAttr("g", "value"))
	flushes(t, c.disk, "an attribute", 1, fsync(o, false))
	ok(t, o.truncate(3000))
	flushes(t, c.disk, "a truncation to within a page", 1, fsync(o, true))
	flushes(t, c.disk, "close", 0, o.close)
	flushes(t, c.disk, "a directory", 1, func() error { return k.fsyncDir("") })
	ok(t, k.put("h", "content", false))
	k.forget()
	ok(t, k.unmount(), c.mount())
	o, err = c.k.openFile("h")
	ok(t, err)
	ok(t, o.write([]byte("y"), 100))
	flushes(t, c.disk, "a write in the next mount", 1, fsync(o, false))
}

// refusingKeys makes no grants.
type refusingKeys struct{ KeyService }

func (refusingKeys) CreateGrant(context.Context, *kms.CreateGrantInput, ...func(*kms.Options)) (*kms.CreateGrantOutput, error) {
	return nil, context.DeadlineExceeded
}

func TestMountThatFailsLeavesNothingOpen(t *testing.T) {
	c, k := newModel(t, 1)
	ok(t, k.mkdir("d"), k.rename("d", "e", 0))
	k.forget()
	ok(t, k.unmount())
	for n := 0; ; n++ {
		c.disk.Reboot(false)
		c.disk.DieAfter(n)
		k, err := mountModel(c.disk, c.keys, slog.New(slog.DiscardHandler))
		if err == nil {
			k.fs.letGo()
			k.fs.vol.close()
		}
		if open := c.disk.Descriptors(); open > 0 {
			t.Errorf("%d descriptors after a mount whose store failed at change %d: %v", open, n, err)
		}
		if err == nil {
			break
		}
	}
	c.disk = crashdisk.New(rand.New(rand.NewPCG(1, 1)))
	ok(t, c.makeVolume())
	v := &volume{root: c.disk.Root(), keys: refusingKeys{c.keys}, log: slog.New(slog.DiscardHandler)}
	ok(t, v.open(t.Context(), &MountOptions{Backing: "/"}))
	if _, err := serve(t.Context(), v, MountOptions{Mountpoint: t.TempDir(), Logger: v.log}); err == nil {
		t.Fatal("mounted without a grant")
	}
	v.close()
	if open := c.disk.Descriptors(); open > 0 {
		t.Errorf("%d descriptors after a mount without a grant", open)
	}
}
