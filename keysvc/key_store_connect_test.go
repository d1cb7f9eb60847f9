package keysvc

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// slowClusters are the clusters of the tests, which wait before they are opened.
type slowClusters struct {
	testClusters
	gate   chan struct{}
	opened *atomic.Int32
}

func (c slowClusters) OpenCluster(ctx context.Context, id string, pin []byte) (hsm.Token, error) {
	c.opened.Add(1)
	<-c.gate
	return c.testClusters.OpenCluster(ctx, id, pin)
}

func newSlow(t *testing.T) (*fixture, slowClusters) {
	f := newService(t)
	slow := slowClusters{gate: make(chan struct{}), opened: new(atomic.Int32)}
	f.config.Clusters = slow
	f.connectPatience = 20 * time.Millisecond
	return f, slow
}

// awaitState polls as AWS's clients do.
func (f *fixture) awaitState(id string, want types.ConnectionStateType) {
	f.t.Helper()
	for end := time.Now().Add(10 * time.Second); f.describeStore(id).ConnectionState != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("it is %s, want %s", f.describeStore(id).ConnectionState, want)
		}
	}
}

func TestASlowConnectionGoesOnBehindTheCall(t *testing.T) {
	f, slow := newSlow(t)
	id := f.clusterStore(secondCluster, clusterPIN)
	f.connect(id)
	f.wantConnection(id, types.ConnectionStateTypeConnecting, "")
	_, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{CustomKeyStoreId: &id, Origin: types.OriginTypeAwsCloudhsm})
	wantError(t, err, "CustomKeyStoreInvalidStateException", "*")
	f.key()       // what doesn't need it goes on
	f.connect(id) // and changes nothing
	close(slow.gate)
	f.awaitState(id, types.ConnectionStateTypeConnected)
	f.clusterKey(id)
	if n := slow.opened.Load(); n != 1 {
		t.Errorf("begun %d times", n)
	}
}

func TestASlowConnectionThatFailsTellsWhy(t *testing.T) {
	f, slow := newSlow(t)
	id := f.clusterStore(secondCluster, "not-the-pin")
	f.connect(id)
	close(slow.gate)
	f.awaitState(id, types.ConnectionStateTypeFailed)
	f.wantConnection(id, types.ConnectionStateTypeFailed, types.ConnectionErrorCodeTypeInvalidCredentials)
}

func TestAConnectionThatWasGivenUpDoesNotComeBack(t *testing.T) {
	f, slow := newSlow(t)
	id := f.clusterStore(secondCluster, clusterPIN)
	f.connect(id)
	f.disconnect(id)
	close(slow.gate)
	f.connections.ending.Wait()
	f.wantConnection(id, types.ConnectionStateTypeDisconnected, "")
	if _, err := f.UpdateCustomKeyStore(f.ctx(), &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &id, NewCustomKeyStoreName: aws.String("other")}); err != nil {
		t.Error(err)
	}
}
