package embedded

import (
	"os"
	"testing"
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
