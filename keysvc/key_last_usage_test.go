package keysvc

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func (f *fixture) lastUsage(ctx context.Context, id string) *kms.GetKeyLastUsageOutput {
	f.t.Helper()
	out, err := f.GetKeyLastUsage(ctx, &kms.GetKeyLastUsageInput{KeyId: &id})
	f.must(out, err)
	return out
}

// usedBy checks that a key's last use is the call that the trail has recorded last.
func (f *fixture) usedBy(id string, r audit.Record) {
	f.t.Helper()
	got := f.lastUsage(f.ctx(), id).KeyLastUsage
	if string(got.Operation) != r.EventName || aws.ToString(got.CloudTrailEventId) != r.EventID || aws.ToString(got.KmsRequestId) != r.RequestID ||
		got.Timestamp.Truncate(time.Second).Format(time.RFC3339) != r.EventTime {
		f.t.Errorf("last use is %s at %v (%s), want %s at %s (%s)", got.Operation, got.Timestamp, aws.ToString(got.CloudTrailEventId), r.EventName, r.EventTime, r.EventID)
	}
}

func TestLastUseOfAKeyIsTold(t *testing.T) {
	f := newService(t)
	id, other := f.key(), f.key()
	out := f.lastUsage(f.ctx(), f.arn(id))
	if *out.KeyId != f.arn(id) || !out.KeyCreationDate.Equal(*f.describe(id).CreationDate) || !out.TrackingStartDate.Equal(*out.KeyCreationDate) ||
		out.KeyLastUsage == nil || !reflect.DeepEqual(*out.KeyLastUsage, types.KeyLastUsageData{}) {
		t.Errorf("%+v, %+v", out, out.KeyLastUsage)
	}
	blob := f.encrypt(id, "x", nil)
	encrypted := f.last()
	f.usedBy(id, encrypted)
	f.describe(id)
	_, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"a": "b"}})
	wantError(t, err, "InvalidCiphertextException", "")
	_, err = f.Encrypt(f.ctx(), &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), DryRun: aws.Bool(true)})
	wantError(t, err, "DryRunOperationException", "*")
	f.usedBy(id, encrypted)
	f.clock.advance(time.Hour)
	f.must(f.ReEncrypt(f.ctx(), &kms.ReEncryptInput{CiphertextBlob: blob, DestinationKeyId: &other}))
	moved := f.last()
	f.usedBy(id, moved)
	f.usedBy(other, moved)
	f.must(f.DisableKey(f.ctx(), &kms.DisableKeyInput{KeyId: &id}))
	f.usedBy(id, moved)
	f.must(nil, f.alias("alias/a", id))
	_, err = f.GetKeyLastUsage(f.ctx(), &kms.GetKeyLastUsageInput{KeyId: aws.String("alias/a")})
	wantError(t, err, "NotFoundException", "Invalid keyId 'alias/a'")
}

// Whichever operations the SDK says are tracked are those that a success of is noted.
func TestEveryCryptographicOperationIsAUse(t *testing.T) {
	from, f := newTemplate(t), newService(t)
	tracked := types.KeyLastUsageTrackingOperation("").Values()
	for op, attempt := range attempts {
		s := from.subject(f, types.KeyStateEnabled)
		if err := attempt(s); err != nil {
			continue // such as to cancel a deletion that isn't scheduled
		}
		r := f.last()
		if r.ErrorCode != "" {
			continue // no key is for it
		}
		k, err := f.load(f.ctx(), store.KeyRef{Scope: f.scope(), ID: s.keyOf(op)})
		f.must(k, err)
		got, _, err := (&call{s: f.Service, ctx: f.ctx()}).lastUse(k)
		f.must(got, err)
		noted := got.EventID == r.EventID && got.Operation == r.EventName
		if noted != slices.Contains(tracked, types.KeyLastUsageTrackingOperation(r.EventName)) {
			t.Errorf("%s: the last use is %+v", op, got)
		}
	}
}

func TestLastUseSurvivesAndIsSeenByOtherProcesses(t *testing.T) {
	f := newService(t)
	id := f.key()
	second := openService(t, f.dir, f.clock, token)
	blob := f.encrypt(id, "x", nil)
	generation := f.config.Store.Generation()
	f.must(nil, f.Sweep(f.ctx()))
	second.usedBy(id, f.last())
	f.clock.advance(time.Minute)
	second.decrypts(blob, "x", nil)
	newest := second.last()
	f.must(nil, f.Sweep(f.ctx()))      // has nothing new to store
	f.clock.advance(-30 * time.Second) // another process may be late with what it has
	f.encrypt(id, "y", nil)
	second.Close()
	f.Close()
	third := openService(t, f.dir, f.clock, token)
	third.usedBy(id, newest)
	if third.config.Store.Generation() != generation {
		t.Error("storing uses empties caches")
	}
}

func TestTrackingBeganWhenTheStoreLearnedIt(t *testing.T) {
	f := newService(t)
	id := f.key()
	f.edit(id, func(key *store.Key) { key.Created = key.Created.Add(-time.Hour) }) // as if made by an older version
	out := f.lastUsage(f.ctx(), id)
	if since := time.Since(*out.TrackingStartDate); since < 0 || since > time.Minute || !out.TrackingStartDate.After(*out.KeyCreationDate) {
		t.Errorf("tracked since %v, made %v", out.TrackingStartDate, out.KeyCreationDate)
	}
}

func TestReplicasAreTrackedByThemselves(t *testing.T) {
	f := newService(t)
	id := f.replicated()
	f.encrypt(id, "x", nil)
	if got := f.lastUsage(f.there(), id).KeyLastUsage; got.Operation != "" {
		t.Errorf("the replica's last use is %s", got.Operation)
	}
}

// failingStore is a store whose uses can't be written while broken.
type failingStore struct {
	store.Store
	broken atomic.Bool
}

func (s *failingStore) RecordUsage(ctx context.Context, uses []store.Usage) error {
	if s.broken.Load() {
		return errors.New("disk full")
	}
	return s.Store.RecordUsage(ctx, uses)
}

func TestUsesThatCouldNotBeStoredAreStoredLater(t *testing.T) {
	f := newService(t)
	id, other := f.key(), f.key()
	failing := &failingStore{Store: f.config.Store}
	f.config.Store = failing
	failing.broken.Store(true)
	f.encrypt(id, "x", nil)
	used := f.last()
	f.encrypt(other, "x", nil)
	last := f.last()
	if err := f.Sweep(f.ctx()); err == nil {
		t.Error("the fault isn't told")
	}
	failing.broken.Store(false)
	f.must(nil, f.Sweep(f.ctx()))
	second := openService(t, f.dir, f.clock, token)
	second.usedBy(id, used)
	second.usedBy(other, last)
}

func TestConcurrentUsesAndSavesLoseNone(t *testing.T) {
	f := newService(t)
	id := f.key()
	var group sync.WaitGroup
	done := make(chan struct{})
	group.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				f.must(nil, f.saveUses(f.ctx()))
			}
		}
	})
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for range 50 {
				f.encrypt(id, "x", nil)
			}
		})
	}
	users.Wait()
	f.clock.advance(time.Second)
	f.encrypt(id, "x", nil)
	close(done)
	group.Wait()
	f.must(nil, f.saveUses(f.ctx()))
	openService(t, f.dir, f.clock, token).usedBy(id, f.last())
}

func BenchmarkNoteUse(b *testing.B) {
	f := newService(b)
	k, err := f.load(f.ctx(), store.KeyRef{Scope: f.scope(), ID: f.key()})
	if err != nil {
		b.Fatal(err)
	}
	c := f.begin(f.ctx(), opDecrypt)
	c.touch(k)
	event := c.event(nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.noteUse(event)
		}
	})
}
