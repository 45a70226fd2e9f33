package bot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
)

// Policy evaluates the operator's rules. An error denies.
type Policy interface {
	Decide(ctx context.Context, in policies.Input) (policies.Decision, error)
	Review(ctx context.Context, in policies.Input) (policies.Verdict, error)
	// Revision names the rules that answer now.
	Revision() string
}

// Minter signs credentials; it neither stores nor releases them.
type Minter interface {
	Mint(g identity.Grant) (identity.Credential, error)
}

// Accounts knows the service accounts by name.
type Accounts interface {
	Account(name string) (identity.ServiceAccount, bool)
}

// Destination is one channel of one platform.
type Destination struct {
	Platform string
	Channel  string // the platform's own id
}

// Broker holds the use cases. All fields are set before first use and not
// changed afterwards; all methods are safe for concurrent use.
type Broker struct {
	Store     store.Store
	Policy    Policy
	Minter    Minter
	Accounts  Accounts
	Directory *identity.Directory
	// Channels are the names that policies use, with where each leads.
	Channels map[string][]Destination
	// Platforms are by name; a destination of an unknown platform is a fault of
	// the configuration and is refused at submission.
	Platforms map[string]chat.Platform
	// AuditReaders are the groups that may query the log in chat.
	AuditReaders []string
	Log          *slog.Logger
	Now          func() time.Time
	// NewRequestID returns a time-ordered id, NewSecretID a random one of at
	// least 128 bits.
	NewRequestID func() string
	NewSecretID  func() string
	// Nudge tells the reconciler that something may be due; it must not block.
	Nudge func()
}

// Get returns the caller's request. Anybody else's is ErrNotFound.
func (b *Broker) Get(ctx context.Context, c identity.Caller, id string) (store.Request, error) {
	r, err := b.Store.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Request{}, ErrNotFound
	}
	if err != nil {
		return store.Request{}, err
	}
	if !owns(c, r) {
		return store.Request{}, ErrNotFound
	}
	return r, nil
}

// owns reports whether the caller is the run that asked.
func owns(c identity.Caller, r store.Request) bool {
	return c.Subject.Issuer != "" && c.Subject.Name != "" && c.Binding != "" &&
		c.ServiceAccount == r.ServiceAccount && c.Subject.Issuer == r.Issuer &&
		c.Subject.Name == r.Subject && string(c.Binding) == r.Binding
}

// Wait returns the caller's request once its version is greater than after, or
// as it stands when ctx ends. It never decides anything.
func (b *Broker) Wait(ctx context.Context, c identity.Caller, id string, after uint64) (store.Request, error) {
	r, err := b.Get(ctx, c, id)
	if err != nil || r.Version > after {
		return r, err
	}
	changed, err := b.Store.Watch(ctx, id, after)
	if err != nil && ctx.Err() != nil {
		return r, nil //nolint:nilerr // the end of a wait is not a failure
	}
	return changed, err
}

// Cancel takes the caller's request back: a pending one is cancelled, an
// approved one revoked. Otherwise ErrState.
func (b *Broker) Cancel(ctx context.Context, c identity.Caller, id string) (store.Request, error) {
	if _, err := b.Get(ctx, c, id); err != nil {
		return store.Request{}, err
	}
	return b.change(ctx, id, cancel(c.ServiceAccount))
}

// change runs a transition that does not depend on what was judged before.
func (b *Broker) change(ctx context.Context, id string, c store.Change) (store.Request, error) {
	r, err := b.Store.Update(ctx, id, c)
	switch {
	case errors.Is(err, errDecided):
		return r, fmt.Errorf("%w: it is %s", ErrState, r.State)
	case err != nil:
		return r, err
	}
	b.Nudge()
	return r, nil
}

// Active reports whether the credential is the current issue of an approved
// grant: what introspection answers.
func (b *Broker) Active(ctx context.Context, g identity.Grant) (bool, error) {
	r, err := b.Store.Get(ctx, g.Request)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return current(r, g) && b.Now().Before(g.Expires), nil
}

// current reports whether g is the newest issue of an approved request.
func current(r store.Request, g identity.Grant) bool {
	n := len(r.Issues)
	return r.State == store.Approved && n > 0 && r.Issues[n-1].ID == g.ID && r.Grant.Digest == g.Digest
}

// RevokeCredential revokes the request under which the credential was issued.
// Only the caller that redeemed it may; a credential that is no longer current
// is revoked already, and an unknown one is no error (RFC 7009 section 2.2).
func (b *Broker) RevokeCredential(ctx context.Context, c identity.Caller, g identity.Grant) error {
	r, err := b.Get(ctx, c, g.Request)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !current(r, g) {
		return nil
	}
	_, err = b.change(ctx, r.ID, revokeBy(machine(c.ServiceAccount), "machine", ""))
	if errors.Is(err, ErrState) {
		return nil
	}
	return err
}

// PolicyAnswers reports whether the policy can be asked at all. What it decides
// about an empty input does not matter.
func (b *Broker) PolicyAnswers(ctx context.Context) error {
	_, err := b.Policy.Decide(ctx, policyInput(Frozen{Created: b.Now()}, identity.ServiceAccount{}, 0))
	return err
}
