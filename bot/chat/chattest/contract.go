package chattest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/bot/chat"
)

// Run runs the contract of a chat platform. fresh makes a harness whose world
// nobody else uses; the tests run in parallel.
func Run(t *testing.T, fresh func(t testing.TB) *Harness) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, h *Harness)
	}{
		{"a posted card can be seen and updated", testPost},
		{"notes and files stand below the card", testThread},
		{"a lost answer can be found", testFind},
		{"a reference that is none is gone", testBadRef},
		{"a cancelled call comes back", testCancelled},
		{"members", testMembers},
		{"a click reaches the handler", testClick},
		{"the same delivery twice is the same click", testTwice},
		{"forgeries never reach the handler", testForgeries},
		{"the reply's card replaces the clicked one", testReplyCard},
		{"a refusal is private", testRefused},
		{"a prompt leads to the same click with a reason", testPrompt},
		{"a command is answered in private", testCommand},
		{"a late handler confirms nothing", testLate},
		{"a handler that panics confirms nothing", testPanic},
		{"untrusted text is inert and visible", testHostile},
		{"long text is cut on a character with a marker", testLong},
		{"a decided card has no buttons", testDecided},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := fresh(t)
			test.run(t, h)
			h.clean(t)
		})
	}
	t.Run("errors", func(t *testing.T) { t.Parallel(); testFaults(t, fresh) })
}

// Sample is a card that waits for a review; delivery makes it one of a kind.
func Sample(delivery string) chat.Card {
	return chat.Card{
		Delivery: delivery, Button: delivery, Request: "01J9Z8Q6T0V5M3K7W2X4Y6A8C0", Version: 1,
		Digest: strings.Repeat("ab", 32), Code: "K7M2QX",
		Title: "db.migrate on orders", State: "Waiting for 1 of 2 approvals", Mood: chat.Waiting,
		Summary: "db.migrate on prod/orders waits for approval",
		Fields: []chat.Field{
			{Label: "Resource", Value: "prod/orders"}, {Label: "Environment", Value: "production"},
			{Label: "Subject", Value: "ci/deploy"},
		},
		Policy: []string{"production asks for two people"},
		Says:   []chat.Field{{Label: "Reason", Value: "add an index"}},
		Checks: []chat.Check{{Name: "unit tests", Status: "passed", Value: "120/120"}},
		Diff:   &chat.Diff{Stat: "1 file, +2 −0", Preview: "+create index\n+on orders (id)", Whole: true},
		Links:  []chat.Link{{Title: "the run", URL: "https://ci.example.com/runs/42"}},
		Actions: []chat.Action{
			{Verb: chat.Approve, Label: "Approve"}, {Verb: chat.Deny, Label: "Deny", Input: true}, {Verb: chat.Details, Label: "Details"},
		},
	}
}

func decided(c chat.Card) chat.Card {
	c.Version++
	c.State, c.Mood, c.Actions, c.Mentions = "Approved by Ada and Grace", chat.Good, nil, nil
	c.Reviews = []string{"Ada approved", "Grace approved: looks right"}
	return c
}

func post(t *testing.T, h *Harness, c chat.Card) string {
	t.Helper()
	ref, err := h.Platform.Post(t.Context(), h.Channel, c)
	if err != nil {
		t.Fatalf("Post: %v", err)
	}
	if ref == "" {
		t.Fatal("Post returned no reference and no error")
	}
	return ref
}

func testPost(t *testing.T, h *Harness) {
	c := Sample("d-post")
	ref := post(t, h, c)
	face := h.World.Face(t, ref)
	for _, want := range []string{
		c.Title, c.State, c.Code, "prod/orders", "production", "production asks for two people",
		"add an index", "unit tests", "create index", "https://ci.example.com/runs/42", "the run",
	} {
		if !strings.Contains(face.Text, want) {
			t.Errorf("the card does not show %q:\n%s", want, face.Text)
		}
	}
	if want := []chat.Verb{chat.Approve, chat.Deny, chat.Details}; !slices.Equal(face.Buttons, want) {
		t.Errorf("the buttons are %v, not %v", face.Buttons, want)
	}
	c.Version, c.State = 2, "Waiting for 1 more approval"
	if err := h.Platform.Update(t.Context(), ref, c); err != nil {
		t.Fatalf("Update: %v", err)
	}
	if face := h.World.Face(t, ref); !strings.Contains(face.Text, c.State) || strings.Contains(face.Text, "1 of 2") {
		t.Errorf("the updated card shows:\n%s", face.Text)
	}
}

func testThread(t *testing.T, h *Harness) {
	ref := post(t, h, Sample("d-thread"))
	if err := h.Platform.Note(t.Context(), ref, "15 minutes are left"); err != nil {
		t.Fatalf("Note: %v", err)
	}
	if err := h.Platform.Attach(t.Context(), ref, chat.File{Name: "change.diff", Title: "The change", Text: []byte("+one\n-two\n")}); err != nil {
		t.Fatalf("Attach: %v", err)
	}
	thread := h.World.Thread(t, ref)
	if !anyContains(thread, "15 minutes are left") || !anyContains(thread, "+one\n-two\n") {
		t.Errorf("the thread shows %q", thread)
	}
	if err := h.Platform.Attach(t.Context(), ref, chat.File{Name: "empty.diff"}); err != nil {
		t.Errorf("Attach of an empty file: %v", err)
	}
}

func testFind(t *testing.T, h *Harness) {
	since := time.Now().Add(-time.Minute)
	if refs, err := h.Platform.Find(t.Context(), h.Channel, "d-lost", since); err != nil || len(refs) != 0 {
		t.Fatalf("Find before the post: %v, %v", refs, err)
	}
	post(t, h, Sample("d-other"))
	tried := 0
	for _, f := range h.Faults {
		if f.Op != OpPost || !f.Happened {
			continue
		}
		tried++
		delivery := fmt.Sprintf("d-lost-%d", tried)
		f.Arm(t)
		if _, err := h.Platform.Post(t.Context(), h.Channel, Sample(delivery)); chat.ClassOf(err) != chat.Ambiguous || err == nil {
			t.Fatalf("%s: Post returned %v, not an ambiguous error", f.Name, err)
		}
		refs, err := h.Platform.Find(t.Context(), h.Channel, delivery, since)
		if err != nil || len(refs) != 1 {
			t.Fatalf("%s: Find: %v, %v; there is one", f.Name, refs, err)
		}
		if err := h.Platform.Update(t.Context(), refs[0], decided(Sample(delivery))); err != nil {
			t.Errorf("%s: the found card cannot be updated: %v", f.Name, err)
		}
	}
	if tried == 0 {
		t.Error("the harness has no fault that loses the answer of a post")
	}
}

func testBadRef(t *testing.T, h *Harness) {
	for _, ref := range []string{"", "nonsense", "C0:1", h.Channel} {
		if err := h.Platform.Update(t.Context(), ref, Sample("d-bad")); err == nil || chat.ClassOf(err) != chat.Gone {
			t.Errorf("Update(%q): %v, not gone", ref, err)
		}
		if err := h.Platform.Note(t.Context(), ref, "hello"); err == nil || chat.ClassOf(err) != chat.Gone {
			t.Errorf("Note(%q): %v, not gone", ref, err)
		}
	}
}

func testCancelled(t *testing.T, h *Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Platform.Post(ctx, h.Channel, Sample("d-cancelled"))
	if err == nil {
		t.Fatal("a cancelled Post succeeded")
	}
	if c := chat.ClassOf(err); c != chat.Retry && c != chat.Ambiguous {
		t.Errorf("a cancelled Post is %v", c)
	}
	h.clean(t, err.Error())
}

func testMembers(t *testing.T, h *Harness) {
	for _, m := range append(h.Members,
		MemberCase{Name: "nobody"},
		MemberCase{Name: "no id", Account: chat.Account{Platform: h.Person.Platform, Space: h.Person.Space}},
		MemberCase{Name: "no space", Account: chat.Account{Platform: h.Person.Platform, ID: h.Person.ID}},
		MemberCase{Name: "another platform", Account: chat.Account{Platform: "elsewhere", Space: h.Person.Space, ID: h.Person.ID}},
		MemberCase{Name: "a full member", Account: h.Person, Want: chat.Member{Known: true, Human: true, Active: true, Home: true}},
	) {
		got, err := h.Platform.Member(t.Context(), m.Account)
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		got.Name = m.Want.Name
		if got != m.Want {
			t.Errorf("%s: %+v, not %+v", m.Name, got, m.Want)
		}
	}
}

func testDecided(t *testing.T, h *Harness) {
	c := Sample("d-decided")
	c.Mentions = []chat.Mention{h.Mention}
	ref := post(t, h, c)
	if err := h.Platform.Update(t.Context(), ref, decided(c)); err != nil {
		t.Fatalf("Update: %v", err)
	}
	face := h.World.Face(t, ref)
	if len(face.Buttons) != 0 || len(face.Live) != 0 {
		t.Errorf("the decided card has %v and %q", face.Buttons, face.Live)
	}
	for _, want := range []string{"Approved by Ada and Grace", "Grace approved: looks right", "prod/orders", c.Code} {
		if !strings.Contains(face.Text, want) {
			t.Errorf("the decided card does not show %q:\n%s", want, face.Text)
		}
	}
}
