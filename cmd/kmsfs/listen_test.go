package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A name that means loopback when it is checked could mean another address when it
// is looked up again.
func TestTheAddressThatWasCheckedIsServed(t *testing.T) {
	f := &serveFlags{listen: "localhost:0"}
	if err := f.checkAddress(false); err != nil {
		t.Fatal(err)
	}
	f.listen = "0.0.0.0:0" // what the name says now
	all, err := f.open(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(all)
	if addr := all[0].Addr().(*net.TCPAddr); !addr.IP.IsLoopback() {
		t.Errorf("served on %s", addr)
	}
}

// Files that other goroutines make meanwhile have the modes that they ask for.
func TestASocketIsForItsOwnerWithoutTheUmask(t *testing.T) {
	before := unix.Umask(0)
	defer unix.Umask(before)
	path := filepath.Join(t.TempDir(), "s")
	l, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
