package main

import (
	"context"
	"errors"
	"os/user"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs"
)

func newLsCommand(a *app) *cobra.Command {
	var long bool
	c := &cobra.Command{
		Use:   "ls [-l] BACKING:/PATH...",
		Short: "list files of a volume without mounting it",
		Long: `Lists directories, or names single files, of a volume that is not mounted. Only the volume's key is asked
for. Nothing in the backing directory is changed.`,
		Example: `  kmsfs ls -l ~/vault:/notes`,
		Args:    needSome("BACKING:/PATH"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withVolumes(c.Context(), func(v *offlineVolumes) error { return a.ls(c.Context(), v, args, long) })
		},
	}
	c.Flags().BoolVarP(&long, "long", "l", false, "mode, links, owner, group, size and time too")
	a.addEndpointFlag(c.Flags())
	return c
}

// objectView is an object of a volume in JSON.
type objectView struct {
	Name   string    `json:"name"`
	Path   string    `json:"path"`
	Type   string    `json:"type"`
	Mode   string    `json:"mode"` // octal
	Links  uint32    `json:"links"`
	UID    uint32    `json:"uid"`
	GID    uint32    `json:"gid"`
	Size   int64     `json:"size"`
	Mtime  time.Time `json:"mtime"`
	Target string    `json:"target,omitempty"`

	attr fs.Attr
}

// ls lists all arguments; what fails is told at the end.
func (a *app) ls(ctx context.Context, v *offlineVolumes, args []string, long bool) error {
	all := []objectView{}
	err := each(args, func(arg string) error {
		found, err := listOne(ctx, v, arg)
		all = append(all, found...)
		if err == nil && !a.json {
			if len(args) > 1 {
				a.ui.Line("%s:", arg)
			}
			err = a.printList(found, long)
		}
		return err
	})
	if a.json {
		err = errors.Join(a.ui.JSON(all), err)
	}
	return err
}

func listOne(ctx context.Context, v *offlineVolumes, arg string) ([]objectView, error) {
	l, err := parseVolumePath(arg)
	if err != nil {
		return nil, err
	}
	o, err := v.volume(ctx, l.backing, true)
	if err != nil {
		return nil, err
	}
	st, err := o.Stat(l.path)
	if err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return []objectView{viewObject(l.path, st)}, nil
	}
	names, err := o.ReadDir(st.Path)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var found []objectView
	var errs []error
	for _, name := range names {
		st, err := o.Lstat(path.Join(l.path, name))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, viewObject(path.Join(l.path, name), st))
	}
	return found, errors.Join(errs...)
}

func viewObject(p string, st fs.Attr) objectView {
	return objectView{
		Name: path.Base(p), Path: p, Type: objectType(st.Mode), Mode: "0" + strconv.FormatUint(uint64(st.Mode&0o7777), 8),
		Links: st.Links, UID: st.UID, GID: st.GID, Size: st.Size, Mtime: time.Unix(st.Mtime.Unix()).UTC(), Target: st.Target, attr: st,
	}
}

// objectType names the kind of an object.
func objectType(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symlink"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "device"
}

func (a *app) printList(found []objectView, long bool) error {
	if !long {
		for _, o := range found {
			a.ui.Line("%s", quoted(o.Name))
		}
		return nil
	}
	var rows [][]string
	for _, o := range found {
		name := quoted(o.Name)
		if o.Target != "" {
			name += " -> " + quoted(o.Target)
		}
		rows = append(rows, []string{modeString(o.attr.Mode), strconv.Itoa(int(o.Links)), ownerName(o.UID), groupName(o.GID),
			strconv.FormatInt(o.Size, 10), localTime(o.Mtime), name})
	}
	return a.ui.Table([]string{"MODE", "LINKS", "OWNER", "GROUP", "SIZE", "MODIFIED", "NAME"}, rows)
}

// quoted is a name that stays on its line: one with control characters is quoted as in Go.
func quoted(name string) string {
	if strings.ContainsFunc(name, unicode.IsControl) {
		return strconv.Quote(name)
	}
	return name
}

// modeString shows a mode as ls(1) does.
func modeString(mode uint32) string {
	const bits = "rwxrwxrwx"
	kinds := map[uint32]byte{unix.S_IFDIR: 'd', unix.S_IFLNK: 'l', unix.S_IFIFO: 'p', unix.S_IFSOCK: 's', unix.S_IFCHR: 'c', unix.S_IFBLK: 'b'}
	out := []byte("----------")
	if k := kinds[mode&unix.S_IFMT]; k != 0 {
		out[0] = k
	}
	for i := range 9 {
		if mode&(1<<(8-i)) != 0 {
			out[1+i] = bits[i]
		}
	}
	for _, special := range []struct {
		bit     uint32
		at      int
		on, off byte
	}{{unix.S_ISUID, 3, 's', 'S'}, {unix.S_ISGID, 6, 's', 'S'}, {unix.S_ISVTX, 9, 't', 'T'}} {
		if mode&special.bit == 0 {
			continue
		}
		if out[special.at] == 'x' {
			out[special.at] = special.on
		} else {
			out[special.at] = special.off
		}
	}
	return string(out)
}

func ownerName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}
