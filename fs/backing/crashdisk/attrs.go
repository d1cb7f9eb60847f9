package crashdisk

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Stat implements backing.System.
func (d *Disk) Stat(fd int, name string) (st unix.Stat_t, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o, err := d.find(fd, name)
	if err != nil {
		return st, err
	}
	st = unix.Stat_t{Ino: o.ino, Mode: o.mode, Uid: o.uid, Gid: o.gid, Nlink: o.links, Rdev: o.rdev, Atim: o.atime, Mtim: o.mtime}
	st.Size = int64(len(o.target))
	if c := d.data[o.ino]; c != nil {
		st.Size, st.Blocks = c.now.size, int64(len(c.now.pages))*pageSize/512
	}
	return st, nil
}

// Statfs implements backing.System.
func (d *Disk) Statfs(fd int) (st unix.Statfs_t, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err = d.at(fd)
	return unix.Statfs_t{Bsize: pageSize, Frsize: pageSize, Blocks: 1 << 30, Bfree: 1 << 30, Bavail: 1 << 30}, err
}

// edit changes an object's attributes as one entry of the journal.
func (d *Disk) edit(fd int, name string, check func(o *object) error, change func(o *object)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	o, err := d.find(fd, name)
	if err == nil && check != nil {
		err = check(o)
	}
	if err != nil {
		return err
	}
	made, err := d.step()
	if made {
		ino := o.ino
		d.make(func(t *tree) { change((*t)[ino]) }, ino)
	}
	return err
}

// Chmod implements backing.System.
func (d *Disk) Chmod(fd int, name string, mode uint32) error {
	return d.edit(fd, name, nil, func(o *object) { o.mode = o.mode&unix.S_IFMT | mode&0o7777 })
}

// Chown implements backing.System.
func (d *Disk) Chown(fd int, name string, uid, gid int) error {
	return d.edit(fd, name, nil, func(o *object) {
		if uid >= 0 {
			o.uid = uint32(uid)
		}
		if gid >= 0 {
			o.gid = uint32(gid)
		}
	})
}

// Utimens implements backing.System. The clock stands still: UTIME_NOW changes nothing.
func (d *Disk) Utimens(fd int, name string, atime, mtime unix.Timespec) error {
	return d.edit(fd, name, nil, func(o *object) {
		if atime.Nsec != unix.UTIME_OMIT && atime.Nsec != unix.UTIME_NOW {
			o.atime = atime
		}
		if mtime.Nsec != unix.UTIME_OMIT && mtime.Nsec != unix.UTIME_NOW {
			o.mtime = mtime
		}
	})
}

// GetXattr implements backing.System.
func (d *Disk) GetXattr(fd int, name, attr string, buf []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o, err := d.find(fd, name)
	if err != nil {
		return 0, err
	}
	value, ok := o.xattrs[attr]
	switch {
	case !ok:
		return 0, unix.ENODATA
	case len(buf) == 0:
		return len(value), nil
	case len(buf) < len(value):
		return 0, unix.ERANGE
	}
	return copy(buf, value), nil
}

// SetXattr implements backing.System.
func (d *Disk) SetXattr(fd int, name, attr string, value []byte, flags int) error {
	kept := string(value)
	return d.edit(fd, name, func(o *object) error {
		_, there := o.xattrs[attr]
		switch {
		case o.is(unix.S_IFLNK):
			return unix.EPERM
		case there && flags&unix.XATTR_CREATE != 0:
			return unix.EEXIST
		case !there && flags&unix.XATTR_REPLACE != 0:
			return unix.ENODATA
		}
		return nil
	}, func(o *object) {
		if o.xattrs == nil {
			o.xattrs = map[string]string{}
		}
		o.xattrs[attr] = kept
	})
}

// RemoveXattr implements backing.System.
func (d *Disk) RemoveXattr(fd int, name, attr string) error {
	return d.edit(fd, name, func(o *object) error {
		if _, there := o.xattrs[attr]; !there {
			return unix.ENODATA
		}
		return nil
	}, func(o *object) { delete(o.xattrs, attr) })
}

// ListXattr implements backing.System.
func (d *Disk) ListXattr(fd int, name string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o, err := d.find(fd, name)
	if err != nil {
		return nil, err
	}
	var names []string
	for attr := range o.xattrs {
		names = append(names, attr)
	}
	slices.Sort(names)
	return names, nil
}
