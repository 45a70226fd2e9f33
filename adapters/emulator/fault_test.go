package emulator_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"github.com/countersign/countersign/adapters/emulator"
)

func (l *lab) inject(f emulator.Fault) {
	l.t.Helper()
	if err := l.Inject(f); err != nil {
		l.t.Fatal(err)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault emulator.Fault
		done  bool // the message was posted all the same
		check func(ts string, err error) bool
	}{
		{emulator.Fault{Kind: emulator.LoseAnswer}, true, func(_ string, err error) bool { return err != nil }},
		{emulator.Fault{Kind: emulator.Drop}, false, func(_ string, err error) bool { return err != nil }},
		{emulator.Fault{Kind: emulator.RateLimited, Delay: 7 * time.Second}, false, func(_ string, err error) bool {
			e, ok := errors.AsType[*slack.RateLimitedError](err)
			return ok && e.RetryAfter == 7*time.Second
		}},
		{emulator.Fault{Kind: emulator.RateLimitedBare}, false, func(_ string, err error) bool {
			e, ok := errors.AsType[slack.StatusCodeError](err)
			return ok && e.Code == http.StatusTooManyRequests
		}},
		{emulator.Fault{Kind: emulator.Broken}, false, func(_ string, err error) bool {
			e, ok := errors.AsType[slack.StatusCodeError](err)
			return ok && e.Code == http.StatusInternalServerError
		}},
		{emulator.Fault{Kind: emulator.EmptyReply}, false, func(ts string, err error) bool { return err == nil && ts == "" }},
		{emulator.Fault{Kind: emulator.EmptyReplyDone}, true, func(ts string, err error) bool { return err == nil && ts == "" }},
		{emulator.Fault{Kind: emulator.Refuse, Code: "restricted_action"}, false, func(_ string, err error) bool {
			e, ok := errors.AsType[slack.SlackErrorResponse](err)
			return ok && e.Err == "restricted_action"
		}},
		{emulator.Fault{Kind: emulator.Slow, Delay: time.Millisecond}, true, func(ts string, err error) bool { return err == nil && ts != "" }},
	} {
		t.Run(string(c.fault.Kind), func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			c.fault.Method, c.fault.Times = "chat.postMessage", 1
			l.inject(c.fault)
			_, ts, err := l.api.PostMessageContext(t.Context(), emulator.Deploys, slack.MsgOptionText("x", false))
			if !c.check(ts, err) {
				t.Errorf("ts %q, %v", ts, err)
			}
			if n := len(l.Messages(emulator.Deploys)); (n == 1) != c.done {
				t.Errorf("%d messages, done should be %v", n, c.done)
			}
			if _, _, err := l.api.PostMessageContext(t.Context(), emulator.Deploys, slack.MsgOptionText("x", false)); err != nil {
				t.Errorf("the fault happens more than once: %v", err)
			}
		})
	}
}

func TestFaultsUntilCleared(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.inject(emulator.Fault{Method: "*", Kind: emulator.Drop})
	for range 3 {
		if _, err := l.api.AuthTestContext(t.Context()); err == nil {
			t.Fatal("down, and yet it answers")
		}
	}
	l.ClearFaults()
	if _, err := l.api.AuthTestContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, f := range []emulator.Fault{
		{Method: "chat.update", Kind: "nonsense"}, {Method: "chat.nonsense", Kind: emulator.Drop}, {Method: "chat.update", Kind: emulator.Twice},
		{Method: "interactions", Kind: emulator.Drop}, {Method: "*", Kind: emulator.Refuse}, {Method: "*", Kind: emulator.Slow, Delay: -1},
	} {
		if err := l.Inject(f); !errors.Is(err, emulator.ErrBadFault) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestDeliveredTwice(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ch, ts := l.post()
	l.inject(emulator.Fault{Method: "interactions", Kind: emulator.Twice, Times: 1})
	for _, want := range []int{2, 1} {
		before := len(l.received())
		if _, err := l.Click(t.Context(), emulator.Ada, ch, ts, "approve"); err != nil {
			t.Fatal(err)
		}
		got := l.received()[before:]
		if len(got) != want {
			t.Fatalf("%d deliveries, want %d", len(got), want)
		}
		if want == 2 && string(got[0].body) != string(got[1].body) {
			t.Error("the second delivery is not the first")
		}
	}
}
