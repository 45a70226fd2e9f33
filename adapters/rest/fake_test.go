package rest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/countersign/countersign/bot"
	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
)

// Errors and secrets of the fakes. Each canary must stand in no log and no error.
var (
	errInvalid = errors.New("token refused")
	errKeys    = errors.New("keys unavailable")
)

const (
	canaryToken  = "CANARY-TOKEN"
	canarySecret = "CANARY-SECRET"
	canaryMinted = "CANARY-MINTED"
)

// fakeBroker keeps requests in memory and follows the Broker contract: what is
// decided depends on the action, and callers see only their own.
type fakeBroker struct {
	mu       sync.Mutex
	requests map[string]store.Request
	asks     map[string]bot.Ask
	keys     map[string]string
	used     map[string]bool
	changed  chan struct{}
	active   string // the credential that introspection knows
	revoked  []string
	err      error // returned by every method, if set
	boom     any   // panicked with by every method, if set
	waiting  int
	hold     func(ctx context.Context) // called by Submit and Cancel, if set
}

func newFakeBroker() *fakeBroker {
	return &fakeBroker{requests: map[string]store.Request{}, asks: map[string]bot.Ask{}, keys: map[string]string{},
		used: map[string]bool{}, changed: make(chan struct{})}
}

// enter locks, and fails as the test wishes.
func (b *fakeBroker) enter() error {
	b.mu.Lock()
	if b.boom != nil {
		b.mu.Unlock()
		panic(b.boom)
	}
	return b.err
}

func (b *fakeBroker) Submit(ctx context.Context, ev identity.Evidence, key string, ask bot.Ask) (store.Request, error) {
	if b.hold != nil {
		b.hold(ctx)
	}
	err := b.enter()
	defer b.mu.Unlock()
	if err != nil {
		return store.Request{}, err
	}
	if ask.Action == "" || ask.Reason == "" {
		return store.Request{}, &bot.InvalidError{Faults: []bot.Fault{{Pointer: "/action", Detail: "must be there"}}}
	}
	if id, ok := b.keys[key]; ok && key != "" {
		if !reflect.DeepEqual(b.asks[id], ask) {
			return store.Request{}, bot.ErrKeyMismatch
		}
		return b.requests[id], nil
	}
	if ev.Token.ID != "" && b.used[ev.Token.ID] {
		return store.Request{}, store.ErrReplayed
	}
	b.used[ev.Token.ID] = true
	id := fmt.Sprintf("req-%d", len(b.requests)+1)
	sum := sha256.Sum256([]byte(id))
	r := store.Request{ID: id, Version: 1, Digest: hex.EncodeToString(sum[:]), Code: "ABC123",
		ServiceAccount: ev.ServiceAccount, Issuer: ev.Subject.Issuer, Subject: ev.Subject.Name, Binding: string(ev.Binding),
		State: map[string]store.State{"allow": store.Approved, "deny": store.Denied}[ask.Action]}
	if r.State == "" {
		r.State = store.Pending
	}
	b.requests[id], b.asks[id] = r, ask
	if key != "" {
		b.keys[key] = id
	}
	return r, nil
}

func (b *fakeBroker) own(c identity.Caller, id string) (store.Request, error) {
	r, ok := b.requests[id]
	if !ok || r.ServiceAccount != c.ServiceAccount || r.Binding != string(c.Binding) {
		return store.Request{}, bot.ErrNotFound
	}
	return r, nil
}

func (b *fakeBroker) Get(_ context.Context, c identity.Caller, id string) (store.Request, error) {
	err := b.enter()
	defer b.mu.Unlock()
	if err != nil {
		return store.Request{}, err
	}
	return b.own(c, id)
}

func (b *fakeBroker) Wait(ctx context.Context, c identity.Caller, id string, after uint64) (store.Request, error) {
	err := b.enter()
	defer b.mu.Unlock()
	if err != nil {
		return store.Request{}, err
	}
	if ctx.Err() != nil {
		return store.Request{}, ctx.Err() // as an engine's first read does
	}
	b.waiting++
	defer func() { b.waiting-- }()
	for {
		r, err := b.own(c, id)
		if err != nil || r.Version > after || ctx.Err() != nil {
			return r, err
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		b.mu.Lock()
	}
}

// peek returns a request as it stands, and the credential that is active.
func (b *fakeBroker) peek(id string) (store.Request, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.requests[id], b.active
}

// move puts a request into a state, as people and the clock do.
func (b *fakeBroker) move(id string, s store.State) store.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.moved(id, s)
}

func (b *fakeBroker) moved(id string, s store.State) store.Request {
	r := b.requests[id]
	r.State = s
	r.Version++
	b.requests[id] = r
	close(b.changed)
	b.changed = make(chan struct{})
	return r
}

func (b *fakeBroker) Redeem(_ context.Context, c identity.Caller, id string) (identity.Credential, store.Receipt, error) {
	err := b.enter()
	defer b.mu.Unlock()
	if err != nil {
		return identity.Credential{}, store.Receipt{}, err
	}
	r, err := b.own(c, id)
	switch {
	case err != nil:
		return identity.Credential{}, store.Receipt{}, err
	case r.State == store.Pending:
		return identity.Credential{}, store.Receipt{}, bot.ErrPending
	case r.State != store.Approved:
		return identity.Credential{}, store.Receipt{}, fmt.Errorf("%w: it is %s", bot.ErrInvalidGrant, r.State)
	case len(b.asks[id].Scopes) == 0:
		return identity.Credential{}, store.Receipt{}, bot.ErrNoCredential
	case len(r.Issues) == 3:
		b.moved(id, store.Revoked)
		return identity.Credential{}, store.Receipt{}, bot.ErrInvalidGrant
	}
	jti := fmt.Sprintf("%s.%d", id, len(r.Issues))
	r.Issues = append(r.Issues, store.Issue{ID: jti})
	b.requests[id] = r
	b.active = jti
	g := grantOf(jti)
	return identity.Credential{Grant: g, Token: identity.Secret(canaryMinted + "." + jti)}, store.Receipt{Leaf: []byte("{}"), Proof: []byte("c2sp.org/tlog-proof@v1\n")}, nil
}

func grantOf(jti string) identity.Grant {
	request, _, _ := strings.Cut(jti, ".")
	return identity.Grant{ID: jti, Request: request, Digest: "d1", Subject: "deployer:prod:deploy", ServiceAccount: "deployer",
		Audience: "https://db.example", Scopes: []string{"db:write", "db:read"}, Issued: time.Unix(1_800_000_000, 0), Expires: time.Unix(1_800_000_300, 0)}
}

func (b *fakeBroker) Cancel(ctx context.Context, c identity.Caller, id string) (store.Request, error) {
	if b.hold != nil {
		b.hold(ctx)
	}
	err := b.enter()
	defer b.mu.Unlock()
	if err != nil {
		return store.Request{}, err
	}
	r, err := b.own(c, id)
	switch {
	case err != nil:
		return r, err
	case r.State == store.Pending:
		return b.moved(id, store.Cancelled), nil
	case r.State == store.Approved:
		return b.moved(id, store.Revoked), nil
	}
	return r, fmt.Errorf("%w: it is %s", bot.ErrState, r.State)
}

func (b *fakeBroker) RevokeCredential(_ context.Context, c identity.Caller, g identity.Grant) error {
	err := b.enter()
	defer b.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := b.own(c, g.Request); err == nil {
		b.active = ""
		b.revoked = append(b.revoked, g.ID)
	}
	return nil
}

func (b *fakeBroker) Active(_ context.Context, g identity.Grant) (bool, error) {
	err := b.enter()
	defer b.mu.Unlock()
	return err == nil && b.active == g.ID, err
}

func (b *fakeBroker) View(r store.Request) (bot.View, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ask := b.asks[r.ID]
	effect := policies.Effect(ask.Action)
	if effect != policies.Allow && effect != policies.Deny {
		effect = policies.Review
	}
	v := bot.View{ID: r.ID, Code: r.Code, Digest: r.Digest, Version: r.Version, State: string(r.State), Action: ask.Action,
		Resource: ask.Resource, Scopes: ask.Scopes, TTL: ask.TTL, CreatedAt: time.Unix(1_800_000_000, 0).UTC(),
		Decision: bot.DecisionView{Effect: effect, Reasons: []string{"production needs a person"}, Revision: "rev-1"},
		Stages:   []bot.StageView{{Name: "lead", State: "open", Quorum: 1}}}
	if r.State != store.Pending {
		v.Outcome = &bot.OutcomeView{Kind: string(r.State), At: v.CreatedAt}
		if effect == policies.Deny {
			v.Outcome.Kind = "denied_by_policy"
		} else if r.State == store.Denied {
			v.Outcome.Kind = "denied_by_person"
		}
	}
	return v, nil
}

// fakeTokens verifies "CANARY-TOKEN.run.jti": the account is always deployer.
type fakeTokens struct{}

func (fakeTokens) Verify(_ context.Context, raw string) (identity.Evidence, error) {
	part := strings.Split(raw, ".")
	switch {
	case raw == canaryToken+".down":
		return identity.Evidence{}, fmt.Errorf("%w: the issuer does not answer", errKeys)
	case len(part) != 3 || part[0] != canaryToken:
		return identity.Evidence{}, fmt.Errorf("%w: the \"signature\" does not verify \u2713", errInvalid)
	}
	return identity.Evidence{Subject: identity.Subject{Issuer: "https://ci.example", Name: "deployer"}, ServiceAccount: "deployer",
		Binding: identity.Binding("run:" + part[1]), Token: identity.OneTime{Issuer: "https://ci.example", ID: part[2]}}, nil
}

type fakeMinter struct{}

func (fakeMinter) Parse(raw string) (identity.Grant, error) {
	jti, ok := strings.CutPrefix(raw, canaryMinted+".")
	if !ok {
		return identity.Grant{}, errInvalid
	}
	return grantOf(jti), nil
}

func (fakeMinter) JWKS() []byte { return []byte(`{"keys":[{"kty":"EC","kid":"k1"}]}`) }

func (fakeMinter) Discovery() []byte {
	return []byte(`{"issuer":"https://cs.example","jwks_uri":"https://cs.example/.well-known/jwks.json"}`)
}
