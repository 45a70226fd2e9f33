package bot

import (
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/store"
)

func (w *world) say(who, text string) chat.Reply {
	w.t.Helper()
	return w.Broker.Command(w.t.Context(), chat.Command{Account: w.people[who], Text: text})
}

func TestCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.submit(deployAsk())
	code := r.Code

	if got := w.say(ada, "pending"); !strings.Contains(got.Table, code) || !strings.Contains(got.Table, "for you") {
		t.Errorf("pending for an approver: %+v", got)
	}
	if got := w.say(olga, "pending"); !strings.Contains(got.Table, code) || strings.Contains(got.Table, "for you") {
		t.Errorf("pending for the owner: %+v", got)
	}
	if got := w.say(ada, "show "+strings.ToLower(code)); got.Card == nil || got.Card.Code != code || len(got.Card.Actions) != 0 {
		t.Errorf("show: %+v", got)
	}
	if got := w.say(ada, "show "+r.ID); got.Card == nil {
		t.Errorf("show by id: %+v", got)
	}
	if got := w.say(ada, "deny "+code); !got.Refused || !strings.Contains(got.Text, "REASON") {
		t.Errorf("deny without a reason: %+v", got)
	}
	if got := w.say(olga, "approve "+code); !got.Refused {
		t.Errorf("approve by somebody who may not: %+v", got)
	}
	if got := w.say(ada, "approve "+code+" looks good"); got.Refused {
		t.Errorf("approve: %+v", got)
	}
	if got := w.get(r.ID); got.State != store.Approved || got.Reviews[0].Reason != "looks good" {
		t.Fatalf("after approve: %+v", got)
	}
	if got := w.say(ada, "mine"); !strings.Contains(got.Table, code) {
		t.Errorf("mine: %+v", got)
	}
	if got := w.say(grace, "audit request:"+code); !strings.Contains(got.Table, "approved") || !strings.Contains(got.Table, "asked") {
		t.Errorf("audit: %+v", got)
	}
	if got := w.say(ada, "audit"); !got.Refused || got.Table != "" {
		t.Errorf("audit by somebody who may not: %+v", got)
	}
	if got := w.say(ada, "revoke "+code+" wrong build"); got.Refused || w.get(r.ID).State != store.Revoked {
		t.Errorf("revoke: %+v", got)
	}
	if got := w.say(ada, "pending"); got.Table != "" {
		t.Errorf("pending when nothing waits: %+v", got)
	}
	for text, want := range map[string]string{
		"aprove X": `"approve"`, "": "code", "help": "code", "florble": `"help"`, "show": "Name a request", "show NOSUCH": "There is no request",
	} {
		if got := w.say(ada, text); !strings.Contains(got.Text, want) {
			t.Errorf("%q: %q, want %q in it", text, got.Text, want)
		}
	}
	if got := w.Broker.Command(t.Context(), chat.Command{Account: w.people[gus], Text: "pending"}); !got.Refused {
		t.Errorf("a guest: %+v", got)
	}
}

// TestForeignRequestsDoNotShow: who has nothing to do with a request cannot
// tell it from one that does not exist.
func TestForeignRequestsDoNotShow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.reviewBy
	d.Stages[0].Approvers.Groups = []string{"security"}
	w.rules.set(d)
	r := w.submit(deployAsk())
	for _, text := range []string{"show ", "approve ", "revoke "} {
		got := w.say(ada, text+r.Code)
		none := w.say(ada, text+"000000")
		if !got.Refused || strings.ReplaceAll(got.Text, r.Code, "") != strings.ReplaceAll(none.Text, "000000", "") {
			t.Errorf("%q tells: %q against %q", text, got.Text, none.Text)
		}
	}
	if got := w.say(ada, "pending"); got.Table != "" {
		t.Errorf("pending: %q", got.Table)
	}
	if got := w.say(grace, "show "+r.Code); got.Card == nil {
		t.Errorf("the twin: %+v", got)
	}
}

func TestAuditFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.submit(deployAsk())
	w.say(ada, "approve "+r.Code)
	w.clock.Add(48 * time.Hour)
	second := deployAsk()
	second.Context.Environment = "staging"
	w.submit(second)
	for filter, want := range map[string]int{
		"": 6, "type:asked": 2, "approver:Ada": 1, "approver:" + ada: 1, "approver:Grace": 0, "env:staging": 2, "env:production": 4,
		"outcome:approved": 4, "outcome:denied": 0, `approver:"Ada"`: 1, `"actor:Ada"`: 2, "action:deploy": 6, "action:other": 0, "account:ci": 6, "actor:machine": 2, "since:1d": 2, "until:24h": 4,
		"since:2026-11-21": 2, "until:2026-11-21T00:00:00Z type:reviewed": 1, "request:" + r.ID: 4, "before:4": 4, "since:1d type:reviewed": 0,
	} {
		q, err := ParseAuditQuery(filter, w.clock.Now())
		if err != nil {
			t.Errorf("%q: %v", filter, err)
			continue
		}
		q.Limit = 100
		page, err := w.Audit(t.Context(), q)
		if err != nil || len(page.Entries) != want {
			t.Errorf("%q: %d entries (%v), want %d", filter, len(page.Entries), err, want)
		}
	}
	for _, bad := range []string{"nonsense", "colour:red", "since:yesterday", "before:x", "type:", "type:nonsense", "outcome:rejected"} {
		if _, err := ParseAuditQuery(bad, w.clock.Now()); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestAuditPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 5 {
		w.submit(deployAsk())
	}
	var seen []uint64
	q := AuditQuery{Type: "asked", Limit: 2}
	for {
		page, err := w.Audit(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			seen = append(seen, e.Seq)
		}
		if page.Next == "" {
			break
		}
		next, err := ParseAuditQuery("before:"+page.Next, w.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		q.Before = next.Before
	}
	if len(seen) != 5 || seen[0] != 8 || seen[4] != 0 {
		t.Errorf("pages held %v", seen)
	}
}

func FuzzParseAuditQuery(f *testing.F) {
	f.Add("actor:ada since:30d before:12")
	f.Add("::: since:-1h until:9999-99-99")
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		q, err := ParseAuditQuery(text, now)
		if err == nil && len(words(text)) == 0 && q != (AuditQuery{}) {
			t.Errorf("nothing selected %+v", q)
		}
	})
}
