package backing_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/backing"
)

// The system calls that an open, a lookup and a small write make most.
func BenchmarkCalls(b *testing.B) {
	d, err := backing.OpenRoot(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	f, err := d.Create("f", 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.SetXattr("user.k", make([]byte, 69), 0); err != nil {
		b.Fatal(err)
	}
	page := make([]byte, 4096)
	for name, call := range map[string]func() error{
		"stat":  func() error { var st unix.Stat_t; return d.Stat("f", &st) },
		"fstat": func() error { var st unix.Stat_t; return f.Stat(&st) },
		"xattr": func() error { var buf [256]byte; _, err := f.GetXattr("user.k", buf[:]); return err },
		"write": func() error { _, err := f.WriteAt(page, 0); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := call(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
