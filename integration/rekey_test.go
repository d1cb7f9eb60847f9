package integration

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Whenever it is killed, every name reads what it read before, and the volume is sound.
func TestRekeyThatIsKilledLosesNothingAndGoesOn(t *testing.T) {
	v := mountedVolume(t)
	kept := v.path("kept")
	fillLinked(t, kept, 60)
	before := contents(t, kept)
	v.umount()
	kills := 10
	if *long {
		kills = 100
	}
	for range kills {
		cmd := exec.Command(binary, "rekey", v.Back)
		cmd.Env = append(os.Environ(), "KMSFS_STATE_DIR="+v.State)
		must(t, cmd.Start())
		time.Sleep(time.Duration(60+rand.IntN(250)) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
	}
	var r struct{ Files, Rekeyed, Skipped, Failed int }
	out := v.kmsfs("rekey", "--json", v.Back)
	must(t, json.Unmarshal([]byte(out), &r))
	t.Logf("last run: %+v", r)
	if r.Failed != 0 || r.Files != 66 {
		t.Errorf("last run: %s", out)
	}
	v.kmsfs("fsck", v.Back)
	v.mount()
	wantSameLines(t, before, contents(t, kept))
	v.umount()
	v.wantCopyReadable(before)
}
