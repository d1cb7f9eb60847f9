package copytree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs"
)

// Copier copies from one tree to another.
type Copier struct {
	From, To  Tree
	Recursive bool  // directories too
	Links     bool  // names of one file stay names of one file, where To can make hard links
	Preserve  bool  // mode, owner as far as allowed, times, attributes of the user namespace
	Store     *Attr // a directory that is not copied: where the ciphertext of To is kept; nil for none

	// Failed is told of each object that was not copied; the others are.
	Failed func(error)
	// Copied is told of progress: finished files, and bytes as they are written.
	Copied func(files int, bytes int64)

	into  *Attr                   // the directory that a copy goes to
	block []byte                  // buffer of one read
	made  map[fileIdentity]string // with Links: copies of files that have several names
}

// fileIdentity tells files apart within From.
type fileIdentity struct {
	device string
	ino    uint64
}

// linker is a Tree that can make hard links.
type linker interface {
	Link(old, path string) error
}

// Errors of Copy that a caller may look for.
var (
	ErrIsDirectory = errors.New("it is a directory")
	ErrSame        = errors.New("source and destination are the same file")
	ErrIntoItself  = errors.New("a directory cannot be copied into itself")
	ErrStore       = errors.New("it is the backing directory of the volume that is copied to")
)

// Copy copies src to dst itself, which need not be there; a directory there is merged with src. What
// is below src and fails is reported to Failed.
func (c *Copier) Copy(ctx context.Context, src, dst string) {
	c.into = nil
	a, err := c.source(src)
	if err == nil {
		err = c.object(ctx, src, &a, dst)
	}
	if err != nil {
		c.Failed(err)
	}
}

// source describes what a copy begins with: a symbolic link itself if directories are copied too.
func (c *Copier) source(src string) (Attr, error) {
	if c.Recursive {
		return c.From.Lstat(src)
	}
	return c.From.Stat(src)
}

// object copies one object of any kind.
func (c *Copier) object(ctx context.Context, src string, a *Attr, dst string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch a.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.directory(ctx, src, a, dst)
	case unix.S_IFREG:
		return c.regular(ctx, src, a, dst)
	case unix.S_IFLNK:
		return c.symlink(a, dst)
	}
	return c.special(a, dst)
}

// directory makes dst, or takes the one that is there, and copies what is in src.
func (c *Copier) directory(ctx context.Context, src string, a *Attr, dst string) error {
	if !c.Recursive {
		return fmt.Errorf("copy %s: %w", src, ErrIsDirectory)
	}
	switch {
	case c.into != nil && a.same(c.into):
		return fmt.Errorf("copy %s: %w", src, ErrIntoItself)
	case c.Store != nil && a.same(c.Store):
		return fmt.Errorf("copy %s: %w", src, ErrStore)
	}
	if err := c.To.Mkdir(dst, a.Mode&0o777|0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	there, err := c.To.Stat(dst)
	if err != nil {
		return err
	}
	if there.Mode&unix.S_IFMT != unix.S_IFDIR {
		return &os.PathError{Op: "copy to", Path: dst, Err: unix.ENOTDIR}
	}
	if c.into == nil {
		c.into = &there
	}
	names, err := c.From.ReadDir(src)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.below(ctx, path.Join(src, name), path.Join(dst, name)); err != nil {
			if ctx.Err() != nil {
				return err
			}
			c.Failed(err)
		}
	}
	return c.preserve(src, a, dst)
}

func (c *Copier) below(ctx context.Context, src, dst string) error {
	a, err := c.From.Lstat(src)
	if err != nil {
		return err
	}
	return c.object(ctx, src, &a, dst)
}

// preserve gives a directory, link or special file what Preserve asks for.
func (c *Copier) preserve(src string, a *Attr, dst string) error {
	if !c.Preserve {
		return nil
	}
	if a.Mode&unix.S_IFMT == unix.S_IFDIR {
		attrs, err := c.From.Xattrs(src)
		if err != nil {
			return err
		}
		for name, value := range attrs {
			if err := c.To.SetXattr(dst, name, value); err != nil {
				return err
			}
		}
	}
	return c.To.SetMeta(dst, preserved(a))
}

// preserved is what Preserve keeps of the metadata. Only root can give files away; for others setuid
// and setgid are dropped of what was not theirs.
func preserved(a *Attr) fs.Meta {
	mode := a.Mode & 0o7777
	m := fs.Meta{Mode: &mode, Atime: &a.Atime, Mtime: &a.Mtime}
	switch uid := os.Geteuid(); {
	case uid == 0:
		m.UID, m.GID = &a.UID, &a.GID
	case uid != int(a.UID):
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	if a.Mode&unix.S_IFMT == unix.S_IFLNK {
		m.Mode = nil
	}
	return m
}

func (c *Copier) symlink(a *Attr, dst string) error {
	if err := c.To.Symlink(a.Target, dst); err != nil {
		return err
	}
	c.Copied(1, 0)
	return c.preserve("", a, dst)
}

// special makes a FIFO, socket or device node like a.
func (c *Copier) special(a *Attr, dst string) error {
	if !c.Recursive {
		return fmt.Errorf("copy %s: it is neither a file nor a directory", a.Path)
	}
	if err := c.To.Mknod(dst, a.Mode&(unix.S_IFMT|0o777), int(a.Rdev)); err != nil {
		return err
	}
	c.Copied(1, 0)
	return c.preserve("", a, dst)
}

// regular copies a file. What is replaced keeps its mode and owner, unless those of src are preserved.
func (c *Copier) regular(ctx context.Context, src string, a *Attr, dst string) error {
	var meta fs.Meta
	old, err := c.To.Stat(dst)
	switch {
	case err == nil && old.same(a):
		return fmt.Errorf("copy %s to %s: %w", src, dst, ErrSame)
	case err == nil:
		dst = old.Path // not a symbolic link to it
		meta = likeOld(&old)
	}
	if done, err := c.link(a, dst); done || err != nil {
		return err
	}
	in, err := c.From.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := c.To.Create(dst, a.Mode&0o777)
	if err != nil {
		return err
	}
	defer out.Abort()
	if err := c.content(ctx, in, out); err != nil {
		return err
	}
	if c.Preserve {
		meta = preserved(a)
		if err := c.attributes(src, out); err != nil {
			return err
		}
	}
	if err := out.Commit(meta); err != nil {
		return err
	}
	if c.Links && a.Links > 1 {
		if c.made == nil {
			c.made = map[fileIdentity]string{}
		}
		c.made[fileIdentity{a.Device, a.Ino}] = dst
	}
	c.Copied(1, 0)
	return nil
}

// link makes dst a further name of a copy that was made before; false when there is none.
func (c *Copier) link(a *Attr, dst string) (bool, error) {
	first, known := c.made[fileIdentity{a.Device, a.Ino}]
	to, can := c.To.(linker)
	if !known || !can {
		return false, nil
	}
	if err := to.Link(first, dst); err != nil {
		return false, err
	}
	c.Copied(1, 0)
	return true, nil
}

func likeOld(old *Attr) fs.Meta {
	mode := old.Mode & 0o7777
	m := fs.Meta{Mode: &mode}
	if os.Geteuid() == 0 {
		m.UID, m.GID = &old.UID, &old.GID
	}
	return m
}

func (c *Copier) attributes(src string, out Sink) error {
	attrs, err := c.From.Xattrs(src)
	if err != nil {
		return err
	}
	for name, value := range attrs {
		if err := out.SetXattr(name, value); err != nil {
			return err
		}
	}
	return nil
}

// blockSize is how many bytes are copied at once.
const blockSize = 1 << 20

// Content copies the data of in to out and leaves out its holes. out is committed.
func Content(ctx context.Context, in Source, out Sink) error {
	c := &Copier{Copied: func(int, int64) {}}
	if err := c.content(ctx, in, out); err != nil {
		return err
	}
	return out.Commit(fs.Meta{})
}

// content copies the data of in to out and leaves out its holes.
func (c *Copier) content(ctx context.Context, in Source, out Sink) error {
	size, off := in.Size(), int64(0)
	for off < size {
		start, end, err := in.NextData(off)
		if err != nil {
			return err
		}
		for off = start; off < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := c.part(in, out, off, end)
			off += int64(n)
			if err != nil {
				return err
			}
			if n == 0 {
				return fmt.Errorf("the source became shorter than %d bytes", size)
			}
		}
	}
	return out.Truncate(size)
}

func (c *Copier) part(in Source, out Sink, off, end int64) (int, error) {
	if c.block == nil {
		c.block = make([]byte, blockSize)
	}
	n, err := in.ReadAt(c.block[:min(end-off, blockSize)], off)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if _, err := out.WriteAt(c.block[:n], off); err != nil {
		return 0, err
	}
	c.Copied(0, int64(n))
	return n, nil
}
