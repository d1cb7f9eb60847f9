package main

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/keysvc/api"
	"github.com/kmsfs/kmsfs/keysvc/embedded"
)

const serveLong = `Serves the key service of the state directory in AWS's own protocol, for the aws command line, AWS
SDKs and what is built on them. Prints one endpoint URL a line when it is ready, logs to standard
error, and stops on SIGINT or SIGTERM after the requests under way. On first use it makes the key
service.

Clients need an access key: kmsfs principal create NAME. Without TLS only loopback addresses are
served, as answers hold data keys in plaintext. The region that a client is set to selects one of
many sets of keys.`

// defaultListen is where the service listens if nothing else is said.
const defaultListen = "127.0.0.1:4599"

// serveFlags is what kmsfs serve is told.
type serveFlags struct {
	listen, socket   string
	tlsCert, tlsKey  string
	first            firstUse
	listenIsExplicit bool
}

func newServeCommand(a *app) *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve [--listen ADDR] [--socket PATH] [--tls-cert FILE --tls-key FILE]",
		Short: "serve the key service to other programs and hosts",
		Long:  serveLong,
		Example: `  kmsfs principal create me --admin
  kmsfs serve
  aws --endpoint-url http://127.0.0.1:4599 kms list-keys`,
		Args: needArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			f.listenIsExplicit = c.Flags().Changed("listen")
			return a.serve(c.Context(), &f)
		},
	}
	c.Flags().StringVar(&f.listen, "listen", defaultListen, "address and port; port 0 takes a free one")
	c.Flags().StringVar(&f.socket, "socket", "", "also serve on this unix socket; without --listen, only there")
	c.Flags().StringVar(&f.tlsCert, "tls-cert", "", "certificate chain, PEM")
	c.Flags().StringVar(&f.tlsKey, "tls-key", "", "its private key, PEM")
	addFirstUseFlags(c, &f.first)
	return c
}

// serve opens the key service, listens, and answers until a signal ends ctx.
func (a *app) serve(ctx context.Context, f *serveFlags) error {
	config, err := f.tls()
	if err != nil {
		return err
	}
	if err := f.checkAddress(config != nil); err != nil {
		return err
	}
	if err := harden(); err != nil {
		return err
	}
	log := newLogger(a.ui.err, false)
	keys, err := a.openEmbedded(ctx, f.first, a.ui.AskSecret, log)
	if err != nil {
		return err
	}
	listeners, err := f.open(config)
	if err == nil {
		err = a.answer(ctx, keys, listeners, log)
	}
	return errors.Join(err, keys.Close())
}

// answer serves on the listeners, which it closes.
func (a *app) answer(ctx context.Context, keys *embedded.Embedded, listeners []endpoint, log *slog.Logger) error {
	server, err := api.New(api.Config{
		Service: keys.Service(), Principals: a.principals(), Account: keys.Config().Account, Logger: log,
	})
	if err != nil {
		return err
	}
	var open []net.Listener
	for _, l := range listeners {
		a.ui.Line("%s", l.url)
		open = append(open, l)
	}
	return server.Serve(ctx, open...)
}
