package fs

import (
	"golang.org/x/sys/unix"
)

// orphan reports a name that nothing needs, and removes it in a repair.
func (c *checker) orphan(code FaultCode, o *Object) {
	x := fault(code, o, nil)
	if o.Kind() == unix.S_IFDIR {
		x = fault(FaultForeignName, o, errReserved) // none of ours is a directory
	} else {
		c.reclaim(&x, func() error {
			return keepTime(o.dir.Dir, func() error { return o.dir.Unlink(o.storeName()) })
		})
	}
	c.report(x)
}

// reclaim makes one change of a repair. One at a time: each puts back the time that it moves.
func (c *checker) reclaim(x *Fault, change func() error) {
	if !c.Repair {
		return
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	if err := change(); err != nil {
		x.Detail += "; not reclaimed: " + err.Error()
		return
	}
	x.Repaired, x.Advice = true, ""
}

// cut takes the space beyond end off a file.
func (f *fileCheck) cut(end int64) error {
	w, err := f.o.OpenStore(false)
	if err != nil {
		return err
	}
	defer w.Close()
	if w.ReadOnly() {
		return unix.EACCES
	}
	if err := w.Truncate(end); err != nil {
		return err
	}
	return w.Utimens(unix.Timespec{Nsec: unix.UTIME_OMIT}, f.o.Stat.Mtim)
}
