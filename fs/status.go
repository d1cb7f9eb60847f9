package fs

import (
	"sort"
	"time"
)

// Status is what a mount is doing.
type Status struct {
	Volume     string     `json:"volumeId"`
	Backing    string     `json:"backing"`
	Mountpoint string     `json:"mountpoint"`
	KeyARN     string     `json:"keyArn"`
	Mounted    time.Time  `json:"mounted"`
	GrantID    string     `json:"grantId"`
	Files      []OpenFile `json:"files"`
	Ledger     string     `json:"ledger"`   // file that remembers the volume, "" for none
	KeysHeld   int        `json:"keysHeld"` // data keys of files; the volume key is held besides
}

// OpenFile is a file in use: its data key is held.
type OpenFile struct {
	Path    string    `json:"path"` // "" when its last name was removed
	Since   time.Time `json:"since"`
	Handles int       `json:"handles"`
	Dirty   bool      `json:"dirty"` // changes not yet committed to the store
	Size    int64     `json:"size"`
}

// Status lists the files in use.
func (s *Server) Status() Status {
	v := s.fs.vol
	st := Status{
		Volume: v.id.String(), Backing: v.info.Backing, Mountpoint: s.fs.mountpoint,
		KeyARN: v.currentARN(), Mounted: s.mounted, GrantID: s.grants.id(v.currentARN()), Ledger: v.ledger.Path(), Files: []OpenFile{},
	}
	for _, in := range s.fs.committer.inUse() {
		if f, ok := s.fs.openFileStatus(in); ok {
			st.Files = append(st.Files, f)
		}
	}
	sort.Slice(st.Files, func(i, j int) bool { return st.Files[i].Path < st.Files[j].Path })
	st.KeysHeld = len(st.Files)
	return st
}

func (s *fileSystem) openFileStatus(in *inode) (OpenFile, bool) {
	paths, _ := s.tree.paths(in)
	in.mu.Lock()
	defer in.mu.Unlock()
	of := in.open.Load()
	if of == nil {
		return OpenFile{}, false
	}
	return OpenFile{
		Path: first(paths), Since: in.since, Handles: of.handles,
		Dirty: of.dirty.Load() || of.file.Dirty(), Size: of.file.Size(),
	}, true
}
