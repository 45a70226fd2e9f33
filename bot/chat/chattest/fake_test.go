package chattest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/countersign/countersign/bot/chat"
)

// fakeWorld acts in a Fake as the contract wants it.
type fakeWorld struct{ f *Fake }

func (w fakeWorld) Listen(_ testing.TB, h chat.Handler) { w.f.Listen(h) }

func (w fakeWorld) Press(t testing.TB, who chat.Account, ref string, v chat.Verb) {
	if _, err := w.f.Click(t.Context(), who, ref, v, ""); err != nil {
		t.Error(err)
	}
}

func (w fakeWorld) Repeat(t testing.TB, who chat.Account, ref string, v chat.Verb) {
	w.Press(t, who, ref, v)
	w.Press(t, who, ref, v)
}

func (w fakeWorld) Form(_ testing.TB, who chat.Account) string {
	p, ok := w.f.Form(who)
	if !ok {
		return ""
	}
	return fmt.Sprint(p.Title, p.Facts, p.Label, p.Submit)
}

func (w fakeWorld) Send(t testing.TB, who chat.Account, reason string) {
	if _, err := w.f.Submit(t.Context(), who, reason); err != nil {
		t.Error(err)
	}
}

func (w fakeWorld) Type(t testing.TB, who chat.Account, channel, line string) {
	if _, err := w.f.Command(t.Context(), who, channel, line); err != nil {
		t.Error(err)
	}
}

func (w fakeWorld) Face(t testing.TB, ref string) Face {
	p, ok := w.f.Posted(ref)
	if !ok {
		t.Fatalf("no card under %q", ref)
	}
	face := Face{Text: Text(p.Card)}
	for _, a := range p.Card.Actions {
		face.Buttons = append(face.Buttons, a.Verb)
	}
	for _, m := range p.Card.Mentions {
		if m.Group == "release" {
			face.Live = append(face.Live, m.Group)
		}
	}
	return face
}

func (w fakeWorld) Thread(_ testing.TB, ref string) []string {
	p, _ := w.f.Posted(ref)
	thread := p.Thread
	for _, f := range p.Files {
		thread = append(thread, string(f.Text))
	}
	return thread
}

func (w fakeWorld) Private(_ testing.TB, who chat.Account) []string { return w.f.Direct(who) }

func fakeHarness(testing.TB) *Harness {
	f := NewFake("fake")
	f.Deadline = 100 * time.Millisecond
	guest := f.Join("gus", chat.Member{Known: true, Human: true, Active: true})
	person := f.Person("ada")
	arm := func(op Op, ft Fault) func(testing.TB) { return func(testing.TB) { f.Fail(op, ft) } }
	return &Harness{
		AnswersWithCard: true,
		Platform:        f, World: fakeWorld{f}, Channel: "deploys", Person: person, Other: f.Person("grace"),
		Mention: chat.Mention{Group: "release"},
		Escaped: func(r rune) string { return fmt.Sprintf("⟨U+%04X⟩", r) },
		Marker:  "more characters", MaxText: 1 << 20,
		Members: []MemberCase{
			{"a guest", guest, chat.Member{Known: true, Human: true, Active: true}},
			{"a stranger", chat.Account{Platform: "fake", Space: "T-fake", ID: "nobody"}, chat.Member{}},
		},
		Faults: []FaultCase{
			{Name: "limited", Op: OpPost, Arm: arm(OpPost, RateLimited(7*time.Second)), Want: chat.RateLimited, After: 7 * time.Second},
			{Name: "lost", Op: OpPost, Arm: arm(OpPost, Lost()), Want: chat.Ambiguous, Happened: true},
			{Name: "dropped", Op: OpPost, Arm: arm(OpPost, Dropped()), Want: chat.Ambiguous},
			{Name: "down", Op: OpUpdate, Arm: arm(OpUpdate, Down()), Want: chat.Retry},
			{Name: "gone", Op: OpUpdate, Arm: arm(OpUpdate, Gone()), Want: chat.Gone},
			{Name: "misconfigured", Op: OpCheck, Arm: arm(OpCheck, Misconfigured()), Want: chat.Misconfigured},
		},
		Forgeries: []Forgery{{Name: "a command", Genuine: true, Send: func(t testing.TB, _ string) {
			_, _ = f.Command(context.WithoutCancel(t.Context()), person, "deploys", "pending")
		}}},
		Log: func() string { return "" },
	}
}

func TestFake(t *testing.T) {
	t.Parallel()
	Run(t, fakeHarness)
}

func TestFakeFaults(t *testing.T) {
	t.Parallel()
	f := NewFake("fake")
	f.Fail(OpPost, Down())
	f.Fail(OpFind, Unsupported())
	for range 3 {
		if _, err := f.Post(t.Context(), "c", Sample("d")); chat.ClassOf(err) != chat.Retry || err == nil {
			t.Fatalf("Post while down: %v", err)
		}
	}
	if _, err := f.Find(t.Context(), "c", "d", time.Time{}); !errors.Is(err, chat.ErrUnsupported) {
		t.Fatalf("Find: %v", err)
	}
	f.Heal()
	ref, err := f.Post(t.Context(), "c", Sample("d"))
	if err != nil {
		t.Fatalf("Post after Heal: %v", err)
	}
	if n := len(f.Posts("c")); n != 1 {
		t.Fatalf("%d cards stand in the channel", n)
	}
	f.Remove(ref)
	if err := f.Update(t.Context(), ref, Sample("d")); chat.ClassOf(err) != chat.Gone || err == nil {
		t.Fatalf("Update of a removed card: %v", err)
	}
	if _, err := f.Click(t.Context(), f.Person("ada"), ref, chat.Approve, ""); err == nil {
		t.Fatal("a removed card was clicked")
	}
}
