package emulator_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/countersign/countersign/adapters/emulator"
)

// modalLab opens a modal with one optional, limited input for Ada and returns
// its id.
func modalLab(t *testing.T) (*lab, string) {
	t.Helper()
	l := newLab(t)
	ch, ts := l.post()
	if _, err := l.Click(t.Context(), emulator.Ada, ch, ts, "deny"); err != nil {
		t.Fatal(err)
	}
	_, out := l.call("views.open", map[string]string{"trigger_id": l.received()[0].payload()["trigger_id"].(string), "view": modalJSON("Deny", `,"notify_on_close":true,"private_metadata":"d1"`)})
	if out["ok"] != true {
		t.Fatal(out)
	}
	return l, out["view"].(map[string]any)["id"].(string)
}

func modalJSON(title, more string) string {
	return `{"type":"modal","title":{"type":"plain_text","text":"` + title + `"},"submit":{"type":"plain_text","text":"Send"},"blocks":[` +
		`{"type":"input","block_id":"why","label":{"type":"plain_text","text":"Why?"},"element":{"type":"plain_text_input","action_id":"reason","min_length":2,"max_length":5}},` +
		`{"type":"section","block_id":"info","text":{"type":"plain_text","text":"x"}}]` + more + `}`
}

func TestSubmitAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		shown      string
		open       string // titles of the modals that stay
	}{
		{"nothing closes it", "", "", ""},
		{"an empty object closes it", "{}", "", ""},
		{"clear", `{"response_action":"clear"}`, "", ""},
		{"errors at an input", `{"response_action":"errors","errors":{"why":"no"}}`, "", "Deny"},
		{"errors at a section", `{"response_action":"errors","errors":{"info":"no"}}`, emulator.Undelivered, "Deny"},
		{"no errors at all", `{"response_action":"errors"}`, emulator.Undelivered, "Deny"},
		{"update", `{"response_action":"update","view":` + modalJSON("Done", "") + `}`, "", "Done"},
		{"a bad update", `{"response_action":"update","view":` + modalJSON(strings.Repeat("x", 25), "") + `}`, emulator.Undelivered, "Deny"},
		{"push", `{"response_action":"push","view":` + modalJSON("More", "") + `}`, "", "Deny More"},
		{"an unknown action", `{"response_action":"dance"}`, emulator.Undelivered, "Deny"},
		{"no JSON", `thanks`, emulator.Undelivered, "Deny"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, id := modalLab(t)
			l.on(func(w http.ResponseWriter, _ received) { _, _ = io.WriteString(w, c.body) })
			a, err := l.SubmitView(t.Context(), emulator.Ada, id, map[string]string{"why/reason": "later"})
			var titles []string
			for _, v := range l.OpenViews(emulator.Ada) {
				titles = append(titles, v.Title())
			}
			if got := strings.Join(titles, " "); err != nil || a.Shown != c.shown || got != c.open {
				t.Errorf("shown %q, open %q, %v; want %q and %q", a.Shown, got, err, c.shown, c.open)
			}
		})
	}
}

func TestFormsAreFilledOrNotSent(t *testing.T) {
	t.Parallel()
	l, id := modalLab(t)
	before := len(l.received())
	for name, values := range map[string]map[string]string{
		"nothing": {}, "too short": {"why": "x"}, "too long": {"why": "xxxxxx"}, "no such input": {"why": "xxx", "who": "me"},
	} {
		if _, err := l.SubmitView(t.Context(), emulator.Ada, id, values); !errors.Is(err, emulator.ErrNotFilled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.SubmitView(t.Context(), emulator.Grace, id, map[string]string{"why": "xxx"}); !errors.Is(err, emulator.ErrNotThere) {
		t.Errorf("somebody else's form: %v", err)
	}
	if n := len(l.received()); n != before {
		t.Errorf("%d forms were sent", n-before)
	}
	if _, err := l.SubmitView(t.Context(), emulator.Ada, id, map[string]string{"why": "xxx"}); err != nil || len(l.received()) != before+1 {
		t.Errorf("a good form: %v", err)
	}
}

func TestViewsUpdateAndClose(t *testing.T) {
	t.Parallel()
	l, id := modalLab(t)
	hash := l.OpenViews(emulator.Ada)[0].Hash
	if _, out := l.call("views.update", map[string]string{"view_id": id, "hash": "old", "view": modalJSON("New", "")}); out["error"] != "hash_conflict" {
		t.Errorf("an old hash: %v", out)
	}
	if _, out := l.call("views.update", map[string]string{"view_id": id, "hash": hash, "view": modalJSON("New", `,"notify_on_close":true`)}); out["ok"] != true || l.OpenViews(emulator.Ada)[0].Title() != "New" {
		t.Errorf("the right hash: %v", out)
	}
	big := modalJSON("Big", `,"private_metadata":"`+strings.Repeat("x", 250_001)+`"`)
	if _, out := l.call("views.update", map[string]string{"view_id": id, "view": big}); out["error"] != "view_too_large" {
		t.Errorf("too large: %v", out["error"])
	}
	if _, out := l.call("views.update", map[string]string{"view_id": id, "view": modalJSON("x", `,"private_metadata":"`+strings.Repeat("x", 3001)+`"`)}); out["error"] != "invalid_arguments" {
		t.Errorf("too much private_metadata: %v", out["error"])
	}
	before := len(l.received())
	if _, err := l.CloseView(t.Context(), emulator.Ada, id); err != nil || len(l.OpenViews(emulator.Ada)) != 0 {
		t.Errorf("close: %v", err)
	}
	if got := l.received(); len(got) != before+1 || got[before].payload()["type"] != "view_closed" {
		t.Error("the app was not told, though it asked (notify_on_close)")
	}
}
