package emulator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"github.com/countersign/countersign/adapters/emulator"
)

// TestSigningKnownAnswer: the expected value was computed with openssl.
func TestSigningKnownAnswer(t *testing.T) {
	t.Parallel()
	const want = "v0=64e87958be397b2ef1054170b42ba5658191f392974b1157bfed3201df920e7c"
	if got := emulator.Sign("a-secret-of-the-emulators-tests", 1772366400, []byte("payload=%7B%22a%22%3A1%7D")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDeliveriesAreSigned(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *emulator.Options) { o.Now = time.Now }) // the verifier looks at the real clock
	ch, ts := l.post()
	if _, err := l.Click(t.Context(), emulator.Ada, ch, ts, "act/approve"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Command(t.Context(), emulator.Ada, ch, "/approvals show @tim #deploys <b>"); err != nil {
		t.Fatal(err)
	}
	l.Event(t.Context(), map[string]any{"type": "app_uninstalled"})
	got := l.received()
	if len(got) != 3 {
		t.Fatalf("%d deliveries, want 3", len(got))
	}
	for _, r := range got {
		v, err := slack.NewSecretsVerifier(r.header, l.SigningSecret())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = v.Write(r.body)
		if err := v.Ensure(); err != nil {
			t.Errorf("%s: %v", r.path, err)
		}
		v, _ = slack.NewSecretsVerifier(r.header, l.SigningSecret())
		_, _ = v.Write(append(r.body, '!'))
		if v.Ensure() == nil {
			t.Errorf("%s: a changed body is accepted", r.path)
		}
	}
	p := got[0].payload()
	if p["api_app_id"] != l.AppID() || p["user"].(map[string]any)["team_id"] != l.TeamID() || p["actions"].([]any)[0].(map[string]any)["value"] != "d1" {
		t.Errorf("block_actions: %v", p)
	}
	form, _ := url.ParseQuery(string(got[1].body))
	if want := "show <@U0TIM|tim> <#C0DEPLOYS|deploys> &lt;b&gt;"; form.Get("text") != want || form.Get("command") != "/approvals" {
		t.Errorf("text %q, want %q", form.Get("text"), want)
	}
}

func TestStrangersKeepTheirTeam(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ch, ts := l.post()
	if _, err := l.Click(t.Context(), emulator.Sam, ch, ts, "approve"); err != nil {
		t.Fatal(err)
	}
	p := l.received()[0].payload()
	if p["user"].(map[string]any)["team_id"] != emulator.PartnerTeam || p["team"].(map[string]any)["id"] != l.TeamID() {
		t.Errorf("the payload's user is %v, its team %v", p["user"], p["team"])
	}
	if _, err := l.Command(t.Context(), emulator.Sam, ch, "/approvals pending"); !errors.Is(err, emulator.ErrNotThere) {
		t.Errorf("a slash command of another workspace: %v", err)
	}
	if _, err := l.Click(t.Context(), emulator.Tim, emulator.Security, ts, "approve"); !errors.Is(err, emulator.ErrNotThere) {
		t.Errorf("a click in a private channel by somebody outside: %v", err)
	}
}

func TestTriggerIDs(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ch, ts := l.post()
	trigger := func() string {
		if _, err := l.Click(t.Context(), emulator.Ada, ch, ts, "approve"); err != nil {
			t.Fatal(err)
		}
		r := l.received()
		id, _ := r[len(r)-1].payload()["trigger_id"].(string)
		return id
	}
	open := func(id string) any {
		_, out := l.call("views.open", map[string]string{"trigger_id": id, "view": `{"type":"modal","title":{"type":"plain_text","text":"x"},"blocks":[]}`})
		return out["error"]
	}
	id := trigger()
	l.clock.Add(3 * time.Second)
	if got := open(id); got != nil {
		t.Errorf("after 3 s: %v", got)
	}
	if got := open(id); got != "exchanged_trigger_id" {
		t.Errorf("the second use: %v", got)
	}
	id = trigger()
	l.clock.Add(3*time.Second + time.Millisecond)
	if got := open(id); got != "expired_trigger_id" {
		t.Errorf("after more than 3 s: %v", got)
	}
	if got := open("1.2.none"); got != "invalid_trigger_id" {
		t.Errorf("an unknown one: %v", got)
	}
}

func TestAckDeadline(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *emulator.Options) { o.AckWithin = 50 * time.Millisecond })
	ch, ts := l.post()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	for _, c := range []struct {
		name  string
		then  func(http.ResponseWriter, received)
		shown string
	}{
		{"in time", func(http.ResponseWriter, received) {}, ""},
		{"too late", func(http.ResponseWriter, received) { <-release }, emulator.TimedOut},
		{"an error", func(w http.ResponseWriter, _ received) { w.WriteHeader(500) }, emulator.Undelivered},
		{"202 is not enough", func(w http.ResponseWriter, _ received) { w.WriteHeader(202) }, emulator.Undelivered},
	} {
		l.on(c.then)
		a, err := l.Click(t.Context(), emulator.Ada, ch, ts, "approve")
		if err != nil || a.Shown != c.shown {
			t.Errorf("%s: shown %q, %v; want %q", c.name, a.Shown, err, c.shown)
		}
	}
	l.SetRequestURLs("", "", "")
	if a, _ := l.Click(t.Context(), emulator.Ada, ch, ts, "approve"); a.Shown != emulator.Undelivered {
		t.Errorf("no address: shown %q", a.Shown)
	}
}

func TestResponseURL(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ch, ts := l.post()
	click := func() string {
		if _, err := l.Click(t.Context(), emulator.Ada, ch, ts, "approve"); err != nil {
			t.Fatal(err)
		}
		r := l.received()
		link, _ := r[len(r)-1].payload()["response_url"].(string)
		return link
	}
	link := click()
	say := func(opts ...slack.MsgOption) error {
		_, _, err := l.api.PostMessageContext(t.Context(), ch, opts...)
		return err
	}
	if err := say(slack.MsgOptionText("thanks", false), slack.MsgOptionResponseURL(link, slack.ResponseTypeEphemeral)); err != nil {
		t.Fatal(err)
	}
	if e := l.Ephemerals(emulator.Ada, ch); len(e) != 1 || e[0].Text != "thanks" {
		t.Fatalf("ephemerals: %+v", e)
	}
	if err := say(slack.MsgOptionText("replaced", false), slack.MsgOptionReplaceOriginal(link)); err != nil {
		t.Fatal(err)
	}
	if m := l.Messages(ch); len(m) != 1 || m[0].Text != "replaced" || m[0].Blocks != nil {
		t.Fatalf("messages: %+v", m)
	}
	post := func(link, body string) (int, string) {
		res, err := http.Post(link, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		raw, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(raw)
	}
	for i := range 3 {
		if code, body := post(link, `{"text":"x"}`); code != 200 {
			t.Fatalf("use %d: %d %s", i+3, code, body)
		}
	}
	if code, body := post(link, `{"text":"x"}`); code != 404 || !strings.Contains(body, "used_url") {
		t.Errorf("the sixth use: %d %s", code, body)
	}
	l.call("chat.update", map[string]string{"channel": ch, "ts": ts, "blocks": `[{"type":"actions","elements":[{"type":"button","action_id":"approve","text":{"type":"plain_text","text":"x"}}]}]`})
	link = click()
	l.clock.Add(30*time.Minute + time.Second)
	if code, body := post(link, `{"text":"x"}`); code != 404 || !strings.Contains(body, "expired_url") {
		t.Errorf("after 30 min: %d %s", code, body)
	}
	if code, _ := post(click(), `{"delete_original":true}`); code != 200 || len(l.Messages(ch)) != 0 {
		t.Errorf("delete_original: %d, %d messages", code, len(l.Messages(ch)))
	}
	if code, body := post(l.url+"/hook/none", `{"text":"x"}`); code != 404 || !strings.Contains(body, "no_such_url") {
		t.Errorf("an unknown one: %d %s", code, body)
	}
}

func TestCommandAnswers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, c := range []struct{ name, body, private, public, shown string }{
		{"nothing", "", "", "", ""},
		{"text", "one waits", "one waits", "", ""},
		{"JSON", `{"text":"two wait"}`, "two wait", "", ""},
		{"in the channel", `{"response_type":"in_channel","text":"three wait"}`, "", "three wait", ""},
		{"bad blocks", `{"blocks":[{"type":"nonsense"}]}`, "", "", emulator.Undelivered},
	} {
		l.on(func(w http.ResponseWriter, _ received) { _, _ = io.WriteString(w, c.body) })
		before, beforeAll := len(l.Ephemerals(emulator.Ada, emulator.Security)), len(l.Messages(emulator.Security))
		a, err := l.Command(t.Context(), emulator.Ada, emulator.Security, "/approvals pending")
		if err != nil || a.Shown != c.shown {
			t.Errorf("%s: %+v, %v", c.name, a, err)
		}
		said := func(list []emulator.Message, before int) string {
			if len(list) == before {
				return ""
			}
			return list[len(list)-1].Text
		}
		if private, public := said(l.Ephemerals(emulator.Ada, emulator.Security), before), said(l.Messages(emulator.Security), beforeAll); private != c.private || public != c.public {
			t.Errorf("%s: private %q, public %q", c.name, private, public)
		}
	}
	if _, err := l.Command(t.Context(), emulator.Ada, emulator.Security, "/other"); !errors.Is(err, emulator.ErrNotThere) {
		t.Errorf("another command: %v", err)
	}
}

func TestEventsAreSentAgain(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, c := range []struct {
		name  string
		then  func(w http.ResponseWriter, n int)
		tries int
	}{
		{"well at once", func(http.ResponseWriter, int) {}, 1},
		{"well at the second try", func(w http.ResponseWriter, n int) {
			if n == 1 {
				w.WriteHeader(500)
			}
		}, 2},
		{"never well", func(w http.ResponseWriter, _ int) { w.WriteHeader(500) }, 4},
		{"asked not to", func(w http.ResponseWriter, _ int) {
			w.Header().Set("X-Slack-No-Retry", "1")
			w.WriteHeader(500)
		}, 1},
	} {
		start := len(l.received())
		l.on(func(w http.ResponseWriter, _ received) { c.then(w, len(l.received())-start) })
		answers := l.Event(t.Context(), map[string]any{"type": "app_home_opened"})
		got := l.received()[start:]
		if len(answers) != c.tries || len(got) != c.tries {
			t.Errorf("%s: %d answers, %d deliveries, want %d", c.name, len(answers), len(got), c.tries)
		}
		ids := map[string]bool{}
		for i, r := range got {
			var e struct {
				EventID string `json:"event_id"`
			}
			if err := json.Unmarshal(r.body, &e); err != nil {
				t.Fatal(err)
			}
			ids[e.EventID] = true
			num, reason := r.header.Get("X-Slack-Retry-Num"), r.header.Get("X-Slack-Retry-Reason")
			if i == 0 && num+reason != "" || i > 0 && (num != strconv.Itoa(i) || reason != "http_error") {
				t.Errorf("%s: try %d has retry number %q and reason %q", c.name, i, num, reason)
			}
		}
		if len(ids) != 1 {
			t.Errorf("%s: one event has %d ids", c.name, len(ids))
		}
	}
}

func TestVerifyURL(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if _, err := l.VerifyURL(t.Context()); err == nil {
		t.Error("an app that echoes nothing passes")
	}
	l.on(func(w http.ResponseWriter, got received) {
		var c struct{ Challenge string }
		_ = json.Unmarshal(got.body, &c)
		fmt.Fprintf(w, `{"challenge":%q}`, c.Challenge)
	})
	if _, err := l.VerifyURL(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPostTellsSubscribers(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *emulator.Options) { o.Events = []string{"app_mention", "message.im"} })
	heard := func(channel, text string) int {
		before := len(l.received())
		if _, _, err := l.Post(context.WithoutCancel(t.Context()), emulator.Ada, channel, "", text); err != nil {
			t.Fatal(err)
		}
		return len(l.received()) - before
	}
	var dm string
	for _, c := range l.Channels() {
		if c.IM == emulator.Ada {
			dm = c.ID
		}
	}
	if n := heard(emulator.Deploys, "hello"); n != 0 {
		t.Errorf("a message that does not concern the app: %d events", n)
	}
	if n := heard(emulator.Deploys, "@countersign help"); n != 1 {
		t.Errorf("a mention: %d events", n)
	}
	if n := heard(dm, "hello"); n != 1 {
		t.Errorf("a direct message: %d events", n)
	}
	if _, _, err := l.Post(t.Context(), emulator.Tim, emulator.Security, "", "x"); !errors.Is(err, emulator.ErrNotThere) {
		t.Errorf("writing where one is no member: %v", err)
	}
}

func TestPayloadCanBeChanged(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *emulator.Options) {
		o.Payload = func(kind string, p map[string]any) {
			if kind == "block_actions" {
				p["team"] = nil
			}
		}
	})
	ch, ts := l.post()
	if _, err := l.Click(t.Context(), emulator.Ada, ch, ts, "approve"); err != nil {
		t.Fatal(err)
	}
	if p := l.received()[0].payload(); p["team"] != nil || p["user"] == nil {
		t.Errorf("%v", p)
	}
}
