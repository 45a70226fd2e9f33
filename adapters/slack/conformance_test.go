package slack_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/adapters/emulator"
	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/bot/chat/chattest"
)

func TestContractHTTP(t *testing.T) {
	t.Parallel()
	chattest.Run(t, func(t testing.TB) *chattest.Harness {
		w := newWorld(t, false, nil)
		h := w.harness()
		h.Forgeries = w.forgeries()
		return h
	})
}

func TestContractSocketMode(t *testing.T) {
	t.Parallel()
	chattest.Run(t, func(t testing.TB) *chattest.Harness {
		w := newWorld(t, true, nil)
		h := w.harness()
		h.Forgeries = w.socketForgeries(h.Person)
		return h
	})
}

func (w *world) account(id string) chat.Account {
	return chat.Account{Platform: "slack", Space: w.em.TeamID(), ID: id}
}

func (w *world) harness() *chattest.Harness {
	w.em.PutUser(emulator.User{ID: "U0ROBOT", Team: w.em.TeamID(), Name: "robot", Bot: true})
	w.em.PutUser(emulator.User{ID: "U0NEW", Team: w.em.TeamID(), Name: "new", Invited: true})
	w.em.PutUser(emulator.User{ID: "U0SINGLE", Team: w.em.TeamID(), Name: "single", Guest: true, SingleGuest: true})
	w.em.PutUser(emulator.User{ID: "U0HIDDEN", Team: w.em.TeamID(), Name: "hidden", Hidden: true})
	w.em.PutUser(emulator.User{ID: "USLACKBOT", Team: w.em.TeamID(), Name: "slackbot"})
	guest := chat.Member{Known: true, Human: true, Active: true}
	stranger := w.account(emulator.Sam)
	stranger.Space = emulator.PartnerTeam
	return &chattest.Harness{
		Platform: w.app, World: w, Channel: emulator.Deploys,
		Person: w.account(emulator.Ada), Other: w.account(emulator.Grace),
		Mention: chat.Mention{Group: emulator.Release},
		Escaped: func(r rune) string { return fmt.Sprintf("⟨U+%04X⟩", r) },
		Marker:  "more characters", MaxText: 40000,
		Members: []chattest.MemberCase{
			{Name: "a guest", Account: w.account(emulator.Gus), Want: guest},
			{Name: "a single-channel guest", Account: w.account("U0SINGLE"), Want: guest},
			{Name: "a stranger", Account: stranger, Want: guest},
			{Name: "a stranger who says that they are ours", Account: w.account(emulator.Sam), Want: guest},
			{Name: "a bot", Account: w.account("U0ROBOT"), Want: chat.Member{Known: true, Active: true, Home: true}},
			{Name: "Slackbot", Account: w.account("USLACKBOT"), Want: chat.Member{Known: true, Active: true, Home: true}},
			{Name: "a deactivated member", Account: w.account(emulator.Dora), Want: chat.Member{Known: true, Human: true, Home: true}},
			{Name: "an invited member", Account: w.account("U0NEW"), Want: chat.Member{Known: true, Human: true, Home: true}},
			{Name: "a hidden member", Account: w.account("U0HIDDEN")},
			{Name: "an unknown account", Account: w.account("U0NOBODY")},
		},
		Faults:   w.faults(),
		Canaries: []string{w.em.BotToken(), w.em.AppToken(), w.em.SigningSecret(), "/hook/", "xoxb-", "xapp-"},
		Log:      w.log.String,
	}
}

// faults is the table of what Slack answers and what it means.
func (w *world) faults() []chattest.FaultCase {
	var out []chattest.FaultCase
	add := func(op chattest.Op, name string, f emulator.Fault, want chat.Class, after time.Duration) {
		f.Times = 1
		f.Method = map[chattest.Op]string{
			chattest.OpPost: "chat.postMessage", chattest.OpUpdate: "chat.update", chattest.OpNote: "chat.postMessage",
			chattest.OpMember: "users.info", chattest.OpCheck: "auth.test", chattest.OpFind: "conversations.history",
			chattest.OpAttach: "files.completeUploadExternal",
		}[op]
		out = append(out, chattest.FaultCase{
			Name: name, Op: op, Want: want, After: after,
			Happened: f.Kind == emulator.LoseAnswer || f.Kind == emulator.EmptyReplyDone,
			Arm: func(t testing.TB) {
				if err := w.em.Inject(f); err != nil {
					t.Fatal(err)
				}
			},
		})
	}
	for _, op := range []chattest.Op{chattest.OpPost, chattest.OpNote, chattest.OpAttach, chattest.OpUpdate, chattest.OpMember, chattest.OpCheck, chattest.OpFind} {
		unknown := chat.Retry
		if op == chattest.OpPost || op == chattest.OpNote || op == chattest.OpAttach {
			unknown = chat.Ambiguous
		}
		add(op, "429", emulator.Fault{Kind: emulator.RateLimited, Delay: 7 * time.Second}, chat.RateLimited, 7*time.Second)
		add(op, "429 without a time", emulator.Fault{Kind: emulator.RateLimitedBare}, chat.RateLimited, time.Minute)
		add(op, "500", emulator.Fault{Kind: emulator.Broken}, unknown, 0)
		add(op, "connection dropped", emulator.Fault{Kind: emulator.Drop}, unknown, 0)
		add(op, "answer lost", emulator.Fault{Kind: emulator.LoseAnswer}, unknown, 0)
		add(op, "empty answer", emulator.Fault{Kind: emulator.EmptyReply}, unknown, 0)
		add(op, "empty answer, done", emulator.Fault{Kind: emulator.EmptyReplyDone}, unknown, 0)
		add(op, "unknown code", emulator.Fault{Kind: emulator.Refuse, Code: "something_new"}, unknown, 0)
		add(op, "code that is none", emulator.Fault{Kind: emulator.Refuse, Code: "token " + w.em.BotToken()}, unknown, 0)
		for code, want := range map[string]chat.Class{
			"internal_error": unknown, "fatal_error": unknown, "service_unavailable": unknown, "request_timeout": chat.Retry,
			"invalid_auth": chat.Misconfigured, "token_revoked": chat.Misconfigured, "account_inactive": chat.Misconfigured,
			"ekm_access_denied": chat.Misconfigured,
		} {
			add(op, code, emulator.Fault{Kind: emulator.Refuse, Code: code}, want, 0)
		}
		add(op, "ratelimited", emulator.Fault{Kind: emulator.Refuse, Code: "ratelimited"}, chat.RateLimited, time.Minute)
	}
	for code, want := range map[string]chat.Class{
		"not_in_channel": chat.Misconfigured, "channel_not_found": chat.Misconfigured, "missing_scope": chat.Misconfigured,
		"restricted_action": chat.Misconfigured, "restricted_action_read_only_channel": chat.Misconfigured,
		"invalid_blocks": chat.Misconfigured, "msg_blocks_too_long": chat.Misconfigured, "is_archived": chat.Gone,
	} {
		add(chattest.OpPost, code, emulator.Fault{Kind: emulator.Refuse, Code: code}, want, 0)
	}
	add(chattest.OpPost, "rate_limited", emulator.Fault{Kind: emulator.Refuse, Code: "rate_limited"}, chat.RateLimited, time.Minute)
	for code, want := range map[string]chat.Class{
		"message_not_found": chat.Gone, "cant_update_message": chat.Gone, "edit_window_closed": chat.Gone, "is_inactive": chat.Gone,
		"block_mismatch": chat.Gone, "channel_not_found": chat.Gone, "msg_too_long": chat.Misconfigured,
		"streaming_state_conflict": chat.Retry, "external_channel_migrating": chat.Retry,
	} {
		add(chattest.OpUpdate, code, emulator.Fault{Kind: emulator.Refuse, Code: code}, want, 0)
	}
	return out
}

// forgeries are requests that Slack never sent, beside those that it did.
func (w *world) forgeries() []chattest.Forgery {
	const path = "/slack/interactions"
	var out []chattest.Forgery
	add := func(name string, genuine bool, path string, age time.Duration, change func(map[string]any), twist func(*http.Request)) {
		out = append(out, chattest.Forgery{Name: name, Genuine: genuine, Send: func(t testing.TB, ref string) {
			t.Helper()
			payload := w.click(ref)
			if change != nil {
				change(payload)
			}
			status := w.send(t, path, time.Now().Add(-age), form(t, payload), twist)
			if (status == http.StatusOK) != genuine {
				t.Errorf("%s: status %d", name, status)
			}
		}})
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	body := func(do func([]byte) []byte) func(*http.Request) {
		return func(r *http.Request) {
			raw, _ := io.ReadAll(r.Body)
			raw = do(raw)
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
		}
	}
	signature := func(do func(string) string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("X-Slack-Signature", do(r.Header.Get("X-Slack-Signature"))) }
	}
	add("a signed click", true, path, 0, nil, nil)
	add("299 s old", true, path, 299*time.Second, nil, nil)
	add("298 s in the future", true, path, -298*time.Second, nil, nil)
	add("302 s old", false, path, 302*time.Second, nil, nil)
	add("302 s in the future", false, path, -302*time.Second, nil, nil)
	add("unsigned", false, path, 0, nil, func(r *http.Request) { r.Header.Del("X-Slack-Signature") })
	add("without a time", false, path, 0, nil, func(r *http.Request) { r.Header.Del("X-Slack-Request-Timestamp") })
	add("empty signature", false, path, 0, nil, header("X-Slack-Signature", ""))
	add("another time", false, path, 0, nil, func(r *http.Request) {
		r.Header.Set("X-Slack-Request-Timestamp", fmt.Sprint(time.Now().Unix()+1))
	})
	add("v1", false, path, 0, nil, signature(func(s string) string { return "v1" + s[2:] }))
	add("no v0=", false, path, 0, nil, signature(func(s string) string { return s[3:] }))
	add("31 bytes", false, path, 0, nil, signature(func(s string) string { return s[:len(s)-2] }))
	add("33 bytes", false, path, 0, nil, signature(func(s string) string { return s + "00" }))
	add("not hex", false, path, 0, nil, signature(func(s string) string { return "v0=" + strings.Repeat("z", 64) }))
	add("two signatures", false, path, 0, nil, func(r *http.Request) { r.Header.Add("X-Slack-Signature", "v0="+strings.Repeat("0", 64)) })
	add("one byte changed", false, path, 0, nil, body(func(b []byte) []byte { return bytes.Replace(b, []byte("approve"), []byte("approvf"), 1) }))
	add("one byte more", false, path, 0, nil, body(func(b []byte) []byte { return append(b, '&') }))
	add("too large", false, path, 0, func(p map[string]any) { p["more"] = strings.Repeat("x", 1<<20) }, nil)
	add("large", true, path, 0, func(p map[string]any) { p["more"] = strings.Repeat("x", 1<<19) }, nil)
	add("a query", false, path, 0, nil, func(r *http.Request) { r.URL.RawQuery = "payload=%7B%7D" })
	add("an empty query", false, path, 0, nil, func(r *http.Request) { r.URL.ForceQuery = true })
	add("the path of commands", false, "/slack/commands", 0, nil, nil)
	add("the path of events", false, "/slack/events", 0, nil, nil)
	add("another app", false, path, 0, func(p map[string]any) { p["api_app_id"] = "A0OTHER" }, nil)
	add("no app", false, path, 0, func(p map[string]any) { delete(p, "api_app_id") }, nil)
	add("no user", false, path, 0, func(p map[string]any) { p["user"] = map[string]any{"team_id": w.em.TeamID()} }, nil)
	add("a user that is no id", false, path, 0, func(p map[string]any) { p["user"] = map[string]any{"id": "U1> <!here"} }, nil)
	return out
}

// socketForgeries are what can be wrong in an envelope: the socket itself is
// authentic.
func (w *world) socketForgeries(who chat.Account) []chattest.Forgery {
	press := func(name string, genuine bool, change func(map[string]any)) chattest.Forgery {
		return chattest.Forgery{Name: name, Genuine: genuine, Send: func(t testing.TB, ref string) {
			twist := func(_ string, payload map[string]any) { change(payload) }
			w.twist.Store(&twist)
			defer w.twist.Store(nil)
			ctx := t.Context()
			channel, ts := place(ref)
			answer, err := w.em.Click(ctx, who.ID, channel, ts, "countersign:approve")
			if err != nil || (answer.Shown == "") != genuine {
				t.Errorf("%s: %v, shown %q", name, err, answer.Shown)
			}
		}}
	}
	return []chattest.Forgery{
		press("a click", true, func(map[string]any) {}),
		press("another app", false, func(p map[string]any) { p["api_app_id"] = "A0OTHER" }),
		press("a message that the library cannot read", true, func(p map[string]any) {
			p["message"] = map[string]any{"blocks": []any{map[string]any{"type": "section", "text": 7}}}
		}),
	}
}
