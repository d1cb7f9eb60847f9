package embedded

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/keysvc/store/postgres/pgtest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// refused opens a directory, which must fail.
func refused(t *testing.T, o Options, kind Kind, message, hint string) {
	t.Helper()
	e, err := Open(t.Context(), o)
	if err == nil {
		mustClose(t, e)
		t.Fatal("opened")
	}
	var own *Error
	if !errors.As(err, &own) || own.Kind != kind || !strings.Contains(err.Error(), message) || !strings.Contains(own.Hint(), hint) {
		t.Errorf("%v\nhint: %s", err, own.Hint())
	}
}

func made(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, configFile))
	return err == nil
}

func TestStoreInADatabase(t *testing.T) {
	server := pgtest.StartFor(t)
	t.Run("all that the directory would have of it is there", func(t *testing.T) { storeInADatabase(t, server) })
	t.Run("a backup can be restored into it", func(t *testing.T) { restoredIntoDatabase(t, server) })
	t.Run("calls fail while the database is down", func(t *testing.T) { databaseDown(t, server) })
}

func storeInADatabase(t *testing.T, server *pgtest.Server) {
	name := server.Database(t)
	database := server.Socket(name)
	dir := newDir(t)
	sealed := create(t, Options{Dir: dir, Postgres: database})
	if _, err := os.Stat(filepath.Join(dir, storeFile)); !os.IsNotExist(err) {
		t.Errorf("there is a %s too: %v", storeFile, err)
	}
	e := open(t, Options{Dir: dir})
	if got := e.Config().Store.Postgres; got != database {
		t.Errorf("the configuration names %q", got)
	}
	out, err := e.Service().Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: sealed})
	if err != nil || string(out.Plaintext) != "text" {
		t.Errorf("%v, %v", out, err)
	}
	_, err = e.Service().CreateKey(t.Context(), &kms.CreateKeyInput{Description: aws.String("a\x00b")})
	if err == nil || !strings.Contains(err.Error(), "ValidationException: A text in the request has a zero byte") {
		t.Errorf("a zero byte in a description: %v", err)
	}
	mustClose(t, e)

	// Another token, at first use and later.
	other := newDir(t)
	refused(t, Options{Dir: other, Postgres: database, CreateIfMissing: true}, KindToken, "in another token", "--hsm-token")
	if made(other) {
		t.Error("a directory was made")
	}
	create(t, Options{Dir: other})
	config, err := os.ReadFile(filepath.Join(other, configFile))
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.Replace(string(config), `"token":`, `"store": {"postgres": "`+database+`"}, "token":`, 1)
	if err := os.WriteFile(filepath.Join(other, configFile), []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, Options{Dir: other}, KindToken, "in another token", "--hsm-token")
	refused(t, Options{Dir: newDir(t), Postgres: database, Account: "111122223333", CreateIfMissing: true}, KindToken, "in another token", "--hsm-token")

	// Keys whose material may be gone say nothing about the token.
	server.Exec(t, name, `UPDATE kms_key SET state = 'PendingDeletion'`)
	mustClose(t, open(t, Options{Dir: other}))
}

// restoredIntoDatabase is how a key service moves from SQLite to PostgreSQL.
func restoredIntoDatabase(t *testing.T, server *pgtest.Server) {
	dir, database := newDir(t), server.Schema(t)
	sealed := create(t, Options{Dir: dir})
	b := backup(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), Options{Dir: dir, Postgres: database}, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	decrypt(t, Options{Dir: dir}, sealed)
	if left, _ := filepath.Glob(filepath.Join(dir, storeFile+"*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	fromDatabase := backup(t, dir)
	for name, c := range map[string]struct {
		backup         []byte
		postgres, want string
	}{
		"not empty":            {b, database, "has keys already"},
		"in a database":        {fromDatabase, server.Schema(t), "in a database already"},
		"no database":          {b, "host=127.0.0.1 port=1 user=u dbname=d", "connection refused"},
		"no connection string": {b, "hist", "cannot parse"},
	} {
		other := newDir(t)
		_, err := Restore(t.Context(), Options{Dir: other, Postgres: c.postgres}, bytes.NewReader(c.backup))
		var own *Error
		if !errors.As(err, &own) || !strings.Contains(err.Error(), c.want) || own.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(filepath.Dir(other)); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
	if _, err := Restore(t.Context(), Options{Dir: newDir(t)}, bytes.NewReader(fromDatabase)); err != nil {
		t.Errorf("a backup without the database's state: %v", err)
	}
}

func TestADatabaseThatCantBeUsedMakesNoDirectory(t *testing.T) {
	dir := newDir(t)
	refused(t, Options{Dir: dir, Postgres: "host=127.0.0.1 port=1 user=u dbname=d", CreateIfMissing: true}, KindStore, "connection refused", "check that PostgreSQL runs")
	refused(t, Options{Dir: dir, Postgres: "host=h password=p", CreateIfMissing: true}, KindInvalid, "has a password", "PGPASSWORD")
	if made(dir) {
		t.Error("a directory was made")
	}
	if sealed := create(t, Options{Dir: dir}); len(sealed) == 0 {
		t.Error("nothing was sealed")
	}
}

// databaseDown also sees that the service works again without being opened anew.
func databaseDown(t *testing.T, server *pgtest.Server) {
	e := open(t, Options{Dir: newDir(t), Postgres: server.Schema(t), CreateIfMissing: true})
	defer mustClose(t, e)
	key, err := e.Service().CreateKey(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	use := func() error {
		_, err := e.Service().Encrypt(t.Context(), &kms.EncryptInput{KeyId: key.KeyMetadata.KeyId, Plaintext: []byte("x")})
		return err
	}
	server.Stop()
	_, err = e.Service().CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/x"), TargetKeyId: key.KeyMetadata.KeyId})
	if err == nil || !strings.Contains(err.Error(), "DependencyTimeoutException: The database of the key service can't be reached now") {
		t.Error(err)
	}
	if err := server.Run(); err != nil {
		t.Fatal(err)
	}
	if err := use(); err != nil {
		t.Error(err)
	}
}
