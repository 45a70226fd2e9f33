package chattest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

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
		Delivery: delivery, Request: "01J9Z8Q6T0V5M3K7W2X4Y6A8C0", Version: 1,
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

func testClick(t *testing.T, h *Harness) {
	ear := &Ear{}
	ear.OnClick = func(context.Context, chat.Click) chat.Reply { return chat.Reply{Text: "Heard."} }
	h.World.Listen(t, ear)
	ref := post(t, h, Sample("d-click"))
	for n, v := range []chat.Verb{chat.Approve, chat.Deny, chat.Details} {
		h.World.Press(t, h.Person, ref, v)
		Eventually(t, "the click and its answer", func() bool {
			return len(ear.Clicks()) == n+1 && len(h.World.Private(t, h.Person)) == n+1
		})
		got := ear.Clicks()[n]
		if age := time.Since(got.At).Abs(); age > time.Minute {
			t.Errorf("the click is %v old", age)
		}
		got.At = time.Time{}
		want := chat.Click{Account: h.Person, Delivery: "d-click", Verb: v, Channel: h.Channel, Ref: ref}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
}

func testTwice(t *testing.T, h *Harness) {
	ear := &Ear{}
	h.World.Listen(t, ear)
	ref := post(t, h, Sample("d-twice"))
	h.World.Repeat(t, h.Person, ref, chat.Approve)
	Eventually(t, "two clicks", func() bool { return len(ear.Clicks()) == 2 })
	clicks := ear.Clicks()
	clicks[0].At, clicks[1].At = time.Time{}, time.Time{}
	if d := cmp.Diff(clicks[0], clicks[1]); d != "" {
		t.Error(d)
	}
}

func testForgeries(t *testing.T, h *Harness) {
	ear := &Ear{}
	h.World.Listen(t, ear)
	ref := post(t, h, Sample("d-forged"))
	genuine := 0
	for _, f := range h.Forgeries {
		f.Send(t, ref)
		if f.Genuine {
			genuine++
			Eventually(t, f.Name, func() bool { return len(ear.Clicks())+len(ear.Commands()) == genuine })
		}
		if n := len(ear.Clicks()) + len(ear.Commands()); n != genuine {
			t.Fatalf("%s reached the handler", f.Name)
		}
	}
	if genuine == 0 {
		t.Error("the harness has no genuine delivery beside the forgeries")
	}
}

func testReplyCard(t *testing.T, h *Harness) {
	c := Sample("d-card")
	done := decided(c)
	h.World.Listen(t, &Ear{OnClick: func(context.Context, chat.Click) chat.Reply {
		return chat.Reply{Text: "You approved it.", Card: &done}
	}})
	ref := post(t, h, c)
	h.World.Press(t, h.Person, ref, chat.Approve)
	Eventually(t, "the new card", func() bool { return strings.Contains(h.World.Face(t, ref).Text, done.State) })
	Eventually(t, "the private answer", func() bool { return anyContains(h.World.Private(t, h.Person), "You approved it.") })
	if face := h.World.Face(t, ref); strings.Contains(face.Text, "You approved it.") || len(face.Buttons) != 0 {
		t.Errorf("the card shows %v and:\n%s", face.Buttons, face.Text)
	}
}

func testRefused(t *testing.T, h *Harness) {
	const secret = "You started this run yourself."
	h.World.Listen(t, &Ear{OnClick: func(context.Context, chat.Click) chat.Reply {
		return chat.Reply{Text: secret, Table: "who  when\nAda  now", Refused: true}
	}})
	ref := post(t, h, Sample("d-refused"))
	before := h.World.Face(t, ref)
	h.World.Press(t, h.Person, ref, chat.Approve)
	Eventually(t, "the refusal", func() bool { return anyContains(h.World.Private(t, h.Person), secret) })
	if !anyContains(h.World.Private(t, h.Person), "Ada  now") {
		t.Error("the table is not shown")
	}
	if anyContains(h.World.Private(t, h.Other), secret) || anyContains(h.World.Thread(t, ref), secret) {
		t.Error("others can read the refusal")
	}
	if d := cmp.Diff(before, h.World.Face(t, ref)); d != "" {
		t.Errorf("the card changed: %s", d)
	}
}

func testPrompt(t *testing.T, h *Harness) {
	ear := &Ear{OnClick: func(_ context.Context, c chat.Click) chat.Reply {
		switch {
		case c.Reason == "":
			return chat.Reply{Prompt: &chat.Prompt{
				Delivery: c.Delivery, Verb: c.Verb, Title: "Deny the request", Label: "Why?", Submit: "Deny", MaxLength: 500,
				Facts: []chat.Field{{Label: "Resource", Value: "prod/orders"}, {Label: "Code", Value: "K7M2QX"}},
			}}
		case len(c.Reason) < 5:
			return chat.Reply{Text: "Say a little more.", Refused: true}
		}
		return chat.Reply{Text: "You denied it."}
	}}
	h.World.Listen(t, ear)
	ref := post(t, h, Sample("d-prompt"))
	ask := func() {
		h.World.Press(t, h.Person, ref, chat.Deny)
		Eventually(t, "the form", func() bool { return h.World.Form(t, h.Person) != "" })
	}
	ask()
	for _, want := range []string{"prod/orders", "K7M2QX", "Why?"} {
		if form := h.World.Form(t, h.Person); !strings.Contains(form, want) {
			t.Errorf("the form does not show %q:\n%s", want, form)
		}
	}
	if h.World.Form(t, h.Other) != "" {
		t.Error("the form is open for others")
	}
	h.World.Send(t, h.Person, "no")
	Eventually(t, "the refusal", func() bool { return anyContains(h.World.Private(t, h.Person), "Say a little more.") })
	if h.World.Form(t, h.Person) == "" {
		ask()
	}
	h.World.Send(t, h.Person, "not on a Friday <!channel>")
	Eventually(t, "the answer", func() bool { return anyContains(h.World.Private(t, h.Person), "You denied it.") })
	clicks := ear.Clicks()
	first, last := clicks[0], clicks[len(clicks)-1]
	if last.Reason != "not on a Friday <!channel>" {
		t.Errorf("the reason is %q", last.Reason)
	}
	if last.Account != first.Account || last.Delivery != first.Delivery || last.Verb != first.Verb {
		t.Errorf("the click with a reason is %+v, the one without %+v", last, first)
	}
}

func testCommand(t *testing.T, h *Harness) {
	c := Sample("")
	c.Actions = nil
	ear := &Ear{OnCommand: func(context.Context, chat.Command) chat.Reply {
		return chat.Reply{Text: "One request waits.", Table: "code    what\nK7M2QX  db.migrate", Card: &c}
	}}
	h.World.Listen(t, ear)
	h.World.Type(t, h.Person, h.Channel, "show K7M2QX & <more>")
	Eventually(t, "the answer", func() bool { return anyContains(h.World.Private(t, h.Person), "One request waits.") })
	for _, want := range []string{"K7M2QX  db.migrate", "prod/orders"} {
		if !anyContains(h.World.Private(t, h.Person), want) {
			t.Errorf("the answer does not show %q: %q", want, h.World.Private(t, h.Person))
		}
	}
	if anyContains(h.World.Private(t, h.Other), "One request waits.") {
		t.Error("others can read the answer")
	}
	got := ear.Commands()[0]
	got.At = time.Time{}
	if d := cmp.Diff(chat.Command{Account: h.Person, Text: "show K7M2QX & <more>", Channel: h.Channel}, got); d != "" {
		t.Error(d)
	}
}

func testLate(t *testing.T, h *Harness) {
	free := make(chan struct{})
	h.World.Listen(t, &Ear{OnClick: func(ctx context.Context, _ chat.Click) chat.Reply {
		if _, limited := ctx.Deadline(); !limited {
			t.Error("the handler has no deadline")
		}
		<-free
		return chat.Reply{Text: "It is approved."}
	}})
	ref := post(t, h, Sample("d-late"))
	h.World.Press(t, h.Person, ref, chat.Approve)
	Eventually(t, "not confirmed, see the card", func() bool {
		shown := h.World.Private(t, h.Person)
		return anyContains(shown, "not confirmed") && anyContains(shown, "card")
	})
	close(free)
	if anyContains(h.World.Private(t, h.Person), "It is approved.") {
		t.Error("the late answer was shown as well")
	}
}

func testPanic(t *testing.T, h *Harness) {
	h.World.Listen(t, &Ear{OnClick: func(context.Context, chat.Click) chat.Reply { panic("a fault of the handler") }})
	ref := post(t, h, Sample("d-panic"))
	h.World.Press(t, h.Person, ref, chat.Approve)
	Eventually(t, "not confirmed", func() bool { return anyContains(h.World.Private(t, h.Person), "not confirmed") })
}

// hostile is what callers write to be taken for somebody else.
const hostile = "begin<!channel> <!here> <@U0123456789> <!subteam^S0123456789> <https://evil.example|https://good.example> " +
	"@everyone *bold* `code` [text](https://evil.example) <at>Ada</at> &lt;!channel&gt; :white_check_mark: " +
	"bidi\u202eltr\u2066 zero\u200bwidth\u200d\ufeff variation\ufe0f blank\u00a0\u3164 control\x00\x1b[31m\u0085 soft\u00ad tag\U000e0041 bad\xff\nForged: yes\r\nForged: also end"

func hostileCard(delivery string) chat.Card {
	c := Sample(delivery)
	c.Title, c.Summary = hostile, hostile
	c.Fields = []chat.Field{{Label: "Resource", Value: hostile}, {Label: "Subject", Value: "<!channel>"}}
	c.Policy, c.Reviews = []string{hostile}, []string{hostile}
	c.Says = []chat.Field{{Label: "Reason", Value: hostile}}
	c.Checks = []chat.Check{{Name: hostile, Status: hostile, Value: hostile, Threshold: hostile}}
	c.Diff = &chat.Diff{Stat: hostile, Preview: strings.ReplaceAll(hostile, "Forged:", "+Forged:"), Whole: true}
	c.Links = []chat.Link{
		{Title: hostile, URL: "https://good.example@evil.example/" + hostile}, {Title: "x", URL: "javascript:alert(1)"},
		{Title: "https://good.example", URL: "https://evil.example/\u202egnp"},
	}
	return c
}

func testHostile(t *testing.T, h *Harness) {
	tame := Sample("d-tame")
	tame.Mentions = []chat.Mention{h.Mention}
	want := h.World.Face(t, post(t, h, tame)).Live
	if len(want) != 1 {
		t.Fatalf("the mention is not live: %q", want)
	}
	c := hostileCard("d-hostile")
	c.Mentions = append(tame.Mentions, chat.Mention{Group: "S1> <!channel"},
		chat.Mention{Account: chat.Account{Platform: h.Person.Platform, Space: h.Person.Space, ID: "U1> <!here"}})
	ref := post(t, h, c)
	face := h.World.Face(t, ref)
	if d := cmp.Diff(want, face.Live); d != "" {
		t.Errorf("untrusted text is live: %s", d)
	}
	checkVisible(t, h, face.Text)
	for _, r := range []rune{0x202e, 0x2066, 0x200b, 0xfe0f, 0x3164, 0x1b, 0xad} {
		if !strings.Contains(face.Text, h.Escaped(r)) {
			t.Errorf("%U is not made visible", r)
		}
	}
	if !strings.Contains(face.Text, "<!channel>") {
		t.Error("the text is changed, not shown")
	}
	for line := range strings.Lines(face.Text) {
		if strings.HasPrefix(line, "Forged:") {
			t.Errorf("a value fakes a line of its own: %q", line)
		}
	}
	if err := h.Platform.Note(t.Context(), ref, hostile); err != nil {
		t.Fatalf("Note: %v", err)
	}
	checkVisible(t, h, strings.Join(h.World.Thread(t, ref), "\n"))
}

// checkVisible fails if a text holds what nobody can see.
func checkVisible(t *testing.T, h *Harness, text string) {
	t.Helper()
	if !utf8.ValidString(text) || strings.ContainsRune(text, utf8.RuneError) {
		t.Error("the text is no good UTF-8")
	}
	for _, r := range text {
		if r == '\n' || r == '\t' || r == ' ' {
			continue
		}
		if hidden(r) {
			t.Errorf("%U stands raw in the text; it should be %s", r, h.Escaped(r))
		}
	}
}

func testLong(t *testing.T, h *Harness) {
	for n, part := range []string{"é😀", "a", "<", "\u202e", "e\u0301", "\"\\\n"} {
		long := strings.Repeat(part, 1<<20/len(part))
		c := Sample(fmt.Sprintf("d-long-%d", n))
		c.Title, c.Summary, c.State = long, long, long
		c.Fields = append(c.Fields, chat.Field{Label: "Scopes", Value: long})
		c.Says[0].Value, c.Diff.Preview, c.Diff.Stat = long, long, long
		for range 100 {
			c.Policy = append(c.Policy, long[:1000])
			c.Reviews = append(c.Reviews, long[:1000])
			c.Checks = append(c.Checks, chat.Check{Name: long[:1000], Status: "failed"})
			c.Links = append(c.Links, chat.Link{Title: long[:1000], URL: "https://ci.example.com/" + long[:1000]})
			c.Fields = append(c.Fields, chat.Field{Label: "More", Value: long[:1000]})
		}
		ref := post(t, h, c)
		face := h.World.Face(t, ref)
		checkVisible(t, h, face.Text)
		if !strings.Contains(face.Text, h.Marker) {
			t.Errorf("%q: nothing tells that the text was cut", part)
		}
		if len(face.Text) > h.MaxText {
			t.Errorf("%q: the card shows %d bytes", part, len(face.Text))
		}
		if len(face.Buttons) != 3 || !strings.Contains(face.Text, "prod/orders") {
			t.Errorf("%q: the buttons or the resource had to give way", part)
		}
		if err := h.Platform.Update(t.Context(), ref, decided(c)); err != nil {
			t.Errorf("%q: Update: %v", part, err)
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

// testFaults goes through the table of errors, each in a world of its own.
func testFaults(t *testing.T, fresh func(t testing.TB) *Harness) {
	for n, f := range fresh(t).Faults {
		t.Run(string(f.Op)+" "+f.Name, func(t *testing.T) {
			t.Parallel()
			h := fresh(t)
			f := h.Faults[n]
			ref := post(t, h, Sample("d-before"))
			f.Arm(t)
			err := do(t, h, f.Op, ref)
			if err == nil {
				t.Fatal("no error")
			}
			h.clean(t, err.Error(), fmt.Sprintf("%+v", err))
			if got := chat.ClassOf(err); got != f.Want {
				t.Errorf("%v is %v, not %v", err, got, f.Want)
			}
			var e *chat.Error
			if e, _ = err.(*chat.Error); e == nil {
				t.Fatalf("%T is no *chat.Error", err)
			}
			if f.Want == chat.RateLimited && (f.After != e.After || e.After <= 0) {
				t.Errorf("wait %v, not %v", e.After, f.After)
			}
			if e.Code == "" || e.Op == "" {
				t.Errorf("%+v says too little", e)
			}
		})
	}
}

func do(t *testing.T, h *Harness, op Op, ref string) error {
	t.Helper()
	var err error
	switch op {
	case OpPost:
		_, err = h.Platform.Post(t.Context(), h.Channel, Sample("d-fault"))
	case OpUpdate:
		err = h.Platform.Update(t.Context(), ref, decided(Sample("d-before")))
	case OpNote:
		err = h.Platform.Note(t.Context(), ref, "a note")
	case OpAttach:
		err = h.Platform.Attach(t.Context(), ref, chat.File{Name: "f", Text: []byte("text")})
	case OpFind:
		_, err = h.Platform.Find(t.Context(), h.Channel, "d-before", time.Now().Add(-time.Hour))
	case OpMember:
		_, err = h.Platform.Member(t.Context(), h.Person)
	case OpCheck:
		err = h.Platform.Check(t.Context(), h.Channel)
	default:
		t.Fatalf("no such method: %s", op)
	}
	return err
}
