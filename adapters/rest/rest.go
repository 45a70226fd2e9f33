// Package rest is the machines' door: the HTTP API by which a machine asks,
// waits, redeems, cancels and revokes, and by which others introspect what was
// issued. It owns the wire: routes, strict decoding, authentication by bearer
// token, the problem documents, and openapi.json, which describes them all.
//
// Its rule: it translates and decides nothing. Who asks is what the verifier
// proved, what becomes of it is the broker's answer, and a time-out of a poll is
// never an answer. No token, header or body ever reaches a log.
package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/countersign/countersign/bot"
	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/store"
)

// Broker is the heart as this door uses it.
type Broker interface {
	// Submit decides what is asked; the record's state tells the answer. A key
	// used before returns the request that it made.
	Submit(ctx context.Context, ev identity.Evidence, key string, ask bot.Ask) (store.Request, error)
	// Get returns the caller's request; anybody else's is bot.ErrNotFound.
	Get(ctx context.Context, c identity.Caller, id string) (store.Request, error)
	// Wait returns the request once its version is greater than after, or as it
	// stands when ctx ends.
	Wait(ctx context.Context, c identity.Caller, id string, after uint64) (store.Request, error)
	// Redeem releases the credential of an approved request.
	Redeem(ctx context.Context, c identity.Caller, id string) (identity.Credential, store.Receipt, error)
	// Cancel takes a request back, or revokes an approved one.
	Cancel(ctx context.Context, c identity.Caller, id string) (store.Request, error)
	// RevokeCredential revokes the caller's own credential; one that is unknown
	// or over is no error.
	RevokeCredential(ctx context.Context, c identity.Caller, g identity.Grant) error
	// Active reports whether the credential is the grant's current issue.
	Active(ctx context.Context, g identity.Grant) (bool, error)
	// View is the request as its caller sees it.
	View(r store.Request) (bot.View, error)
}

// TokenVerifier turns a bearer token into evidence. Its errors are
// Config.InvalidToken or Config.KeysUnavailable, wrapped with a reason that may
// be shown to the caller.
type TokenVerifier interface {
	Verify(ctx context.Context, raw string) (identity.Evidence, error)
}

// Minter reads our own credentials, and publishes the keys that sign them.
type Minter interface {
	// Parse verifies a credential strictly; an expired one is an error.
	Parse(raw string) (identity.Grant, error)
	// JWKS is the public key set (RFC 7517).
	JWKS() []byte
	// Discovery is the metadata of OpenID Connect Discovery and RFC 8414.
	Discovery() []byte
}

// Verifier is a resource server that may introspect credentials of its audience.
type Verifier struct {
	Name string
	// SecretSHA256 is the SHA-256 of its secret, which must be random: a hash
	// without a salt protects no password.
	SecretSHA256 [32]byte
	// Audience is the only one whose credentials this verifier sees.
	Audience string
}

// Problem is something that keeps the server from being ready. Detail is shown
// to anybody who asks, and says what to do.
type Problem struct {
	Component string `json:"component"` // store, policy, slack …
	Detail    string `json:"detail"`
}

// Config is what the door needs. All fields but the bounds are required.
type Config struct {
	Broker Broker
	Tokens TokenVerifier
	Minter Minter
	// Issuer is the "iss" of our credentials, as introspection repeats it.
	Issuer    string
	Verifiers []Verifier
	// InvalidToken and KeysUnavailable classify what Tokens returns: the caller's
	// fault for good, or a key set that cannot be fetched now.
	InvalidToken    error
	KeysUnavailable error
	// Ready reports what keeps the server from being ready.
	Ready func(ctx context.Context) []Problem
	Log   *slog.Logger
	// NewID returns a random id for a call: it stands in the answer's
	// X-Request-Id and in the log.
	NewID func() string

	// BodyTimeout bounds the reading of a body: 10 s if zero.
	BodyTimeout time.Duration
	// MaxWaiters bounds the long polls that are held at once: 10,000 if zero.
	// Beyond it a poll is answered at once, with Retry-After.
	MaxWaiters int
	// Limits bound what one service account may call; zero fields do not.
	Limits Limits
}

// API serves the machines' API. It is safe for concurrent use.
type API struct {
	Config
	verifiers verifiers
	waiters   chan struct{} // holds one element for each long poll
	submits   *limiter
	others    *limiter
	// draining ends when long polls are no longer to be held.
	draining context.Context
	drain    context.CancelFunc
}

// New checks the configuration and reports everything that is wrong with it.
func New(c Config) (*API, error) {
	var faults []error
	for name, missing := range map[string]bool{
		"Broker": c.Broker == nil, "Tokens": c.Tokens == nil, "Minter": c.Minter == nil, "Issuer": c.Issuer == "",
		"InvalidToken": c.InvalidToken == nil, "KeysUnavailable": c.KeysUnavailable == nil,
		"Ready": c.Ready == nil, "Log": c.Log == nil, "NewID": c.NewID == nil,
	} {
		if missing {
			faults = append(faults, fmt.Errorf("rest: Config.%s is missing", name))
		}
	}
	v, err := newVerifiers(c.Verifiers)
	if err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	if c.BodyTimeout <= 0 {
		c.BodyTimeout = 10 * time.Second
	}
	if c.MaxWaiters <= 0 {
		c.MaxWaiters = 10_000
	}
	draining, drain := context.WithCancel(context.Background())
	return &API{
		draining: draining, drain: drain,
		Config: c, verifiers: v, waiters: make(chan struct{}, c.MaxWaiters),
		submits: newLimiter(c.Limits.Submits), others: newLimiter(c.Limits.Others),
	}, nil
}

// routes are all routes, by method and path. openapi.json holds the same.
func (a *API) routes() []route {
	return []route{
		{"POST", "/v1/requests", a.submit},
		{"GET", "/v1/requests/{id}", a.get},
		{"POST", "/v1/requests/{id}/credential", a.redeem},
		{"POST", "/v1/requests/{id}/cancel", a.cancel},
		{"POST", "/v1/introspect", a.introspect},
		{"POST", "/v1/revoke", a.revoke},
		{"GET", "/.well-known/jwks.json", a.jwks},
		{"GET", "/.well-known/openid-configuration", a.discovery},
		{"GET", "/.well-known/oauth-authorization-server", a.discovery},
		{"GET", "/openapi.json", a.openAPI},
		{"GET", "/healthz", a.healthz},
		{"GET", "/readyz", a.readyz},
	}
}

// Mount adds the routes to mux. Other methods of their paths, and other paths
// below /v1/, are answered with problems as well.
//
// The server's ReadHeaderTimeout must be set. ReadTimeout and WriteTimeout may
// be: each call sets its own deadlines over them, as a long poll needs. Drain
// belongs to the server's RegisterOnShutdown.
func (a *API) Mount(mux *http.ServeMux) {
	for _, r := range a.routes() {
		mux.Handle(r.method+" "+r.path, a.serve(r.path, r.do))
		mux.Handle(r.path, a.serve(r.path, wrongMethod(r.method)))
	}
	mux.Handle("/v1/", a.serve("/v1/", func(*call, *http.Request) error { return errNoRoute }))
}

// Drain answers all long polls with their requests as they stand, now and from
// now on, so that a server which shuts down does not wait for them. All other
// calls go on.
func (a *API) Drain() { a.drain() }

// route is one method of one path.
type route struct {
	method, path string
	do           action
}

func wrongMethod(allowed string) action {
	return func(c *call, _ *http.Request) error {
		c.Header().Set("Allow", allowed)
		return errWrongMethod
	}
}
