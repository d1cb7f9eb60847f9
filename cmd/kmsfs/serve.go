package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/keysvc/api"
	"github.com/kmsfs/kmsfs/keysvc/api/certs"
	"github.com/kmsfs/kmsfs/keysvc/api/metrics"
	"github.com/kmsfs/kmsfs/keysvc/api/throttle"
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
	metrics          string
	tls              tlsFlags
	throttle         string
	connections      api.ConnectionLimits
	first            firstUse
	listenIsExplicit bool
	address          *net.TCPAddr // of listen, looked up once: a name could mean another address the next time
}

func newServeCommand(a *app) *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve [--listen ADDR] [--socket PATH] [--tls | --tls-cert FILE --tls-key FILE]",
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
	f.tls.add(c.Flags())
	c.Flags().StringVar(&f.metrics, "metrics-listen", "", "serve Prometheus metrics over HTTP at this address, path /metrics")
	c.Flags().StringVar(&f.throttle, "throttle", "off", "limit request rates: off, aws (AWS's quotas), or a file of JSON; see docs/cli.md")
	c.Flags().IntVar(&f.connections.All, "max-connections", 1024, "connections that may be open at once")
	c.Flags().IntVar(&f.connections.PerClient, "max-connections-per-client", 256, "those of one IPv4 address or IPv6 /64 network")
	addFirstUseFlags(c, &f.first)
	return c
}

// serve opens the key service, listens, and answers until a signal ends ctx.
func (a *app) serve(ctx context.Context, f *serveFlags) error {
	limits, err := readThrottle(f.throttle)
	if err != nil {
		return err
	}
	log := newLogger(a.ui.err, false)
	files, err := f.tls.files(log.Warn)
	if err != nil {
		return err
	}
	if err := f.checkAddress(f.tls.wanted()); err != nil {
		return err
	}
	if err := f.checkConnections(); err != nil {
		return err
	}
	if err := harden(); err != nil {
		return err
	}
	keys, err := a.openEmbedded(ctx, f.first, a.ui.AskSecret, log)
	if err != nil {
		return err
	}
	return errors.Join(a.serveKeys(ctx, f, files, limits, keys, log), keys.Close())
}

// serveKeys listens and answers.
func (a *app) serveKeys(ctx context.Context, f *serveFlags, files *certs.Files, limits *throttle.Limits, keys *embedded.Embedded, log *slog.Logger) error {
	config, caFile, err := f.tls.config(files, a.keyStateDir(), f.listen)
	if err != nil {
		return err
	}
	counters := metrics.New()
	server, err := api.New(api.Config{
		Service: keys.Service(), Principals: a.principals(), Account: keys.Config().Account, Logger: log,
		Throttle: limits, Metrics: counters, Limits: f.connections,
	})
	if err != nil {
		return err
	}
	listeners, err := f.open(config)
	if err != nil {
		return err
	}
	if f.metrics != "" {
		stop, err := serveMetrics(f.metrics, counters, log)
		if err != nil {
			return errors.Join(err, closeAll(listeners))
		}
		defer stop()
	}
	if caFile != "" {
		a.ui.Note("clients need the authority's certificate: %s", caFile)
	}
	return a.answer(ctx, server, listeners)
}

// answer serves on the listeners, which it closes.
func (a *app) answer(ctx context.Context, server *api.Server, listeners []endpoint) error {
	var open []api.Listener
	for _, l := range listeners {
		a.ui.Line("%s", l.url)
		open = append(open, l.Listener)
	}
	tellSystemd(sdnotify.SdNotifyReady)
	stop := context.AfterFunc(ctx, func() { tellSystemd(sdnotify.SdNotifyStopping) })
	defer stop()
	return server.Serve(ctx, open...)
}

// tellSystemd tells the service manager about the service, if there is one (sd_notify(3)). It works as
// well without having been told.
func tellSystemd(state string) { _, _ = sdnotify.SdNotify(false, state) }

// readThrottle reads the value of --throttle.
func readThrottle(value string) (*throttle.Limits, error) {
	switch value {
	case "", "off":
		return nil, nil
	case "aws":
		return throttle.New(throttle.AWS()), nil
	}
	text, err := os.ReadFile(value)
	if err != nil {
		return nil, failf(exitUsage, "--throttle takes off, aws or a file", "read the request rates: %v", err)
	}
	known := api.Operations()
	config, err := throttle.Parse(text, func(name string) bool { return slices.Contains(known, name) })
	if err != nil {
		return nil, failf(exitUsage, `such as {"rates": {"cryptographic": 1000, "CreateKey": 5, "*": 100}}`, "read the request rates in %s: %v", value, err)
	}
	return throttle.New(config), nil
}

// serveMetrics serves /metrics until stop is called. What it tells is no secret but
// also nobody's business: without a host it listens on the loopback address.
func serveMetrics(address string, counters *metrics.Metrics, log *slog.Logger) (stop func(), err error) {
	if strings.HasPrefix(address, ":") {
		address = "127.0.0.1" + address
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, listenError(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", counters.Handler())
	server := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	log.Info("metrics", "url", "http://"+l.Addr().String()+"/metrics")
	go func() { _ = server.Serve(l) }() // ends with stop
	return func() { _ = server.Close() }, nil
}
