package keysvc

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// A use of a key is noted in memory by the call itself, at the cost of two atomic stores
// and a small allocation, and stored by the next sweep, or when the Service is closed.
// So a process that is killed loses the uses of a minute; the audit trail has them.

// closingTime bounds how long Close waits for the store.
const closingTime = 5 * time.Second

// use is a successful cryptographic operation.
type use struct {
	operation string
	at        time.Time
	requestID string
	eventID   string
}

// lastUse is the newest use of a key in this process.
type lastUse struct {
	key     store.KeyRef
	newest  atomic.Pointer[use]
	unsaved atomic.Bool // it is in unsavedUses
}

// unsavedUses are the keys whose last use the store doesn't have.
type unsavedUses struct {
	mu   sync.Mutex // guards keys; no other lock is taken under it
	keys []*lastUse
}

// noteUse notes that the call has used its keys, if it is of that kind.
func (c *call) noteUse(event *audit.Event) {
	if !c.op.uses {
		return
	}
	for _, k := range c.used {
		if k == nil || k.use == nil {
			continue
		}
		k.use.note(&use{operation: c.op.name, at: c.now, requestID: event.RequestID, eventID: event.EventID})
		if !k.use.unsaved.Load() && !k.use.unsaved.Swap(true) {
			c.s.uses.add(k.use)
		}
	}
}

// note keeps the use if it is the newest.
func (l *lastUse) note(u *use) {
	for {
		known := l.newest.Load()
		if known != nil && known.at.After(u.at) || l.newest.CompareAndSwap(known, u) {
			return
		}
	}
}

func (u *unsavedUses) add(keys ...*lastUse) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.keys = append(u.keys, keys...)
}

// take empties the list.
func (u *unsavedUses) take() []*lastUse {
	u.mu.Lock()
	defer u.mu.Unlock()
	keys := u.keys
	u.keys = nil
	return keys
}

// saveUses stores what was noted since it last did. What can't be stored is kept for the
// next time.
func (s *Service) saveUses(ctx context.Context) error {
	keys := s.uses.take()
	if len(keys) == 0 {
		return nil
	}
	uses := make([]store.Usage, 0, len(keys))
	for _, l := range keys {
		l.unsaved.Store(false) // a use that is noted from here on lists it anew
		uses = append(uses, l.stored())
	}
	slices.SortFunc(uses, func(a, b store.Usage) int { // one order in all processes, so that they can't deadlock
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region), cmp.Compare(a.ID, b.ID))
	})
	err := s.config.Store.RecordUsage(ctx, uses)
	if err != nil {
		s.uses.add(slices.DeleteFunc(keys, func(l *lastUse) bool { return l.unsaved.Swap(true) })...)
	}
	return err
}

// stored is the use as the store keeps it, zero if there was none.
func (l *lastUse) stored() store.Usage {
	u := l.newest.Load()
	if u == nil {
		return store.Usage{}
	}
	return store.Usage{KeyRef: l.key, Operation: u.operation, At: u.at.UTC().Truncate(time.Millisecond), RequestID: u.requestID, EventID: u.eventID}
}

// GetKeyLastUsage tells which cryptographic operation has used a key last, and since when
// that is recorded. Uses in other processes show within a minute.
func (s *Service) GetKeyLastUsage(ctx context.Context, in *kms.GetKeyLastUsageInput, _ ...func(*kms.Options)) (*kms.GetKeyLastUsageOutput, error) {
	return serve(s, ctx, opGetKeyLastUsage, in, (*call).getKeyLastUsage)
}

func (c *call) getKeyLastUsage(in *kms.GetKeyLastUsageInput) (*kms.GetKeyLastUsageOutput, error) {
	c.text("keyId", in.KeyId)
	k, err := c.use(*in.KeyId, access{})
	if err != nil {
		return nil, err
	}
	last, since, err := c.lastUse(k)
	if err != nil {
		return nil, internal(err)
	}
	if since.Before(k.Created) {
		since = k.Created
	}
	out := &kms.GetKeyLastUsageOutput{
		KeyId: aws.String(k.arn), KeyCreationDate: aws.Time(k.Created), TrackingStartDate: aws.Time(since), KeyLastUsage: &types.KeyLastUsageData{},
	}
	if !last.At.IsZero() {
		out.KeyLastUsage = &types.KeyLastUsageData{
			Operation: types.KeyLastUsageTrackingOperation(last.Operation), Timestamp: aws.Time(last.At),
			KmsRequestId: aws.String(last.RequestID), CloudTrailEventId: aws.String(last.EventID),
		}
	}
	return out, nil
}

// lastUse is the newest of the use that the store has and the one that this process has
// noted, zero if there was none; and since when uses are recorded.
func (c *call) lastUse(k *keySnapshot) (last store.Usage, since time.Time, err error) {
	err = c.s.config.Store.View(c.ctx, func(tx store.Tx) (err error) {
		if since, err = tx.UsageSince(c.ctx); err != nil {
			return err
		}
		last, err = tx.Usage(c.ctx, k.Scope, k.ID)
		if errors.Is(err, store.ErrNotFound) {
			last, err = store.Usage{}, nil
		}
		return err
	})
	if noted := k.use.stored(); !noted.At.Before(last.At) {
		last = noted
	}
	return last, since, err
}
