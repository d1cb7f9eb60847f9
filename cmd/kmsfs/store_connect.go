package main

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"
)

// connectPoll is how often a connection that is being made is looked at. AWS takes minutes.
const connectPoll = 2 * time.Second

func newStoreConnectCommand(a *app) *cobra.Command {
	return a.eachStoreCommand("connect STORE...", "connect key stores, so that their keys can be used",
		"Waits until it is known whether the connection works, and fails if it does not. A failed one must be disconnected before it is tried again.",
		func(ctx context.Context, s keyClient, id string) error {
			if _, err := s.ConnectCustomKeyStore(ctx, &kms.ConnectCustomKeyStoreInput{CustomKeyStoreId: &id}); err != nil {
				return err
			}
			return awaitConnection(ctx, s, id)
		})
}

// awaitConnection waits while a key store is CONNECTING.
func awaitConnection(ctx context.Context, s keyClient, id string) error {
	for {
		out, err := s.DescribeCustomKeyStores(ctx, &kms.DescribeCustomKeyStoresInput{CustomKeyStoreId: &id})
		if err != nil {
			return err
		}
		ks := types.CustomKeyStoresListEntry{}
		if len(out.CustomKeyStores) > 0 {
			ks = out.CustomKeyStores[0]
		}
		switch ks.ConnectionState {
		case types.ConnectionStateTypeConnected:
			return nil
		case types.ConnectionStateTypeConnecting:
		default:
			return failf(exitKeys, connectHint(ks.ConnectionErrorCode, id), "the connection is %s: %s", ks.ConnectionState, orDash(string(ks.ConnectionErrorCode)))
		}
		select {
		case <-time.After(connectPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// connectHint says what to do about a connection that failed.
func connectHint(code types.ConnectionErrorCodeType, id string) string {
	again := "kmsfs store disconnect " + id + ", "
	switch code {
	case types.ConnectionErrorCodeTypeInvalidCredentials:
		return again + "then give the right secret: kmsfs store update " + id + " --password, or --xks-config FILE"
	case types.ConnectionErrorCodeTypeClusterNotFound:
		return again + "then see whether the token is there: kmsfs store cluster list"
	case types.ConnectionErrorCodeTypeXksProxyNotReachable, types.ConnectionErrorCodeTypeXksProxyTimedOut:
		return again + "then see whether the proxy runs, and connect again"
	}
	return again + "correct what the log of the key service says, then connect again"
}
