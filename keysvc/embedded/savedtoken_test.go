package embedded

import (
	"context"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKeysSurviveALoginThatWasKilled(t *testing.T) {
	o := Options{Dir: newDir(t)}
	blob := create(t, o)
	objects := tokenObjects(o.path(tokenDir))
	if len(objects) != 1 {
		t.Fatalf("token objects %v", objects)
	}
	for _, size := range []int64{0, 100} {
		if err := os.Truncate(objects[0], size); err != nil {
			t.Fatal(err)
		}
		decrypt(t, o, blob)
	}
}

func TestTokenObjectThatIsBeingRewrittenDoesNotReplaceItsCopy(t *testing.T) {
	o := Options{Dir: newDir(t)}
	blob := create(t, o)
	dir := o.path(tokenDir)
	object := tokenObjects(dir)[0]
	whole, err := os.ReadFile(object)
	if err != nil {
		t.Fatal(err)
	}
	// Another process logs in at this moment, or found no room on the device.
	if err := os.Truncate(object, 100); err != nil {
		t.Fatal(err)
	}
	if err := saveTokenObjects(dir); err != nil {
		t.Fatal(err)
	}
	saved, err := os.ReadFile(savedName(dir, object))
	if err != nil || len(saved) != len(whole) {
		t.Errorf("the copy has %d bytes of %d, %v", len(saved), len(whole), err)
	}
	decrypt(t, o, blob)
}

func TestCopyOfATokenObjectIsWrittenOnlyWhenItChanges(t *testing.T) {
	o := Options{Dir: newDir(t)}
	blob := create(t, o)
	name := savedName(o.path(tokenDir), tokenObjects(o.path(tokenDir))[0])
	before, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	decrypt(t, o, blob)
	after, err := os.Stat(name)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("a login wrote it anew (%v)", err)
	}
	if err := os.Truncate(tokenObjects(o.path(tokenDir))[0], 0); err != nil {
		t.Fatal(err)
	}
	decrypt(t, o, blob)
}

func TestHintsSayWhyTheDirectoryCannotBeWritten(t *testing.T) {
	for cause, hint := range map[error]string{unix.EROFS: "mount it for writing", unix.ENOSPC: "make room", unix.EDQUOT: "make room",
		unix.EACCES: "as that user", unix.ENOENT: "--state-dir", context.DeadlineExceeded: "try again"} {
		wantError(t, unreadable("/x", &os.PathError{Op: "open", Path: "/x", Err: cause}), KindUnreadable, hint)
	}
}
