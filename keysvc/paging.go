package keysvc

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// How many entries a page has without Limit.
const (
	manyPerPage = 100 // ListKeys, ListKeyRotations
	somePerPage = 50  // ListAliases, ListGrants, ListRetirableGrants
	tagsPerPage = 50  // ListResourceTags
)

// page is one page of a list: behind which entry it starts, and how long it is.
type page struct {
	filter string // what the list was limited to; a marker is good for that only
	after  string
	limit  int
}

// page reads Limit and Marker. filter holds the members that limit the list.
func (c *call) page(limit *int32, marker *string, usual int, filter ...*string) (page, error) {
	c.number("limit", limit)
	p := page{limit: usual}
	if len(filter) > 0 {
		p.filter = filterDigest(filter)
	}
	if limit != nil {
		p.limit = int(*limit)
	}
	if marker == nil {
		return p, nil
	}
	after, ok := parseMarker(c.op.name, p.filter, *marker)
	if !ok {
		return page{}, refuse(KindInvalidMarker, "The marker is not valid.")
	}
	p.after = after
	return p, nil
}

// filterDigest keeps markers short whatever a list is limited to.
func filterDigest(filter []*string) string {
	var all []byte
	for _, f := range filter {
		all = appendCounted(all, aws.ToString(f))
	}
	sum := sha256.Sum256(all)
	return hex.EncodeToString(sum[:8])
}

// A marker names the operation, what the list was limited to and the last entry
// of the page before.
func newMarker(op, filter, last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join([]string{"1", op, filter, last}, "\x00")))
}

func parseMarker(op, filter, marker string) (last string, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(marker)
	part := strings.Split(string(raw), "\x00")
	if err != nil || len(part) != 4 || part[0] != "1" || part[1] != op || part[2] != filter || part[3] == "" {
		return "", false
	}
	return part[3], true
}

// readPage reads a page from the store and makes the marker of the next one, or
// nil if there is none. It asks for one entry more than the page has.
func readPage[T any](c *call, p page, name func(T) string, read func(tx store.Tx, after string, limit int) ([]T, error)) ([]T, *string, error) {
	var entries []T
	err := c.s.config.Store.View(c.ctx, func(tx store.Tx) (err error) {
		entries, err = read(tx, p.after, p.limit+1)
		return err
	})
	if err != nil {
		return nil, nil, internal(err)
	}
	if len(entries) <= p.limit {
		return entries, nil, nil
	}
	entries = entries[:p.limit]
	return entries, aws.String(newMarker(c.op.name, p.filter, name(entries[p.limit-1]))), nil
}
