package main

import (
	"context"
	"errors"
	"io"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/copytree"
	"github.com/kmsfs/kmsfs/fs"
)

const cpLong = `Copies files from and to volumes that are not mounted. SRC and DST are BACKING:/PATH, a path on this
machine, or - for standard input or output. When DST is a directory, or there are several SRC, the
copies go into it.

A file is written under a temporary name and renamed, so that a copy that fails leaves what was there.
Holes stay holes. Hard links become files of their own. With -r symbolic links are copied as they are.`

// copyRequest is one cp, decided.
type copyRequest struct {
	sources             []location
	target              location
	recursive, preserve bool
}

func newCpCommand(a *app) *cobra.Command {
	var r copyRequest
	c := &cobra.Command{
		Use:   "cp [-r] [-p] SRC... DST",
		Short: "copy files from and to a volume without mounting it",
		Long:  cpLong,
		Example: `  kmsfs cp ~/vault:/notes/today.txt .
  kmsfs cp -rp ~/photos ~/vault:/
  pg_dump shop | kmsfs cp - ~/vault:/backup/shop.sql`,
		Args: needSourcesAndTarget,
		RunE: func(c *cobra.Command, args []string) error {
			if err := r.parse(args); err != nil {
				return err
			}
			return a.withVolumes(c.Context(), func(v *offlineVolumes) error { return a.cp(c.Context(), v, r) })
		},
	}
	c.Flags().BoolVarP(&r.recursive, "recursive", "r", false, "copy directories with what is in them")
	c.Flags().BoolVarP(&r.preserve, "preserve", "p", false, "keep mode, times and user attributes, and as root the owner")
	a.addEndpointFlag(c.Flags())
	return c
}

func needSourcesAndTarget(c *cobra.Command, args []string) error {
	if len(args) < 2 {
		return usagef("%s: %s is missing", c.CommandPath(), []string{"SRC", "DST"}[len(args)])
	}
	return nil
}

func (r *copyRequest) parse(args []string) error {
	inVolumes := 0
	for _, arg := range args {
		l, err := parseLocation(arg)
		if err != nil {
			return err
		}
		if !l.local() {
			inVolumes++
		}
		r.sources = append(r.sources, l)
	}
	r.target = r.sources[len(r.sources)-1]
	r.sources = r.sources[:len(r.sources)-1]
	if inVolumes == 0 {
		return failf(exitUsage, "write BACKING:/PATH with the backing directory of a volume; for files here there is cp", "no argument leads into a volume")
	}
	if r.target.stdio() && (len(r.sources) > 1 || r.recursive) {
		return usagef("standard output takes one file")
	}
	return nil
}

// cp copies every source. What fails is told at once, and the code is that of the first failure.
func (a *app) cp(ctx context.Context, v *offlineVolumes, r copyRequest) error {
	to, err := v.tree(ctx, r.target, false)
	if err != nil {
		return err
	}
	into := false
	if !r.target.stdio() {
		st, err := to.Stat(r.target.path)
		into = err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
		if len(r.sources) > 1 && !into {
			return failf(exitUsage, "name a directory that is there", "several files cannot be copied to %s: it is no directory", r.target)
		}
	}
	if err := outsideStores(r); err != nil {
		return err
	}
	failures := a.ui.Failures()
	bar := a.ui.Progress("copied")
	defer bar.Stop()
	for _, src := range r.sources {
		if ctx.Err() != nil {
			break
		}
		from, err := v.tree(ctx, src, true)
		if err != nil {
			failures.Add(err)
			continue
		}
		c := &copytree.Copier{From: from, To: to, Recursive: r.recursive, Preserve: r.preserve, Copied: bar.Add, Store: storeOf(r.target),
			Failed: func(err error) { bar.Clear(); failures.Add(explainCopy(err)) }}
		a.copyOne(ctx, c, src, r.target, into)
	}
	bar.Stop()
	return failures.Result()
}

// outsideStores refuses paths here that are in the backing directory of a volume of the same command:
// plaintext must not get in there, and its ciphertext not into itself.
func outsideStores(r copyRequest) error {
	all := append([]location{r.target}, r.sources...)
	for _, here := range all {
		if !here.local() || here.stdio() {
			continue
		}
		for _, l := range all {
			if !l.local() && within(here.path, l.backing) {
				return failf(exitUsage, "name a path elsewhere, or "+l.backing+":/PATH for one in the volume",
					"%s is in the backing directory of the volume %s", here.path, l.backing)
			}
		}
	}
	return nil
}

// within reports whether a path that may not exist yet is dir or below it.
func within(path, dir string) bool {
	abs, err := filepath.Abs(path)
	for err == nil {
		if sameDirectory(abs, dir) {
			return true
		}
		if real, err := filepath.EvalSymlinks(abs); err == nil && real != abs {
			abs = real
			continue
		}
		if abs == filepath.Dir(abs) {
			return false
		}
		abs = filepath.Dir(abs)
	}
	return false
}

// storeOf describes the backing directory of a target in a volume.
func storeOf(l location) *copytree.Attr {
	if l.local() {
		return nil
	}
	a, err := copytree.Local{}.Stat(l.backing)
	if err != nil {
		return nil
	}
	return &a
}

// explainCopy adds what to do to an error of package copytree.
func explainCopy(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return &appError{code: exitFailure, msg: "interrupted; what is not copied yet was left as it was"}
	case errors.Is(err, copytree.ErrIsDirectory):
		return &appError{err: err, code: exitUsage, hints: []string{"copy directories with -r"}}
	case errors.Is(err, copytree.ErrSame), errors.Is(err, copytree.ErrIntoItself), errors.Is(err, copytree.ErrStore):
		return &appError{err: err, code: exitUsage}
	}
	return err
}

func (a *app) copyOne(ctx context.Context, c *copytree.Copier, src, target location, into bool) {
	var err error
	switch {
	case target.stdio():
		err = copyToStream(ctx, c.From, src.path, a.ui.out)
	case src.stdio() && into:
		err = failf(exitUsage, "name the file that it shall become", "%s is a directory", target)
	case src.stdio():
		err = copyFromStream(ctx, a.ui.in, c, target.path)
	default:
		c.Copy(ctx, src.path, targetPath(src, target, into))
	}
	if err != nil {
		c.Failed(err)
	}
}

// targetPath is where a source goes. The root of a volume has no name of its own: what is in it goes
// into the directory itself.
func targetPath(src, target location, into bool) string {
	name := path.Base(path.Clean(src.path))
	if src.local() {
		name = filepath.Base(src.path)
	}
	if !into || name == "/" || name == "." || name == ".." {
		return target.path
	}
	return path.Join(target.path, name)
}

// tree opens what l is in.
func (v *offlineVolumes) tree(ctx context.Context, l location, readOnly bool) (copytree.Tree, error) {
	if l.local() {
		return copytree.Local{}, nil
	}
	o, err := v.volume(ctx, l.backing, readOnly)
	return copytree.Volume{Offline: o}, err
}

// copyToStream writes one file to w.
func copyToStream(ctx context.Context, from copytree.Tree, path string, w io.Writer) error {
	in, err := from.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	return copytree.Content(ctx, in, &copytree.Stream{Out: w})
}

// copyFromStream makes a file of what r holds.
func copyFromStream(ctx context.Context, r io.Reader, c *copytree.Copier, dst string) error {
	out, err := c.To.Create(dst, 0o666)
	if err != nil {
		return err
	}
	defer out.Abort()
	w := io.NewOffsetWriter(out, 0)
	if _, err := io.Copy(&countingWriter{ctx, w, c.Copied}, r); err != nil {
		return err
	}
	return out.Commit(fs.Meta{})
}

// countingWriter reports what passes and stops with its context.
type countingWriter struct {
	ctx    context.Context
	w      io.Writer
	copied func(int, int64)
}

func (c *countingWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.w.Write(p)
	c.copied(0, int64(n))
	return n, err
}
