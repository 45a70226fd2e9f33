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
	"github.com/countersign/countersign/store/audit"
)

func TestApprovedByAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.submit(deployAsk())
	if r.State != store.Pending || r.Version != 1 {
		t.Fatalf("submitted: %s v%d", r.State, r.Version)
	}
	if _, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID); !errors.Is(err, ErrPending) {
		t.Fatalf("redeem before approval: %v", err)
	}
	w.settle()
	card := w.only("C1")
	if card.Card.Code != r.Code || card.Card.Mood != chat.Waiting || len(card.Card.Actions) != 3 {
		t.Fatalf("card: %+v", card.Card)
	}
	if reply := w.click(ada, card.Ref, chat.Approve, ""); reply.Refused {
		t.Fatalf("refused: %s", reply.Text)
	}
	r = w.get(r.ID)
	if r.State != store.Approved || r.Outcome.By != ada || r.Reviews[0].Digest != r.Digest {
		t.Fatalf("after approval: %+v", r)
	}
	cred, receipt, err := w.Redeem(t.Context(), caller("run:1"), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got := cred.Expires.Sub(cred.Issued); got != 10*time.Minute {
		t.Errorf("life %s, want the policy's 10m", got)
	}
	if cred.Subject != "ci:production:deploy" || cred.Digest != r.Grant.Digest || cred.Request != r.ID {
		t.Errorf("credential %+v", cred.Grant)
	}
	leaf, _, err := audit.VerifyReceipt(audit.Receipt{Leaf: receipt.Leaf, Proof: receipt.Proof}, w.key.Verifier())
	if err != nil || leaf.Type != "issued" || !strings.Contains(string(leaf.Data), cred.SHA256) {
		t.Errorf("receipt: %v %+v", err, leaf)
	}
	w.settle()
	card = w.only("C1")
	if !strings.Contains(card.Card.State, "Approved by Ada") || !strings.Contains(card.Card.State, "Credential issued") {
		t.Errorf("card says %q", card.Card.State)
	}
	if want := []string{r.Code + ": Approved by Ada.", r.Code + ": Credential issued"}; len(card.Thread) != 2 || card.Thread[0] != want[0] || !strings.HasPrefix(card.Thread[1], want[1]) {
		t.Errorf("thread says %q", card.Thread)
	}
	if got, want := w.types(r.ID), []string{"asked", "decided", "reviewed", "approved", "issued"}; !slices.Equal(got, want) {
		t.Errorf("log says %v, want %v", got, want)
	}
	w.clock.Add(11 * time.Minute)
	w.settle()
	if r = w.get(r.ID); r.State != store.Ended {
		t.Errorf("after its life: %s", r.State)
	}
	if active, err := w.Active(t.Context(), cred.Grant); active || err != nil {
		t.Errorf("active after its life: %v %v", active, err)
	}
}

func TestDenyAsksForAReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.submit(deployAsk())
	w.settle()
	ref := w.only("C1").Ref
	reply := w.click(ada, ref, chat.Deny, " ")
	if reply.Prompt == nil || w.get(r.ID).State != store.Pending {
		t.Fatalf("deny without reason: %+v", reply)
	}
	if _, err := w.fake.Submit(t.Context(), w.people[ada], "freeze until Monday"); err != nil {
		t.Fatal(err)
	}
	r = w.get(r.ID)
	if r.State != store.Denied || r.Outcome.Kind != "denied_by_person" || r.Outcome.Reason != "freeze until Monday" {
		t.Fatalf("after denial: %+v", r.Outcome)
	}
	if _, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID); !errors.Is(err, ErrInvalidGrant) {
		t.Errorf("redeem of a denied request: %v", err)
	}
	w.settle()
	if card := w.only("C1").Card; len(card.Actions) != 0 || !strings.Contains(card.State, "freeze until Monday") {
		t.Errorf("decided card: %q with %d actions", card.State, len(card.Actions))
	}
}

// TestWhoMayReview walks through everybody who may not, each beside the positive
// twin: the same request is approved by Ada in the end.
func TestWhoMayReview(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		who    func(w *world) chat.Account
		change func(w *world)
		ask    func(a *Ask)
		says   string
	}{
		"guest": {who: func(w *world) chat.Account { return w.people[gus] }, says: "full members"},
		"bot": {who: func(w *world) chat.Account {
			return w.fake.Join("Grace", chat.Member{Known: true, Active: true, Home: true})
		}, says: "full members"},
		"deactivated": {who: func(w *world) chat.Account {
			return w.fake.Join("Grace", chat.Member{Known: true, Human: true, Home: true})
		}, says: "full members"},
		"unknown":               {who: func(w *world) chat.Account { return w.fake.Join("Grace", chat.Member{}) }, says: "full members"},
		"not in the directory":  {who: func(w *world) chat.Account { return w.fake.Person("Newcomer") }, says: "directory"},
		"not an approver":       {who: func(w *world) chat.Account { return w.people[olga] }, says: "not among the approvers"},
		"other tenant, same id": {who: func(w *world) chat.Account { a := w.people[ada]; a.Space = "T-other"; return a }, says: "directory"},
		"empty space":           {who: func(w *world) chat.Account { a := w.people[ada]; a.Space = ""; return a }, says: "identified"},
		"named as trigger": {who: func(w *world) chat.Account { return w.people[tim] },
			ask: func(a *Ask) { a.TriggeredBy = &TriggeredBy{Kind: "github", ID: "Tim"} }, says: "somebody else"},
		"policy objects": {who: func(w *world) chat.Account { return w.people[grace] }, change: func(w *world) { w.rules.object("not on a Friday") }, says: "not on a Friday"},
		"policy fails": {who: func(w *world) chat.Account { return w.people[grace] }, change: func(w *world) {
			w.rules.review = func(policies.Input) (policies.Verdict, error) { return policies.Verdict{}, errors.New("boom") }
		}, says: "could not be asked"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ask := deployAsk()
			if c.ask != nil {
				c.ask(&ask)
			}
			r := w.submit(ask)
			w.settle()
			allow := w.rules.review
			if c.change != nil {
				c.change(w)
			}
			ref := w.only("C1").Ref
			reply, err := w.fake.Click(t.Context(), c.who(w), ref, chat.Approve, "")
			if err != nil {
				t.Fatal(err)
			}
			if !reply.Refused || !strings.Contains(reply.Text, c.says) {
				t.Errorf("answer %q, want a refusal with %q", reply.Text, c.says)
			}
			if got := w.get(r.ID); got.State != store.Pending || len(got.Reviews) != 0 {
				t.Fatalf("it counted: %+v", got)
			}
			w.rules.review = allow
			if reply := w.click(ada, ref, chat.Approve, ""); reply.Refused || w.get(r.ID).State != store.Approved {
				t.Errorf("the twin was refused: %s", reply.Text)
			}
		})
	}
}

func TestTriggerMayNotReviewAndUnmappedTriggerCostsOneMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ev := w.evidence("run:1")
	ev.Trigger = identity.Trigger{Kind: identity.TriggerUnmapped, Account: identity.Account{Kind: "github", Space: "-", ID: "Ada"}, Name: "ada-gh"}
	r, err := w.Submit(t.Context(), ev, "", deployAsk())
	if err != nil {
		t.Fatal(err)
	}
	w.settle()
	ref := w.only("C1").Ref
	if reply := w.click(ada, ref, chat.Approve, ""); !reply.Refused || !strings.Contains(reply.Text, "triggered") {
		t.Fatalf("self-approval: %+v", reply)
	}
	if w.click(grace, ref, chat.Approve, ""); w.get(r.ID).State != store.Approved {
		t.Fatal("one other approver is enough for a known trigger")
	}

	w2 := newWorld(t)
	ev = w2.evidence("run:1")
	ev.Trigger = identity.Trigger{Kind: identity.TriggerUnmapped, Account: identity.Account{Kind: "github", Space: "-", ID: "999"}, Name: "stranger"}
	if r, err = w2.Submit(t.Context(), ev, "", deployAsk()); err != nil {
		t.Fatal(err)
	}
	w2.settle()
	ref = w2.only("C1").Ref
	if w2.click(ada, ref, chat.Approve, ""); w2.get(r.ID).State != store.Pending {
		t.Fatal("an unmapped trigger needs one more approver")
	}
	if w2.click(grace, ref, chat.Approve, ""); w2.get(r.ID).State != store.Approved {
		t.Fatal("two approvers are enough for an unmapped trigger")
	}
}

func TestOnePersonIsOneVote(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.reviewBy
	d.Stages = []policies.Stage{{Name: "release", Quorum: 2, Approvers: policies.Approvers{Groups: []string{"release"}}}}
	w.rules.set(d)
	r := w.submit(deployAsk())
	w.settle()
	ref := w.only("C1").Ref
	w.click(ada, ref, chat.Approve, "")
	if reply := w.click(ada, ref, chat.Approve, ""); !reply.Refused || !strings.Contains(reply.Text, "already") {
		t.Errorf("second click: %+v", reply)
	}
	if got := w.get(r.ID); got.State != store.Pending || len(got.Reviews) != 1 {
		t.Fatalf("one person counted twice: %+v", got.Reviews)
	}
	if w.click(grace, ref, chat.Approve, ""); w.get(r.ID).State != store.Approved {
		t.Fatal("two people are two votes")
	}
}

func TestStagesInOrderAndDistinct(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.reviewBy
	d.Stages = []policies.Stage{
		{Name: "release", Quorum: 1, Approvers: policies.Approvers{Groups: []string{"release"}}},
		{Name: "second", Quorum: 1, Distinct: true, Approvers: policies.Approvers{People: []string{ada, grace}}},
	}
	w.rules.set(d)
	r := w.submit(deployAsk())
	w.settle()
	ref := w.only("C1").Ref
	w.click(ada, ref, chat.Approve, "")
	if got := w.get(r.ID); got.State != store.Pending || got.Stage != 1 {
		t.Fatalf("after the first stage: %s, stage %d", got.State, got.Stage)
	}
	if reply := w.click(ada, ref, chat.Approve, ""); !reply.Refused || !strings.Contains(reply.Text, "somebody else") {
		t.Errorf("the same person in a distinct stage: %+v", reply)
	}
	if w.click(grace, ref, chat.Approve, ""); w.get(r.ID).State != store.Approved {
		t.Fatal("both stages are complete")
	}
}

func TestDecisionsThatDeny(t *testing.T) {
	t.Parallel()
	base := newWorld(t).reviewBy
	cases := map[string]struct {
		decide func(policies.Input) (policies.Decision, error)
		says   string
	}{
		"policy denies": {func(policies.Input) (policies.Decision, error) {
			return policies.Decision{Reasons: []string{"frozen"}, Effect: policies.Deny}, nil
		}, "frozen"},
		"zero decision":      {func(policies.Input) (policies.Decision, error) { return policies.Decision{}, nil }, "unusable"},
		"error":              {func(policies.Input) (policies.Decision, error) { return base, errors.New("secret detail") }, "could not be evaluated"},
		"nobody may approve": {with(base, func(d *policies.Decision) { d.Stages[0].Approvers.Groups = []string{"nobody"} }), "nobody could approve"},
		"quorum too high":    {with(base, func(d *policies.Decision) { d.Stages[0].Quorum = 9 }), "nobody could approve"},
		"unknown channel":    {with(base, func(d *policies.Decision) { d.Channels = []string{"nowhere"} }), "no channel"},
		"scope not asked":    {with(base, func(d *policies.Decision) { d.Scopes = []string{"deploy", "read"} }), "not asked for"},
		"scope not allowed":  {with(base, func(d *policies.Decision) { d.Scopes = []string{"root"} }), "not asked for"},
		"no scope left":      {with(base, func(d *policies.Decision) { d.Scopes = nil }), "none of the scopes"},
		"foreign audience":   {with(base, func(d *policies.Decision) { d.Audience = "elsewhere" }), "audience"},
		"life too long":      {with(base, func(d *policies.Decision) { d.MaxTTL = policies.Duration(time.Hour) }), "max_ttl"},
		"review, no stage":   {with(base, func(d *policies.Decision) { d.Stages = nil }), "stage"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.rules.decide = c.decide
			r := w.submit(deployAsk())
			if r.State != store.Denied || r.Outcome.Kind != "denied_by_policy" || !strings.Contains(r.Outcome.Reason, c.says) {
				t.Fatalf("outcome %+v, want a denial that says %q", r.Outcome, c.says)
			}
			if strings.Contains(r.Outcome.Reason, "secret detail") {
				t.Error("an internal error reached the caller")
			}
			if got := w.types(r.ID); !slices.Equal(got, []string{"asked", "decided", "denied"}) {
				t.Errorf("log says %v", got)
			}
			w.settle()
			if n := len(w.fake.Posts("")); n != 0 {
				t.Errorf("%d cards for a denial", n)
			}
		})
	}
}

func with(d policies.Decision, change func(*policies.Decision)) func(policies.Input) (policies.Decision, error) {
	d.Stages = slices.Clone(d.Stages)
	change(&d)
	return func(policies.Input) (policies.Decision, error) { return d, nil }
}

func TestPreApproved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.set(policies.Decision{Effect: policies.Allow, Reasons: []string{"routine"}, Scopes: []string{"deploy"}, Audience: "prod",
		MaxTTL: policies.Duration(5 * time.Minute), Notify: []string{"watchers"}})
	r := w.submit(deployAsk())
	if r.State != store.Approved || r.Outcome.By != "policy" {
		t.Fatalf("%+v", r.Outcome)
	}
	w.settle()
	if card := w.only("C2").Card; len(card.Actions) != 0 || len(card.Mentions) != 0 {
		t.Errorf("a card to read has %d actions and %d mentions", len(card.Actions), len(card.Mentions))
	}
	if _, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID); err != nil {
		t.Fatal(err)
	}
}

func TestAnotherRunIsAStranger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.set(policies.Decision{Effect: policies.Allow, Reasons: []string{"routine"}, Scopes: []string{"deploy"}, MaxTTL: policies.Duration(time.Minute)})
	r := w.submit(deployAsk())
	strangers := []identity.Caller{caller("run:2"), {}, {ServiceAccount: "ci"}}
	other := caller("run:1")
	other.Subject.Name = "repo:2"
	for _, c := range append(strangers, other) {
		if _, err := w.Get(t.Context(), c, r.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("get by %+v: %v", c, err)
		}
		if _, _, err := w.Redeem(t.Context(), c, r.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("redeem by %+v: %v", c, err)
		}
		if _, err := w.Cancel(t.Context(), c, r.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("cancel by %+v: %v", c, err)
		}
	}
	if _, err := w.Get(t.Context(), caller("run:1"), r.ID); err != nil {
		t.Errorf("get by the run that asked: %v", err)
	}
}

func TestTokenAndKeyAreUsedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ev := w.evidence("run:1")
	r, err := w.Submit(t.Context(), ev, "key-1", deployAsk())
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.Submit(t.Context(), ev, "key-1", deployAsk())
	if err != nil || again.ID != r.ID {
		t.Errorf("the same call again: %s %v, want %s", again.ID, err, r.ID)
	}
	other := deployAsk()
	other.Resource = "shop/web"
	if _, err := w.Submit(t.Context(), ev, "key-1", other); !errors.Is(err, ErrKeyMismatch) {
		t.Errorf("another ask under the same key: %v", err)
	}
	if _, err := w.Submit(t.Context(), ev, "key-2", deployAsk()); !errors.Is(err, store.ErrReplayed) {
		t.Errorf("the token a second time: %v", err)
	}
	foreign := w.evidence("run:2")
	if r2, err := w.Submit(t.Context(), foreign, "key-1", deployAsk()); err != nil || r2.ID == r.ID {
		t.Errorf("another run's key of the same name: %s %v", r2.ID, err)
	}
}

func TestReissue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.set(policies.Decision{Effect: policies.Allow, Reasons: []string{"routine"}, Scopes: []string{"deploy"}, Audience: "prod", MaxTTL: policies.Duration(10 * time.Minute)})
	r := w.submit(deployAsk())
	var creds []identity.Credential
	for i := range maxIssues {
		c, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID)
		if err != nil {
			t.Fatalf("issue %d: %v", i+1, err)
		}
		creds = append(creds, c)
		w.clock.Add(20 * time.Second)
		if c.Expires.After(creds[0].Expires) {
			t.Errorf("issue %d lives longer than the first", i+1)
		}
	}
	logged, err := w.Store.Log(t.Context(), 0, 100, false)
	if err != nil {
		t.Fatal(err)
	}
	if last := string(logged[len(logged)-1].Leaf); !strings.Contains(last, `"replaces":"`+creds[1].ID+`"`) {
		t.Errorf("the log does not say what the last issue replaces: %s", last)
	}
	for i, c := range creds {
		if active, _ := w.Active(t.Context(), c.Grant); active != (i == maxIssues-1) {
			t.Errorf("issue %d active: %v", i+1, active)
		}
	}
	if _, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID); !errors.Is(err, ErrInvalidGrant) {
		t.Fatalf("a fourth issue: %v", err)
	}
	if r = w.get(r.ID); r.State != store.Revoked {
		t.Errorf("after a fourth try: %s", r.State)
	}
	if active, _ := w.Active(t.Context(), creds[2].Grant); active {
		t.Error("the last credential outlived the revocation")
	}
}

func TestReissueTooLateRevokes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.set(policies.Decision{Effect: policies.Allow, Reasons: []string{"routine"}, Scopes: []string{"deploy"}, Audience: "prod", MaxTTL: policies.Duration(10 * time.Minute)})
	r := w.submit(deployAsk())
	if _, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID); err != nil {
		t.Fatal(err)
	}
	w.clock.Add(reissueWindow + time.Second)
	if _, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID); !errors.Is(err, ErrInvalidGrant) || w.get(r.ID).State != store.Revoked {
		t.Errorf("after the window: %v, %s", err, w.get(r.ID).State)
	}
}

func TestApproverWhoLeftBeforeIssue(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(w *world){
		"deactivated":      func(w *world) { w.fake.Join("Ada", chat.Member{Known: true, Human: true, Home: true}) },
		"left the group":   func(w *world) { w.Broker = w.newBroker(w.bolt); w.Directory = without(t, w.Directory) },
		"policy objects":   func(w *world) { w.rules.object("revoked") },
		"platform is down": nil,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := w.submit(deployAsk())
			w.settle()
			w.click(ada, w.only("C1").Ref, chat.Approve, "")
			if leave == nil {
				w.Platforms = map[string]chat.Platform{"slack": unreachable{w.fake}}
				if _, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID); !errors.Is(err, ErrUnavailable) {
					t.Fatalf("redeem: %v, want unavailable", err)
				}
				w.Platforms = map[string]chat.Platform{"slack": w.fake}
				if _, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID); err != nil {
					t.Fatalf("the twin: %v", err)
				}
				return
			}
			leave(w)
			var refused *RefusedError
			if _, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID); !errors.As(err, &refused) {
				t.Fatalf("redeem: %v, want a refusal", err)
			}
			if w.mint.minted.Load() != 0 {
				t.Error("a credential was signed")
			}
		})
	}
}

type unreachable struct{ chat.Platform }

func (unreachable) Member(context.Context, chat.Account) (chat.Member, error) {
	return chat.Member{}, &chat.Error{Class: chat.Retry, Op: "users.info", Code: "unreachable"}
}

// without is a directory in which Ada is in no group.
func without(t *testing.T, d *identity.Directory) *identity.Directory {
	t.Helper()
	var people []identity.Person
	for _, id := range []string{ada, grace} {
		p, _ := d.Person(id)
		people = append(people, p)
	}
	out, err := identity.NewDirectory(people, []identity.Group{{Name: "release", People: []string{grace}}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCancelAndRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.submit(deployAsk())
	if r, err := w.Cancel(t.Context(), caller("run:1"), r.ID); err != nil || r.State != store.Cancelled {
		t.Fatalf("cancel: %s %v", r.State, err)
	}
	if _, err := w.Cancel(t.Context(), caller("run:1"), r.ID); !errors.Is(err, ErrState) {
		t.Errorf("cancel again: %v", err)
	}
	w2 := newWorld(t)
	r = w2.submit(deployAsk())
	w2.settle()
	ref := w2.only("C1").Ref
	if reply := w2.click(ada, ref, chat.Revoke, ""); !reply.Refused || !strings.Contains(reply.Text, "pending") {
		t.Errorf("revoke of a pending request: %+v", reply)
	}
	w2.click(ada, ref, chat.Approve, "")
	cred, _, err := w2.Redeem(t.Context(), caller("run:1"), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if active, _ := w2.Active(t.Context(), cred.Grant); !active {
		t.Fatal("not active after issue")
	}
	if reply := w2.click(olga, ref, chat.Revoke, ""); reply.Refused {
		t.Errorf("an owner may revoke: %s", reply.Text)
	}
	if active, _ := w2.Active(t.Context(), cred.Grant); active {
		t.Error("active after revocation")
	}
	if _, _, err := w2.Redeem(t.Context(), caller("run:1"), r.ID); !errors.Is(err, ErrInvalidGrant) {
		t.Errorf("redeem after revocation: %v", err)
	}
}

func TestRevokeCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.set(policies.Decision{Effect: policies.Allow, Reasons: []string{"routine"}, Scopes: []string{"deploy"}, Audience: "prod", MaxTTL: policies.Duration(time.Minute)})
	r := w.submit(deployAsk())
	cred, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.RevokeCredential(t.Context(), caller("run:2"), cred.Grant); err != nil || w.get(r.ID).State != store.Approved {
		t.Errorf("a stranger's revocation: %v, %s", err, w.get(r.ID).State)
	}
	if err := w.RevokeCredential(t.Context(), caller("run:1"), cred.Grant); err != nil || w.get(r.ID).State != store.Revoked {
		t.Errorf("own revocation: %v, %s", err, w.get(r.ID).State)
	}
	if err := w.RevokeCredential(t.Context(), caller("run:1"), cred.Grant); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestTheShorterLifeIsGranted: the policy shortens what is asked, and never
// lengthens it.
func TestTheShorterLifeIsGranted(t *testing.T) {
	t.Parallel()
	for asked, want := range map[time.Duration]time.Duration{time.Minute: time.Minute, 15 * time.Minute: 10 * time.Minute} {
		w := newWorld(t)
		ask := deployAsk()
		ask.TTL = policies.Duration(asked)
		f, err := thaw(w.submit(ask))
		if err != nil || time.Duration(f.TTL) != want {
			t.Errorf("asked %s: granted %s (%v), want %s", asked, time.Duration(f.TTL), err, want)
		}
	}
}

func TestDecisionOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.set(policies.Decision{Effect: policies.Allow, Reasons: []string{"routine"}, MaxTTL: policies.Duration(time.Minute)})
	ask := deployAsk()
	ask.Scopes, ask.Audience = nil, ""
	r := w.submit(ask)
	if _, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID); !errors.Is(err, ErrNoCredential) {
		t.Errorf("redeem: %v", err)
	}
}

func TestWaitDecidesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.submit(deployAsk())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	got, err := w.Wait(ctx, caller("run:1"), r.ID, r.Version)
	if err != nil || got.State != store.Pending {
		t.Fatalf("time-out: %s %v", got.State, err)
	}
	done := make(chan store.Request, 1)
	go func() {
		got, _ := w.Wait(t.Context(), caller("run:1"), r.ID, r.Version)
		done <- got
	}()
	w.settle()
	w.click(ada, w.only("C1").Ref, chat.Approve, "")
	select {
	case got := <-done:
		if got.State != store.Approved {
			t.Errorf("woken with %s", got.State)
		}
	case <-time.After(5 * time.Second):
		t.Error("the waiter was not woken")
	}
}

func TestLateReviewExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.submit(deployAsk())
	w.settle()
	ref := w.only("C1").Ref
	w.clock.Add(time.Hour) // exactly the deadline; the reconciler has not run
	reply := w.click(ada, ref, chat.Approve, "")
	if !reply.Refused || !strings.Contains(reply.Text, "nobody decided in time") {
		t.Errorf("answer %q", reply.Text)
	}
	if r = w.get(r.ID); r.State != store.Expired || len(r.Reviews) != 0 {
		t.Errorf("%s with %d reviews", r.State, len(r.Reviews))
	}
}
