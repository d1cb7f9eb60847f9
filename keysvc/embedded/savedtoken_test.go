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
