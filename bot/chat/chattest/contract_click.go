package chattest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/bot/chat"
)

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
		want := chat.Click{Account: h.Person, Button: "d-click", Verb: v, Channel: h.Channel, Ref: ref}
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
	Eventually(t, "the private answer", func() bool { return anyContains(h.World.Private(t, h.Person), "You approved it.") })
	shown := map[bool]chat.Card{true: done, false: c}[h.AnswersWithCard]
	Eventually(t, "the card", func() bool { return strings.Contains(h.World.Face(t, ref).Text, shown.State) })
	if face := h.World.Face(t, ref); strings.Contains(face.Text, "You approved it.") || len(face.Buttons) != len(shown.Actions) {
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
				Button: c.Button, Verb: c.Verb, Title: "Deny the request", Label: "Why?", Submit: "Deny", MaxLength: 500,
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
	if last.Account != first.Account || last.Button != first.Button || last.Verb != first.Verb {
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
