package fs

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// maxSymlinks bounds the symbolic links that one path may lead through, as in the kernel.
const maxSymlinks = 40

// found is an object that a path leads to. Its directories stay known until release.
type found struct {
	in    *inode
	attr  fuse.Attr
	path  string // without symbolic links
	trail []*inode
	s     *fileSystem
}

func (f *found) release() {
	for _, in := range f.trail {
		f.s.tree.forget(in.id, 1)
	}
	f.trail = nil
}

// errOutside: a symbolic link or .. leads to where only a mount could follow.
var errOutside = errors.New("the path leads out of the volume")

// find walks a path from the root. Symbolic links on the way are followed inside the volume, one at
// its end only if follow is set or the path ends with a slash. Release what is found.
func (s *fileSystem) find(path string, follow bool) (*found, error) {
	f := &found{in: s.tree.root, path: "/", s: s}
	if err := s.stat(f.in, &f.attr); err != nil {
		return nil, err
	}
	follow = follow || strings.HasSuffix(path, "/")
	links := 0
	for rest := components(path); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		err := f.step(name)
		if err == nil && f.in.kind == unix.S_IFLNK && (follow || len(rest) > 0) {
			if links++; links > maxSymlinks {
				err = syscall.ELOOP
			} else {
				rest, err = f.follow(rest)
			}
		}
		if err != nil {
			f.release()
			return nil, err
		}
	}
	if strings.HasSuffix(path, "/") && !f.in.isDir() {
		f.release()
		return nil, syscall.ENOTDIR
	}
	return f, nil
}

func components(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// step goes one component on.
func (f *found) step(name string) error {
	switch name {
	case ".":
		return nil
	case "..":
		return f.up()
	}
	var out fuse.EntryOut
	in, err := f.s.lookup(f.in, name, &out)
	if err != nil {
		return err
	}
	f.trail = append(f.trail, in)
	f.in, f.attr, f.path = in, out.Attr, strings.TrimSuffix(f.path, "/")+"/"+name
	return nil
}

// up goes back to the directory above.
func (f *found) up() error {
	if len(f.trail) == 0 {
		return errOutside
	}
	f.s.tree.forget(f.in.id, 1)
	f.trail = f.trail[:len(f.trail)-1]
	f.in, f.path = f.s.tree.root, f.path[:strings.LastIndexByte(f.path, '/')]
	if len(f.trail) > 0 {
		f.in = f.trail[len(f.trail)-1]
	}
	return f.s.stat(f.in, &f.attr)
}

// follow replaces the symbolic link that f has come to by what it says.
func (f *found) follow(rest []string) ([]string, error) {
	target, err := f.target()
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(target, "/") {
		return nil, fmt.Errorf("%w: %s is a symbolic link to %s", errOutside, f.path, target)
	}
	if err := f.up(); err != nil {
		return nil, err
	}
	return append(components(target), rest...), nil
}

// target returns the target of the symbolic link that was found.
func (f *found) target() (string, error) {
	h := fuse.InHeader{NodeId: f.in.id}
	target, st := f.s.Readlink(nil, &h)
	return string(target), errOf(st)
}

// errOf is the error of a request handler that was called without the kernel.
func errOf(st fuse.Status) error {
	if st == fuse.OK {
		return nil
	}
	return syscall.Errno(st)
}
