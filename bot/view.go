package bot

import (
	"time"

	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
)

// View is a request as its caller sees it: the JSON of the machines' API.
type View struct {
	ID      string `json:"id"`
	Code    string `json:"code"`
	Digest  string `json:"digest"`
	Version uint64 `json:"version"`
	State   string `json:"state"`
	// Outcome is absent while the request is pending.
	Outcome *OutcomeView `json:"outcome,omitempty"`

	Action      string            `json:"action"`
	Resource    string            `json:"resource"`
	Environment string            `json:"environment,omitempty"`
	Audience    string            `json:"audience,omitempty"`
	Scopes      []string          `json:"scopes"`
	TTL         policies.Duration `json:"ttl"`

	Decision DecisionView `json:"decision"`
	Stages   []StageView  `json:"stages"`
	Reviews  []ReviewView `json:"reviews"`

	CreatedAt time.Time `json:"created_at"`
	// ExpiresAt is when a pending request expires, or when an approved one can
	// no longer be used.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// OutcomeView is how a request came to an end, or to an approval. Kind is
// approved, denied_by_policy, denied_by_person, expired, undeliverable,
// cancelled, ended or revoked.
type OutcomeView struct {
	Kind   string    `json:"kind"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// DecisionView is what the policy decided.
type DecisionView struct {
	Effect   policies.Effect `json:"effect"`
	Reasons  []string        `json:"reasons"`
	Risk     string          `json:"risk,omitempty"`
	Revision string          `json:"revision"`
}

// StageView is one gate: open, waiting (for the gate before) or complete.
type StageView struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Quorum   int    `json:"quorum"`
	Approved int    `json:"approved"`
}

// ReviewView is one person's answer.
type ReviewView struct {
	By      string    `json:"by"`
	Verdict string    `json:"verdict"`
	Reason  string    `json:"reason,omitempty"`
	Stage   int       `json:"stage"`
	At      time.Time `json:"at"`
}

// View returns the request as its caller sees it.
func (b *Broker) View(r store.Request) (View, error) {
	f, err := thaw(r)
	if err != nil {
		return View{}, err
	}
	v := View{
		ID: r.ID, Code: r.Code, Digest: r.Digest, Version: r.Version, State: string(r.State),
		Action: f.Action, Resource: f.Resource, Environment: f.Context.Environment, Audience: f.Audience, Scopes: f.Scopes, TTL: f.TTL,
		Decision:  DecisionView{Effect: f.Decision.Effect, Reasons: list(f.Decision.Reasons), Risk: f.Decision.Risk, Revision: f.Revision},
		Stages:    []StageView{},
		Reviews:   []ReviewView{},
		CreatedAt: r.Created,
	}
	if r.Outcome.Kind != "" {
		v.Outcome = &OutcomeView{Kind: r.Outcome.Kind, By: b.name(r.Outcome.By), Reason: r.Outcome.Reason, At: r.Outcome.At}
	}
	if !r.Wake.IsZero() {
		wake := r.Wake
		v.ExpiresAt = &wake
	}
	for i, s := range f.Decision.Stages {
		state := "waiting"
		if i == r.Stage && r.State == store.Pending {
			state = "open"
		} else if i < r.Stage {
			state = "complete"
		}
		v.Stages = append(v.Stages, StageView{Name: s.Name, State: state, Quorum: s.Quorum, Approved: approvals(r, i)})
	}
	for _, w := range r.Reviews {
		v.Reviews = append(v.Reviews, ReviewView{By: b.name(w.Person), Verdict: w.Verdict, Reason: w.Reason, Stage: w.Stage, At: w.At})
	}
	return v, nil
}
