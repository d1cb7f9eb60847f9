package keysvc

import (
	"context"
	"errors"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// connectPatience is how long ConnectCustomKeyStore waits for what comes of it.
const connectPatience = 3 * time.Second

// ConnectCustomKeyStore connects a key store, so that its keys can be used. As at
// AWS, a connection that fails is no error of the call: the key store's state is
// FAILED then, with the reason. Unlike there, the call usually returns when that is
// known; one that takes longer goes on behind it, and the state is CONNECTING.
func (s *Service) ConnectCustomKeyStore(ctx context.Context, in *kms.ConnectCustomKeyStoreInput, _ ...func(*kms.Options)) (*kms.ConnectCustomKeyStoreOutput, error) {
	return serve(s, ctx, opConnectKeyStore, in, (*call).connectKeyStore)
}

func (c *call) connectKeyStore(in *kms.ConnectCustomKeyStoreInput) (*kms.ConnectCustomKeyStoreOutput, error) {
	c.text("customKeyStoreId", in.CustomKeyStoreId)
	if err := c.authorizeAccount(); err != nil {
		return nil, err
	}
	begun := false
	ks, err := c.changeKeyStore(c.ctx, *in.CustomKeyStoreId, func(_ store.Tx, ks *store.KeyStore) (err error) {
		begun, err = c.s.beginConnecting(ks)
		return err
	})
	if err != nil || !begun {
		return &kms.ConnectCustomKeyStoreOutput{}, err
	}
	select {
	case err = <-c.connectBehind(ks):
	case <-time.After(c.s.connectPatience):
	case <-c.ctx.Done():
		err = c.ctx.Err()
	}
	return &kms.ConnectCustomKeyStoreOutput{}, err
}

// connectBehind connects a key store that is CONNECTING, whether or not the caller
// waits for it. Close waits.
func (c *call) connectBehind(ks store.KeyStore) <-chan error {
	c.requestID() // the proxy is told the same as the record
	behind := *c  // which is the goroutine's own
	behind.ctx = context.WithoutCancel(c.ctx)
	done := make(chan error, 1)
	c.s.connections.ending.Go(func() { done <- behind.finishConnecting(&ks) })
	return done
}

// finishConnecting tries the connection and stores what comes of it, unless somebody
// has begun anew. A process that ends leaves the key store CONNECTING, which is begun
// anew too.
func (c *call) finishConnecting(ks *store.KeyStore) error {
	log := c.s.config.Logger
	state, code := types.ConnectionStateTypeConnected, types.ConnectionErrorCodeType("")
	err := c.connect(ks)
	if hsm.IsKind(err, hsm.KindClosed) {
		return nil
	}
	if err != nil {
		state, code = types.ConnectionStateTypeFailed, connectionErrorCode(err)
		log.Warn("a custom key store can't be connected", "keyStore", ks.ID, "code", code, "error", err)
	}
	_, err = c.changeKeyStore(c.ctx, ks.ID, func(_ store.Tx, now *store.KeyStore) error {
		if now.Revision == ks.Revision && now.State == types.ConnectionStateTypeConnecting {
			now.State, now.ErrorCode = state, code
		}
		return nil
	})
	if err != nil {
		log.Error("what came of connecting a custom key store can't be stored", "keyStore", ks.ID, "state", state, "error", err)
	}
	return err
}

// beginConnecting makes a key store CONNECTING, also one that a crashed process has
// left so, and tells whether it did. A connected one stays as it is, as does one that
// this process is connecting: who calls again and again must not begin it anew.
func (s *Service) beginConnecting(ks *store.KeyStore) (begun bool, err error) {
	switch ks.State {
	case types.ConnectionStateTypeConnected:
		return false, nil
	case types.ConnectionStateTypeDisconnected, types.ConnectionStateTypeConnecting:
		if ks.State == types.ConnectionStateTypeConnecting && s.connections.making(ks) {
			return false, nil
		}
		ks.State, ks.ErrorCode = types.ConnectionStateTypeConnecting, ""
		ks.Revision++
		return true, nil
	}
	return false, wrongConnectionState(ks)
}

func wrongConnectionState(ks *store.KeyStore) error {
	return refuse(KindKeyStoreState, "The operation is not valid for the custom key store %s, as its connection state is %s.", ks.ID, ks.State)
}

// connect tries the connection that the keys are going to need.
func (c *call) connect(ks *store.KeyStore) error {
	if ks.Type == types.CustomKeyStoreTypeExternalKeyStore {
		client, err := c.s.proxyOf(c.ctx, ks)
		if err != nil {
			return err
		}
		_, err = client.Health(c.ctx, c.proxyMetadata(nil))
		return err
	}
	token, err := c.s.clusterToken(c.ctx, ks)
	if err != nil {
		return err
	}
	own, other := c.s.config.Token.Info(), token.Info()
	if own.Module == other.Module && own.Serial == other.Serial {
		c.s.connections.drop(ks.Ref())
		return errOwnToken
	}
	return nil
}

// DisconnectCustomKeyStore disconnects a key store in every process that shares the
// store. Its keys are unavailable from the next call on.
func (s *Service) DisconnectCustomKeyStore(ctx context.Context, in *kms.DisconnectCustomKeyStoreInput, _ ...func(*kms.Options)) (*kms.DisconnectCustomKeyStoreOutput, error) {
	return serve(s, ctx, opDisconnectKeyStore, in, (*call).disconnectKeyStore)
}

func (c *call) disconnectKeyStore(in *kms.DisconnectCustomKeyStoreInput) (*kms.DisconnectCustomKeyStoreOutput, error) {
	c.text("customKeyStoreId", in.CustomKeyStoreId)
	if err := c.authorizeAccount(); err != nil {
		return nil, err
	}
	ks, err := c.changeKeyStore(c.ctx, *in.CustomKeyStoreId, func(_ store.Tx, ks *store.KeyStore) error {
		if ks.State == types.ConnectionStateTypeDisconnected || ks.State == types.ConnectionStateTypeDisconnecting {
			return wrongConnectionState(ks)
		}
		ks.State, ks.ErrorCode = types.ConnectionStateTypeDisconnected, ""
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.s.connections.drop(ks.Ref())
	return &kms.DisconnectCustomKeyStoreOutput{}, nil
}

// errOwnToken is a cluster that is the service's own token under another name.
var errOwnToken = errors.New("the cluster is the key service's own token")

// connectionErrorCode is AWS's word for why a connection failed.
func connectionErrorCode(err error) types.ConnectionErrorCodeType {
	if code, ok := proxyErrorCode(err); ok {
		return code
	}
	kind, _ := hsm.KindOf(err)
	switch kind {
	case hsm.KindPIN:
		return types.ConnectionErrorCodeTypeInvalidCredentials
	case hsm.KindTokenNotFound:
		return types.ConnectionErrorCodeTypeClusterNotFound
	case hsm.KindUnavailable, hsm.KindCanceled:
		return types.ConnectionErrorCodeTypeNetworkErrors
	}
	return types.ConnectionErrorCodeTypeInternalError
}
