package keysvc

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/shape"
	"github.com/kmsfs/kmsfs/keysvc/store"
)

// Config is what a Service is made of. The caller goes on owning Token, Store
// and Audit and closes them after the Service.
type Config struct {
	Token   hsm.Token        // required
	Store   store.Store      // required
	Audit   audit.Log        // required: a call that can't be recorded fails
	Account string           // required: twelve digits
	Region  string           // required: where calls go that name no region
	Quotas  Quotas           // zero = AWS's
	Now     func() time.Time // nil = time.Now

	// Clusters opens the tokens that custom key stores of the type AWS_CLOUDHSM
	// use; nil = there are none.
	Clusters Clusters
	Logger   *slog.Logger // nil = nothing is logged
}

// Service answers the operations of AWS KMS.
type Service struct {
	config      Config
	cache       *keyCache
	connections connections
	uses        unsavedUses
	shapes      shape.Table

	patience, connectPatience time.Duration // the constants of these names but in tests
}

var (
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
	regionPattern  = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$`)
)

// ValidAccount tells whether s is an AWS account id.
func ValidAccount(s string) bool { return accountPattern.MatchString(s) }

// ValidRegion tells whether s has the form of an AWS region's name.
func ValidRegion(s string) bool { return regionPattern.MatchString(s) }

// New checks the configuration and returns a Service. It does no I/O.
func New(_ context.Context, config Config) (*Service, error) {
	switch {
	case config.Token == nil || config.Store == nil || config.Audit == nil:
		return nil, errors.New("keysvc: Token, Store and Audit are required")
	case !ValidAccount(config.Account):
		return nil, errors.New("keysvc: Account must have twelve digits")
	case !ValidRegion(config.Region):
		return nil, errors.New("keysvc: Region must be the name of a region, such as us-east-1")
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	config.Quotas = config.Quotas.orAWS()
	return &Service{config: config, cache: newKeyCache(config.Token), patience: tokenPatience, connectPatience: connectPatience}, nil
}

// Close stores when keys were last used and drops what the Service has cached and
// what the token has cached of its keys. Operations under way must have ended.
func (s *Service) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closingTime)
	defer cancel()
	if err := s.saveUses(ctx); err != nil {
		s.config.Logger.Warn("the last uses of some keys could not be stored", "error", err)
	}
	s.cache.clear()
	s.connections.close()
}
