package integration

import (
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// disk is a filesystem on a loop device, so that its power can be cut.
type disk struct {
	t       *testing.T
	image   string
	Dir     string
	mounted bool
}

// diskKinds are the filesystems that the store is tested on, with what mkfs needs for a small one.
var diskKinds = map[string]struct {
	bytes int64
	mkfs  string
}{
	"ext4": {192 << 20, "mkfs.ext4 -q "},
	"xfs":  {320 << 20, "mkfs.xfs -q "}, // 300 MiB is the least that mkfs.xfs makes
}

// newDisk makes a filesystem and mounts it.
func newDisk(t *testing.T, kind string) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	dir := t.TempDir()
	d := &disk{t: t, image: filepath.Join(dir, "image"), Dir: filepath.Join(dir, "disk")}
	must(t, os.WriteFile(d.image, nil, 0o600))
	must(t, os.Truncate(d.image, diskKinds[kind].bytes))
	must(t, os.Mkdir(d.Dir, 0o755))
	sh(t, dir, diskKinds[kind].mkfs+d.image)
	t.Cleanup(d.umount)
	d.mount()
	return d
}

// mount replays the journal if need be.
func (d *disk) mount() {
	d.t.Helper()
	sh(d.t, "/", "mount -o loop "+d.image+" "+d.Dir)
	d.mounted = true
}

func (d *disk) umount() {
	if !d.mounted {
		return
	}
	d.mounted = false
	err := unix.Unmount(d.Dir, 0)
	for range 50 {
		if err != unix.EBUSY {
			break
		}
		time.Sleep(20 * time.Millisecond) // a daemon that has just ended is still giving up its files
		err = unix.Unmount(d.Dir, 0)
	}
	if err != nil {
		d.t.Errorf("umount %s: %v", d.Dir, err)
		unix.Unmount(d.Dir, unix.MNT_DETACH)
	}
}

// How FS_IOC_SHUTDOWN leaves the journal: everything flushed, the log flushed, or nothing.
const (
	shutdownDefault = iota
	shutdownLogFlush
	shutdownNoLogFlush
)

// cutPower stops all writing to the device, as a power loss does.
func (d *disk) cutPower(how uint32) {
	d.t.Helper()
	const fsIocShutdown = 0x8004587d
	f, err := os.Open(d.Dir)
	must(d.t, err)
	defer f.Close()
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocShutdown, uintptr(unsafe.Pointer(&how))); no != 0 {
		d.t.Fatalf("FS_IOC_SHUTDOWN: %v", no)
	}
}

// powerOn mounts again what is left on the device.
func (d *disk) powerOn() {
	d.t.Helper()
	d.umount()
	d.mount()
}
