package slack_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/adapters/emulator"
	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/bot/chat/chattest"
)

// both runs a test by HTTP and by Socket Mode.
func both(t *testing.T, run func(t *testing.T, w *world)) {
	t.Helper()
	for name, socket := range map[string]bool{"HTTP": false, "Socket Mode": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, newWorld(t, socket, nil))
		})
	}
}

func (w *world) post(t testing.TB, c chat.Card) string {
	t.Helper()
	ref, err := w.app.Post(t.Context(), emulator.Deploys, c)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (w *world) fault(t testing.TB, f emulator.Fault) {
	t.Helper()
	if err := w.em.Inject(f); err != nil {
		t.Fatal(err)
	}
}

// told waits until a person was shown a text in private.
func (w *world) told(t testing.TB, who, text string) {
	t.Helper()
	chattest.Eventually(t, text, func() bool {
		return strings.Contains(strings.Join(w.Private(t, w.account(who)), "\n"), text)
	})
}

func TestAnotherWorkspaceIsTold(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, w *world) {
		ear := &chattest.Ear{}
		w.Listen(t, ear)
		ref := w.post(t, chattest.Sample("d"))
		twist := func(_ string, payload map[string]any) { payload["team"] = map[string]any{"id": "T0OTHER"} }
		w.twist.Store(&twist)
		w.Press(t, w.account(emulator.Ada), ref, chat.Approve)
		w.told(t, emulator.Ada, "This workspace is not one of those")
		if n := len(ear.Clicks()); n != 0 {
			t.Errorf("the handler heard %d clicks", n)
		}
	})
}

func TestResponseURLFails(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, w *world) {
		w.Listen(t, &chattest.Ear{OnClick: func(context.Context, chat.Click) chat.Reply { return chat.Reply{Text: "Approved by you."} }})
		ref := w.post(t, chattest.Sample("d"))
		w.fault(t, emulator.Fault{Method: "hook", Kind: emulator.Broken})
		w.Press(t, w.account(emulator.Ada), ref, chat.Approve)
		w.told(t, emulator.Ada, "Approved by you.")
		if n := len(w.em.Calls("chat.postEphemeral")); n != 1 {
			t.Errorf("%d calls of chat.postEphemeral", n)
		}
	})
}

func TestSilentReplyIsAnswered(t *testing.T) {
	t.Parallel()
	for refused, want := range map[bool]string{false: "Done: see the card.", true: "Nothing has changed."} {
		w := newWorld(t, false, nil)
		w.Listen(t, &chattest.Ear{OnClick: func(context.Context, chat.Click) chat.Reply { return chat.Reply{Refused: refused} }})
		w.Press(t, w.account(emulator.Ada), w.post(t, chattest.Sample("d")), chat.Approve)
		w.told(t, emulator.Ada, want)
	}
}

// asking answers a click without a reason with a prompt, and one with a reason
// with after.
func asking(after chat.Reply) *chattest.Ear {
	return &chattest.Ear{OnClick: func(_ context.Context, c chat.Click) chat.Reply {
		if c.Reason == "" {
			p := denyPrompt()
			p.Button, p.Verb = c.Button, c.Verb
			return chat.Reply{Prompt: &p}
		}
		return after
	}}
}

func TestFormNotOpened(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, w *world) {
		w.Listen(t, asking(chat.Reply{}))
		ref := w.post(t, chattest.Sample("d"))
		w.fault(t, emulator.Fault{Method: "views.open", Kind: emulator.Refuse, Code: "expired_trigger_id", Times: 1})
		w.Press(t, w.account(emulator.Ada), ref, chat.Deny)
		w.told(t, emulator.Ada, "The form could not be opened in time.")
	})
}

func TestForms(t *testing.T) {
	t.Parallel()
	done := chattest.Sample("d")
	done.State, done.Actions = "Denied by Ada", nil
	long := strings.Repeat("You may not do this, and here is why. ", 20)
	for _, test := range []struct {
		name   string
		reply  chat.Reply
		closed bool   // the form
		want   string // in private
		state  string // on the card
	}{
		{"accepted", chat.Reply{Text: "You denied it.", Card: &done}, true, "You denied it.", "Waiting"},
		{"accepted without a word", chat.Reply{}, true, "Done: see the card.", "Waiting"},
		{"refused in a few words", chat.Reply{Text: "Say more.", Refused: true}, false, "Say more.", "Waiting"},
		{"refused at length", chat.Reply{Text: long, Refused: true, Card: &done}, true, long[:len(long)-1], "Waiting"},
		{"refused with a table", chat.Reply{Text: "No.", Table: "a  b", Refused: true}, true, "a  b", "Waiting"},
		{"refused without a word", chat.Reply{Refused: true}, false, "Nothing has changed.", "Waiting"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, w *world) {
				w.Listen(t, asking(test.reply))
				ref := w.post(t, chattest.Sample("d"))
				ada := w.account(emulator.Ada)
				w.Press(t, ada, ref, chat.Deny)
				chattest.Eventually(t, "the form", func() bool { return w.Form(t, ada) != "" })
				w.Send(t, ada, "because")
				w.told(t, emulator.Ada, test.want)
				if closed := w.Form(t, ada) == ""; closed != test.closed {
					t.Errorf("the form is closed: %v", closed)
				}
				chattest.Eventually(t, test.state, func() bool { return strings.Contains(w.Face(t, ref).Text, test.state) })
			})
		})
	}
}

func TestFormAnsweredLate(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, w *world) {
		w.app.Hurry(200*time.Millisecond, 30*time.Second, time.Second)
		ear := asking(chat.Reply{})
		quick := ear.OnClick
		ear.OnClick = func(ctx context.Context, c chat.Click) chat.Reply {
			if c.Reason != "" {
				<-ctx.Done()
				return chat.Reply{Text: "It is denied."}
			}
			return quick(ctx, c)
		}
		w.Listen(t, ear)
		ada := w.account(emulator.Ada)
		w.Press(t, ada, w.post(t, chattest.Sample("d")), chat.Deny)
		chattest.Eventually(t, "the form", func() bool { return w.Form(t, ada) != "" })
		w.Send(t, ada, "because")
		w.told(t, emulator.Ada, "Not confirmed")
	})
}

func TestFormAsksAgain(t *testing.T) {
	t.Parallel()
	for _, why := range []string{"", "A reason is needed."} {
		w := newWorld(t, false, nil)
		w.Listen(t, &chattest.Ear{OnClick: func(_ context.Context, c chat.Click) chat.Reply {
			p := denyPrompt()
			p.Button, p.Verb = c.Button, c.Verb
			if c.Reason != "" {
				p.Label = "Really?"
			}
			return chat.Reply{Text: why, Prompt: &p, Refused: true}
		}})
		ada := w.account(emulator.Ada)
		w.Press(t, ada, w.post(t, chattest.Sample("d")), chat.Deny)
		chattest.Eventually(t, "the form", func() bool { return w.Form(t, ada) != "" })
		w.Send(t, ada, "because")
		if why == "" && !strings.Contains(w.Form(t, ada), "Really?") {
			t.Errorf("the form shows %q", w.Form(t, ada))
		}
		w.told(t, emulator.Ada, why)
	}
}

// TestDirectMessageNamesNoChannel holds that a card sent to a person can be
// decided there, although Slack calls the place by another id.
func TestDirectMessageNamesNoChannel(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, w *world) {
		ear := asking(chat.Reply{Text: "You denied it."})
		w.Listen(t, ear)
		ref, err := w.app.Post(t.Context(), emulator.Ada, chattest.Sample("d"))
		if err != nil {
			t.Fatal(err)
		}
		ada := w.account(emulator.Ada)
		w.Press(t, ada, ref, chat.Deny)
		chattest.Eventually(t, "the form", func() bool { return w.Form(t, ada) != "" })
		w.Send(t, ada, "because")
		w.told(t, emulator.Ada, "You denied it.")
		for _, c := range ear.Clicks() {
			if c.Channel != "" || c.Ref != ref {
				t.Errorf("the click names %q and %q", c.Channel, c.Ref)
			}
		}
	})
}

func TestCommandAsksForAReason(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, w *world) {
		ear := asking(chat.Reply{Text: "You denied it."})
		ear.OnCommand = func(context.Context, chat.Command) chat.Reply {
			p := denyPrompt()
			return chat.Reply{Prompt: &p}
		}
		w.Listen(t, ear)
		ada := w.account(emulator.Ada)
		w.Type(t, ada, emulator.Deploys, "deny K7M2QX")
		chattest.Eventually(t, "the form", func() bool { return w.Form(t, ada) != "" })
		w.Send(t, ada, "because")
		w.told(t, emulator.Ada, "You denied it.")
		c := ear.Clicks()[0]
		if c.Button != denyPrompt().Button || c.Verb != chat.Deny || c.Reason != "because" || c.Channel != emulator.Deploys || c.Ref != "" {
			t.Errorf("the click is %+v", c)
		}
	})
}

func TestAnswerToACommandInTheWrongWorkspace(t *testing.T) {
	t.Parallel()
	d := newDoor(t, nil)
	w := d.post("/slack/commands", "api_app_id=A0APP&team_id=T0OTHER&user_id=U0ADA&command=%2Fapprovals&text=pending")
	if !strings.Contains(w.Body.String(), "This workspace is not one of those") || !strings.Contains(w.Body.String(), `"response_type":"ephemeral"`) {
		t.Errorf("the answer is %s", w.Body)
	}
	if len(d.ear.Commands()) != 0 {
		t.Error("the handler was asked")
	}
}
