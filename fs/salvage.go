package fs

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/envelope"
)

// Names below a salvage directory.
const (
	SalvageFiles  = "files"        // the plaintext tree
	SalvageReport = "report.jsonl" // one SalvagedFile a line
)

// SalvagedFile is a line of the report of a salvage.
type SalvagedFile struct {
	Path  string    `json:"path"` // in the volume; the file is the same path below SalvageFiles
	Store string    `json:"store"`
	Code  FaultCode `json:"code"`
	What  string    `json:"what"` // what was saved
	Size  int64     `json:"size"`
	Lost  []Range   `json:"lost"` // holes in what was saved
}

// salvage writes plaintext of damaged files to a directory of its own.
type salvage struct {
	dir    string
	root   *os.Root
	report *os.File
}

// check refuses a directory in which something else is, or that is in the store.
func (s *salvage) check(backing string, wanted bool) error {
	if !wanted || s.dir == "" {
		return nil
	}
	s.dir = absolute(s.dir)
	store := resolved(backing) + "/"
	parent := resolved(filepath.Dir(s.dir))
	if strings.HasPrefix(filepath.Join(parent, filepath.Base(s.dir))+"/", store) {
		return &Error{Op: "salvage to", Kind: KindNotEmpty, Path: s.dir, Err: errors.New("it is in the backing directory"),
			hint: "name a directory elsewhere: plaintext must not be in the store"}
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return newError("salvage to", s.dir, err)
	}
	if len(entries) > 0 {
		return &Error{Op: "salvage to", Kind: KindNotEmpty, Path: s.dir, Err: errors.New("it is not empty")}
	}
	return nil
}

// open makes the directory at the first file.
func (s *salvage) open() (err error) {
	if s.root != nil {
		return nil
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if s.root, err = os.OpenRoot(s.dir); err != nil {
		return err
	}
	s.report, err = s.root.OpenFile(SalvageReport, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	return err
}

func (s *salvage) close() error {
	if s.root == nil {
		return nil
	}
	err := s.root.Close()
	if s.report != nil {
		err = errors.Join(err, s.report.Sync(), s.report.Close())
	}
	return err
}

// save writes what can be read of a file, with holes for x.Lost, and notes it in the report.
func (f *fileCheck) save(x *Fault, file *envelope.File, what string) {
	if f.SalvageDir == "" {
		return
	}
	f.changing.Lock()
	defer f.changing.Unlock()
	to, err := f.salvage.write(f.ctx, f.o, file, x.Lost)
	if err == nil {
		err = json.NewEncoder(f.salvage.report).Encode(SalvagedFile{
			Path: f.o.Path, Store: f.o.Store, Code: x.Code, What: what, Size: file.Size(), Lost: append([]Range{}, x.Lost...)})
	}
	if err != nil {
		x.Detail += "; not salvaged: " + err.Error()
		return
	}
	x.Salvaged = to
}

// write makes the plaintext file and returns its path.
func (s *salvage) write(ctx context.Context, o *Object, file *envelope.File, lost []Range) (string, error) {
	if err := s.open(); err != nil {
		return "", err
	}
	name := path.Join(SalvageFiles, o.Path)
	if err := s.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return "", err
	}
	out, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	err = copyReadable(ctx, out, file, lost)
	err = errors.Join(err, out.Truncate(file.Size()), out.Close())
	if err == nil {
		mtime := time.Unix(o.Stat.Mtim.Unix())
		err = s.root.Chtimes(name, mtime, mtime)
	}
	return filepath.Join(s.dir, name), err
}

// copyReadable copies everything between the lost ranges but holes.
func copyReadable(ctx context.Context, out io.WriterAt, file *envelope.File, lost []Range) error {
	buf := make([]byte, scanBytes)
	off := int64(0)
	for _, gap := range append(append([]Range{}, lost...), Range{file.Size(), file.Size()}) {
		for off < gap.Start {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := file.ReadAt(buf[:min(scanBytes, gap.Start-off)], off)
			if err == nil && n == 0 {
				err = io.ErrUnexpectedEOF
			}
			if err == nil {
				err = writeData(out, buf[:n], off)
			}
			if err != nil {
				return err
			}
			off += int64(n)
		}
		off = max(off, gap.End)
	}
	return nil
}

// writeData writes the pages of p that are not zeros.
func writeData(out io.WriterAt, p []byte, off int64) error {
	var zero [envelope.PageSize]byte
	for len(p) > 0 {
		n := min(len(p), envelope.PageSize)
		if string(p[:n]) != string(zero[:n]) {
			if _, err := out.WriteAt(p[:n], off); err != nil {
				return err
			}
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// scanBytes is how much is read at once.
const scanBytes = 1 << 20

// lostRanges reads all of a file and returns what cannot be read, in whole blocks.
func lostRanges(ctx context.Context, file *envelope.File) []Range {
	var lost []Range
	buf := make([]byte, scanBytes)
	size := file.Size()
	for off := int64(0); off < size && ctx.Err() == nil; {
		if off%scanBytes == 0 {
			off = skipHole(file, off)
		}
		n, err := file.ReadAt(buf[:min(scanBytes-off%scanBytes, size-off)], off)
		off += int64(n)
		if err == nil {
			continue
		}
		end := min((off/envelope.PageSize+1)*envelope.PageSize, size)
		if k := len(lost) - 1; k >= 0 && lost[k].End == off {
			lost[k].End = end
		} else {
			lost = append(lost, Range{off, end})
		}
		off = end
	}
	return lost
}

// skipHole returns the start of the part with the next data, off itself when that cannot be told.
func skipHole(file *envelope.File, off int64) int64 {
	next, err := file.SeekData(off)
	switch {
	case err == nil:
		return max(off, next-next%scanBytes)
	case envelope.KindOf(err) == envelope.KindNoData:
		return file.Size()
	}
	return off
}
