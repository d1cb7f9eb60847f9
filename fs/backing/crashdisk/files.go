package crashdisk

import "golang.org/x/sys/unix"

// Dup implements backing.System.
func (d *Disk) Dup(fd int) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.open[fd]
	if h == nil {
		return -1, unix.EBADF
	}
	return d.newHandle(h.ino, h.write), nil
}

// Close implements backing.System.
func (d *Disk) Close(fd int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[fd] == nil {
		return unix.EBADF
	}
	delete(d.open, fd)
	return nil
}

// file returns the content of the regular file open as fd.
func (d *Disk) file(fd int, write bool) (*object, *content, error) {
	o, err := d.at(fd)
	switch {
	case err != nil:
		return nil, nil, err
	case !o.is(unix.S_IFREG):
		return nil, nil, unix.EINVAL
	case write && !d.open[fd].write:
		return nil, nil, unix.EBADF
	}
	return o, d.data[o.ino], nil
}

// Pread implements backing.System.
func (d *Disk) Pread(fd int, p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, c, err := d.file(fd, false)
	if err != nil {
		return 0, err
	}
	return c.read(p, off), nil
}

// Pwrite implements backing.System.
func (d *Disk) Pwrite(fd int, p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o, c, err := d.file(fd, true)
	if err != nil {
		return 0, err
	}
	made, err := d.step()
	if made {
		if err != nil { // it dies between two pages
			whole := (off+int64(len(p)))/pageSize - off/pageSize
			p = p[:min(int64(len(p)), max(0, (off/pageSize+d.rng.Int64N(whole+1))*pageSize-off))]
		}
		seq := uint64(0)
		if c.grows(p, off) {
			d.make(func(*tree) {}, o.ino) // size and places of pages are metadata
			seq = d.made
		}
		c.write(p, off, seq)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Truncate implements backing.System.
func (d *Disk) Truncate(fd int, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	o, c, err := d.file(fd, true)
	if err != nil || size == c.now.size {
		return err
	}
	made, err := d.step()
	if made {
		d.make(func(*tree) {}, o.ino)
		c.truncate(size, d.made)
	}
	return err
}

// Fsync implements backing.System.
func (d *Disk) Fsync(fd int) error {
	return d.flush(fd, func(o *object) {
		if c := d.data[o.ino]; c != nil {
			c.flush()
		}
		d.commit(d.lastOf(o.ino))
	})
}

// Fdatasync implements backing.System.
func (d *Disk) Fdatasync(fd int) error {
	return d.flush(fd, func(o *object) {
		if c := d.data[o.ino]; c != nil {
			c.flush()
			d.commit(c.needed)
			return
		}
		d.commit(d.lastOf(o.ino))
	})
}

// Syncfs implements backing.System.
func (d *Disk) Syncfs(fd int) error {
	return d.flush(fd, func(*object) {
		for _, c := range d.data {
			c.flush()
		}
		d.commit(d.made)
	})
}

func (d *Disk) flush(fd int, flush func(o *object)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	o, err := d.at(fd)
	if err != nil {
		return err
	}
	made, err := d.step()
	if made {
		flush(o)
		d.Stats.Flushes++
	}
	return err
}

// Flock implements backing.System. There is one process, so it always succeeds.
func (d *Disk) Flock(fd, _ int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := d.at(fd)
	return err
}
