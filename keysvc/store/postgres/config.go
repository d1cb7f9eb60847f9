package postgres

import (
	"context"
	"errors"
	"net/url"
	"regexp"
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

// parse reads a connection string of libpq, in either form, and completes it from where libpq does:
// environment, service file and password file.
func parse(conninfo string) (*pgx.ConnConfig, error) {
	if hasPassword(conninfo) {
		return nil, &Error{Op: "connect", Err: errors.New("the connection string has a password, and it is kept in a file that is not meant for secrets"),
			Help: "leave it out; put the password in ~/.pgpass (mode 0600) or another file named by passfile=, or in PGPASSWORD"}
	}
	config, err := pgx.ParseConfig(conninfo)
	if err != nil {
		return nil, &Error{Op: "connect", Err: err,
			Help: "such as 'host=db.example.org dbname=kmsfs user=kmsfs sslmode=verify-full', 'postgres://kmsfs@db.example.org/kmsfs?sslmode=verify-full' or 'service=kmsfs'"}
	}
	config.ConnectTimeout = min(config.ConnectTimeout, dialTimeout)
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

// passwordSetting is password= or sslpassword= in the form of words. It may find one inside a quoted
// value too.
var passwordSetting = regexp.MustCompile(`(^|[\s'])(ssl)?password\s*=`)

// hasPassword tells whether a connection string has a password, in either form.
func hasPassword(conninfo string) bool {
	if !strings.HasPrefix(conninfo, "postgres://") && !strings.HasPrefix(conninfo, "postgresql://") {
		return passwordSetting.MatchString(conninfo)
	}
	u, err := url.Parse(conninfo)
	if err != nil {
		return false // parsing it gives the error
	}
	_, set := u.User.Password()
	return set || u.Query().Has("password") || u.Query().Has("sslpassword")
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
