package bot

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func frozenForTest() Frozen {
	return Frozen{
		ID: "req_1", ServiceAccount: "ci", Scopes: []string{"deploy"}, TTL: policies.Duration(10 * time.Minute),
		Decision: policies.Decision{Effect: policies.Review, Stages: []policies.Stage{{Name: "release", Quorum: 2}}},
	}
}

func credentialForTest() identity.Credential {
	return identity.Credential{Grant: identity.Grant{ID: "jti-1", Expires: noon.Add(10 * time.Minute)}, SHA256: "00"}
}

// recordIn is a record in each state, as a transition may find it.
func recordIn(s store.State) store.Request {
	r := store.Request{ID: "req_1", Version: 3, State: s, Digest: "d", Deadline: noon.Add(time.Hour), Wake: noon.Add(time.Hour), People: make([]string, 0, 8)}
	r.Reviews = append(make([]store.Review, 0, 8), store.Review{Person: ada, Verdict: "approve"})
	r.Progress = make([]store.Progress, 0, 8)
	if s == store.Approved {
		r.Grant = &store.Grant{Digest: "g", Scopes: []string{"deploy"}, TTL: 10 * time.Minute}
		r.Issues = make([]store.Issue, 0, 8)
	}
	return r
}

// TestTransitionTable says for every state what every transition does in it.
func TestTransitionTable(t *testing.T) {
	t.Parallel()
	f := frozenForTest()
	changes := map[string]store.Change{
		"approve": review(f, 3, store.Review{Person: grace, Verdict: "approve"}, nil),
		"deny":    review(f, 3, store.Review{Person: grace, Verdict: "deny", Reason: "no"}, nil),
		"again":   review(f, 3, store.Review{Person: ada, Verdict: "deny"}, nil),
		"stale":   review(f, 2, store.Review{Person: grace, Verdict: "approve"}, nil),
		"issue":   issue(f, 3, credentialForTest()),
		"cancel":  cancel("ci"),
		"revoke":  revokeBy(person(ada), "person", ""),
		"tick":    wake(true),
	}
	want := map[store.State]map[string]any{
		store.Pending: {"approve": store.Approved, "deny": store.Denied, "again": errTwice, "stale": errStale, "issue": errDecided,
			"cancel": store.Cancelled, "revoke": errDecided, "tick": errUnchanged},
		store.Approved: {"approve": errDecided, "deny": errDecided, "again": errDecided, "stale": errDecided, "issue": store.Approved,
			"cancel": store.Revoked, "revoke": store.Revoked, "tick": errUnchanged},
	}
	for _, s := range []store.State{store.Denied, store.Expired, store.Cancelled, store.Ended, store.Revoked} {
		want[s] = map[string]any{"approve": errDecided, "deny": errDecided, "again": errDecided, "stale": errDecided, "issue": errDecided,
			"cancel": errDecided, "revoke": errDecided, "tick": errUnchanged}
	}
	for state, row := range want {
		for name, expected := range row {
			r := recordIn(state)
			if state != store.Pending && state != store.Approved {
				r.Wake = time.Time{}
			}
			w, err := changes[name](noon, r)
			switch expected := expected.(type) {
			case error:
				if !errors.Is(err, expected) {
					t.Errorf("%s in %s: %v, want %v", name, state, err, expected)
				}
			case store.State:
				if err != nil || w.Request.State != expected || len(w.Entries) == 0 {
					t.Errorf("%s in %s: %s %v with %d entries, want %s", name, state, w.Request.State, err, len(w.Entries), expected)
				}
			}
		}
	}
}

// TestChangesArePure runs each change twice on one record: it may run again, so
// it must give the same and leave what it was given as it was.
func TestChangesArePure(t *testing.T) {
	t.Parallel()
	f := frozenForTest()
	encode := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		change store.Change
		state  store.State
		now    time.Time
	}{
		"approve": {review(f, 3, store.Review{Person: grace, Verdict: "approve"}, nil), store.Pending, noon},
		"deny":    {review(f, 3, store.Review{Person: grace, Verdict: "deny"}, nil), store.Pending, noon},
		"late":    {review(f, 3, store.Review{Person: grace, Verdict: "deny"}, nil), store.Pending, noon.Add(time.Hour)},
		"issue":   {issue(f, 3, credentialForTest()), store.Approved, noon},
		"cancel":  {cancel("ci"), store.Pending, noon},
		"revoke":  {revokeBy(person(grace), "person", "x"), store.Approved, noon},
		"expire":  {wake(false), store.Pending, noon.Add(time.Hour)},
		"end":     {wake(true), store.Approved, noon.Add(time.Hour)},
	} {
		r := recordIn(c.state)
		before := encode(r)
		// Spare capacity shows an append into the caller's memory.
		spare := r.Reviews[:cap(r.Reviews)][len(r.Reviews)]
		first, err := c.change(c.now, r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		second, _ := c.change(c.now, r)
		if encode(first) != encode(second) {
			t.Errorf("%s: it does not give the same again", name)
		}
		if encode(r) != before || r.Reviews[:cap(r.Reviews)][len(r.Reviews)] != spare {
			t.Errorf("%s: it changed what it was given", name)
		}
	}
}

// TestDeadlineIsExact: one instant before the deadline counts, the deadline
// itself does not.
func TestDeadlineIsExact(t *testing.T) {
	t.Parallel()
	change := review(frozenForTest(), 3, store.Review{Person: grace, Verdict: "approve"}, nil)
	r := recordIn(store.Pending)
	if w, err := change(r.Deadline.Add(-time.Millisecond), r); err != nil || w.Request.State != store.Approved {
		t.Errorf("before the deadline: %s %v", w.Request.State, err)
	}
	if w, err := change(r.Deadline, r); err != nil || w.Request.State != store.Expired || len(w.Request.Reviews) != 1 {
		t.Errorf("at the deadline: %s %v", w.Request.State, err)
	}
}

// TestGrantDigestCoversEverything changes each thing that was approved.
func TestGrantDigestCoversEverything(t *testing.T) {
	t.Parallel()
	r := recordIn(store.Pending)
	base, err := grantDigest(r, []string{"deploy"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for name, digest := range map[string]func() (string, error){
		"request": func() (string, error) { r := r; r.Digest = "e"; return grantDigest(r, []string{"deploy"}, time.Minute) },
		"reviews": func() (string, error) {
			r := r
			r.Reviews = nil
			return grantDigest(r, []string{"deploy"}, time.Minute)
		},
		"scopes":   func() (string, error) { return grantDigest(r, []string{"deploy", "read"}, time.Minute) },
		"lifetime": func() (string, error) { return grantDigest(r, []string{"deploy"}, time.Hour) },
	} {
		if got, err := digest(); err != nil || got == base {
			t.Errorf("%s is not covered: %v", name, err)
		}
	}
	if again, _ := grantDigest(r, []string{"deploy"}, time.Minute); again != base {
		t.Error("the same is not the same")
	}
}

// TestFrozenRequestsAreHeldToTheirDigest changes a byte of what is stored.
func TestFrozenRequestsAreHeldToTheirDigest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.submit(deployAsk())
	if _, err := thaw(r); err != nil {
		t.Fatal(err)
	}
	for i := range r.Canonical {
		changed := r
		changed.Canonical = append(json.RawMessage(nil), r.Canonical...)
		changed.Canonical[i] ^= 1
		if _, err := thaw(changed); err == nil {
			t.Fatalf("byte %d may change", i)
		}
	}
}
