package keysvc

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// How many calls each worker of a churn makes; churnEnv asks for more.
const (
	churnSteps = 40
	churnEnv   = "KMSFS_CHURN_STEPS"
)

// noted is the real token, which notes what it is to make.
type noted struct {
	hsm.Token
	mu  sync.Mutex
	ids map[hsm.KeyID]string // with their labels
}

func (n *noted) note(id hsm.KeyID, label string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ids[id] = label
}

func (n *noted) GenerateKey(ctx context.Context, id hsm.KeyID, label string) error {
	n.note(id, label)
	return n.Token.GenerateKey(ctx, id, label)
}

func (n *noted) GenerateKeyPair(ctx context.Context, id hsm.KeyID, t hsm.KeyType, p hsm.Purpose, label string) error {
	n.note(id, label)
	return n.Token.GenerateKeyPair(ctx, id, t, p, label)
}

func (n *noted) ImportKey(ctx context.Context, id hsm.KeyID, w hsm.WrappedKey, label string) error {
	n.note(id, label)
	return n.Token.ImportKey(ctx, id, w, label)
}

// churn is many callers of two services on one store and token, who do everything to
// a few multi-Region keys at once, some with imported material. Some give up early.
type churn struct {
	*fixture
	other *fixture
	tok   *noted

	clockSet sync.RWMutex // for writing: no call is under way

	mu         sync.Mutex // guards what follows
	keys       []string
	parameters map[store.KeyRef]*parameters
	sealed     []sealedText
}

type sealedText struct {
	key, text string
	blob      []byte
}

func newChurn(t *testing.T) *churn {
	dir, tok, clk := t.TempDir(), &noted{Token: token, ids: map[hsm.KeyID]string{}}, &clock{}
	c := &churn{fixture: openService(t, dir, clk, tok), other: openService(t, dir, clk, tok), tok: tok,
		parameters: map[store.KeyRef]*parameters{}}
	for range 3 {
		c.must(nil, c.create(c.ctx(), types.OriginTypeAwsKms))
		c.must(nil, c.create(c.ctx(), types.OriginTypeExternal))
	}
	return c
}

// create makes a key, in both regions if that can be done at once.
func (c *churn) create(ctx context.Context, origin types.OriginType) error {
	out, err := c.CreateKey(ctx, &kms.CreateKeyInput{MultiRegion: aws.Bool(true), Origin: origin})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.keys = append(c.keys, *out.KeyMetadata.KeyId)
	c.mu.Unlock()
	if origin == types.OriginTypeAwsKms {
		_, err = c.ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: out.KeyMetadata.KeyId, ReplicaRegion: aws.String(otherRegion)})
	}
	return err
}

// turn is one call: of a service in a region, on a key.
type turn struct {
	*churn
	s      *Service
	ctx    context.Context
	random *rand.Rand
	scope  store.Scope
	id     string
}

func (c *churn) anyRegion(r *rand.Rand) string { return []string{testRegion, otherRegion}[r.IntN(2)] }

func (c *churn) step(r *rand.Rand) error {
	c.clockSet.RLock()
	defer c.clockSet.RUnlock()
	ctx := context.Background()
	if r.IntN(10) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(30))*time.Millisecond)
		defer cancel()
	}
	region := c.anyRegion(r)
	c.mu.Lock()
	id := c.keys[len(c.keys)-1-r.IntN(6)] // old ones are deleted by and by
	c.mu.Unlock()
	t := &turn{churn: c, s: []*Service{c.Service, c.other.Service}[r.IntN(2)], ctx: WithCaller(ctx, Caller{Region: region}),
		random: r, scope: inRegion(c.scope(), region), id: id}
	return churnActions[r.IntN(len(churnActions))](t)
}

// churnActions are what can happen; what is there more often happens more often.
var churnActions = [...]func(*turn) error{
	(*turn).seal, (*turn).seal, (*turn).seal, (*turn).open, (*turn).open, (*turn).bring, (*turn).bring, (*turn).bring,
	func(t *turn) error {
		_, err := t.s.RotateKeyOnDemand(t.ctx, &kms.RotateKeyOnDemandInput{KeyId: &t.id})
		return err
	},
	func(t *turn) error {
		_, err := t.s.EnableKeyRotation(t.ctx, &kms.EnableKeyRotationInput{KeyId: &t.id, RotationPeriodInDays: aws.Int32(90)})
		return err
	},
	func(t *turn) error {
		_, err := t.s.ReplicateKey(t.ctx, &kms.ReplicateKeyInput{KeyId: &t.id, ReplicaRegion: aws.String(t.anyRegion(t.random))})
		return err
	},
	func(t *turn) error {
		_, err := t.s.UpdatePrimaryRegion(t.ctx, &kms.UpdatePrimaryRegionInput{KeyId: &t.id, PrimaryRegion: aws.String(t.anyRegion(t.random))})
		return err
	},
	func(t *turn) error {
		_, err := t.s.ScheduleKeyDeletion(t.ctx, &kms.ScheduleKeyDeletionInput{KeyId: &t.id, PendingWindowInDays: aws.Int32(7)})
		return err
	},
	func(t *turn) error {
		if t.random.IntN(3) > 0 {
			return nil
		}
		_, err := t.s.CancelKeyDeletion(t.ctx, &kms.CancelKeyDeletionInput{KeyId: &t.id})
		return err
	},
	func(t *turn) error { _, err := t.s.EnableKey(t.ctx, &kms.EnableKeyInput{KeyId: &t.id}); return err },
	func(t *turn) error { _, err := t.s.EnableKey(t.ctx, &kms.EnableKeyInput{KeyId: &t.id}); return err },
	func(t *turn) error { _, err := t.s.DisableKey(t.ctx, &kms.DisableKeyInput{KeyId: &t.id}); return err },
	func(t *turn) error {
		_, err := t.s.DeleteImportedKeyMaterial(t.ctx, &kms.DeleteImportedKeyMaterialInput{KeyId: &t.id})
		return err
	},
	func(t *turn) error { return t.s.Sweep(t.ctx) },
	func(t *turn) error {
		return t.create(t.ctx, []types.OriginType{types.OriginTypeAwsKms, types.OriginTypeExternal}[t.random.IntN(2)])
	},
}

func (t *turn) seal() error {
	text := strconv.Itoa(t.random.Int())
	out, err := t.s.Encrypt(t.ctx, &kms.EncryptInput{KeyId: &t.id, Plaintext: []byte(text)})
	if err == nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.sealed = append(t.sealed, sealedText{t.id, text, out.CiphertextBlob})
	}
	return err
}

func (t *turn) open() error {
	t.mu.Lock()
	sealed := t.sealed
	t.mu.Unlock()
	if len(sealed) == 0 {
		return nil
	}
	one := sealed[t.random.IntN(len(sealed))]
	out, err := t.s.Decrypt(t.ctx, &kms.DecryptInput{CiphertextBlob: one.blob})
	if err == nil && string(out.Plaintext) != one.text {
		t.t.Errorf("it decrypts to %q", out.Plaintext)
	}
	return err
}

// bring imports one of two materials.
func (t *turn) bring() error {
	p, err := t.importParameters()
	if err != nil {
		return err
	}
	in := &kms.ImportKeyMaterialInput{KeyId: &t.id, ImportToken: p.out.ImportToken, ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire,
		EncryptedKeyMaterial: p.wrap(bytes.Repeat([]byte{1 + byte(t.random.IntN(2))}, 32))}
	if t.random.IntN(3) == 0 {
		in.ImportType = types.ImportTypeNewKeyMaterial
	}
	if t.random.IntN(3) == 0 {
		in.ExpirationModel, in.ValidTo = "", aws.Time(t.clock.now().Add(3*day))
	}
	_, err = t.s.ImportKeyMaterial(t.ctx, in)
	return err
}

// importParameters are good for as many imports as there are in a day.
func (t *turn) importParameters() (*parameters, error) {
	ref := store.KeyRef{Scope: t.scope, ID: t.id}
	t.mu.Lock()
	p := t.parameters[ref]
	t.mu.Unlock()
	if p != nil && t.clock.now().Before(*p.out.ParametersValidTo) {
		return p, nil
	}
	out, err := t.s.GetParametersForImport(t.ctx, &kms.GetParametersForImportInput{
		KeyId: &t.id, WrappingAlgorithm: types.AlgorithmSpecRsaesOaepSha1, WrappingKeySpec: types.WrappingKeySpecRsa2048})
	if err != nil {
		return nil, err
	}
	p = &parameters{t.fixture, t.id, types.AlgorithmSpecRsaesOaepSha1, out}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.parameters[ref] = p
	return p, nil
}

// pass lets days pass between calls, also those that nobody waits for any more.
func (c *churn) pass(days time.Duration) {
	c.clockSet.Lock()
	defer c.clockSet.Unlock()
	time.Sleep(time.Second)
	c.clock.advance(days * day)
}

func TestKeysSurviveWhatManyCallersDoAtOnce(t *testing.T) {
	steps, seed := churnSteps, rand.Uint64()
	if testing.Short() {
		steps /= 2
	}
	if n, err := strconv.Atoi(os.Getenv(churnEnv)); err == nil {
		steps = n
	}
	t.Logf("seed %d", seed)
	c := newChurn(t)
	var workers sync.WaitGroup
	for w := range 4 {
		r := rand.New(rand.NewPCG(seed, uint64(w)))
		workers.Go(func() {
			for i := range steps {
				var e *Error
				if err := c.step(r); errors.As(err, &e) && e.Kind == KindInternal {
					t.Error(err)
				}
				if w == 0 && i%15 == 14 {
					c.pass(time.Duration(1 + r.IntN(8)))
				}
			}
		})
	}
	workers.Wait()
	c.pass(2)
	c.must(nil, errors.Join(c.Sweep(c.ctx()), c.other.Sweep(c.ctx())))
	c.checkToken()
	c.checkTexts()
}

// checkToken looks whether the token has what the store says, and nothing else.
func (c *churn) checkToken() {
	known := map[hsm.KeyID]bool{}
	c.eachKey(func(tx store.Tx, key *store.Key) error {
		imports, err := tx.Imports(c.ctx(), key.Scope, key.ID)
		for _, i := range imports {
			known[hsm.KeyID(i.Backing)] = true
		}
		for _, m := range key.Materials {
			if m.State == store.MaterialCreating {
				c.t.Errorf("%s: material %d was never finished", key.Region, m.Number)
			}
			if m.Import == types.ImportStatePendingImport {
				continue
			}
			if known[hsm.KeyID(m.Backing)] = true; !c.inToken(hsm.KeyID(m.Backing)) {
				c.t.Errorf("%s: %s key lost its material %d (%s)", key.Region, key.State, m.Number, m.State)
			}
		}
		return err
	})
	for id, label := range c.tok.ids {
		if !known[id] && c.inToken(id) {
			c.t.Errorf("%s is left in the token", label)
		}
	}
}

// checkTexts decrypts every text in each region where its key is still usable.
func (c *churn) checkTexts() {
	opened := 0
	c.eachKey(func(_ store.Tx, key *store.Key) error {
		for _, one := range c.sealed {
			if one.key != key.ID || key.State != types.KeyStateEnabled {
				continue
			}
			out, err := c.Decrypt(WithCaller(c.ctx(), Caller{Region: key.Region}), &kms.DecryptInput{CiphertextBlob: one.blob})
			if err != nil || string(out.Plaintext) != one.text {
				c.t.Errorf("%s: %v", key.Region, err)
			}
			opened++
		}
		return nil
	})
	c.t.Logf("%d texts encrypted, %d decrypted, %d keys deleted, %d rotations, %d expired", len(c.sealed), opened,
		c.serviceEvents("DeleteKey"), c.serviceEvents("RotateKey"), c.serviceEvents("DeleteExpiredKeyMaterial"))
}

func (c *churn) eachKey(f func(store.Tx, *store.Key) error) {
	c.t.Helper()
	err := c.config.Store.View(c.ctx(), func(tx store.Tx) (err error) {
		for _, region := range []string{testRegion, otherRegion} {
			for _, id := range c.keys {
				key, keyErr := tx.Key(c.ctx(), inRegion(c.scope(), region), id)
				if errors.Is(keyErr, store.ErrNotFound) {
					continue
				}
				err = errors.Join(err, keyErr, f(tx, &key))
			}
		}
		return err
	})
	c.must(nil, err)
}
