package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Bounds of one store. All of them together end a call that meets a dead network or a stuck server.
const (
	dialTimeout = 5 * time.Second  // of one connection
	callTimeout = 10 * time.Second // of one View or Update, with all its attempts
	// commitTimeout is how long a commit that has begun may take beyond callTimeout.
	commitTimeout = 5 * time.Second

	// The server ends what takes longer, so that a host that has fallen silent in the middle of an
	// update doesn't keep its lock.
	statementTimeout = callTimeout
	idleTimeout      = callTimeout + commitTimeout

	maxConnections     = 16
	maxIdleConnections = 4
	maxIdleTime        = time.Minute
	maxConnectionAge   = 30 * time.Minute
)

// Check reports what is wrong with a connection string, without connecting.
func Check(conninfo string) error {
	_, err := parse(conninfo)
	return err
}

// parameters are what a connection string may say, which is kept in a file that is not meant for
// secrets: no password. Others would be taken for settings of the session, also misspelt ones.
func parameters() []string {
	return []string{
		"host", "port", "dbname", "user", "passfile", "service", "servicefile", "connect_timeout", "target_session_attrs",
		"sslmode", "sslnegotiation", "sslrootcert", "sslcert", "sslkey", "sslcertmode", "sslsni", "channel_binding", "require_auth",
		"krbsrvname", "krbspn", "application_name", "options", "search_path", "statement_timeout", "idle_in_transaction_session_timeout",
	}
}

const example = "such as 'host=db.example.org dbname=kmsfs user=kmsfs sslmode=verify-full', 'postgres://kmsfs@db.example.org/kmsfs?sslmode=verify-full' or 'service=kmsfs'"

// parse reads a connection string of libpq, in either form, and completes it from where libpq does:
// environment, service file and password file.
func parse(conninfo string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfigWithOptions(conninfo, pgx.ParseConfigOptions{
		ParseConfigOptions: pgconn.ParseConfigOptions{ConnStringAllowedKeys: parameters()}})
	switch {
	case err == nil:
	case strings.Contains(err.Error(), `password" is not in ConnStringAllowedKeys`):
		return nil, &Error{Op: "connect", Err: errors.New("the connection string has a password, and it is kept in a file that is not meant for secrets"),
			Help: "leave it out; put the password in ~/.pgpass (mode 0600) or another file named by passfile=, or in PGPASSWORD"}
	default:
		return nil, &Error{Op: "connect", Err: err, Help: example}
	}
	if config.ConnectTimeout == 0 || config.ConnectTimeout > dialTimeout {
		config.ConnectTimeout = dialTimeout
	}
	config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	config.AfterConnect = settle
	for name, value := range map[string]string{
		"application_name":                    "kmsfs",
		"statement_timeout":                   milliseconds(statementTimeout),
		"idle_in_transaction_session_timeout": milliseconds(idleTimeout),
	} {
		if _, set := config.RuntimeParams[name]; !set {
			config.RuntimeParams[name] = value
		}
	}
	return config, nil
}

// settle makes a new connection as it must be, whatever the server's defaults are: a commit that was
// answered has to survive a crash.
func settle(ctx context.Context, conn *pgconn.PgConn) error {
	_, err := conn.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`).ReadAll()
	return err
}

// unauthenticated lists the servers across a network that the connection string takes at their word:
// somebody in between could answer in their place.
func unauthenticated(config *pgx.ConnConfig) []string {
	var hosts []string
	note := func(host string, c *tls.Config) {
		local := strings.HasPrefix(host, "/") || host == "localhost" || net.ParseIP(host).IsLoopback()
		checked := c != nil && (!c.InsecureSkipVerify || c.VerifyPeerCertificate != nil || c.VerifyConnection != nil)
		if !local && !checked && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	note(config.Host, config.TLSConfig)
	for _, f := range config.Fallbacks {
		note(f.Host, f.TLSConfig)
	}
	return hosts
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
