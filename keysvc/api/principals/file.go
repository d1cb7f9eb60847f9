package principals

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/api/sigv4"
)

const fileVersion = 1

// file is the content of the file.
type file struct {
	Version    int      `json:"version"`
	Principals []record `json:"principals"`
}

// record is a principal in the file, the one place where the secret is written.
type record struct {
	Name        string    `json:"name"`
	Admin       bool      `json:"admin,omitempty"`
	AccessKeyID string    `json:"accessKeyId"`
	Secret      string    `json:"secretAccessKey"`
	Created     time.Time `json:"created"`
}

func format(list []Principal) ([]byte, error) {
	f := file{Version: fileVersion, Principals: make([]record, len(list))}
	for i, p := range list {
		f.Principals[i] = record{p.Name, p.Admin, p.AccessKeyID, string(p.Secret), p.Created}
	}
	text, err := json.MarshalIndent(f, "", "  ")
	return append(text, '\n'), err
}

// parse reads the file and refuses members that it doesn't know, and access keys
// that couldn't be told apart or would let anybody in.
func parse(text []byte) ([]Principal, error) {
	var f file
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something behind the principals")
	}
	if f.Version != fileVersion {
		return nil, fmt.Errorf("version is %d, this program knows %d", f.Version, fileVersion)
	}
	list := make([]Principal, len(f.Principals))
	seen := map[string]bool{}
	for i, r := range f.Principals {
		if !namePattern.MatchString(r.Name) || r.AccessKeyID == "" || len(r.Secret) < 16 {
			return nil, fmt.Errorf("principal %d is not whole", i+1)
		}
		if seen[r.Name] || seen["/"+r.AccessKeyID] {
			return nil, fmt.Errorf("principal %d has the name or access key of another", i+1)
		}
		seen[r.Name], seen["/"+r.AccessKeyID] = true, true
		list[i] = Principal{r.Name, r.Admin, r.AccessKeyID, sigv4.Secret(r.Secret), r.Created}
	}
	return list, nil
}
