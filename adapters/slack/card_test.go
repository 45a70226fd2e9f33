package slack_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	slackgo "github.com/slack-go/slack"

	"github.com/countersign/countersign/adapters/slack"
	"github.com/countersign/countersign/bot/chat"
)

var update = flag.Bool("update", false, "write the golden files")

// deadline is the fixed clock of the cards.
var deadline = time.Date(2026, 11, 20, 13, 30, 0, 0, time.UTC)

// waiting is a request that waits for two people, drawn with all that a card has.
func waiting() chat.Card {
	return chat.Card{
		Delivery: "dlv_5f0c2b7de1a94c33", Button: "dlv_5f0c2b7de1a94c33", Request: "01J9Z8Q6T0V5M3K7W2X4Y6A8C0", Version: 1,
		Digest: "9f2c4c1a7be0d35586b1f6a3c7e2d9405a8b3c6d1e4f70928371a6b5c4d3e2f1", Code: "K7M2QX",
		Title: "db.migrate on prod/orders", State: "Waiting for 2 approvals (stage 1 of 1: release)", Mood: chat.Waiting,
		Summary: "db.migrate on prod/orders waits for approval (K7M2QX)",
		Fields: []chat.Field{
			{Label: "Resource", Value: "prod/orders"},
			{Label: "Action", Value: "db.migrate"},
			{Label: "Environment", Value: "production"},
			{Label: "Audience", Value: "https://db.example.com"},
			{Label: "Scopes", Value: "db:write db:read"},
			{Label: "TTL", Value: "15m0s"},
			{Label: "Subject", Value: "gitlab.example.com: project_path:shop/orders:ref_type:branch:ref:main"},
			{Label: "Run", Value: "pipeline 4711, job migrate, attempt 1"},
			{Label: "Triggered by", Value: "Tim Okafor"},
			{Label: "Risk", Value: "high"},
		},
		Policy: []string{"Policy asks for review", "production databases need two people of release", "the change is larger than 20 lines"},
		Says:   []chat.Field{{Label: "Reason", Value: "add an index for the order search\nsee the runbook"}, {Label: "Tickets", Value: "SHOP-118"}},
		Checks: []chat.Check{
			{Name: "unit tests", Status: "passed", Value: "812/812"},
			{Name: "coverage", Status: "failed", Value: "71 %", Threshold: "80 %"},
			{Name: "load test", Status: "pending"},
			{Name: "licence scan", Status: "skipped"},
		},
		Diff: &chat.Diff{Stat: "2 files, +31 −4", Preview: "--- a/schema.sql\n+++ b/schema.sql\n@@ -12,3 +12,4 @@\n create table orders (\n+create index orders_by_day on orders (day);\n", Whole: false},
		Links: []chat.Link{
			{Title: "Pipeline", URL: "https://gitlab.example.com/shop/orders/-/pipelines/4711"},
			{Title: "Runbook", URL: "https://wiki.example.com/runbooks/orders"},
		},
		Deadline: deadline,
		Mentions: []chat.Mention{{Group: "S0RELEASE"}, {Account: chat.Account{Platform: "slack", Space: "T0HARBOR", ID: "U0ADA"}}},
		Actions: []chat.Action{
			{Verb: chat.Approve, Label: "Approve"}, {Verb: chat.Deny, Label: "Deny", Input: true}, {Verb: chat.Details, Label: "Details"},
		},
	}
}

// end is a card that can no longer be decided.
func end(version uint64, mood chat.Mood, state string, reviews ...string) chat.Card {
	c := waiting()
	c.Version, c.Mood, c.State, c.Reviews = version, mood, state, reviews
	c.Mentions, c.Actions, c.Deadline = nil, nil, time.Time{}
	return c
}

// cards are all states of a card.
func cards() map[string]chat.Card {
	one := waiting()
	one.Version, one.State = 2, "Waiting for 1 more approval (stage 1 of 1: release)"
	one.Reviews = []string{"✓ Ada Byron approved at 13:04:12 UTC: index looks right"}
	policy := end(1, chat.Good, "Approved by policy")
	policy.Policy = []string{"staging is open to the deploy bot"}
	fyi := waiting()
	fyi.Actions, fyi.Mentions = nil, nil
	approved := end(3, chat.Good, "Approved by Ada Byron and Grace Hopper", "✓ Ada Byron approved at 13:04:12 UTC: index looks right", "✓ Grace Hopper approved at 13:06:40 UTC")
	approved.Actions = []chat.Action{{Verb: chat.Revoke, Label: "Revoke"}}
	hostile := waiting()
	evil := "prod<!channel> <@U0ADA> <https://evil.example|good> *bold* `code` :white_check_mark: \u202egnp.exe\u2066 \u200b\u00a0\u0000\u001b[2J\nResource: staging"
	hostile.Title, hostile.Summary, hostile.Fields[0].Value, hostile.Fields[6].Value = evil, evil, evil, evil
	hostile.Policy, hostile.Reviews = []string{evil}, []string{evil}
	hostile.Says = []chat.Field{{Label: "Reason", Value: evil + strings.Repeat("a very long reason ", 400)}}
	hostile.Checks = append(hostile.Checks, chat.Check{Name: evil, Status: evil})
	hostile.Diff = &chat.Diff{Stat: evil, Preview: strings.Repeat("+"+evil+"\n", 400)}
	hostile.Links = []chat.Link{{Title: "https://good.example", URL: "https://evil.example/\u202e"}, {Title: evil, URL: "javascript:alert(1)"}, {Title: "user", URL: "https://good.example@evil.example/"}}
	hostile.Mentions = append(hostile.Mentions, chat.Mention{Group: "S1> <!channel"})
	return map[string]chat.Card{
		"waiting":              waiting(),
		"waiting-one-approval": one,
		"approved-by-people":   approved,
		"approved-by-policy":   policy,
		"denied-by-person":     end(2, chat.Bad, "Denied by Grace Hopper", "✗ Grace Hopper denied at 13:05:01 UTC: not on a Friday"),
		"expired":              end(2, chat.Over, "Expired at 13:30:00 UTC: 0 of 2 approvals"),
		"cancelled":            end(2, chat.Over, "Cancelled by the caller at 13:02:00 UTC"),
		"revoked":              end(5, chat.Bad, "Revoked by Ada Byron: the migration locks the table", "✓ Ada Byron approved at 13:04:12 UTC", "✓ Grace Hopper approved at 13:06:40 UTC"),
		"issued":               end(4, chat.Good, "Approved; credential issued at 13:07:02 UTC, valid until 13:22:02 UTC", "✓ Ada Byron approved at 13:04:12 UTC", "✓ Grace Hopper approved at 13:06:40 UTC"),
		"ended":                end(6, chat.Over, "Ended: the credential ran out at 13:22:02 UTC", "✓ Ada Byron approved at 13:04:12 UTC", "✓ Grace Hopper approved at 13:06:40 UTC"),
		"fyi":                  fyi,
		"hostile":              hostile,
	}
}

func denyPrompt() chat.Prompt {
	return chat.Prompt{
		Button: "dlv_5f0c2b7de1a94c33", Verb: chat.Deny, Title: "Deny this request", Label: "Why? The caller will read it.",
		Submit: "Deny", MaxLength: 500,
		Facts: []chat.Field{{Label: "Resource", Value: "prod/orders"}, {Label: "Action", Value: "db.migrate"}, {Label: "Short code", Value: "K7M2QX"}},
	}
}

func TestCardsGolden(t *testing.T) {
	t.Parallel()
	for name, c := range cards() {
		blocks := slack.Face(c)
		if err := slack.CheckBlocks(blocks); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		golden(t, filepath.Join("testdata", "cards", name+".json"), map[string]any{"blocks": blocks})
	}
}

func TestViewsGolden(t *testing.T) {
	t.Parallel()
	deny, err := slack.FormView(denyPrompt(), "C0DEPLOYS", "C0DEPLOYS:1795179600.000100")
	if err != nil {
		t.Fatal(err)
	}
	for name, view := range map[string]slackgo.ModalViewRequest{
		"deny":    deny,
		"refused": slack.MessageView(chat.Reply{Text: "You started this run yourself.", Table: "stage    quorum\nrelease  0/2"}),
	} {
		if err := slack.CheckView(view); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		golden(t, filepath.Join("testdata", "views", name+".view.json"), view)
	}
}

// golden compares v with a file, or writes it.
func golden(t *testing.T, path string, v any) {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, b.Bytes()) {
		t.Errorf("%s differs; run go test -update and read the change.\nIt is now:\n%s", path, b.String())
	}
}

func TestCardSaysEverything(t *testing.T) {
	t.Parallel()
	face := seenBlocks(t, slack.Face(waiting()))
	for _, want := range []string{
		"db.migrate on prod/orders", "Waiting for 2 approvals", "K7M2QX", "Resource", "prod/orders", "production", "https://db.example.com",
		"db:write db:read", "15m0s", "Tim Okafor", "high", "production databases need two people", "Caller says (unverified)",
		"add an index for the order search", "✓ passed: unit tests = 812/812", "✗ failed: coverage = 71 % (threshold 80 %)",
		"create index orders_by_day", "This is only a part", "SHOP-118", "https://gitlab.example.com/shop/orders/-/pipelines/4711",
		"9f2c4c1a7be0d355", "expires 2026-11-20 13:30:00 UTC",
	} {
		if !strings.Contains(face, want) {
			t.Errorf("the card does not show %q:\n%s", want, face)
		}
	}
	if at := strings.Index(face, "Resource"); at > strings.Index(face, "Action") {
		t.Error("the resource does not come first")
	}
}

func TestBlockIDsChangeWithTheVersion(t *testing.T) {
	t.Parallel()
	one, two := waiting(), waiting()
	two.Version = 2
	seen := map[string]bool{}
	for _, b := range slack.Decode(slack.Face(one)) {
		seen[b["block_id"].(string)] = true
	}
	for _, b := range slack.Decode(slack.Face(two)) {
		if id, _ := b["block_id"].(string); id == "" || seen[id] {
			t.Errorf("block_id %q stands in both versions", id)
		}
	}
}

func TestPreviewGivesWayFirst(t *testing.T) {
	t.Parallel()
	c := waiting()
	c.Diff.Preview = strings.Repeat("+<line>\n", 2000)
	c.Says[0].Value = strings.Repeat("word ", 250)
	for range 12 {
		c.Policy = append(c.Policy, strings.Repeat("because ", 45))
	}
	face := seenBlocks(t, slack.Face(c))
	if !strings.Contains(face, "prod/orders") || !strings.Contains(face, strings.Repeat("word ", 200)) {
		t.Errorf("the facts or the reason had to give way:\n%s", face)
	}
	if strings.Count(face, "+<line>") > 200 {
		t.Error("the preview did not give way")
	}
}

func TestFollowable(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"https://ci.example.com/runs/42?x=1#y": true, "http://ci.example.com/": true,
		"javascript:alert(1)": false, "https://good.example@evil.example/": false, "https://\u0430pple.example/": false,
		"https:///path": false, "//example.com": false, "": false, "https://example.com/a b": false, "file:///etc/passwd": false,
	} {
		if got := slack.Followable(address); got != want {
			t.Errorf("followable(%q) = %v", address, got)
		}
	}
}

func seenBlocks(t testing.TB, blocks []slackgo.Block) string {
	t.Helper()
	raw, err := json.Marshal(blocks)
	if err != nil {
		t.Fatal(err)
	}
	return seen(raw).Text
}

// FuzzCard holds that no card breaks a limit, whatever stands in it.
func FuzzCard(f *testing.F) {
	f.Add("title", "value\nline", uint16(3), uint64(1))
	f.Add("\u202e<!channel>", "\x00\xff\"\\<>&", uint16(900), uint64(1<<63))
	f.Add("😀e\u0301", "𝕳", uint16(40), uint64(7))
	f.Fuzz(func(t *testing.T, a, b string, n uint16, version uint64) {
		if len(a)+len(b) > 300 {
			return // length is the repetition's part; this keeps one run short
		}
		many := strings.Repeat(b, 1+int(n)%300)
		c := chat.Card{
			Delivery: a, Button: a, Request: a, Version: version, Digest: b, Code: b, Title: a, State: b, Mood: chat.Mood(a), Summary: a,
			Diff: &chat.Diff{Stat: a, Preview: many, Whole: n%2 == 0}, Deadline: deadline,
			Mentions: []chat.Mention{{Group: a}, {Account: chat.Account{Platform: "slack", Space: b, ID: a}}, {Group: "S1"}},
		}
		c.Delivery, c.Button = "d1", "d1"
		for i := range int(n) % 40 {
			v := many[:len(many)*i/40]
			c.Fields = append(c.Fields, chat.Field{Label: a, Value: v})
			c.Says = append(c.Says, chat.Field{Label: b, Value: v})
			c.Policy, c.Reviews = append(c.Policy, v), append(c.Reviews, b)
			c.Checks = append(c.Checks, chat.Check{Name: v, Status: a, Value: b, Threshold: a})
			c.Links = append(c.Links, chat.Link{Title: v, URL: "https://example.com/" + b})
		}
		for _, v := range []chat.Verb{chat.Approve, chat.Deny, chat.Details} {
			c.Actions = append(c.Actions, chat.Action{Verb: v, Label: a})
		}
		if err := slack.CheckBlocks(slack.Face(c)); err != nil {
			t.Errorf("the card: %v", err)
		}
		if err := slack.CheckBlocks(slack.Private(chat.Reply{Text: many, Table: many, Card: &c})); err != nil {
			t.Errorf("the private answer: %v", err)
		}
		view, err := slack.FormView(chat.Prompt{Button: "d1", Verb: chat.Deny, Title: a, Label: b, Submit: many, Facts: c.Fields, MaxLength: int(n)}, "C1", "C1:1.1")
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range []slackgo.ModalViewRequest{view, slack.MessageView(chat.Reply{Text: many, Table: many})} {
			if err := slack.CheckView(v); err != nil {
				t.Errorf("the view: %v", err)
			}
			if raw, _ := json.Marshal(slackgo.NewUpdateViewSubmissionResponse(&v)); len(raw) > slack.MaxAck {
				t.Errorf("the view has %d bytes and does not fit an acknowledgement", len(raw))
			}
		}
	})
}
