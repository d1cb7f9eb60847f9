package postgres

import (
	"slices"
	"strings"
	"testing"
)

// A password in a connection string would be kept in config.json.
func FuzzAPasswordIsRefused(f *testing.F) {
	for _, conninfo := range []string{
		"host=a password=p", "host=a\tpassword = 'p'", "password=p host=a", `application_name='x\' password=no' host=a`,
		"postgres://u:p@h/d", "postgresql://u:p@h:1,i:2/d", "postgres://h/d?password=p", "postgres://u@h/d?sslmode=disable", "user=u\nsslpassword=p",
	} {
		f.Add(conninfo)
	}
	f.Fuzz(func(t *testing.T, conninfo string) {
		for _, name := range []string{"PGPASSWORD", "PGSERVICE", "PGSERVICEFILE", "PGSSLCERT", "PGSSLKEY"} {
			t.Setenv(name, "")
		}
		t.Setenv("PGPASSFILE", "/nonexistent")
		if strings.Contains(conninfo, "passfile") || strings.Contains(conninfo, "service") {
			return // files may have one
		}
		if config, err := parse(conninfo); err == nil && config.Password != "" {
			t.Errorf("%q has the password %q", conninfo, config.Password)
		}
	})
}

func TestServersThatNeedNotProveWhoTheyAreAreNamed(t *testing.T) {
	t.Setenv("PGSSLROOTCERT", "")
	for conninfo, want := range map[string][]string{
		"host=db.example.org":                          {"db.example.org"},
		"host=db.example.org sslmode=require":          {"db.example.org"},
		"host=db.example.org sslmode=verify-full":      nil,
		"host=db.example.org sslmode=verify-ca":        nil,
		"host=192.0.2.1,192.0.2.2 sslmode=disable":     {"192.0.2.1", "192.0.2.2"},
		"host=localhost,127.0.0.1,::1 sslmode=disable": nil,
		"host=/run/postgresql":                         nil,
	} {
		config, err := parse(conninfo)
		if err != nil {
			t.Errorf("%s: %v", conninfo, err)
		} else if got := unauthenticated(config); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", conninfo, got, want)
		}
	}
}
