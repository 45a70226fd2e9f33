package slack_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/adapters/emulator"
	"github.com/countersign/countersign/adapters/slack"
	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/bot/chat/chattest"
)

// door is our three paths with a fixed clock and nobody on the other side.
type door struct {
	mux *http.ServeMux
	ear *chattest.Ear
	cfg slack.Config
}

var doorClock = time.Date(2026, 11, 20, 13, 0, 0, 0, time.UTC)

func newDoor(t testing.TB, change func(*slack.Config)) *door {
	t.Helper()
	platform := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"ok":true,"channel":"C0DEPLOYS","ts":"1.1","message_ts":"1.1","view":{"id":"V1"}}`)
	}))
	t.Cleanup(platform.Close)
	d := &door{mux: http.NewServeMux(), ear: &chattest.Ear{}, cfg: good()}
	d.cfg.APIURL = platform.URL + "/"
	d.cfg.Now = func() time.Time { return doorClock }
	if change != nil {
		change(&d.cfg)
	}
	s, err := slack.New(d.cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Mount(d.mux, d.ear)
	return d
}

func (d *door) post(path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("X-Slack-Request-Timestamp", fmt.Sprint(doorClock.Unix()))
	r.Header.Set("X-Slack-Signature", emulator.Sign(d.cfg.SigningSecret, doorClock.Unix(), []byte(body)))
	w := httptest.NewRecorder()
	d.mux.ServeHTTP(w, r)
	return w
}

// TestKnownSignature reproduces the example of Slack's documentation.
func TestKnownSignature(t *testing.T) {
	t.Parallel()
	const (
		stamp = 1531420618
		body  = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar" +
			"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com" +
			"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
		signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
	)
	for _, test := range []struct {
		name, secret string
		skew         time.Duration
		headers      [2]string
		want         int
	}{
		// The example has no app id, so the genuine one is refused a step later.
		{"genuine", "8f742231b10e8888abcd99yyyzzz85a5", 0, [2]string{"X-Slack-Request-Timestamp", "X-Slack-Signature"}, 403},
		{"other letter case", "8f742231b10e8888abcd99yyyzzz85a5", 0, [2]string{"x-slack-request-timestamp", "x-SLACK-signature"}, 403},
		{"299 s late", "8f742231b10e8888abcd99yyyzzz85a5", 299 * time.Second, [2]string{"X-Slack-Request-Timestamp", "X-Slack-Signature"}, 403},
		{"299 s early", "8f742231b10e8888abcd99yyyzzz85a5", -299 * time.Second, [2]string{"X-Slack-Request-Timestamp", "X-Slack-Signature"}, 403},
		{"301 s late", "8f742231b10e8888abcd99yyyzzz85a5", 301 * time.Second, [2]string{"X-Slack-Request-Timestamp", "X-Slack-Signature"}, 401},
		{"301 s early", "8f742231b10e8888abcd99yyyzzz85a5", -301 * time.Second, [2]string{"X-Slack-Request-Timestamp", "X-Slack-Signature"}, 401},
		{"another secret", "8f742231b10e8888abcd99yyyzzz85a6", 0, [2]string{"X-Slack-Request-Timestamp", "X-Slack-Signature"}, 401},
	} {
		d := newDoor(t, func(c *slack.Config) {
			c.SigningSecret = test.secret
			c.Now = func() time.Time { return time.Unix(stamp, 0).Add(test.skew) }
		})
		r := httptest.NewRequest(http.MethodPost, "/slack/commands", strings.NewReader(body))
		r.Header.Set(test.headers[0], fmt.Sprint(stamp))
		r.Header.Set(test.headers[1], signature)
		w := httptest.NewRecorder()
		d.mux.ServeHTTP(w, r)
		if w.Code != test.want {
			t.Errorf("%s: status %d, not %d", test.name, w.Code, test.want)
		}
		if n := len(d.ear.Commands()); n != 0 {
			t.Errorf("%s reached the handler", test.name)
		}
	}
}

func TestNoSecretNoDoor(t *testing.T) {
	t.Parallel()
	d := newDoor(t, func(c *slack.Config) { c.SocketMode, c.SigningSecret = true, "" })
	for _, path := range []string{"/slack/interactions", "/slack/commands", "/slack/events"} {
		if w := d.post(path, "payload=%7B%7D"); w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", path, w.Code)
		}
	}
}

const press = `{"type":"block_actions","api_app_id":"A0APP","team":{"id":"T0TEAM"},"enterprise":null,"user":{"id":"U0ADA","team_id":"T0TEAM"},` +
	`"container":{"type":"message","channel_id":"C0DEPLOYS","message_ts":"1.1"},"actions":[{"type":"button","action_id":"countersign:approve","value":"d-1"}]}`

func TestInteractions(t *testing.T) {
	t.Parallel()
	with := func(from, to string) string {
		if !strings.Contains(press, from) {
			t.Fatalf("%q stands not in the payload", from)
		}
		return strings.Replace(press, from, to, 1)
	}
	ada := chat.Account{Platform: "slack", Space: "T0TEAM", ID: "U0ADA"}
	click := chat.Click{Account: ada, Button: "d-1", Verb: chat.Approve, Channel: "C0DEPLOYS", Ref: "C0DEPLOYS:1.1", At: doorClock.Local()}
	but := func(change func(*chat.Click)) *chat.Click {
		c := click
		change(&c)
		return &c
	}
	view := func(metadata string) string {
		raw, _ := json.Marshal(metadata)
		return `{"type":"view_submission","api_app_id":"A0APP","team":{"id":"T0TEAM"},"user":{"id":"U0ADA","team_id":"T0TEAM"},"view":{"callback_id":"countersign:reason",` +
			`"private_metadata":` + string(raw) + `,"state":{"values":{"reason":{"reason":{"type":"plain_text_input","value":"why"}}}}}}`
	}
	for _, test := range []struct {
		name    string
		payload string
		status  int
		want    *chat.Click
	}{
		{"a click", press, 200, &click},
		{"unknown members", with(`{"type"`, `{"new":{"a":[1]},"type"`), 200, &click},
		{"a user without a team", with(`"id":"U0ADA","team_id":"T0TEAM"`, `"id":"U0ADA"`), 200, &click},
		{"a person of another team in ours", with(`"team_id":"T0TEAM"`, `"team_id":"T0OTHER"`), 200, but(func(c *chat.Click) { c.Account.Space = "T0OTHER" })},
		{"an ephemeral message", with(`"message_ts":"1.1"`, `"message_ts":"1.1","is_ephemeral":true`), 200, but(func(c *chat.Click) { c.Ref = "" })},
		{"a strange channel", with(`C0DEPLOYS`, `../../x`), 200, but(func(c *chat.Click) { c.Channel, c.Ref = "", "" })},
		{"a strange stamp", with(`"message_ts":"1.1"`, `"message_ts":"1.1:2"`), 200, but(func(c *chat.Click) { c.Ref = "" })},
		{"another team", with(`"team":{"id":"T0TEAM"}`, `"team":{"id":"T0OTHER"}`), 200, nil},
		{"no team and no organisation", with(`"team":{"id":"T0TEAM"}`, `"team":null`), 200, nil},
		{"an empty team", with(`"team":{"id":"T0TEAM"}`, `"team":{"id":""}`), 200, nil},
		{"another organisation", with(`"team":{"id":"T0TEAM"},"enterprise":null`, `"team":null,"enterprise":{"id":"E0OTHER"}`), 200, nil},
		{"our organisation", with(`"team":{"id":"T0TEAM"},"enterprise":null`, `"team":null,"enterprise":{"id":"E0ORG"}`), 200, &click},
		{"our organisation, no team at all", with(`"team":{"id":"T0TEAM"},"enterprise":null,"user":{"id":"U0ADA","team_id":"T0TEAM"}`,
			`"team":null,"enterprise":{"id":"E0ORG"},"user":{"id":"U0ADA"}`), 200, nil},
		{"somebody's button", with(`countersign:approve`, `other:approve`), 200, nil},
		{"an unknown verb", with(`countersign:approve`, `countersign:grant`), 200, nil},
		{"a menu", with(`"type":"button"`, `"type":"static_select"`), 200, nil},
		{"an empty value", with(`"value":"d-1"`, `"value":""`), 200, nil},
		{"a strange value", with(`"value":"d-1"`, `"value":"d 1\n"`), 200, nil},
		{"two actions", with(`"actions":[`, `"actions":[{"type":"button","action_id":"countersign:deny","value":"d-2"},`), 200, nil},
		{"a shortcut", with(`block_actions`, `shortcut`), 200, nil},
		{"two users", with(`"user":`, `"user":{"id":"U0EVE"},"user":`), 400, nil},
		{"members in other letter case", with(`"api_app_id"`, `"API_APP_ID"`), 403, nil},
		{"another app", with(`A0APP`, `A0APQ`), 403, nil},
		{"a number for a string", with(`"U0ADA"`, `7`), 400, nil},
		{"no user id", with(`"id":"U0ADA",`, ``), 400, nil},
		{"more after the end", press + `{}`, 400, nil},
		{"no JSON", "hello", 400, nil},
		{"bad UTF-8", with(`U0ADA`, "U0\xffADA"), 400, nil},
		{"a form", view(`{"d":"d-1","v":"deny","c":"C0DEPLOYS","r":"C0DEPLOYS:1.1"}`), 200, but(func(c *chat.Click) { c.Verb, c.Reason = chat.Deny, "why" })},
		{"a form without a place", view(`{"d":"d-1","v":"deny"}`), 200, but(func(c *chat.Click) { c.Verb, c.Reason, c.Channel, c.Ref = chat.Deny, "why", "", "" })},
		{"a form with more", view(`{"d":"d-1","v":"deny","x":"y"}`), 200, nil},
		{"a form of an unknown verb", view(`{"d":"d-1","v":"grant"}`), 200, nil},
		{"a form of another channel's message", view(`{"d":"d-1","v":"deny","c":"C0DEPLOYS","r":"C0OTHER:1.1"}`), 200, nil},
		{"a form without memory", view(``), 200, nil},
	} {
		d := newDoor(t, func(c *slack.Config) { c.EnterpriseID = "E0ORG" })
		w := d.post("/slack/interactions", "payload="+url.QueryEscape(test.payload))
		if w.Code != test.status {
			t.Errorf("%s: status %d, not %d", test.name, w.Code, test.status)
		}
		var want []chat.Click
		if test.want != nil {
			want = []chat.Click{*test.want}
		}
		if diff := cmp.Diff(want, d.ear.Clicks()); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	one := "payload=" + url.QueryEscape(press)
	line := "api_app_id=A0APP&team_id=T0TEAM&user_id=U0ADA&channel_id=C0DEPLOYS&command=%2Fapprovals&text=pending"
	for _, test := range []struct {
		name, path, body string
		status, heard    int
	}{
		{"an interaction", "/slack/interactions", one, 200, 1},
		{"two payloads", "/slack/interactions", one + "&" + one, 400, 0},
		{"a payload and more", "/slack/interactions", one + "&x=y", 400, 0},
		{"no payload", "/slack/interactions", "x=y", 400, 0},
		{"nothing", "/slack/interactions", "", 400, 0},
		{"a bad escape", "/slack/interactions", "payload=%zz", 400, 0},
		{"a command", "/slack/commands", line, 200, 1},
		{"a command with two users", "/slack/commands", line + "&user_id=U0EVE", 400, 0},
		{"a command with a payload", "/slack/commands", line + "&" + one, 400, 0},
		{"a command for another app", "/slack/commands", strings.Replace(line, "A0APP", "A0APQ", 1), 403, 0},
		{"a command of another team", "/slack/commands", strings.Replace(line, "T0TEAM", "T0OTHER", 1), 200, 0},
		{"a command without a team", "/slack/commands", strings.Replace(line, "team_id=T0TEAM&", "", 1), 200, 0},
		{"a command without a user", "/slack/commands", strings.Replace(line, "user_id=U0ADA&", "", 1), 400, 0},
		{"a command on the path of interactions", "/slack/interactions", line, 400, 0},
		{"an interaction on the path of commands", "/slack/commands", one, 400, 0},
		{"a probe of the certificate", "/slack/commands", "ssl_check=1&token=x", 200, 0},
		{"an event", "/slack/events", `{"type":"event_callback","api_app_id":"A0APP","team_id":"T0TEAM","event":{"type":"app_uninstalled"}}`, 200, 0},
		{"an unknown event", "/slack/events", `{"type":"event_callback","api_app_id":"A0APP","team_id":"T0TEAM","event":{"type":"new"}}`, 200, 0},
		{"an event for another app", "/slack/events", `{"type":"event_callback","api_app_id":"A0APQ"}`, 403, 0},
		{"no event", "/slack/events", one, 400, 0},
		{"a handshake", "/slack/events", `{"type":"url_verification","token":"t","challenge":"3eZbrw1aB"}`, 200, 0},
		{"a handshake with markup", "/slack/events", `{"type":"url_verification","challenge":"<script>"}`, 400, 0},
	} {
		d := newDoor(t, nil)
		w := d.post(test.path, test.body)
		if w.Code != test.status {
			t.Errorf("%s: status %d, not %d", test.name, w.Code, test.status)
		}
		if n := len(d.ear.Clicks()) + len(d.ear.Commands()); n != test.heard {
			t.Errorf("%s: the handler heard %d", test.name, n)
		}
		if test.name == "a handshake" && w.Body.String() != "3eZbrw1aB" {
			t.Errorf("the handshake was answered with %q", w.Body)
		}
	}
}

func TestLongAnswersDoNotGoIntoTheAcknowledgement(t *testing.T) {
	t.Parallel()
	for text, fits := range map[string]bool{"short": true, strings.Repeat("日本語のとても長い答え", 900): false} {
		w := newWorld(t, false, nil)
		w.Listen(t, &chattest.Ear{OnCommand: func(context.Context, chat.Command) chat.Reply {
			return chat.Reply{Text: "Here it is.", Table: text}
		}})
		answer, err := w.em.Command(t.Context(), emulator.Ada, emulator.Deploys, "/approvals stats")
		if err != nil || (len(answer.Body) > 0) != fits || len(answer.Body) > slack.MaxAck {
			t.Errorf("%.10q…: %v, %d bytes", text, err, len(answer.Body))
		}
		chattest.Eventually(t, "the answer", func() bool {
			return len(w.Private(t, w.account(emulator.Ada))) == 1
		})
	}
}

func TestAnswerable(t *testing.T) {
	t.Parallel()
	s, err := slack.New(good())
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"https://hooks.slack.com/actions/T/1/x": true, "https://HOOKS.slack.com/x": true, "https://slack.com/x": true,
		"http://hooks.slack.com/x": false, "https://hooks.slack.com.evil.example/x": false, "https://evil.example/hooks.slack.com": false,
		"https://hooks.slack.com@evil.example/": false, "https://hooks.slack.com:444/x": false, "https://169.254.169.254/": false,
		"": false, "/x": false, "javascript:alert(1)": false, "http://slack.com/x": false,
	} {
		if got := s.Answerable(address); got != want {
			t.Errorf("answerable(%q) = %v", address, got)
		}
	}
}

// goldenView is the private_metadata of the golden form, as a seed.
func goldenView(f *testing.F) string {
	raw, err := os.ReadFile("testdata/views/deny.view.json")
	if err != nil {
		f.Fatal(err)
	}
	return string(raw)
}

// FuzzDeliveries holds that whatever is signed, only well-formed clicks and
// commands of our workspace get through.
func FuzzDeliveries(f *testing.F) {
	d := newDoor(f, nil)
	f.Add("/slack/interactions", "payload="+url.QueryEscape(press))
	f.Add("/slack/interactions", "payload="+url.QueryEscape(`{"type":"view_submission","api_app_id":"A0APP","team":{"id":"T0TEAM"},"user":{"id":"U0ADA"},"view":`+goldenView(f)+`}`))
	f.Add("/slack/commands", "api_app_id=A0APP&team_id=T0TEAM&user_id=U0ADA&command=%2Fapprovals&text=pending")
	f.Add("/slack/events", `{"type":"url_verification","challenge":"x"}`)
	f.Add("/slack/events", `{"type":"event_callback","api_app_id":"A0APP","event":{"type":"tokens_revoked"}}`)
	id := regexp.MustCompile(`^[UW][A-Z0-9]+$`)
	ref := regexp.MustCompile(`^([CDG][A-Z0-9]+:[0-9.]+)?$`)
	f.Fuzz(func(t *testing.T, path, body string) {
		switch path {
		case "/slack/interactions", "/slack/commands", "/slack/events":
		default:
			return
		}
		before, said := len(d.ear.Clicks()), len(d.ear.Commands())
		if w := d.post(path, body); w.Code != 200 && w.Code != 400 && w.Code != 403 && w.Code != 413 {
			t.Errorf("status %d", w.Code)
		}
		for _, c := range d.ear.Clicks()[before:] {
			if c.Account.Space == "" || !id.MatchString(c.Account.ID) || c.Button == "" || !ref.MatchString(c.Ref) ||
				c.Verb != chat.Approve && c.Verb != chat.Deny && c.Verb != chat.Revoke && c.Verb != chat.Details {
				t.Errorf("this click got through: %+v", c)
			}
		}
		for _, c := range d.ear.Commands()[said:] {
			if c.Account.Space != "T0TEAM" || !id.MatchString(c.Account.ID) {
				t.Errorf("this command got through: %+v", c)
			}
		}
	})
}
