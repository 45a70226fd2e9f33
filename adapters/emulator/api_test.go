package emulator_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"github.com/countersign/countersign/adapters/emulator"
)

const divider = `[{"type":"divider"}]`

// TestErrorCodes holds each refusal beside a call that differs in one thing and
// is accepted.
func TestErrorCodes(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *emulator.Options) { o.Scopes = append(emulator.AllScopes(), "extra") })
	l.PutChannel(emulator.Channel{ID: "C0OLD", Name: "old", Archived: true, Members: []string{emulator.Bot, emulator.Ada}})
	l.PutChannel(emulator.Channel{ID: "C0SECRET", Name: "secret", Private: true, Members: []string{emulator.Ada}})
	l.PutUser(emulator.User{ID: "U0HID", Team: l.TeamID(), Name: "hid", RealName: "Hid Den", Hidden: true})
	l.PutGroup(emulator.Group{ID: "S0OFF", Handle: "off", Disabled: true})
	ch, ts := l.post()
	people, _, err := l.Slack.Post(t.Context(), emulator.Ada, ch, "", "hello")
	if err != nil {
		t.Fatal(err)
	}
	type form = map[string]string
	for _, c := range []struct {
		method string
		bad    form
		code   string
		good   form
	}{
		{"chat.postMessage", form{"channel": "C0NONE", "text": "x"}, "channel_not_found", form{"channel": emulator.Deploys, "text": "x"}},
		{"chat.postMessage", form{"channel": "C0SECRET", "text": "x"}, "channel_not_found", form{"channel": emulator.Security, "text": "x"}},
		{"chat.postMessage", form{"channel": emulator.General, "text": "x"}, "not_in_channel", form{"channel": "#deploys", "text": "x"}},
		{"chat.postMessage", form{"channel": "C0OLD", "text": "x"}, "is_archived", form{"channel": emulator.Ada, "text": "x"}},
		{"chat.postMessage", form{"channel": emulator.Dora, "text": "x"}, "channel_not_found", form{"channel": emulator.Grace, "text": "x"}},
		{"chat.postMessage", form{"channel": ch}, "no_text", form{"channel": ch, "blocks": divider}},
		{"chat.postMessage", form{"channel": ch, "blocks": "[{"}, "invalid_blocks_format", form{"channel": ch, "text": "x", "blocks": "[]"}},
		{"chat.postMessage", form{"channel": ch, "blocks": `[{"type":"nonsense"}]`}, "invalid_blocks", form{"channel": ch, "blocks": divider}},
		{"chat.postMessage", form{"channel": ch, "text": "x", "metadata": "[]"}, "invalid_metadata_format", form{"channel": ch, "text": "x", "metadata": "{}"}},
		{"chat.postMessage", form{"channel": ch, "text": "x", "metadata": `{"event_type":"a"}`}, "invalid_metadata_schema", form{"channel": ch, "text": "x", "metadata": `{"event_type":"a","event_payload":{}}`}},
		{"chat.update", form{"channel": "C0NONE", "ts": ts, "text": "x"}, "channel_not_found", form{"channel": ch, "ts": ts, "blocks": divider}},
		{"chat.update", form{"channel": ch, "ts": "1.000001", "text": "x"}, "message_not_found", form{"channel": ch, "ts": ts, "blocks": divider}},
		{"chat.update", form{"channel": ch, "ts": people.TS, "text": "x"}, "cant_update_message", form{"channel": ch, "ts": ts, "text": "x"}},
		{"chat.update", form{"channel": ch, "ts": ts, "text": strings.Repeat("x", 4001)}, "msg_too_long", form{"channel": ch, "ts": ts, "text": strings.Repeat("x", 4000)}},
		{"chat.update", form{"channel": "C0OLD", "ts": ts, "text": "x"}, "is_inactive", form{"channel": ch, "ts": ts, "text": "x"}},
		{"chat.postEphemeral", form{"channel": emulator.Security, "user": emulator.Tim, "text": "x"}, "user_not_in_channel", form{"channel": ch, "user": emulator.Tim, "text": "x"}},
		{"chat.getPermalink", form{"channel": ch, "message_ts": "1.000001"}, "message_not_found", form{"channel": ch, "message_ts": ts}},
		{"conversations.open", form{"users": "U0NONE"}, "user_not_found", form{"users": emulator.Ada}},
		{"conversations.open", form{"users": emulator.Dora}, "user_disabled", form{"users": emulator.Grace}},
		{"conversations.open", form{"users": "U0HID"}, "user_not_visible", form{"users": emulator.Tim}},
		{"conversations.info", form{"channel": "C0SECRET"}, "channel_not_found", form{"channel": emulator.General}},
		{"conversations.members", form{"channel": "C0NONE"}, "channel_not_found", form{"channel": ch}},
		{"conversations.history", form{"channel": emulator.General}, "not_in_channel", form{"channel": ch}},
		{"conversations.history", form{"channel": ch, "cursor": "zzz"}, "invalid_cursor", form{"channel": ch, "limit": "1"}},
		{"conversations.replies", form{"channel": ch, "ts": "1.000001"}, "thread_not_found", form{"channel": ch, "ts": ts}},
		{"users.info", form{"user": "U0NONE"}, "user_not_found", form{"user": emulator.Sam}},
		{"users.info", form{"user": "U0HID"}, "user_not_visible", form{"user": emulator.Dora}},
		{"users.lookupByEmail", form{"email": "dora@harbor.example"}, "users_not_found", form{"email": "ada@harbor.example"}},
		{"usergroups.users.list", form{"usergroup": "S0NONE"}, "no_such_subteam", form{"usergroup": emulator.Release}},
		{"usergroups.users.list", form{"usergroup": "S0OFF"}, "no_such_subteam", form{"usergroup": "S0OFF", "include_disabled": "true"}},
		{"reactions.add", form{"channel": ch, "timestamp": ts, "name": "NO SUCH"}, "invalid_name", form{"channel": ch, "timestamp": ts, "name": "eyes"}},
		{"reactions.add", form{"channel": ch, "timestamp": ts, "name": "eyes"}, "already_reacted", form{"channel": ch, "timestamp": ts, "name": "x"}},
		{"files.getUploadURLExternal", form{"filename": "a", "length": "0"}, "invalid_arguments", form{"filename": "a", "length": "1"}},
		{"files.completeUploadExternal", form{"files": `[{"id":"F0NONE"}]`}, "file_not_found", nil},
		{"views.open", form{"trigger_id": "none", "view": `{"type":"modal","title":{"type":"plain_text","text":"x"},"blocks":[]}`}, "invalid_trigger_id", nil},
		{"views.update", form{"view_id": "V0NONE", "view": `{"type":"modal","title":{"type":"plain_text","text":"x"},"blocks":[]}`}, "not_found", nil},
		{"apps.connections.open", nil, "not_allowed_token_type", nil},
		{"no.such.method", nil, "unknown_method", nil},
		{"chat.delete", form{"channel": ch, "ts": people.TS}, "cant_delete_message", form{"channel": ch, "ts": ts}},
	} {
		status, out := l.call(c.method, c.bad)
		if status != 200 || out["ok"] != false || out["error"] != c.code {
			t.Errorf("%s %v: got %d %v, want the error %s", c.method, c.bad, status, out, c.code)
		}
		if c.good == nil {
			continue
		}
		if status, out := l.call(c.method, c.good); status != 200 || out["ok"] != true {
			t.Errorf("%s %v: got %d %v, want ok", c.method, c.good, status, out)
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *emulator.Options) { o.Scopes = []string{"users:read"} })
	ask := func(method, contentType, token, body string) (code string, h http.Header) {
		t.Helper()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, l.url+"/api/"+method, strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var out struct{ Error, Needed, Provided string }
		if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return strings.Join([]string{out.Error, out.Needed, out.Provided}, "/"), res.Header
	}
	const form, js = "application/x-www-form-urlencoded", "application/json; charset=utf-8"
	for _, c := range []struct{ name, method, kind, token, body, want string }{
		{"no token", "auth.test", form, "", "", "not_authed//"},
		{"wrong token", "auth.test", form, "xoxb-wrong", "", "invalid_auth//"},
		{"in the header", "auth.test", form, l.BotToken(), "", "//"},
		{"in the form", "auth.test", form, "", "token=" + l.BotToken(), "//"},
		{"not in a JSON body", "auth.test", js, "", `{"token":"` + l.BotToken() + `"}`, "not_authed//"},
		{"header and JSON", "users.info", js, l.BotToken(), `{"user":"U0ADA"}`, "//"},
		{"a scope is missing", "chat.postMessage", js, l.BotToken(), `{"channel":"C0DEPLOYS","text":"x"}`, "missing_scope/chat:write/users:read"},
		{"bad JSON", "auth.test", js, l.BotToken(), `{`, "invalid_json//"},
		{"JSON but no object", "auth.test", js, l.BotToken(), `[]`, "json_not_object//"},
		{"another media type", "auth.test", "text/plain", l.BotToken(), `hello`, "invalid_post_type//"},
		{"the app token", "users.info", form, l.AppToken(), "", "not_allowed_token_type//"},
	} {
		got, h := ask(c.method, c.kind, c.token, c.body)
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		if has := h.Get("X-OAuth-Scopes"); c.want == "//" && has != "users:read" {
			t.Errorf("%s: X-OAuth-Scopes is %q", c.name, has)
		}
	}
	if u, err := slack.New(l.BotToken(), slack.OptionAPIURL(l.url+"/api/")).GetUserInfoContext(t.Context(), emulator.Ada); err != nil || u.Profile.Email != "" {
		t.Errorf("an e-mail address without its scope: %+v, %v", u, err)
	}
	for _, c := range l.Calls("") {
		if raw, _ := json.Marshal(c); strings.Contains(string(raw), l.BotToken()) || strings.Contains(string(raw), l.AppToken()) {
			t.Errorf("a token is recorded: %s", raw)
		}
	}
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *emulator.Options) {
		o.Limits = &emulator.Limits{PerMinute: map[string]int{"users.info": 2}, PostsPerSecond: 1, PostBurst: 2}
	})
	codes := func(n int, call func() error) (limited int, wait time.Duration) {
		for range n {
			var e *slack.RateLimitedError
			switch err := call(); {
			case err == nil:
			case asRate(err, &e):
				limited, wait = limited+1, e.RetryAfter
			default:
				t.Fatal(err)
			}
		}
		return limited, wait
	}
	info := func() error { _, err := l.api.GetUserInfoContext(t.Context(), emulator.Ada); return err }
	if n, wait := codes(3, info); n != 1 || wait != 30*time.Second {
		t.Errorf("users.info: %d limited, wait %s; want 1 and 30s", n, wait)
	}
	l.clock.Add(30 * time.Second)
	if n, _ := codes(1, info); n != 0 {
		t.Error("users.info is still limited after Retry-After")
	}
	say := func(ch string) func() error {
		return func() error {
			_, _, err := l.api.PostMessageContext(t.Context(), ch, slack.MsgOptionText("x", false))
			return err
		}
	}
	if n, wait := codes(4, say(emulator.Deploys)); n != 2 || wait != time.Second {
		t.Errorf("posts: %d limited, wait %s; want 2 and 1s", n, wait)
	}
	if n, _ := codes(1, say(emulator.Security)); n != 0 {
		t.Error("another channel is limited too")
	}
	if m := l.Messages(emulator.Deploys); len(m) != 2 {
		t.Errorf("%d messages, want 2: a refused call must do nothing", len(m))
	}
}

func asRate(err error, to **slack.RateLimitedError) bool {
	e, ok := errors.AsType[*slack.RateLimitedError](err)
	*to = e
	return ok
}

func TestUpdateKeepsAndRemoves(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ch, ts := l.post()
	update := func(form map[string]string) map[string]any {
		form["channel"], form["ts"] = ch, ts
		_, out := l.call("chat.update", form)
		return out
	}
	update(map[string]string{"text": "a", "blocks": divider})
	if m := l.Messages(ch)[0]; string(m.Metadata) == "" || m.Blocks == nil || m.Edited || m.Updates != 1 {
		t.Errorf("with blocks and without metadata: %+v", m)
	}
	update(map[string]string{"text": "b", "metadata": "{}"})
	if m := l.Messages(ch)[0]; m.Metadata != nil || m.Blocks != nil || !m.Edited {
		t.Errorf("text alone, empty metadata: %+v", m)
	}
	const rich = `[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"x"}]}]}]`
	if out := update(map[string]string{"blocks": rich}); out["ok"] != true {
		t.Errorf("rich text: %v", out)
	}
	if out := update(map[string]string{"blocks": divider}); out["error"] != "block_mismatch" {
		t.Errorf("rich text replaced by none: %v", out)
	}
	if out := update(map[string]string{"blocks": rich}); out["ok"] != true {
		t.Errorf("rich text replaced by rich text: %v", out)
	}
}

func TestLostThreadShowsInTheAnswerOnly(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ch, ts := l.post()
	for thread, want := range map[string]any{ts: ts, "1.000001": nil} {
		_, out := l.call("chat.postMessage", map[string]string{"channel": ch, "text": "note", "thread_ts": thread})
		if got := out["message"].(map[string]any)["thread_ts"]; out["ok"] != true || got != want {
			t.Errorf("thread %s: %v", thread, out)
		}
	}
	if n := len(l.Messages(ch)); n != 2 {
		t.Errorf("%d messages in the channel, want the card and the lost note", n)
	}
}

func TestLongTextIsCutWithAWarning(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	_, out := l.call("chat.postMessage", map[string]string{"channel": emulator.Deploys, "text": strings.Repeat("é", 40_001)})
	if m := l.Messages(emulator.Deploys)[0]; out["warning"] != "message_truncated" || len(m.Text) != 2*40_000 {
		t.Errorf("warning %v, %d bytes", out["warning"], len(m.Text))
	}
	_, out = l.call("chat.postMessage", map[string]string{"channel": emulator.Deploys, "text": strings.Repeat("é", 40_000)})
	if out["warning"] != nil {
		t.Errorf("warning %v for a text within the limit", out["warning"])
	}
}

func TestHistoryPagesAndFilters(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var all []string
	for range 5 {
		_, ts := l.post()
		all = append(all, ts)
		l.clock.Add(time.Second)
	}
	var got []string
	cursor := ""
	for {
		h, err := l.api.GetConversationHistoryContext(t.Context(), &slack.GetConversationHistoryParameters{ChannelID: emulator.Deploys, Limit: 2, Cursor: cursor, Oldest: all[0]})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range h.Messages {
			got = append(got, m.Timestamp)
			if m.Metadata.EventType != "" {
				t.Error("metadata without include_all_metadata")
			}
		}
		if cursor = h.ResponseMetaData.NextCursor; cursor == "" {
			break
		}
	}
	if want := []string{all[4], all[3], all[2], all[1]}; strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %v, want %v: newest first, oldest left out", got, want)
	}
}
