package crashdisk

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/backing"
)

// Open implements backing.System.
func (d *Disk) Open(dir int, name string, flags int, mode uint32) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	parent, err := d.at(dir)
	if err != nil {
		return -1, err
	}
	if name == "." {
		return d.newHandle(parent.ino, false), nil
	}
	o, err := d.below(parent, name)
	switch {
	case err == unix.ENOENT && flags&unix.O_CREAT != 0:
		o, err = d.add(parent, name, unix.S_IFREG|mode)
	case err == nil && flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL:
		err = unix.EEXIST
	case err == nil && flags&unix.O_DIRECTORY != 0 && !o.is(unix.S_IFDIR):
		err = unix.ENOTDIR
	case err == nil && o.is(unix.S_IFLNK):
		err = unix.ELOOP
	}
	if err != nil {
		return -1, err
	}
	return d.newHandle(o.ino, flags&unix.O_ACCMODE != unix.O_RDONLY), nil
}

// add makes an object; d.mu is held.
func (d *Disk) add(parent *object, name string, mode uint32) (*object, error) {
	made, err := d.step()
	if !made {
		return nil, err
	}
	d.lastIno++
	ino, dir := d.lastIno, parent.ino
	d.make(func(t *tree) {
		(*t)[ino] = newObject(ino, mode)
		t.link(dir, name, ino)
	}, dir, ino)
	if mode&unix.S_IFMT == unix.S_IFREG {
		d.data[ino] = newContent()
		d.data[ino].needed = d.made
	}
	return (*d.now)[ino], err
}

// addAt is add for a name that must be free.
func (d *Disk) addAt(dir int, name string, mode uint32, fill func(o *object)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	parent, err := d.at(dir)
	if err != nil {
		return err
	}
	if _, err := d.below(parent, name); err != unix.ENOENT {
		if err == nil {
			err = unix.EEXIST
		}
		return err
	}
	o, err := d.add(parent, name, mode)
	if o != nil && fill != nil {
		ino := o.ino
		last := &d.journal[len(d.journal)-1]
		apply := last.apply
		last.apply = func(t *tree) { apply(t); fill((*t)[ino]) }
		fill(o)
	}
	return err
}

// Mkdir implements backing.System.
func (d *Disk) Mkdir(dir int, name string, mode uint32) error {
	return d.addAt(dir, name, unix.S_IFDIR|mode, nil)
}

// Mknod implements backing.System.
func (d *Disk) Mknod(dir int, name string, mode uint32, dev int) error {
	return d.addAt(dir, name, mode, func(o *object) { o.rdev = uint64(dev) })
}

// Symlink implements backing.System.
func (d *Disk) Symlink(target string, dir int, name string) error {
	return d.addAt(dir, name, unix.S_IFLNK|0o777, func(o *object) { o.target = target })
}

// Link implements backing.System.
func (d *Disk) Link(dir int, name string, to int, newName string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	o, err := d.find(dir, name)
	if err != nil {
		return err
	}
	parent, err := d.at(to)
	if err != nil {
		return err
	}
	if _, err := d.below(parent, newName); err != unix.ENOENT {
		return orExists(err)
	}
	made, err := d.step()
	if made {
		ino, dir := o.ino, parent.ino
		d.make(func(t *tree) { t.link(dir, newName, ino); (*t)[ino].links++ }, dir, ino)
	}
	return err
}

func orExists(err error) error {
	if err == nil {
		return unix.EEXIST
	}
	return err
}

// Unlink implements backing.System.
func (d *Disk) Unlink(dir int, name string) error { return d.remove(dir, name, false) }

// Rmdir implements backing.System.
func (d *Disk) Rmdir(dir int, name string) error { return d.remove(dir, name, true) }

func (d *Disk) remove(dir int, name string, directory bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	parent, err := d.at(dir)
	if err != nil {
		return err
	}
	o, err := d.below(parent, name)
	switch {
	case err != nil:
		return err
	case directory && !o.is(unix.S_IFDIR):
		return unix.ENOTDIR
	case !directory && o.is(unix.S_IFDIR):
		return unix.EISDIR
	case directory && len(o.names) > 0:
		return unix.ENOTEMPTY
	}
	made, err := d.step()
	if made {
		ino, dir := o.ino, parent.ino
		d.make(func(t *tree) { t.unlink(dir, name) }, dir, ino)
	}
	return err
}

// Rename implements backing.System.
func (d *Disk) Rename(dir int, name string, to int, newName string, flags uint) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, err := d.at(dir)
	if err != nil {
		return err
	}
	into, err := d.at(to)
	if err != nil {
		return err
	}
	src, err := d.below(from, name)
	if err != nil {
		return err
	}
	dst, err := d.below(into, newName)
	if err != nil && err != unix.ENOENT {
		return err
	}
	if err := renameable(src, dst, flags); err != nil || src == dst {
		return err
	}
	made, err := d.step()
	if made {
		d.move(from.ino, name, into.ino, newName, dst, flags)
	}
	return err
}

// renameable says what renameat2(2) refuses.
func renameable(src, dst *object, flags uint) error {
	switch {
	case flags&unix.RENAME_EXCHANGE != 0:
		if dst == nil {
			return unix.ENOENT
		}
	case dst == nil:
	case flags&unix.RENAME_NOREPLACE != 0:
		return unix.EEXIST
	case src.is(unix.S_IFDIR) && !dst.is(unix.S_IFDIR):
		return unix.ENOTDIR
	case !src.is(unix.S_IFDIR) && dst.is(unix.S_IFDIR):
		return unix.EISDIR
	case dst.is(unix.S_IFDIR) && len(dst.names) > 0:
		return unix.ENOTEMPTY
	}
	return nil
}

func (d *Disk) move(from uint64, name string, into uint64, newName string, dst *object, flags uint) {
	src := (*d.now)[from].names[name]
	over := uint64(0)
	if dst != nil {
		over = dst.ino
	}
	d.make(func(t *tree) {
		if flags&unix.RENAME_EXCHANGE != 0 {
			t.link(from, name, over)
			t.link(into, newName, src)
			return
		}
		if over != 0 {
			t.unlink(into, newName)
		}
		delete((*t)[from].names, name)
		t.link(into, newName, src)
	}, from, into, src, over)
}

// Readlink implements backing.System.
func (d *Disk) Readlink(dir int, name string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o, err := d.find(dir, name)
	if err == nil && !o.is(unix.S_IFLNK) {
		err = unix.EINVAL
	}
	if err != nil {
		return "", err
	}
	return o.target, nil
}

// List implements backing.System.
func (d *Disk) List(dir int, use func(some []backing.Entry) error) error {
	d.mu.Lock()
	o, err := d.at(dir)
	if err != nil {
		d.mu.Unlock()
		return err
	}
	var all []backing.Entry
	for name, ino := range o.names {
		all = append(all, backing.Entry{Name: name, Ino: ino, Type: (*d.now)[ino].mode & unix.S_IFMT})
	}
	d.mu.Unlock()
	slices.SortFunc(all, func(a, b backing.Entry) int {
		if a.Ino != b.Ino {
			return int(int64(a.Ino) - int64(b.Ino))
		}
		return strings.Compare(a.Name, b.Name)
	})
	if len(all) == 0 {
		return nil
	}
	return use(all)
}
