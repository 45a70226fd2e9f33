package bot

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/bot/chat/chattest"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
)

// TestPostedOnce meets each kind of failure in the first post. However the
// platform fails, one card stands in the channel in the end, and it is true.
func TestPostedOnce(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]chattest.Fault{
		"answer lost":   chattest.Lost(),
		"call dropped":  chattest.Dropped(),
		"rate limited":  chattest.RateLimited(7 * time.Second),
		"misconfigured": chattest.Misconfigured(),
		"nothing":       {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if fault.Err != nil {
				w.fake.Fail(chattest.OpPost, fault)
			}
			r := w.submit(deployAsk())
			w.settle()
			for range 5 {
				w.clock.Add(15 * time.Second)
				w.settle()
			}
			card := w.only("C1")
			if card.Card.Version != r.Version {
				t.Errorf("shows version %d, want %d", card.Card.Version, r.Version)
			}
			w.click(ada, card.Ref, chat.Approve, "")
			if w.get(r.ID).State != store.Approved {
				t.Error("its button does not work")
			}
		})
	}
}

// TestLostPostIsFound is the crash between the platform's answer and our record
// of it: the card is found again, not posted again.
func TestLostPostIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.Fail(chattest.OpPost, chattest.Lost())
	r := w.submit(deployAsk())
	w.settle()
	w.clock.Add(5 * time.Second)
	w.Broker = w.newBroker(w.bolt) // nothing in memory survives
	w.settle()
	w.only("C1")
	posts := 0
	for _, c := range w.fake.Calls() {
		if c == "post C1" {
			posts++
		}
	}
	if posts != 1 {
		t.Errorf("posted %d times", posts)
	}
	ds, err := w.Store.Deliveries(t.Context(), r.ID)
	if err != nil || len(ds) != 1 || len(ds[0].Refs) != 1 {
		t.Errorf("deliveries %+v %v", ds, err)
	}
}

func TestBothCopiesAreKeptTrue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.Fail(chattest.OpPost, chattest.Lost())
	w.fake.Fail(chattest.OpFind, chattest.Unsupported())
	r := w.submit(deployAsk())
	w.settle()
	w.clock.Add(time.Minute)
	w.settle()
	posts := w.fake.Posts("C1")
	if len(posts) != 2 {
		t.Fatalf("%d cards, want the lost one and a second", len(posts))
	}
	w.click(ada, posts[0].Ref, chat.Approve, "") // the copy we did not know of
	w.settle()
	for _, p := range w.fake.Posts("C1") {
		if !strings.Contains(p.Card.State, "Approved by Ada") {
			t.Errorf("copy %s says %q", p.Ref, p.Card.State)
		}
	}
	if w.get(r.ID).State != store.Approved {
		t.Error("not approved")
	}
}

func TestPlatformDownForTheWholeDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.Fail(chattest.OpPost, chattest.Down())
	r := w.submit(deployAsk())
	w.settle()
	w.clock.Add(time.Hour)
	w.settle()
	r = w.get(r.ID)
	if r.State != store.Expired || r.Outcome.Kind != "undeliverable" {
		t.Fatalf("outcome %+v, want undeliverable", r.Outcome)
	}
	w.fake.Heal()
	w.clock.Add(time.Hour)
	w.settle()
	if n := len(w.fake.Posts("")); n != 0 {
		t.Errorf("%d cards of a request that is over", n)
	}
}

func TestDownThenBackPostsWithinAMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.Fail(chattest.OpPost, chattest.Down())
	w.submit(deployAsk())
	for range 30 {
		w.clock.Add(20 * time.Second)
		w.settle()
	}
	w.fake.Heal()
	w.clock.Add(maxBackoff + maxBackoff/5)
	w.settle()
	w.only("C1")
}

func TestDeletedCardComesBackWhileItWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.reviewBy
	d.Stages = []policies.Stage{{Name: "release", Quorum: 2, Approvers: policies.Approvers{Groups: []string{"release"}}}}
	w.rules.set(d)
	r := w.submit(deployAsk())
	w.settle()
	first := w.only("C1").Ref
	w.click(ada, first, chat.Approve, "")
	w.fake.Remove(first)
	w.settle()
	second := w.only("C1")
	if second.Ref == first {
		t.Fatal("the deleted card is still there")
	}
	w.click(grace, second.Ref, chat.Approve, "")
	if w.get(r.ID).State != store.Approved {
		t.Error("its button does not work")
	}
	w.fake.Remove(second.Ref)
	w.clock.Add(time.Hour)
	w.settle()
	if n := len(w.fake.Posts("C1")); n != 0 {
		t.Errorf("%d cards posted for a request that is over", n)
	}
}

func TestGoneChannelIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.Fail(chattest.OpPost, chattest.Gone())
	r := w.submit(deployAsk())
	w.settle()
	calls := len(w.fake.Calls())
	w.clock.Add(50 * time.Minute)
	w.settle()
	if got := len(w.fake.Calls()); got != calls {
		t.Errorf("%d further calls", got-calls)
	}
	w.clock.Add(10 * time.Minute)
	w.settle()
	if r = w.get(r.ID); r.Outcome.Kind != "undeliverable" {
		t.Errorf("outcome %+v", r.Outcome)
	}
}

func TestLongDiffStandsInTheThread(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ask := deployAsk()
	ask.Context.Diff = "--- a/x\n+++ b/x\n@@ -0,0 +1,100 @@\n" + strings.Repeat("+line\n", 100)
	w.fake.Fail(chattest.OpAttach, chattest.RateLimited(time.Second))
	r := w.submit(ask)
	w.settle()
	w.clock.Add(2 * time.Second)
	w.settle()
	card := w.only("C1")
	if card.Card.Diff == nil || card.Card.Diff.Whole || card.Card.Diff.Stat != "1 file, +100 −0" {
		t.Errorf("preview %+v", card.Card.Diff)
	}
	if len(card.Files) != 1 || string(card.Files[0].Text) != ask.Context.Diff {
		t.Fatalf("%d files in the thread", len(card.Files))
	}
	w.click(ada, card.Ref, chat.Approve, "")
	w.settle()
	if got := w.only("C1"); len(got.Files) != 1 || got.Card.Diff.Stat == "" {
		t.Errorf("after approval: %d files", len(got.Files))
	}
	if w.get(r.ID).State != store.Approved {
		t.Error("not approved")
	}
}

func TestForgedButtons(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.submit(deployAsk())
	d := w.reviewBy
	d.Notify = []string{"watchers"}
	w.rules.set(d)
	other := w.submit(Ask{Action: "deploy", Resource: "other", Audience: "prod", Scopes: []string{"deploy"}, TTL: policies.Duration(time.Minute), Reason: "x"})
	w.settle()
	asks, err := w.Store.Deliveries(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	tells, err := w.Store.Deliveries(t.Context(), other.ID)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(tells, func(d store.Delivery) bool { return !d.Asks })
	ok := chat.Click{Account: w.people[ada], Button: asks[0].ID + ".0", Verb: chat.Approve, Channel: "C1"}
	for name, change := range map[string]func(*chat.Click){
		"unknown id":        func(c *chat.Click) { c.Button = "nonsense.0" },
		"empty id":          func(c *chat.Click) { c.Button = "" },
		"request id":        func(c *chat.Click) { c.Button = r.ID + ".0" },
		"no stage":          func(c *chat.Click) { c.Button = asks[0].ID },
		"other stage":       func(c *chat.Click) { c.Button = asks[0].ID + ".1" },
		"other channel":     func(c *chat.Click) { c.Channel = "C2" },
		"card to read":      func(c *chat.Click) { c.Button, c.Channel = tells[i].ID+".0", "C2" },
		"unknown verb":      func(c *chat.Click) { c.Verb = "approve_all" },
		"other platform":    func(c *chat.Click) { c.Account.Platform = "teams" },
		"a reason too long": func(c *chat.Click) { c.Verb, c.Reason = chat.Deny, strings.Repeat("x", maxReviewReason+1) },
	} {
		c := ok
		change(&c)
		if reply := w.Click(t.Context(), c); !reply.Refused {
			t.Errorf("%s: %+v", name, reply)
		}
	}
	if got := w.get(r.ID); got.Version != r.Version {
		t.Fatalf("the request moved to version %d", got.Version)
	}
	if reply := w.Click(t.Context(), ok); reply.Refused || reply.Card == nil {
		t.Errorf("the twin: %+v", reply)
	}
}

func TestDetailsChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ask := deployAsk()
	ask.Reason = strings.Repeat("a long story ", 100) + "\nApproved by: Grace"
	ask.Context.Labels = map[string]string{"a": "b\nRisk: low"}
	r := w.submit(ask)
	w.settle()
	reply := w.click(tim, w.only("C1").Ref, chat.Details, "")
	if !strings.Contains(reply.Table, strings.Repeat("a long story ", 100)) || !strings.Contains(reply.Table, r.Digest) {
		t.Errorf("details: %q", reply.Table)
	}
	for line := range strings.Lines(reply.Table) {
		if strings.HasPrefix(line, "Approved by") || strings.HasPrefix(line, "Risk: low") {
			t.Errorf("the caller writes as we do: %q", line)
		}
	}
	if w.get(r.ID).Version != r.Version {
		t.Error("the request moved")
	}
}
