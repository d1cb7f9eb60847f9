package keysvc

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

func TestFaultsOfTheStoreAreToldApart(t *testing.T) {
	messages := map[string]error{}
	for _, c := range []struct {
		cause  error
		kind   Kind
		status int
	}{
		{store.ErrUnavailable, KindTimeout, http.StatusServiceUnavailable},
		{store.ErrUncertain, KindTimeout, http.StatusServiceUnavailable},
		{store.ErrText, KindValidation, http.StatusBadRequest},
		{errors.New("disk I/O error"), KindInternal, http.StatusInternalServerError},
	} {
		e := internal(fmt.Errorf("commit: %w", c.cause))
		if e.Kind != c.kind || e.Kind.HTTPStatus() != c.status || !errors.Is(e, c.cause) {
			t.Errorf("%v becomes %v, status %d", c.cause, e, e.Kind.HTTPStatus())
		}
		if same := messages[e.Message]; same != nil {
			t.Errorf("%v and %v have one message", same, c.cause)
		}
		messages[e.Message] = c.cause
	}
}
