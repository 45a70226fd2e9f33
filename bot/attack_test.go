package bot

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
)

// twoStages asks the same people twice.
func (w *world) twoStages(distinct bool) {
	d := w.reviewBy
	d.Stages = []policies.Stage{
		{Name: "first", Quorum: 1, Approvers: policies.Approvers{Groups: []string{"release"}}},
		{Name: "second", Quorum: 1, Distinct: distinct, Approvers: policies.Approvers{Groups: []string{"release"}}},
	}
	w.rules.set(d)
}

// TestAClickMeansTheStageThatItShows: the same delivery twice, or a click on a
// card that is behind, never counts for a stage that was not shown.
func TestAClickMeansTheStageThatItShows(t *testing.T) {
	t.Parallel()
	for _, second := range []string{ada, grace} {
		w := newWorld(t)
		w.twoStages(false)
		r := w.submit(deployAsk())
		w.settle()
		old := w.only("C1").Card.Button
		click := func(who, button string) chat.Reply {
			return w.Click(t.Context(), chat.Click{Account: w.people[who], Button: button, Verb: chat.Approve, Channel: "C1"})
		}
		if reply := click(ada, old); reply.Refused {
			t.Fatal(reply.Text)
		}
		if reply := click(second, old); !reply.Refused || !strings.Contains(reply.Text, "stage") {
			t.Errorf("the old card was pressed again: %+v", reply)
		}
		if got := w.get(r.ID); got.State != store.Pending || len(got.Reviews) != 1 {
			t.Fatalf("it counted: %s, %d reviews", got.State, len(got.Reviews))
		}
		w.settle()
		if reply := click(second, w.only("C1").Card.Button); reply.Refused || w.get(r.ID).State != store.Approved {
			t.Errorf("the new card was pressed: %+v", reply)
		}
	}
}

// TestARaceDoesNotJumpStages: who judged the first stage does not answer the
// second because somebody else was quicker.
func TestARaceDoesNotJumpStages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoStages(true)
	r := w.submit(deployAsk())
	f, err := thaw(r)
	if err != nil {
		t.Fatal(err)
	}
	w.act1("approve ada", r)
	p, _ := w.Directory.Person(grace)
	stale := r // what Grace's click had read
	reply := w.answer(t.Context(), reviewer{Person: p, account: p.Accounts[0]}, stale, f, store.Review{Person: grace, Verdict: "approve"})
	if got := w.get(r.ID); !reply.Refused || got.State != store.Pending || len(got.Reviews) != 1 {
		t.Errorf("%+v, %s with %d reviews", reply, got.State, len(got.Reviews))
	}
}

// TestARunStartedAgainCostsOneMore: the token of a second attempt names who
// started the first.
func TestARunStartedAgainCostsOneMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ev := w.evidence("run:1/attempt:2")
	ev.Trigger = identity.Trigger{Kind: identity.TriggerUnmapped, Again: true, Account: identity.Account{Kind: "github", Space: "-", ID: "Tim"}}
	r, err := w.Submit(t.Context(), ev, "", deployAsk())
	if err != nil {
		t.Fatal(err)
	}
	w.settle()
	ref := w.only("C1").Ref
	if w.click(ada, ref, chat.Approve, ""); w.get(r.ID).State != store.Pending {
		t.Fatal("whoever started it again may have approved it alone")
	}
	if reply := w.click(tim, ref, chat.Approve, ""); !reply.Refused {
		t.Error("who started it first approved it")
	}
	if w.click(grace, ref, chat.Approve, ""); w.get(r.ID).State != store.Approved {
		t.Error("two others are enough")
	}
}

// TestACallersWordsStandInNoLeaf: what is not the operator's own word is
// committed to, never shown.
func TestACallersWordsStandInNoLeaf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.decide = func(policies.Input) (policies.Decision, error) {
		return policies.Decision{Effect: policies.Deny, Reasons: []string{"no: jane.doe is secret"}}, nil
	}
	ask := Ask{
		Action: "jane.doe", Resource: "jane.doe", Audience: "jane.doe", Scopes: []string{"jane.doe", "deploy"}, TTL: policies.Duration(time.Minute),
		Reason: "jane.doe", TriggeredBy: &TriggeredBy{Kind: "github", ID: "jane.doe"}, Context: Context{Environment: "jane.doe",
			Labels: map[string]string{"jane.doe": "jane.doe"}, Tickets: []string{"jane.doe"}, Diff: "--- a/jane.doe\n+++ b/jane.doe\n@@ -1 +1 @@\n-a\n+b\n"},
	}
	r := w.submit(ask)
	logged, err := w.Store.Log(t.Context(), 0, 10, false)
	if err != nil || len(logged) != 3 {
		t.Fatalf("%d entries, %v", len(logged), err)
	}
	for _, l := range logged {
		if strings.Contains(string(l.Leaf), "jane") {
			t.Errorf("leaf %s", l.Leaf)
		}
	}
	if !strings.Contains(string(logged[0].Leaf), `"scopes":["deploy"]`) || logged[0].Private["action"] != "jane.doe" {
		t.Errorf("the twin: %s %v", logged[0].Leaf, logged[0].Private)
	}
	f, err := thaw(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Store.Blob(t.Context(), f.Context.Diff.SHA256); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the diff of a denied request is kept: %v", err)
	}
}

// TestRedemptionJudgesAgain: what changed between approval and redemption.
func TestRedemptionJudgesAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(w *world)
		refused bool
	}{
		"account lost its scopes": {func(w *world) {
			w.Accounts = accounts{"ci": {Name: "ci", Actions: []string{"deploy"}, Audiences: []string{"prod"}}}
		}, true},
		"account lost its action": {func(w *world) {
			w.Accounts = accounts{"ci": {Name: "ci", Scopes: []string{"deploy"}, Audiences: []string{"prod"}}}
		}, true},
		"account lost its audience": {func(w *world) {
			w.Accounts = accounts{"ci": {Name: "ci", Actions: []string{"deploy"}, Scopes: []string{"deploy"}}}
		}, true},
		"account is gone": {func(w *world) { w.Accounts = accounts{} }, true},
		"policy does not answer now": {func(w *world) {
			w.rules.review = func(policies.Input) (policies.Verdict, error) { return policies.Verdict{}, policies.ErrUnanswered }
		}, false},
	} {
		w := newWorld(t)
		r := w.submit(deployAsk())
		w.act1("approve ada", r)
		was := w.Accounts
		allow := w.rules.review
		c.change(w)
		_, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID)
		var no *RefusedError
		if errors.As(err, &no) != c.refused || errors.Is(err, ErrUnavailable) == c.refused {
			t.Errorf("%s: %v", name, err)
		}
		w.Accounts, w.rules.review = was, allow
		if _, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID); err != nil {
			t.Errorf("%s: the twin: %v", name, err)
		}
	}
}

// TestGroupsAreLive: who joined the group after the request was made may
// approve it, and the log says by which group.
func TestGroupsAreLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.submit(deployAsk())
	var people []identity.Person
	for _, id := range []string{ada, olga} {
		p, _ := w.Directory.Person(id)
		people = append(people, p)
	}
	d, err := identity.NewDirectory(people, []identity.Group{{Name: "release", People: []string{olga}}})
	if err != nil {
		t.Fatal(err)
	}
	w.Directory = d
	if w.act1("approve ada", r) {
		t.Error("who left the group approved")
	}
	p, _ := d.Person(olga)
	f, _ := thaw(r)
	if reply := w.answer(t.Context(), reviewer{Person: p, account: p.Accounts[0]}, r, f, store.Review{Person: olga, Verdict: "approve"}); reply.Refused {
		t.Fatal(reply.Text)
	}
	logged, err := w.Store.Log(t.Context(), 0, 10, false)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(logged, func(l store.Logged) bool { return l.Type == "reviewed" })
	if i < 0 || !strings.Contains(string(logged[i].Leaf), `"groups":["release"]`) {
		t.Errorf("the log does not say why she may: %v", i)
	}
}

// TestANewIDIsTheSamePerson: the trigger's account decides, whatever id the
// directory has for it by now.
func TestANewIDIsTheSamePerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ev := w.evidence("run:1")
	account := identity.Account{Kind: "github", Space: "-", ID: "Ada"}
	ev.Trigger = identity.Trigger{Kind: identity.TriggerUnmapped, Account: account}
	r, err := w.Submit(t.Context(), ev, "", deployAsk())
	if err != nil {
		t.Fatal(err)
	}
	p, _ := w.Directory.Person(ada)
	p.ID = "p_newnewnew"
	if w.Directory, err = identity.NewDirectory([]identity.Person{p}, []identity.Group{{Name: "release", People: []string{p.ID}}}); err != nil {
		t.Fatal(err)
	}
	f, _ := thaw(r)
	if reply := w.answer(context.Background(), reviewer{Person: p, account: p.Accounts[0]}, r, f, store.Review{Person: p.ID, Verdict: "approve"}); !reply.Refused {
		t.Error("self-approval under a new id")
	}
}

// TestGatesThatNobodyCanPassAreDenials.
func TestGatesThatNobodyCanPassAreDenials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.reviewBy
	d.Stages = []policies.Stage{
		{Name: "a", Quorum: 1, Approvers: policies.Approvers{People: []string{ada}}},
		{Name: "b", Quorum: 1, Distinct: true, Approvers: policies.Approvers{People: []string{ada}}},
	}
	w.rules.set(d)
	if r := w.submit(deployAsk()); r.State != store.Denied {
		t.Errorf("one person for two distinct stages: %s", r.State)
	}
	d.Stages[1].Approvers.People = []string{ada, grace}
	w.rules.set(d)
	if r := w.submit(deployAsk()); r.State != store.Pending {
		t.Errorf("the twin: %s %s", r.State, r.Outcome.Reason)
	}
}
