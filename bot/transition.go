package bot

import (
	"errors"
	"slices"
	"time"

	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
)

// What is fixed about time.
const (
	// redeemWindow is how long an approval waits for its machine.
	redeemWindow = 15 * time.Minute
	// reissueWindow is how long after the first issue a lost answer may be
	// asked for again, maxIssues how often in all.
	reissueWindow = 2 * time.Minute
	maxIssues     = 3
)

// What a transition may refuse with. errDecided and errUnchanged leave the
// record to tell the story; errStale means: read, judge and try again.
var (
	errStale     = errors.New("the request changed meanwhile")
	errDecided   = errors.New("the request is decided already")
	errTwice     = errors.New("this person has reviewed this stage already")
	errUnchanged = errors.New("nothing to change")
)

// Actors of entries.
var clock = store.Actor{Kind: "clock"}

func machine(account string) store.Actor { return store.Actor{Kind: "machine", ID: account} }
func policy(revision string) store.Actor { return store.Actor{Kind: "policy", ID: revision} }
func person(id string) store.Actor       { return store.Actor{Kind: "person", ID: id} }

// What stands in the log in the clear, by type of entry.
type (
	askedData struct {
		Account     string   `json:"account"`
		Action      string   `json:"action,omitempty"`
		Environment string   `json:"environment,omitempty"`
		Audience    string   `json:"audience,omitempty"`
		Scopes      []string `json:"scopes,omitempty"`
		TTL         string   `json:"ttl"`
		Digest      string   `json:"digest"`
		Trigger     string   `json:"trigger"`
	}
	decidedData struct {
		Effect   policies.Effect `json:"effect"`
		Revision string          `json:"revision"`
		Stages   []decidedStage  `json:"stages,omitempty"`
		Deadline string          `json:"deadline,omitempty"`
		// Excluded are the people who may review in no stage.
		Excluded []string `json:"excluded,omitempty"`
	}
	decidedStage struct {
		Name     string `json:"name"`
		Quorum   int    `json:"quorum"`
		Distinct bool   `json:"distinct,omitempty"`
		// Groups are those of the directory that may approve; Eligible is who
		// that was at creation.
		Groups   []string `json:"groups,omitempty"`
		Eligible []string `json:"eligible"`
	}
	reviewedData struct {
		Verdict  string `json:"verdict"`
		Stage    int    `json:"stage"`
		Digest   string `json:"digest"`
		Platform string `json:"platform"`
		// Groups are those of the stage that held the person at the review.
		Groups []string `json:"groups,omitempty"`
	}
	approvedData struct {
		Grant  string   `json:"grant"`
		Scopes []string `json:"scopes"`
		TTL    string   `json:"ttl"`
	}
	causeData struct {
		Cause string `json:"cause"`
		JTI   string `json:"jti,omitempty"`
	}
	issuedData struct {
		JTI      string   `json:"jti"`
		SHA256   string   `json:"sha256"`
		Grant    string   `json:"grant"`
		Audience string   `json:"audience"`
		Scopes   []string `json:"scopes"`
		Expires  string   `json:"expires"`
		Replaces string   `json:"replaces,omitempty"`
	}
)

// private drops empty texts: the log commits to what was said only.
func private(kv ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i+1] != "" {
			m[kv[i]] = kv[i+1]
		}
	}
	return m
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// creation is everything that the first write of a request needs.
type creation struct {
	frozen     Frozen
	canonical  []byte
	digest     string
	reasons    string // of the decision, as one text
	input      string // the whole policy input, for a later replay
	eligible   [][]string
	clear      askedData
	token      identity.OneTime
	key        *store.Key
	deliveries []store.Delivery
	diff       string
}

// create writes asked and decided and, where no person is needed, the outcome.
func (c creation) create() store.Change {
	return func(now time.Time, _ store.Request) (store.Write, error) {
		f := c.frozen
		r := store.Request{
			State: store.Pending, Canonical: c.canonical, Digest: c.digest, Code: shortCode(c.digest),
			ServiceAccount: f.ServiceAccount, Issuer: f.Subject.Issuer, Subject: f.Subject.Name, Binding: string(f.Binding),
			Created: f.Created, Deadline: f.Deadline,
		}
		if f.Trigger.Person != "" {
			r.People = []string{f.Trigger.Person}
		}
		w := store.Write{Entries: c.firstEntries(), Key: c.key, Deliveries: slices.Clone(c.deliveries)}
		if c.token.ID != "" {
			w.Tokens = []store.Token{{Issuer: c.token.Issuer, ID: c.token.ID, Expires: c.token.Expires}}
		}
		if c.diff != "" {
			w.Blobs = map[string][]byte{f.Context.Diff.SHA256: []byte(c.diff)}
		}
		switch f.Decision.Effect {
		case policies.Review:
			r.Wake = f.Deadline
		case policies.Allow:
			entry, err := approve(now, &r, f, policy(f.Revision))
			if err != nil {
				return store.Write{}, err
			}
			w.Entries = append(w.Entries, entry)
		default:
			end(now, &r, store.Denied, store.Outcome{Kind: "denied_by_policy", By: "policy", Reason: c.reasons})
			w.Entries = append(w.Entries, store.Entry{Type: "denied", Actor: policy(f.Revision), Private: private("reason", c.reasons)})
		}
		w.Request = r
		return w, nil
	}
}

func (c creation) firstEntries() []store.Entry {
	f := c.frozen
	asked := c.clear
	asked.Digest = c.digest
	d := decidedData{Effect: f.Decision.Effect, Revision: f.Revision}
	if len(f.Decision.Stages) > 0 {
		d.Excluded = f.Excluded
	}
	for i, s := range f.Decision.Stages {
		d.Stages = append(d.Stages, decidedStage{s.Name, s.Quorum, s.Distinct, s.Approvers.Groups, c.eligible[i]})
	}
	if !f.Deadline.IsZero() {
		d.Deadline = stamp(f.Deadline)
	}
	return []store.Entry{
		{
			Type: "asked", Actor: machine(f.ServiceAccount), Data: asked,
			Private: private("action", f.Action, "resource", f.Resource, "environment", f.Context.Environment,
				"subject", f.Subject.Issuer+" "+f.Subject.Name, "reason", f.Reason),
		},
		{
			Type: "decided", Actor: policy(f.Revision), Data: d,
			Private: private("reasons", c.reasons, "input", c.input),
		},
	}
}

// approve turns the record into an approved one and returns its entry.
func approve(now time.Time, r *store.Request, f Frozen, by store.Actor) (store.Entry, error) {
	ttl := time.Duration(f.TTL)
	digest, err := grantDigest(*r, f.Scopes, ttl)
	if err != nil {
		return store.Entry{}, err
	}
	r.State = store.Approved
	r.Grant = &store.Grant{Digest: digest, Scopes: f.Scopes, TTL: ttl, At: now}
	r.Outcome = store.Outcome{Kind: "approved", By: who(by), At: now}
	r.Progress = append(slices.Clone(r.Progress), store.Progress{Kind: "approved", By: who(by), At: now})
	r.Wake = now.Add(redeemWindow)
	if len(f.Scopes) == 0 {
		r.Wake = now.Add(ttl) // a decision without a credential is worth as long as it asked
	}
	return store.Entry{Type: "approved", Actor: by, Data: approvedData{digest, f.Scopes, ttl.String()}}, nil
}

// who is the actor as an outcome names it: a person's id, or what it is.
func who(a store.Actor) string {
	if a.Kind == "person" {
		return a.ID
	}
	return a.Kind
}

// end turns the record into a final one.
func end(now time.Time, r *store.Request, s store.State, o store.Outcome) {
	o.At = now
	r.State, r.Outcome, r.Wake = s, o, time.Time{}
	r.Progress = append(slices.Clone(r.Progress), store.Progress{Kind: o.Kind, By: o.By, Text: o.Reason, At: now})
}

// review adds one person's answer to the open stage. A review that comes after
// the deadline expires the request instead: the record tells.
// groups are those of the stage that hold the person at this moment.
func review(f Frozen, seen uint64, v store.Review, groups []string) store.Change {
	return func(now time.Time, r store.Request) (store.Write, error) {
		if r.State != store.Pending {
			return store.Write{}, errDecided
		}
		if !now.Before(r.Deadline) {
			return expire(now, r, "deadline"), nil
		}
		if r.Version != seen {
			return store.Write{}, errStale
		}
		if reviewed(r, v.Person, r.Stage) {
			return store.Write{}, errTwice
		}
		v := v
		v.Stage, v.Digest, v.At = r.Stage, r.Digest, now
		r.Reviews = append(slices.Clone(r.Reviews), v)
		if !slices.Contains(r.People, v.Person) {
			r.People = append(slices.Clone(r.People), v.Person)
		}
		entries := []store.Entry{{
			Type: "reviewed", Actor: person(v.Person),
			Data:    reviewedData{v.Verdict, v.Stage, v.Digest, v.Platform, groups},
			Private: private("reason", v.Reason, "account", identity.Account{Kind: v.Platform, Space: v.Space, ID: v.Account}.String()),
		}}
		switch {
		case v.Verdict == "deny":
			end(now, &r, store.Denied, store.Outcome{Kind: "denied_by_person", By: v.Person, Reason: v.Reason})
			entries = append(entries, store.Entry{Type: "denied", Actor: person(v.Person), Private: private("reason", v.Reason)})
		case approvals(r, r.Stage) >= f.Decision.Stages[r.Stage].Quorum:
			r.Stage++
			if r.Stage < len(f.Decision.Stages) {
				r.Progress = append(slices.Clone(r.Progress), store.Progress{Kind: "stage", By: v.Person, Text: f.Decision.Stages[r.Stage].Name, At: now})
				break
			}
			entry, err := approve(now, &r, f, person(v.Person))
			if err != nil {
				return store.Write{}, err
			}
			entries = append(entries, entry)
		}
		return store.Write{Request: r, Entries: entries}, nil
	}
}

// reviewed reports whether the person has answered the stage already.
func reviewed(r store.Request, id string, stage int) bool {
	return slices.ContainsFunc(r.Reviews, func(v store.Review) bool { return v.Person == id && v.Stage == stage })
}

// approvals counts the approvals of a stage; nobody can stand there twice.
func approvals(r store.Request, stage int) int {
	n := 0
	for _, v := range r.Reviews {
		if v.Stage == stage && v.Verdict == "approve" {
			n++
		}
	}
	return n
}

// expire ends a pending request; cause is "deadline", or "undeliverable" when
// no card ever reached a channel.
func expire(now time.Time, r store.Request, cause string) store.Write {
	kind := map[string]string{"deadline": "expired", "undeliverable": "undeliverable"}[cause]
	end(now, &r, store.Expired, store.Outcome{Kind: kind, By: "clock"})
	return store.Write{Request: r, Entries: []store.Entry{{Type: "expired", Actor: clock, Data: causeData{Cause: cause}}}}
}

// wake does what the clock alone does: expire what is pending, end what is
// approved. delivered says whether any card was ever shown.
func wake(delivered bool) store.Change {
	return func(now time.Time, r store.Request) (store.Write, error) {
		if r.Wake.IsZero() || now.Before(r.Wake) {
			return store.Write{}, errUnchanged
		}
		if r.State == store.Pending {
			cause := "deadline"
			if !delivered {
				cause = "undeliverable"
			}
			return expire(now, r, cause), nil
		}
		cause := "expired"
		if len(r.Issues) == 0 && len(r.Grant.Scopes) > 0 {
			cause = "unused"
		}
		end(now, &r, store.Ended, store.Outcome{Kind: "ended", By: "clock", Reason: cause})
		return store.Write{Request: r, Entries: []store.Entry{{Type: "ended", Actor: clock, Data: causeData{Cause: cause}}}}, nil
	}
}

// issue records a credential that is signed but not yet released. Asking too
// often or too late revokes: somebody else holds what the machine was given.
func issue(f Frozen, seen uint64, c identity.Credential) store.Change {
	return func(now time.Time, r store.Request) (store.Write, error) {
		if r.Version != seen {
			return store.Write{}, errStale
		}
		if r.State != store.Approved {
			return store.Write{}, errDecided
		}
		if !now.Before(r.Wake) {
			return wake(true)(now, r)
		}
		d := issuedData{JTI: c.ID, SHA256: c.SHA256, Grant: r.Grant.Digest, Audience: c.Audience, Scopes: c.Scopes, Expires: stamp(c.Expires)}
		if n := len(r.Issues); n > 0 {
			if n >= maxIssues || now.After(r.Issues[0].At.Add(reissueWindow)) {
				return revoke(now, r, machine(f.ServiceAccount), "reuse", ""), nil
			}
			if c.Expires.After(r.Issues[0].Expires) {
				return store.Write{}, errStale
			}
			d.Replaces = r.Issues[n-1].ID
		}
		r.Issues = append(slices.Clone(r.Issues), store.Issue{ID: c.ID, SHA256: c.SHA256, At: now, Expires: c.Expires})
		r.Progress = append(slices.Clone(r.Progress), store.Progress{Kind: "issued", Text: stamp(c.Expires), At: now})
		r.Wake = c.Expires
		return store.Write{Request: r, Entries: []store.Entry{{Type: "issued", Actor: machine(f.ServiceAccount), Data: d}}}, nil
	}
}

// revoke ends an approved request before its time.
func revoke(now time.Time, r store.Request, by store.Actor, cause, reason string) store.Write {
	d := causeData{Cause: cause}
	if n := len(r.Issues); n > 0 {
		d.JTI = r.Issues[n-1].ID
	}
	if by.Kind == "person" && !slices.Contains(r.People, by.ID) {
		r.People = append(slices.Clone(r.People), by.ID)
	}
	text := reason
	if cause == "reuse" {
		text = "asked for again too often or too late"
	}
	end(now, &r, store.Revoked, store.Outcome{Kind: "revoked", By: who(by), Reason: text})
	return store.Write{Request: r, Entries: []store.Entry{{Type: "revoked", Actor: by, Data: d, Private: private("reason", reason)}}}
}

// cancel takes a request back: a pending one is cancelled, an approved revoked.
func cancel(account string) store.Change {
	return func(now time.Time, r store.Request) (store.Write, error) {
		switch r.State {
		case store.Pending:
			end(now, &r, store.Cancelled, store.Outcome{Kind: "cancelled", By: "machine"})
			return store.Write{Request: r, Entries: []store.Entry{{Type: "cancelled", Actor: machine(account)}}}, nil
		case store.Approved:
			return revoke(now, r, machine(account), "machine", ""), nil
		default:
			return store.Write{}, errDecided
		}
	}
}

// revokeBy is the change by which a person or a machine revokes.
func revokeBy(by store.Actor, cause, reason string) store.Change {
	return func(now time.Time, r store.Request) (store.Write, error) {
		if r.State != store.Approved {
			return store.Write{}, errDecided
		}
		return revoke(now, r, by, cause, reason), nil
	}
}
