package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/store"
)

// Redeem turns the caller's approved request into a credential. The order is:
// judge again, sign in memory, commit "issued", release. A failure before the
// commit releases nothing; a lost answer may be asked for again, at most twice
// and within two minutes of the first issue, and each issue revokes the one
// before. Beyond that the grant is revoked.
//
// Errors: ErrNotFound, ErrPending, ErrInvalidGrant, ErrNoCredential,
// *RefusedError, ErrUnavailable, store.ErrUnknown.
func (b *Broker) Redeem(ctx context.Context, c identity.Caller, id string) (identity.Credential, store.Receipt, error) {
	for {
		r, err := b.Get(ctx, c, id)
		if err != nil {
			return identity.Credential{}, store.Receipt{}, err
		}
		cred, next, err := b.redeem(ctx, r)
		if errors.Is(err, errStale) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return identity.Credential{}, store.Receipt{}, err
		}
		receipt, err := b.Store.Receipt(ctx, next.LastSeq)
		if err != nil {
			// The issue counts, though nobody holds its credential.
			return identity.Credential{}, store.Receipt{}, fmt.Errorf("%w: the receipt could not be made", store.ErrUnknown)
		}
		return cred, receipt, nil
	}
}

func (b *Broker) redeem(ctx context.Context, r store.Request) (identity.Credential, store.Request, error) {
	var none identity.Credential
	if err := redeemable(r); err != nil {
		return none, r, err
	}
	f, err := thaw(r)
	if err != nil {
		return none, r, err
	}
	if len(r.Grant.Scopes) == 0 {
		return none, r, ErrNoCredential
	}
	if err := b.stillHolds(ctx, r, f); err != nil {
		return none, r, err
	}
	cred, err := b.Minter.Mint(b.grant(r, f))
	if err != nil {
		b.Log.Error("credential was not signed", "request", r.ID, "error", err.Error())
		return none, r, fmt.Errorf("%w: the credential could not be signed", ErrUnavailable)
	}
	next, err := b.Store.Update(ctx, r.ID, issue(f, r.Version, cred))
	switch {
	case errors.Is(err, errStale):
		return none, next, errStale
	case errors.Is(err, errDecided):
		return none, next, redeemable(next)
	case err != nil:
		return none, next, err
	}
	b.Nudge()
	if !current(next, cred.Grant) {
		if next.State == store.Revoked {
			b.Log.Error("grant revoked: its credential was asked for again too often or too late", "request", r.ID, "account", r.ServiceAccount)
		}
		return none, next, redeemable(next)
	}
	b.Log.Info("credential issued", "request", r.ID, "jti", cred.ID, "expires", cred.Expires)
	return cred, next, nil
}

// redeemable says why a record yields no credential, if so.
func redeemable(r store.Request) error {
	switch r.State {
	case store.Approved:
		return nil
	case store.Pending:
		return ErrPending
	default:
		return fmt.Errorf("%w: the request is %s", ErrInvalidGrant, r.State)
	}
}

// grant is what is signed now. A repeated issue never lives longer than the
// first.
func (b *Broker) grant(r store.Request, f Frozen) identity.Grant {
	now := b.Now().UTC().Truncate(time.Second)
	expires := now.Add(r.Grant.TTL)
	if len(r.Issues) > 0 && r.Issues[0].Expires.Before(expires) {
		expires = r.Issues[0].Expires
	}
	return identity.Grant{
		ID: b.NewSecretID(), Request: r.ID, Digest: r.Grant.Digest, ServiceAccount: f.ServiceAccount,
		Subject:  strings.Join([]string{f.ServiceAccount, f.Context.Environment, f.Action}, ":"),
		Audience: f.Audience, Scopes: r.Grant.Scopes, Issued: now, Expires: expires,
	}
}

// stillHolds judges an approval again at the moment it becomes a credential:
// each reviewer must still be one, and the policy must not object. What cannot
// be checked is ErrUnavailable, never a yes.
func (b *Broker) stillHolds(ctx context.Context, r store.Request, f Frozen) error {
	for _, v := range r.Reviews {
		if err := b.stillReviewer(ctx, v, f); err != nil {
			return err
		}
	}
	account, ok := b.Accounts.Account(f.ServiceAccount)
	if !ok {
		return &RefusedError{Reasons: []string{"the service account is no longer configured"}}
	}
	if why := beyond(f, account); why != "" {
		return &RefusedError{Reasons: []string{why}}
	}
	err := b.policyAllows(ctx, r, f, nil)
	var no notAllowed
	switch {
	case errors.As(err, &no):
		return &RefusedError{Reasons: []string{string(no)}}
	case err != nil:
		return fmt.Errorf("%w: the policy could not be asked", ErrUnavailable)
	}
	return nil
}

func (b *Broker) stillReviewer(ctx context.Context, v store.Review, f Frozen) error {
	gone := &RefusedError{Reasons: []string{"somebody who approved this may no longer approve it"}}
	p, ok := b.Directory.ByAccount(identity.Account{Kind: v.Platform, Space: v.Space, ID: v.Account})
	platform := b.Platforms[v.Platform]
	if !ok || p.ID != v.Person || platform == nil || !slices.Contains(b.approvers(f.Decision.Stages[v.Stage], f), v.Person) {
		return gone
	}
	m, err := platform.Member(ctx, chat.Account{Platform: v.Platform, Space: v.Space, ID: v.Account})
	if err != nil {
		b.Log.Warn("account lookup failed", "platform", v.Platform, "error", err.Error())
		return fmt.Errorf("%w: an approver's account could not be checked", ErrUnavailable)
	}
	if !reviews(m) {
		return gone
	}
	return nil
}
