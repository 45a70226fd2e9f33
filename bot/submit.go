package bot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
)

// keyLife is how long an idempotency key is remembered.
const keyLife = 24 * time.Hour

// Submit takes what a machine asks, lets the policy decide, and freezes both.
// The returned record is pending, approved or denied. A key that was used for
// the same ask returns the request that it made; the token is not consumed
// again. Errors: *InvalidError, ErrKeyMismatch, store.ErrReplayed,
// store.ErrUnknown, ErrUnavailable.
func (b *Broker) Submit(ctx context.Context, ev identity.Evidence, key string, ask Ask) (store.Request, error) {
	diff, err := validate(ask)
	if err != nil {
		return store.Request{}, err
	}
	claimed, err := keyOf(ev, key, ask)
	if err != nil {
		return store.Request{}, err
	}
	if r, err := b.repeated(ctx, claimed); err != nil || r.ID != "" {
		return r, err
	}
	account, ok := b.Accounts.Account(ev.ServiceAccount)
	if !ok {
		return store.Request{}, fmt.Errorf("%w: the service account %q is not configured", ErrNotFound, ev.ServiceAccount)
	}
	c, err := b.judge(ctx, ev, account, ask, diff)
	if err != nil {
		return store.Request{}, err
	}
	if claimed != nil {
		claimed.Expires = c.frozen.Created.Add(keyLife)
		c.key = claimed
	}
	r, err := b.Store.Create(ctx, c.frozen.ID, c.create())
	if errors.Is(err, store.ErrKeyUsed) { // another try of the same call was quicker
		return b.repeated(ctx, claimed)
	}
	if err != nil {
		return store.Request{}, err
	}
	b.Nudge()
	b.Log.Info("request decided", "request", r.ID, "code", r.Code, "account", r.ServiceAccount, "action", ask.Action,
		"effect", string(c.frozen.Decision.Effect), "revision", c.frozen.Revision)
	return r, nil
}

// keyOf names the idempotency key for this caller, with a fingerprint of what
// is asked. Nil without a key.
func keyOf(ev identity.Evidence, key string, ask Ask) (*store.Key, error) {
	if key == "" {
		return nil, nil
	}
	name, _, err := canonical([]string{ev.ServiceAccount, ev.Subject.Issuer, ev.Subject.Name, string(ev.Binding), key})
	if err != nil {
		return nil, err
	}
	_, fingerprint, err := canonical(ask)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(name)
	return &store.Key{Name: hex.EncodeToString(sum[:]), Fingerprint: fingerprint}, nil
}

// repeated returns the request that the key made before, or a zero one.
func (b *Broker) repeated(ctx context.Context, key *store.Key) (store.Request, error) {
	if key == nil {
		return store.Request{}, nil
	}
	used, err := b.Store.Keyed(ctx, key.Name)
	if errors.Is(err, store.ErrNotFound) {
		return store.Request{}, nil
	}
	if err != nil {
		return store.Request{}, err
	}
	if used.Fingerprint != key.Fingerprint {
		return store.Request{}, ErrKeyMismatch
	}
	return b.Store.Get(ctx, used.Request)
}

// judge asks the policy and freezes request and decision. Whatever makes the
// decision unusable turns it into a denial that says so.
func (b *Broker) judge(ctx context.Context, ev identity.Evidence, account identity.ServiceAccount, ask Ask, diff *FrozenDiff) (creation, error) {
	f := b.freeze(ev, account, ask, diff)
	in := policyInput(f, account, time.Duration(ask.TTL))
	d, err := b.Policy.Decide(ctx, in)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, policies.ErrUnanswered) {
			return creation{}, fmt.Errorf("%w: the policy did not answer in time", ErrUnavailable)
		}
		b.Log.Error("policy evaluation failed", "request", f.ID, "error", err.Error())
		d = refusal("the policy could not be evaluated")
	}
	f.Revision = b.Policy.Revision()
	c := creation{token: ev.Token, diff: ask.Context.Diff}
	if d.Effect != policies.Deny {
		d = b.bound(d, &f, account)
	}
	if d.Effect == policies.Review {
		d, c.eligible = b.gates(d, f)
	}
	if d.Effect == policies.Review {
		d, c.deliveries = b.route(d, f.ID)
	}
	if d.Effect == policies.Allow {
		c.deliveries = b.deliveries(d.Notify, f.ID, false)
	}
	if d.Effect == policies.Deny {
		d = policies.Decision{Effect: policies.Deny, Reasons: d.Reasons, Risk: d.Risk}
		c.deliveries, c.diff = nil, ""
	}
	f.Decision = d
	c.clear = inTheClear(f, account)
	if d.Effect == policies.Review {
		f.Deadline = f.Created.Add(time.Duration(d.Deadline))
	}
	input, err := json.Marshal(in, json.Deterministic(true))
	if err != nil {
		return creation{}, fmt.Errorf("encode policy input: %w", err)
	}
	c.input, c.reasons = string(input), strings.Join(d.Reasons, "; ")
	c.canonical, c.digest, err = canonical(f)
	c.frozen = f
	return c, err
}

// refusal is a denial in the core's own words.
func refusal(format string, args ...any) policies.Decision {
	return policies.Decision{Effect: policies.Deny, Reasons: []string{fmt.Sprintf(format, args...)}}
}

// freeze gathers what was asked and proved; the decision is still to come.
func (b *Broker) freeze(ev identity.Evidence, account identity.ServiceAccount, ask Ask, diff *FrozenDiff) Frozen {
	f := Frozen{
		Type: "countersign/request/v1", ID: b.NewRequestID(), Nonce: b.NewSecretID(),
		ServiceAccount: account.Name, Owners: list(account.Owners), Subject: ev.Subject, Binding: ev.Binding,
		Trigger: ev.Trigger, TriggeredBy: ask.TriggeredBy, Facts: ev.Facts, Excluded: []string{},
		Action: ask.Action, Resource: ask.Resource, Audience: ask.Audience, Scopes: list(ask.Scopes), TTL: ask.TTL, Reason: ask.Reason,
		Context: FrozenContext{
			Environment: ask.Context.Environment, Risk: ask.Context.Risk, Diff: diff, Checks: list(ask.Context.Checks),
			Links: list(ask.Context.Links), Tickets: list(ask.Context.Tickets), Labels: ask.Context.Labels,
		},
		Created: b.Now().UTC().Truncate(time.Millisecond),
	}
	if f.Facts == nil {
		f.Facts = map[string]string{}
	}
	if f.Context.Labels == nil {
		f.Context.Labels = map[string]string{}
	}
	if f.Trigger.Kind != identity.TriggerNone {
		f.Trigger.Kind = identity.TriggerUnmapped
		if p, ok := b.Directory.ByAccount(f.Trigger.Account); ok {
			f.Trigger.Kind, f.Trigger.Person = identity.TriggerPerson, p.ID
			f.Excluded = append(f.Excluded, p.ID)
		}
	}
	if t := ask.TriggeredBy; t != nil {
		// The caller's word can only add to those who may not review. The id may
		// carry its space in front: "T0123/U0456".
		space, id, ok := strings.Cut(t.ID, "/")
		if !ok {
			space, id = "-", t.ID
		}
		p, ok := b.Directory.ByAccount(identity.Account{Kind: t.Kind, Space: space, ID: id})
		if ok && !slices.Contains(f.Excluded, p.ID) {
			f.Excluded = append(f.Excluded, p.ID)
		}
	}
	return f
}

// list is s, or an empty list: canonical forms have no null.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// policyInput is what the policy sees of a frozen request. ttl is what was
// asked.
func policyInput(f Frozen, account identity.ServiceAccount, ttl time.Duration) policies.Input {
	in := policies.Input{
		Subject: policies.Subject{Issuer: f.Subject.Issuer, Name: f.Subject.Name},
		ServiceAccount: policies.ServiceAccount{Name: account.Name, Owners: list(account.Owners), Actions: list(account.Actions),
			Audiences: list(account.Audiences), Scopes: list(account.Scopes), Labels: account.Labels},
		Trigger: policies.Trigger{Kind: string(f.Trigger.Kind), Person: f.Trigger.Person, Name: f.Trigger.Name},
		Request: policies.Request{
			Action: f.Action, Resource: f.Resource, Audience: f.Audience, Scopes: f.Scopes,
			TTL: policies.Duration(ttl), TTLSeconds: int64(ttl / time.Second), Reason: f.Reason,
			Context: policies.Context{Environment: f.Context.Environment, Risk: f.Context.Risk, Checks: []policies.Check{},
				Diff: policies.Diff{Paths: []string{}}, Tickets: f.Context.Tickets, Labels: f.Context.Labels},
		},
		Facts: f.Facts,
		Now:   stamp(f.Created),
	}
	if in.ServiceAccount.Labels == nil {
		in.ServiceAccount.Labels = map[string]string{}
	}
	if d := f.Context.Diff; d != nil {
		in.Request.Context.Diff = policies.Diff{Files: d.Files, Added: d.Added, Removed: d.Removed, Paths: d.Paths}
	}
	for _, c := range f.Context.Checks {
		in.Request.Context.Checks = append(in.Request.Context.Checks, policies.Check{Name: c.Name, Status: c.Status, Value: c.Value})
	}
	return in
}

// bound holds the decision to what was asked and to what the account may have,
// whatever the policy says, and fixes in f what will be granted.
func (b *Broker) bound(d policies.Decision, f *Frozen, account identity.ServiceAccount) policies.Decision {
	if err := d.Check(); err != nil {
		b.Log.Error("policy decision is unusable", "request", f.ID, "error", err.Error())
		return refusal("the policy's decision is unusable: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if d.Audience != "" {
		f.Audience = d.Audience
	}
	asked := f.Scopes
	f.Scopes = list(d.Scopes)
	f.TTL = min(f.TTL, d.MaxTTL)
	for i, s := range f.Scopes {
		if !slices.Contains(asked, s) || slices.Contains(f.Scopes[:i], s) {
			return refusal("the scope %q was not asked for, or is granted twice", s)
		}
	}
	switch {
	case len(asked) > 0 && len(f.Scopes) == 0:
		return refusal("the policy grants none of the scopes that were asked for")
	case len(f.Scopes) > 0 && f.Audience == "":
		return refusal("a credential needs an audience: name one")
	}
	if why := beyond(*f, account); why != "" {
		return refusal("%s", why)
	}
	return d
}

// beyond says what of a request is more than its account may have, if anything.
func beyond(f Frozen, account identity.ServiceAccount) string {
	for _, s := range f.Scopes {
		if !slices.Contains(account.Scopes, s) {
			return fmt.Sprintf("the scope %q is not allowed to %s", s, account.Name)
		}
	}
	switch {
	case !slices.Contains(account.Actions, f.Action):
		return fmt.Sprintf("the action %q is not allowed to %s", f.Action, account.Name)
	case f.Audience != "" && !slices.Contains(account.Audiences, f.Audience):
		return fmt.Sprintf("the audience %q is not allowed to %s", f.Audience, account.Name)
	}
	return ""
}

// inTheClear is what of a request stands in the log as it is: the operator's own
// words only. What a caller made up is personal until proven otherwise.
func inTheClear(f Frozen, account identity.ServiceAccount) askedData {
	d := askedData{Account: f.ServiceAccount, TTL: time.Duration(f.TTL).String(), Trigger: string(f.Trigger.Kind)}
	if f.Trigger.Kind == identity.TriggerPerson {
		d.Trigger = f.Trigger.Person
	}
	if slices.Contains(account.Actions, f.Action) {
		d.Action = f.Action
	}
	if slices.Contains(account.Audiences, f.Audience) {
		d.Audience = f.Audience
	}
	for _, s := range f.Scopes {
		if slices.Contains(account.Scopes, s) {
			d.Scopes = append(d.Scopes, s)
		}
	}
	if f.Decision.Effect != policies.Deny { // the policy knows the environment
		d.Environment = f.Context.Environment
	}
	return d
}

// gates fixes each stage's quorum and tells at once when it can never be met.
func (b *Broker) gates(d policies.Decision, f Frozen) (policies.Decision, [][]string) {
	d.Stages = slices.Clone(d.Stages)
	var eligible [][]string
	var all []string
	needed := 0
	for i := range d.Stages {
		s := &d.Stages[i]
		if f.Trigger.Kind == identity.TriggerUnmapped || f.Trigger.Again {
			s.Quorum++ // whoever started this may be among the approvers
		}
		people := b.approvers(*s, f)
		all = append(all, people...)
		slices.Sort(all)
		all = slices.Compact(all)
		needed += s.Quorum
		if len(people) < s.Quorum || (s.Distinct && len(all) < needed) {
			return refusal("nobody could approve: stage %q needs %d people and has %d who may", s.Name, s.Quorum, len(people)), nil
		}
		eligible = append(eligible, people)
	}
	return d, eligible
}

// approvers are the people who may review a stage now: groups are live.
func (b *Broker) approvers(s policies.Stage, f Frozen) []string {
	people := b.Directory.Members(s.Approvers.Groups, s.Approvers.People)
	return slices.DeleteFunc(people, func(id string) bool { return slices.Contains(f.Excluded, id) })
}

// route makes the deliveries; a review that can be shown nowhere is a denial.
func (b *Broker) route(d policies.Decision, request string) (policies.Decision, []store.Delivery) {
	asks := b.deliveries(d.Channels, request, true)
	if len(asks) == 0 {
		return refusal("no channel to ask in: %s is not configured", strings.Join(d.Channels, ", ")), nil
	}
	return d, append(asks, b.deliveries(d.Notify, request, false)...)
}

func (b *Broker) deliveries(names []string, request string, asks bool) []store.Delivery {
	var out []store.Delivery
	for _, name := range names {
		for _, to := range b.Channels[name] {
			if b.Platforms[to.Platform] == nil {
				b.Log.Warn("channel leads to a platform that is not configured", "channel", name, "platform", to.Platform)
				continue
			}
			out = append(out, store.Delivery{ID: b.NewSecretID(), Request: request, Platform: to.Platform, Channel: to.Channel, Asks: asks})
		}
		if len(b.Channels[name]) == 0 {
			b.Log.Warn("policy names a channel that is not configured", "channel", name)
		}
	}
	return out
}
