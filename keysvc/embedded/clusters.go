package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/pkcs11"
	"github.com/kmsfs/kmsfs/keysvc"
)

// clustersFile names the tokens that custom key stores may use.
const clustersFile = "clusters.json"

// Cluster is a token beside the directory's own, for custom key stores of the type
// AWS_CLOUDHSM. Its PIN is the key store's password.
type Cluster struct {
	URI      string `json:"uri"`                // RFC 7512; selects the token
	Module   string `json:"module,omitempty"`   // PKCS#11 module; "" = the URI's, else SoftHSM
	InitArgs string `json:"initArgs,omitempty"` // for modules that take any, such as NSS
}

// clusterID is the form of a CloudHsmClusterId.
var clusterID = regexp.MustCompile(`^cluster-[2-7a-zA-Z]{11,16}$`)

// ParseClusters reads clusters.json, an object of clusters by their ids, and checks
// it.
func ParseClusters(text []byte) (map[string]Cluster, error) {
	all := make(map[string]Cluster)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&all); err != nil {
		return nil, err
	}
	for id, c := range all {
		if err := c.check(id); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (c *Cluster) check(id string) error {
	if !clusterID.MatchString(id) {
		return fmt.Errorf("the cluster id is %q; it must be cluster- and 11 to 16 letters or digits from 2 to 7", id)
	}
	u, err := pkcs11.ParseURI(c.URI)
	switch {
	case err != nil:
		return err
	case u.PINValue != nil || u.PINSource != "":
		return fmt.Errorf("the URI of %s has a PIN; that is the key store's password", id)
	}
	return nil
}

// ownModule tells whether the token is beside the directory's own, in its SoftHSM.
func (c *Cluster) ownModule(o *Options) bool {
	u, err := pkcs11.ParseURI(c.URI)
	if err != nil || c.Module != "" || u.ModulePath != "" {
		return false
	}
	_, err = os.Stat(pkcs11.SoftHSMConf(o.path(tokenDir)))
	return err == nil
}

// Clusters reads the clusters of a state directory; there may be none.
func Clusters(dir string) (map[string]Cluster, error) {
	o := Options{Dir: dir}
	text, err := os.ReadFile(o.path(clustersFile))
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]Cluster{}, nil
	}
	if err != nil {
		return nil, unreadable(o.path(clustersFile), err)
	}
	all, err := ParseClusters(text)
	if err != nil {
		return nil, &Error{Kind: KindDamaged, Path: o.path(clustersFile), Err: err, Help: "correct the file or restore it from a backup"}
	}
	return all, nil
}

// SetCluster adds a cluster to a state directory, which key services that have it
// open see at once; nil removes it.
func SetCluster(ctx context.Context, dir, id string, c *Cluster) error {
	o := Options{Dir: dir}
	unlock, err := o.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	all, err := Clusters(dir)
	if err != nil {
		return err
	}
	_, known := all[id]
	switch {
	case c == nil && !known:
		return &Error{Kind: KindInvalid, Err: fmt.Errorf("there is no cluster %s", id), Help: "see what there is: kmsfs store cluster list"}
	case c == nil:
		delete(all, id)
	case known:
		return &Error{Kind: KindInvalid, Err: fmt.Errorf("there is a cluster %s already", id), Help: "remove it first: kmsfs store cluster remove " + id}
	default:
		if err := c.check(id); err != nil {
			return &Error{Kind: KindInvalid, Err: err}
		}
		all[id] = *c
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(o.path(clustersFile), append(text, '\n')); err != nil {
		return unreadable(o.path(clustersFile), err)
	}
	return nil
}

// clusters opens the tokens that the directory's clusters.json names. The file is
// read anew each time.
type clusters struct{ o Options }

var _ keysvc.Clusters = clusters{}

// HasCluster implements [keysvc.Clusters].
func (c clusters) HasCluster(id string) (bool, error) {
	all, err := Clusters(c.o.Dir)
	_, known := all[id]
	return known, err
}

// OpenCluster implements [keysvc.Clusters].
func (c clusters) OpenCluster(ctx context.Context, id string, pin []byte) (hsm.Token, error) {
	all, err := Clusters(c.o.Dir)
	if err != nil {
		return nil, err
	}
	cluster, known := all[id]
	if !known {
		return nil, &hsm.Error{Op: "Open", Kind: hsm.KindTokenNotFound, Err: fmt.Errorf("%s names no cluster %s", clustersFile, id)}
	}
	unlock, err := c.o.lock(ctx) // see openToken
	if err != nil {
		return nil, err
	}
	defer unlock()
	own := cluster.ownModule(&c.o)
	if own {
		if err := restoreTokenObjects(c.o.path(tokenDir)); err != nil {
			return nil, err
		}
	}
	token, err := pkcs11.Open(ctx, pkcs11.Config{URI: cluster.URI, Module: cluster.Module, InitArgs: cluster.InitArgs, PIN: pin, Logger: c.o.Logger})
	if err != nil || !own {
		return token, err
	}
	if err := saveTokenObjects(c.o.path(tokenDir)); err != nil {
		return nil, errors.Join(err, token.Close())
	}
	return durableToken{token, c.o.path(tokenDir)}, nil
}

// NewCluster makes a SoftHSM token beside the directory's own, with the PIN, and
// adds it as a cluster of the id. A key service that has the directory open with
// SoftHSM sees the token when it is started again.
func NewCluster(ctx context.Context, dir, id string, pin []byte) error {
	o := Options{Dir: dir}
	c := Cluster{URI: "pkcs11:token=" + id}
	if err := c.check(id); err != nil {
		return &Error{Kind: KindInvalid, Err: err}
	}
	if err := pkcs11.ProvisionSoftHSM(o.path(tokenDir), pin, id); err != nil {
		return &Error{Kind: KindToken, Path: dir, Err: err}
	}
	if err := flushTree(o.path(tokenDir), time.Time{}); err != nil {
		return unreadable(o.path(tokenDir), err)
	}
	return SetCluster(ctx, dir, id, &c)
}
