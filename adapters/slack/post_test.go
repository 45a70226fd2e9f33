package slack_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/adapters/emulator"
	"github.com/countersign/countersign/adapters/slack"
	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/bot/chat/chattest"
)

// standIn is a Web API that answers each method with fixed text.
func standIn(t testing.TB, answers map[string]func(r *http.Request, w http.ResponseWriter)) *slack.Slack {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := answers[strings.TrimPrefix(r.URL.Path, "/")]
		if answer == nil {
			fmt.Fprint(w, `{"ok":false,"error":"unknown_method"}`)
			return
		}
		answer(r, w)
	}))
	t.Cleanup(server.Close)
	cfg := good()
	cfg.APIURL = server.URL + "/"
	s, err := slack.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// says answers with a text.
func says(text string) func(*http.Request, http.ResponseWriter) {
	return func(_ *http.Request, w http.ResponseWriter) { fmt.Fprint(w, text) }
}

func TestMessagesSwitchMarkupOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false, nil)
	c := chattest.Sample("d-1")
	c.Summary = "<!channel> & more"
	ref, err := w.app.Post(t.Context(), emulator.Deploys, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.app.Update(t.Context(), ref, c); err != nil {
		t.Fatal(err)
	}
	if err := w.app.Note(t.Context(), ref, "<!here> note"); err != nil {
		t.Fatal(err)
	}
	calls := append(w.em.Calls("chat.postMessage"), w.em.Calls("chat.update")...)
	if len(calls) != 3 {
		t.Fatalf("%d calls", len(calls))
	}
	for _, call := range calls {
		for arg, want := range map[string]string{"unfurl_links": "false", "unfurl_media": "false", "link_names": "false", "parse": "none"} {
			if call.Args[arg] != want {
				t.Errorf("%s: %s is %q, not %q", call.Method, arg, call.Args[arg], want)
			}
		}
		if strings.ContainsAny(call.Args["text"], "<>") {
			t.Errorf("%s: the text is %q", call.Method, call.Args["text"])
		}
	}
	var metadata struct {
		Type    string         `json:"event_type"`
		Payload map[string]any `json:"event_payload"`
	}
	if err := json.Unmarshal([]byte(calls[0].Args["metadata"]), &metadata); err != nil {
		t.Fatal(err)
	}
	if metadata.Type != "countersign_card" || len(metadata.Payload) != 1 || metadata.Payload["delivery"] != "d-1" {
		t.Errorf("the metadata is %+v", metadata)
	}
}

func TestDirectMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false, nil)
	ref, err := w.app.Post(t.Context(), emulator.Grace, chattest.Sample("d-1"))
	if err != nil || !strings.HasPrefix(ref, "D") {
		t.Fatalf("Post: %q, %v", ref, err)
	}
	if err := w.app.Update(t.Context(), ref, chattest.Sample("d-1")); err != nil {
		t.Errorf("Update: %v", err)
	}
	if refs, err := w.app.Find(t.Context(), emulator.Grace, "d-1", time.Now()); err != nil || !slices.Equal(refs, []string{ref}) {
		t.Errorf("Find: %v, %v", refs, err)
	}
	if err := w.app.Check(t.Context(), emulator.Grace); err != nil {
		t.Errorf("Check: %v", err)
	}
	for _, channel := range []string{"", "deploys", "#deploys", "C0 1", "U0NOBODY"} {
		if _, err := w.app.Post(t.Context(), channel, chattest.Sample("d-1")); err == nil {
			t.Errorf("Post to %q succeeded", channel)
		}
	}
}

func TestFindTrustsOurMessagesOnly(t *testing.T) {
	t.Parallel()
	message := func(ts, bot, app, event, delivery string) string {
		return fmt.Sprintf(`{"type":"message","ts":%q,"bot_id":%q,"bot_profile":{"app_id":%q},"metadata":{"event_type":%q,"event_payload":{"delivery":%q}}}`,
			ts, bot, app, event, delivery)
	}
	var queries []string
	s := standIn(t, map[string]func(*http.Request, http.ResponseWriter){
		"conversations.history": func(r *http.Request, w http.ResponseWriter) {
			queries = append(queries, r.FormValue("oldest")+" "+r.FormValue("include_all_metadata")+" "+r.FormValue("cursor"))
			if r.FormValue("cursor") == "" {
				fmt.Fprintf(w, `{"ok":true,"messages":[%s,%s,%s],"response_metadata":{"next_cursor":"more"}}`,
					message("1.1", "B1", "A0APP", "countersign_card", "d-1"), message("1.2", "B2", "A0EVIL", "countersign_card", "d-1"),
					message("1.3", "", "", "countersign_card", "d-1"))
				return
			}
			fmt.Fprintf(w, `{"ok":true,"messages":[%s,%s,%s,{"ts":"1.7"}]}`,
				message("1.4", "B1", "A0APP", "countersign_card", "d-2"), message("1.5", "B1", "A0APP", "other", "d-1"),
				message("1.6", "B1", "", "countersign_card", "d-1"))
		},
	})
	refs, err := s.Find(t.Context(), "C1", "d-1", time.Unix(1000, 0))
	if want := []string{"C1:1.1", "C1:1.6"}; err != nil || !slices.Equal(refs, want) {
		t.Errorf("Find: %v, %v; not %v", refs, err, want)
	}
	if want := []string{"700.000000 1 ", "700.000000 1 more"}; !slices.Equal(queries, want) {
		t.Errorf("asked %q, not %q", queries, want)
	}
}

func TestFindThatCannotLook(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]func(error) bool{
		`{"ok":false,"error":"missing_scope","needed":"channels:history"}`: func(err error) bool { return errors.Is(err, chat.ErrUnsupported) },
		`{"ok":false,"error":"channel_not_found"}`:                         func(err error) bool { return chat.ClassOf(err) == chat.Misconfigured },
		`{}`: func(err error) bool { return chat.ClassOf(err) == chat.Retry },
		`{"ok":true,"messages":[],"response_metadata":{"next_cursor":"x"}}`: func(err error) bool {
			return chat.ClassOf(err) == chat.Misconfigured && strings.Contains(err.Error(), "history_too_long")
		},
	} {
		s := standIn(t, map[string]func(*http.Request, http.ResponseWriter){"conversations.history": says(answer)})
		if refs, err := s.Find(t.Context(), "C1", "d-1", time.Unix(1000, 0)); err == nil || refs != nil || !want(err) {
			t.Errorf("%s: %v, %v", answer, refs, err)
		}
	}
}

func TestPostNeedsAPlace(t *testing.T) {
	t.Parallel()
	for answer, ok := range map[string]bool{
		`{"ok":true,"channel":"C1","ts":"1.1"}`:  true,
		`{}`:                                     false,
		`{"ok":false}`:                           false,
		`{"ok":true}`:                            false,
		`{"ok":true,"channel":"C1"}`:             false,
		`{"ok":true,"ts":"1.1"}`:                 false,
		`{"ok":true,"channel":"C1:","ts":"1.1"}`: false,
		`{"ok":true,"channel":"C1","ts":"x"}`:    false,
		``:                                       false,
		`<html>`:                                 false,
	} {
		s := standIn(t, map[string]func(*http.Request, http.ResponseWriter){"chat.postMessage": says(answer)})
		ref, err := s.Post(t.Context(), "C1", chattest.Sample("d"))
		if ok && (err != nil || ref != "C1:1.1") {
			t.Errorf("%s: %q, %v", answer, ref, err)
		}
		if !ok && (err == nil || chat.ClassOf(err) != chat.Ambiguous) {
			t.Errorf("%s: %q, %v is not ambiguous", answer, ref, err)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	followed := false
	s := standIn(t, map[string]func(*http.Request, http.ResponseWriter){
		"chat.postMessage": func(r *http.Request, w http.ResponseWriter) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"elsewhere": func(_ *http.Request, w http.ResponseWriter) { followed = true },
	})
	_, err := s.Post(t.Context(), "C1", chattest.Sample("d"))
	if followed || err == nil || chat.ClassOf(err) != chat.Misconfigured {
		t.Errorf("followed %v, %v", followed, err)
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	cfg := good()
	cfg.APIURL = server.URL + "/"
	server.Close()
	s, err := slack.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Post(t.Context(), "C1", chattest.Sample("d")); err == nil || chat.ClassOf(err) != chat.Retry {
		t.Errorf("Post: %v; nothing was sent, so it may be tried again", err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	auth := func(scopes, body string) func(*http.Request, http.ResponseWriter) {
		return func(_ *http.Request, w http.ResponseWriter) {
			if scopes != "" {
				w.Header().Set("X-OAuth-Scopes", scopes)
			}
			fmt.Fprint(w, body)
		}
	}
	const all, ours = "chat:write, commands,users:read", `{"ok":true,"team_id":"T0TEAM","user_id":"U1"}`
	const member = `{"ok":true,"channel":{"id":"C1","is_member":true}}`
	for name, test := range map[string]struct {
		auth    func(*http.Request, http.ResponseWriter)
		info    string
		channel string
		want    string // code; empty if all is well
		class   chat.Class
	}{
		"all is well":           {auth(all, ours), member, "C1", "", 0},
		"no channel":            {auth(all, ours), "", "", "", 0},
		"scopes not told":       {auth("", ours), member, "C1", "", 0},
		"another team":          {auth(all, `{"ok":true,"team_id":"T0OTHER"}`), member, "C1", "wrong_workspace", chat.Misconfigured},
		"no team":               {auth(all, `{"ok":true}`), member, "C1", "empty_answer", chat.Retry},
		"a revoked token":       {auth("", `{"ok":false,"error":"token_revoked"}`), member, "C1", "token_revoked", chat.Misconfigured},
		"a missing scope":       {auth("chat:write,users:read", ours), member, "C1", "missing_scope", chat.Misconfigured},
		"an archived channel":   {auth(all, ours), `{"ok":true,"channel":{"id":"C1","is_member":true,"is_archived":true}}`, "C1", "is_archived", chat.Gone},
		"not in the channel":    {auth(all, ours), `{"ok":true,"channel":{"id":"C1"}}`, "C1", "not_in_channel", chat.Misconfigured},
		"an unknown channel":    {auth(all, ours), `{"ok":false,"error":"channel_not_found"}`, "C1", "channel_not_found", chat.Misconfigured},
		"a channel by its name": {auth(all, ours), member, "#deploys", "channel_not_found", chat.Misconfigured},
		"an empty answer":       {auth(all, ours), `{}`, "C1", "empty_answer", chat.Retry},
	} {
		s := standIn(t, map[string]func(*http.Request, http.ResponseWriter){"auth.test": test.auth, "conversations.info": says(test.info)})
		err := s.Check(t.Context(), test.channel)
		var e *chat.Error
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (!errors.As(err, &e) || e.Code != test.want || e.Class != test.class):
			t.Errorf("%s: %v, not %s (%v)", name, err, test.want, test.class)
		}
	}
}

func TestMissingScopeIsNamed(t *testing.T) {
	t.Parallel()
	for needed, want := range map[string]string{"files:write": "add the scope files:write", "xoxb-1 <secret>": "add the missing scope"} {
		s := standIn(t, map[string]func(*http.Request, http.ResponseWriter){
			"users.info": says(fmt.Sprintf(`{"ok":false,"error":"missing_scope","needed":%q}`, needed)),
		})
		_, err := s.Member(t.Context(), chat.Account{Platform: "slack", Space: "T0TEAM", ID: "U1"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestMembersOfAnOrganisation(t *testing.T) {
	t.Parallel()
	const away = `{"ok":true,"user":{"id":"U1","team_id":"T0HOME","real_name":"Ada","enterprise_user":{"id":"W1","enterprise_id":"E0ORG"}}}`
	for org, want := range map[string]bool{"E0ORG": true, "E0OTHER": false, "": false} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, away) }))
		t.Cleanup(server.Close)
		cfg := good()
		cfg.APIURL, cfg.EnterpriseID = server.URL+"/", org
		s, err := slack.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.Member(t.Context(), chat.Account{Platform: "slack", Space: "T0TEAM", ID: "U1"})
		if err != nil || m.Home != want || !m.Known || m.Name != "Ada" {
			t.Errorf("%q: %+v, %v", org, m, err)
		}
	}
	// An answer about somebody else is no answer.
	s := standIn(t, map[string]func(*http.Request, http.ResponseWriter){"users.info": says(away)})
	if m, err := s.Member(t.Context(), chat.Account{Platform: "slack", Space: "T0TEAM", ID: "U2"}); err == nil || m.Known {
		t.Errorf("%+v, %v", m, err)
	}
}
