package fs

import "testing"

// A mount that was killed has cancelled a rename and not flushed that. The next one reads the cancel: a power
// loss must not take it back when the directory is gone by which it would be found, and when key slots name it.
func TestPowerLossDoesNotTakeBackACancelThatAMountHasRead(t *testing.T) {
	for point, died := 0, true; died; point++ {
		died = false
		for seed := range uint64(16) {
			c, k := newModel(t, seed)
			ok(t, k.mkdir("a"))
			ok(t, k.fs.moveForTest(t, "a", "b").stageAll(new([]func())), k.fs.vol.root.SyncFS())
			c.disk.Reboot(false)
			c.disk.DieAfter(point)
			if err := c.mount(); err != nil && !c.disk.Dead() {
				t.Fatal(err)
			}
			died = died || c.disk.Dead()
			c.disk.Reboot(false)
			ok(t, c.mount(), c.k.rmdir("a"), c.k.put("f", "content", true))
			c.disk.Reboot(true)
			ok(t, c.mount())
			if err := c.k.oneOf([]string{"f"}, "content"); err != nil {
				t.Fatalf("died at change %d, seed %d: %v\n%s", point, seed, err, c.daemon.String())
			}
		}
	}
}
