package copytree

import "github.com/kmsfs/kmsfs/fs"

// Volume is the tree of a volume that is open offline.
type Volume struct{ *fs.Offline }

// Stat implements Tree.
func (v Volume) Stat(path string) (Attr, error) { return v.attr(v.Offline.Stat(path)) }

// Lstat implements Tree.
func (v Volume) Lstat(path string) (Attr, error) { return v.attr(v.Offline.Lstat(path)) }

func (v Volume) attr(a fs.Attr, err error) (Attr, error) { return Attr{a, v.Info().ID}, err }

// Open implements Tree.
func (v Volume) Open(path string) (Source, error) {
	f, err := v.Offline.Open(path)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Create implements Tree.
func (v Volume) Create(path string, mode uint32) (Sink, error) {
	f, err := v.Offline.Create(path, mode)
	if err != nil {
		return nil, err
	}
	return f, nil
}
