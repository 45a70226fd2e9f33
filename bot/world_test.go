package bot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/bot/chat/chattest"
	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/audit"
	"github.com/countersign/countersign/store/bolt"
)

// clockwork is a clock that tests move.
type clockwork struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clockwork) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clockwork) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// rules is a policy that tests write in Go.
type rules struct {
	mu     sync.Mutex
	decide func(policies.Input) (policies.Decision, error)
	review func(policies.Input) (policies.Verdict, error)
}

func (r *rules) Decide(_ context.Context, in policies.Input) (policies.Decision, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.decide(in)
}

func (r *rules) Review(_ context.Context, in policies.Input) (policies.Verdict, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.review(in)
}

func (r *rules) Revision() string { return "rev-1" }

func (r *rules) set(d policies.Decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.decide = func(policies.Input) (policies.Decision, error) { return d, nil }
}

func (r *rules) object(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.review = func(policies.Input) (policies.Verdict, error) {
		return policies.Verdict{Deny: true, Reasons: []string{reason}}, nil
	}
}

// mint signs nothing: its tokens are their ids.
type mint struct{ minted atomic.Int64 }

func (m *mint) Mint(g identity.Grant) (identity.Credential, error) {
	m.minted.Add(1)
	secret := "token-" + g.ID
	sum := sha256.Sum256([]byte(secret))
	return identity.Credential{Grant: g, Token: identity.Secret(secret), SHA256: hex.EncodeToString(sum[:])}, nil
}

type accounts map[string]identity.ServiceAccount

func (a accounts) Account(name string) (identity.ServiceAccount, bool) {
	v, ok := a[name]
	return v, ok
}

// People of the tests' directory.
const (
	ada   = "p_aaaaaaaa"
	grace = "p_bbbbbbbb"
	tim   = "p_cccccccc"
	olga  = "p_dddddddd" // owns the service account
	gus   = "p_eeeeeeee" // a guest of the platform
)

// world is a whole heart around a real store, with a fake platform.
type world struct {
	*Broker
	t        *testing.T
	clock    *clockwork
	rules    *rules
	mint     *mint
	fake     *chattest.Fake
	bolt     *bolt.Store
	key      audit.Key
	path     string
	people   map[string]chat.Account
	ids      atomic.Int64
	reviewBy policies.Decision
}

func newWorld(t *testing.T) *world {
	t.Helper()
	key, err := audit.GenerateKey("countersign.test/audit/1")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, clock: &clockwork{now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}, mint: &mint{}, key: key,
		path: filepath.Join(t.TempDir(), "countersign.db"), fake: chattest.NewFake("slack"), people: map[string]chat.Account{},
		rules: &rules{review: func(policies.Input) (policies.Verdict, error) { return policies.Verdict{}, nil }},
	}
	w.fake.Now = w.clock.Now
	w.reviewBy = policies.Decision{
		Effect: policies.Review, Reasons: []string{"production needs a review"}, Scopes: []string{"deploy"}, Audience: "prod",
		MaxTTL: policies.Duration(10 * time.Minute), Channels: []string{"approvals"}, Deadline: policies.Duration(time.Hour), Risk: "high",
		Stages: []policies.Stage{{Name: "release", Quorum: 1, Approvers: policies.Approvers{Groups: []string{"release"}}}},
	}
	w.rules.set(w.reviewBy)
	w.open()
	w.Broker = w.newBroker(w.bolt)
	w.fake.Listen(w.Broker)
	return w
}

func (w *world) open() {
	w.t.Helper()
	db, err := bolt.Open(w.path, bolt.Options{Signer: w.key, Now: w.clock.Now})
	if err != nil {
		w.t.Fatal(err)
	}
	w.bolt = db
	w.t.Cleanup(func() { _ = db.Close() })
}

// newBroker makes a heart around a store, as a restarted server would.
func (w *world) newBroker(s store.Store) *Broker {
	w.t.Helper()
	var people []identity.Person
	for id, name := range map[string]string{ada: "Ada", grace: "Grace", tim: "Tim", olga: "Olga", gus: "Gus"} {
		a := w.fake.Person(name)
		if id == gus {
			a = w.fake.Join(name, chat.Member{Known: true, Human: true, Active: true, Name: name})
		}
		w.people[id] = a
		people = append(people, identity.Person{ID: id, Name: name, Accounts: []identity.Account{
			{Kind: "slack", Space: a.Space, ID: a.ID}, {Kind: "github", Space: "-", ID: name}, {Kind: "teams", Space: "tenant", ID: name},
		}})
	}
	directory, err := identity.NewDirectory(people, []identity.Group{
		{Name: "release", People: []string{ada, grace, tim, gus}}, {Name: "security", People: []string{grace}}, {Name: "nobody"},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return &Broker{
		Store: s, Policy: w.rules, Minter: w.mint, Directory: directory,
		Accounts: accounts{"ci": {Name: "ci", Owners: []string{olga}, Actions: []string{"deploy", "rotate-key"},
			Audiences: []string{"prod"}, Scopes: []string{"deploy", "read"}}},
		Channels:  map[string][]Destination{"approvals": {{"slack", "C1"}}, "watchers": {{"slack", "C2"}}},
		Platforms: map[string]chat.Platform{"slack": w.fake}, AuditReaders: []string{"security"},
		Log: slog.New(slog.DiscardHandler), Now: w.clock.Now,
		NewRequestID: func() string { return fmt.Sprintf("req_%020d", w.ids.Add(1)) },
		NewSecretID:  func() string { return fmt.Sprintf("secret-id-%022d", w.ids.Add(1)) },
		Nudge:        func() {},
	}
}

// evidence is what a token of the run proved. Each call is another token.
func (w *world) evidence(run string) identity.Evidence {
	return identity.Evidence{
		Subject: identity.Subject{Issuer: "https://ci", Name: "repo:1"}, ServiceAccount: "ci", Binding: identity.Binding(run),
		Trigger: identity.Trigger{Kind: identity.TriggerNone},
		Token:   identity.OneTime{Issuer: "https://ci", ID: fmt.Sprint("jti-", w.ids.Add(1)), Expires: w.clock.Now().Add(time.Hour)},
	}
}

func caller(run string) identity.Caller {
	return identity.Caller{ServiceAccount: "ci", Subject: identity.Subject{Issuer: "https://ci", Name: "repo:1"}, Binding: identity.Binding(run)}
}

func deployAsk() Ask {
	return Ask{Action: "deploy", Resource: "shop/api", Audience: "prod", Scopes: []string{"deploy"}, TTL: policies.Duration(15 * time.Minute),
		Reason: "release 1.2", Context: Context{Environment: "production"}}
}

func (w *world) submit(ask Ask) store.Request {
	w.t.Helper()
	r, err := w.Submit(w.t.Context(), w.evidence("run:1"), "", ask)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// settle runs the reconciler until nothing is due.
func (w *world) settle() {
	w.t.Helper()
	settle(w.t, w.Broker)
}

func settle(t *testing.T, b *Broker) {
	t.Helper()
	r := NewReconciler(b)
	r.breath = time.Millisecond
	for range 50 {
		due, err := b.Store.Due(t.Context(), dueLimit)
		if err != nil {
			t.Fatal(err)
		}
		if len(due.Requests)+len(due.Deliveries) == 0 {
			return
		}
		r.pass(t.Context(), due)
		r.wg.Wait()
	}
	t.Fatal("the reconciler does not come to rest")
}

// card returns the one card in the channel.
func (w *world) only(channel string) chattest.Posted {
	w.t.Helper()
	posts := w.fake.Posts(channel)
	if len(posts) != 1 {
		w.t.Fatalf("channel %s has %d cards, want 1", channel, len(posts))
	}
	return posts[0]
}

// click presses a button as a person, with the reason in the form on the card.
func (w *world) click(who, ref string, v chat.Verb, reason string) chat.Reply {
	w.t.Helper()
	reply, err := w.fake.Click(w.t.Context(), w.people[who], ref, v, reason)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply
}

func (w *world) get(id string) store.Request {
	w.t.Helper()
	r, err := w.Store.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// types lists the entries of one request in the log.
func (w *world) types(id string) []string {
	w.t.Helper()
	logged, err := w.Store.Log(w.t.Context(), 0, 10000, false)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, l := range logged {
		if l.Request == id {
			out = append(out, l.Type)
		}
	}
	return out
}
