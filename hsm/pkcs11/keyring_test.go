package pkcs11

import (
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
)

var keyA, keyB = hsm.KeyID{1}, hsm.KeyID{2}

func sub(key hsm.KeyID, n byte) subID {
	return subID{key: key, alg: algECB, salt: [saltSize]byte{15: n}}
}

func TestEpochEndsByCountAndByAge(t *testing.T) {
	now := time.Unix(0, 0)
	k := newKeyring(8, func() time.Time { return now })
	start := func() *subKey {
		s := k.add(sub(keyA, byte(now.Unix())), 1, true, true, k.mark())
		k.release(s)
		return s
	}
	start()
	now = now.Add(epochAge - 1)
	s, ok := k.writer(keyA)
	if !ok {
		t.Fatal("the epoch ended early")
	}
	k.release(s)
	now = now.Add(1)
	if _, ok := k.writer(keyA); ok {
		t.Error("the epoch outlived its age")
	}
	start()
	k.epochs[keyA].wraps = epochWraps - 1
	s, ok = k.writer(keyA)
	if !ok {
		t.Fatal("the last wrap of an epoch is refused")
	}
	k.release(s)
	if _, ok := k.writer(keyA); ok {
		t.Error("the epoch outlived its wraps")
	}
}

func TestCacheKeepsTheMostRecent(t *testing.T) {
	k := newKeyring(2, time.Now)
	for n := byte(1); n <= 2; n++ {
		k.release(k.add(sub(keyA, n), object(n), true, false, k.mark()))
	}
	if s, ok := k.get(sub(keyA, 1)); ok {
		k.release(s)
	}
	k.release(k.add(sub(keyA, 3), 3, true, false, k.mark()))
	for n, want := range map[byte]bool{1: true, 2: false, 3: true} {
		if _, ok := k.get(sub(keyA, n)); ok != want {
			t.Errorf("sub-key %d cached: %v", n, ok)
		}
	}
	if g := k.takeGarbage(); len(g) != 1 || g[0] != 2 {
		t.Errorf("garbage %v", g)
	}
}

func TestSubKeyInUseIsNotDestroyed(t *testing.T) {
	k := newKeyring(2, time.Now)
	s := k.add(sub(keyA, 1), 7, true, true, k.mark())
	k.release(k.add(sub(keyB, 1), 8, true, false, k.mark()))
	dropped := k.forget(keyA)
	if len(dropped) == 0 || dropped[0] != s {
		t.Fatal("forget doesn't report what it dropped")
	}
	if k.hasGarbage() {
		t.Fatal("a sub-key in use is garbage")
	}
	if _, ok := k.get(sub(keyA, 1)); ok {
		t.Error("a forgotten sub-key is served")
	}
	if !k.release(s) {
		t.Error("after its last use it is no garbage")
	}
	select {
	case <-s.unused:
	default:
		t.Error("unused isn't closed")
	}
	if _, ok := k.get(sub(keyB, 1)); !ok {
		t.Error("another key's sub-key was forgotten")
	}
}

func TestNothingMadeBeforeForgetIsCached(t *testing.T) {
	k := newKeyring(2, time.Now)
	mark := k.mark()
	k.forget(keyA)
	k.setBaseKey(keyA, baseKey{handle: 1}, mark)
	if _, ok := k.baseKey(keyA); ok {
		t.Error("an old handle is cached")
	}
	s := k.add(sub(keyA, 1), 1, true, true, mark)
	if _, ok := k.get(sub(keyA, 1)); ok {
		t.Error("an old sub-key is cached")
	}
	if _, ok := k.writer(keyA); ok {
		t.Error("an old sub-key wraps")
	}
	if !k.release(s) {
		t.Error("an old sub-key isn't destroyed after use")
	}
}

func TestTokenKeepsSubKeysWithinBounds(t *testing.T) {
	b := newBench(t, nil)
	c := b.conn.Load()
	c.keys.mu.Lock()
	c.keys.capacity = 3
	c.keys.mu.Unlock()
	var blobs [][]byte
	for range 10 {
		b.now = func() time.Time { return time.Now().Add(time.Duration(len(blobs)) * epochAge) }
		c.keys.now = b.now
		blob, err := b.Wrap(t.Context(), b.id, b.plain, testAAD)
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, blob)
	}
	for range 2 {
		for _, blob := range blobs {
			if _, err := b.Unwrap(t.Context(), b.id, blob, testAAD); err != nil {
				t.Fatal(err)
			}
		}
	}
	for end := time.Now().Add(5 * time.Second); b.collecting.Load() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	alive := b.f.count("C_DeriveKey") + 1 - b.f.count("C_DestroyObject") // one was made before counting
	if alive < 3 || alive > 4 {
		t.Errorf("%d session keys are alive, want 3 and perhaps the writer's", alive)
	}
}

func TestHandleThatTwoLookForIsKeptOnce(t *testing.T) {
	b := newBench(t, nil)
	id := hsm.NewKeyID()
	if err := b.GenerateMACKey(t.Context(), id, hsm.HMAC256, "mac"); err != nil {
		t.Fatal(err)
	}
	b.Forget(id)
	b.f.reset()
	release := make(chan struct{})
	b.f.inject(rule{function: "C_FindObjects", times: 1, hang: release})
	done := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := b.MAC(t.Context(), id, hsm.HMAC256, []byte("message"))
			done <- err
		}()
	}
	for b.f.count("C_FindObjects") == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // the other one has come as far as it can
	close(release)
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	keys := b.conn.Load().keys
	kept := 0
	for e := keys.recent.Front(); e != nil; e = e.Next() {
		if e.Value.(*subKey).id.key == id {
			kept++
		}
	}
	if kept != 1 {
		t.Errorf("it is kept %d times, of which Forget finds one", kept)
	}
}
