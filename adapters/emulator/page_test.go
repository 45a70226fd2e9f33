package emulator_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"github.com/countersign/countersign/adapters/emulator"
)

// ask talks to the page's API.
func (l *lab) ask(method, path string, body any, out any) int {
	l.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		l.t.Fatal(err)
	}
	r, _ := http.NewRequestWithContext(l.t.Context(), method, l.url+path, bytes.NewReader(raw))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", l.url)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		l.t.Fatalf("%s %s: %d: %v", method, path, res.StatusCode, err)
	}
	return res.StatusCode
}

type state struct {
	Me       string
	Messages []struct {
		TS, Text, Only string
		Previews       map[string]string
	}
	Channels []struct{ ID string }
	Views    []struct{ ID string }
	Faults   []emulator.Fault
}

func (l *lab) state(user, channel string) (s state) {
	l.ask("GET", "/emulator/state?user="+user+"&channel="+channel, nil, &s)
	return s
}

func TestPageActs(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ch, ts := l.post()
	l.on(func(_ http.ResponseWriter, got received) {
		if p := got.payload(); p["type"] == "block_actions" && p["view"] == nil {
			l.call("views.open", map[string]string{"trigger_id": p["trigger_id"].(string), "view": modalJSON("Deny", "")})
		}
	})
	var a emulator.Answer
	press := map[string]string{"user": emulator.Ada, "channel": ch, "message": ts, "block": "act", "action": "deny"}
	if code := l.ask("POST", "/emulator/click", press, &a); code != 200 || a.Status != 200 {
		t.Fatalf("click: %d %+v", code, a)
	}
	views := l.state(emulator.Ada, ch).Views
	if len(views) != 1 || len(l.state(emulator.Grace, ch).Views) != 0 {
		t.Fatalf("Ada's views: %+v", views)
	}
	var said struct{ Error string }
	if code := l.ask("POST", "/emulator/submit", map[string]any{"user": emulator.Ada, "view": views[0].ID, "values": map[string]string{"why": ""}}, &said); code != 409 || said.Error == "" {
		t.Errorf("an empty form: %d %+v", code, said)
	}
	if code := l.ask("POST", "/emulator/submit", map[string]any{"user": emulator.Ada, "view": views[0].ID, "values": map[string]string{"why": "late"}}, &a); code != 200 || len(l.state(emulator.Ada, ch).Views) != 0 {
		t.Errorf("a filled form: %d %+v", code, a)
	}
	l.ask("POST", "/emulator/click", press, &a)
	if code := l.ask("POST", "/emulator/close", map[string]string{"user": emulator.Ada, "view": l.state(emulator.Ada, ch).Views[0].ID}, &a); code != 200 || len(l.state(emulator.Ada, ch).Views) != 0 {
		t.Errorf("close: %d", code)
	}
	if code := l.ask("POST", "/emulator/say", map[string]string{"user": emulator.Tim, "channel": ch, "text": "hello <b>"}, &a); code != 200 || l.Messages(ch)[1].Text != "hello &lt;b&gt;" {
		t.Errorf("say: %d", code)
	}
	l.on(func(w http.ResponseWriter, _ received) { _, _ = io.WriteString(w, "for you") })
	if code := l.ask("POST", "/emulator/say", map[string]string{"user": emulator.Tim, "channel": ch, "text": "/approvals help"}, &a); code != 200 {
		t.Errorf("command: %d", code)
	}
	if tim, ada := l.state(emulator.Tim, ch), l.state(emulator.Ada, ch); len(tim.Messages) != 3 || tim.Messages[2].Only != emulator.Tim || len(ada.Messages) != 2 {
		t.Errorf("Tim sees %+v, Ada %+v", tim.Messages, ada.Messages)
	}
	var bad struct{ Error string }
	press["action"] = "nonsense"
	if code := l.ask("POST", "/emulator/click", press, &bad); code != 409 || bad.Error == "" {
		t.Errorf("a button that is not there: %d %+v", code, bad)
	}
}

func TestPageShowsToEachWhatIsTheirs(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if _, _, err := l.api.PostMessageContext(t.Context(), emulator.Security, slack.MsgOptionText("a secret", false)); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]bool{emulator.Ada: true, emulator.Tim: false, emulator.Sam: false} {
		s := l.state(user, emulator.Security)
		listed := false
		for _, c := range s.Channels {
			listed = listed || c.ID == emulator.Security
		}
		if got := len(s.Messages) == 1; s.Me != user || got != want || listed != want {
			t.Errorf("%s: listed %v, readable %v, want %v", user, listed, got, want)
		}
	}
}

func TestPageFiles(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const content = "<script>alert(1)</script>"
	if _, err := l.api.UploadFileContext(t.Context(), slack.UploadFileParameters{Filename: "a.html", Title: "A", Content: content, FileSize: len(content), Channel: emulator.Deploys}); err != nil {
		t.Fatal(err)
	}
	id := l.Files()[0].ID
	if p := l.state(emulator.Ada, emulator.Deploys).Messages[0].Previews[id]; p != content {
		t.Errorf("preview %q", p)
	}
	res, err := http.Get(l.url + "/emulator/file/" + id)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	h := res.Header
	if string(raw) != content || !strings.HasPrefix(h.Get("Content-Type"), "text/plain") || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%q %v", raw, h)
	}
	if res, err := http.Get(l.url + "/emulator/file/none"); err != nil || res.StatusCode != 404 {
		t.Errorf("an unknown file: %v, %v", res, err)
	}
}

func TestPageHearsOfChanges(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, l.url+"/emulator/changes", nil)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	next := func() string {
		for lines.Scan() {
			if lines.Text() != "" {
				return lines.Text()
			}
		}
		return ""
	}
	if got := next(); got != "data: changed" {
		t.Fatalf("at first: %q", got)
	}
	l.post()
	if got := next(); got != "data: changed" {
		t.Fatalf("after a message: %q", got)
	}
}

func TestPageFaults(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var faults []emulator.Fault
	if code := l.ask("POST", "/emulator/faults", map[string]any{"fault": map[string]any{"method": "*", "kind": "drop"}}, &faults); code != 200 || len(faults) != 1 {
		t.Fatalf("%d %+v", code, faults)
	}
	if _, err := l.api.AuthTestContext(t.Context()); err == nil {
		t.Error("down, and yet it answers")
	}
	if s := l.state(emulator.Ada, ""); len(s.Faults) != 1 {
		t.Error("the page is down with the workspace")
	}
	var said struct{ Error string }
	if code := l.ask("POST", "/emulator/faults", map[string]any{"fault": map[string]any{"method": "*", "kind": "nonsense"}}, &said); code != 409 || said.Error == "" {
		t.Errorf("an unknown kind: %d %+v", code, said)
	}
	if code := l.ask("DELETE", "/emulator/faults", nil, &faults); code != 200 || len(faults) != 0 {
		t.Errorf("clear: %d %+v", code, faults)
	}
	if _, err := l.api.AuthTestContext(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := emulator.New(emulator.Options{})
	ln, err := s.Listen("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	res, err := http.Get("http://" + ln.Addr().String() + "/api/api.test")
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%v, %v", res, err)
	}
	res.Body.Close()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it serves on")
	}
}
