package emulator_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"github.com/countersign/countersign/adapters/emulator"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// lab is a workspace behind a real server, and an app behind another.
type lab struct {
	*emulator.Slack
	t     *testing.T
	url   string
	clock *clock
	api   *slack.Client

	mu   sync.Mutex
	got  []received
	then func(w http.ResponseWriter, got received)
}

// received is a delivery as the app got it.
type received struct {
	path   string
	header http.Header
	body   []byte
}

// payload is an interaction's payload.
func (r received) payload() map[string]any {
	form, _ := url.ParseQuery(string(r.body))
	var p map[string]any
	_ = json.Unmarshal([]byte(form.Get("payload")), &p)
	return p
}

func newLab(t *testing.T, opts ...func(*emulator.Options)) *lab {
	t.Helper()
	l := &lab{t: t, clock: newClock()}
	o := emulator.Options{Now: l.clock.Now, Limits: &emulator.Limits{}, AckWithin: 2 * time.Second, EventRetries: []time.Duration{0, 0, 0}}
	for _, f := range opts {
		f(&o)
	}
	l.Slack = emulator.New(o)
	srv := httptest.NewServer(l.Handler())
	t.Cleanup(func() { l.Close(); srv.Close() })
	l.url = srv.URL
	l.SetURL(srv.URL)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got := received{r.URL.Path, r.Header.Clone(), body}
		l.mu.Lock()
		l.got = append(l.got, got)
		then := l.then
		l.mu.Unlock()
		if then != nil {
			then(w, got)
		}
	}))
	t.Cleanup(app.Close)
	l.SetRequestURLs(app.URL+"/interactions", app.URL+"/commands", app.URL+"/events")
	l.api = slack.New(l.BotToken(), slack.OptionAPIURL(srv.URL+"/api/"))
	return l
}

// on says how the app answers from now on.
func (l *lab) on(f func(w http.ResponseWriter, got received)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.then = f
}

func (l *lab) received() []received {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]received(nil), l.got...)
}

// call makes a Web API call with a form, and returns status and answer.
func (l *lab) call(method string, form map[string]string) (int, map[string]any) {
	l.t.Helper()
	values := url.Values{"token": {l.BotToken()}}
	for k, v := range form {
		values.Set(k, v)
	}
	res, err := http.PostForm(l.url+"/api/"+method, values)
	if err != nil {
		l.t.Fatal(err)
	}
	defer res.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		l.t.Fatalf("%s: %v", method, err)
	}
	return res.StatusCode, out
}

// cardBlocks is a small card with two buttons.
func cardBlocks() []slack.Block {
	approve := slack.NewButtonBlockElement("approve", "d1", slack.NewTextBlockObject("plain_text", "Approve", false, false)).WithStyle(slack.StylePrimary)
	deny := slack.NewButtonBlockElement("deny", "d1", slack.NewTextBlockObject("plain_text", "Deny", false, false)).WithStyle(slack.StyleDanger)
	return []slack.Block{
		slack.NewHeaderBlock(slack.NewTextBlockObject("plain_text", "Deploy billing to production", false, false)),
		slack.NewActionBlock("act", approve, deny),
	}
}

// post posts the small card.
func (l *lab) post() (channel, ts string) {
	l.t.Helper()
	channel, ts, err := l.api.PostMessageContext(l.t.Context(), emulator.Deploys, slack.MsgOptionText("Deploy", false), slack.MsgOptionBlocks(cardBlocks()...),
		slack.MsgOptionMetadata(slack.SlackMetadata{EventType: "card", EventPayload: map[string]any{"delivery": "d1"}}))
	if err != nil {
		l.t.Fatal(err)
	}
	return channel, ts
}

func TestSlackGoDrivesIt(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ctx := t.Context()
	who, err := l.api.AuthTestContext(ctx)
	if err != nil || who.TeamID != l.TeamID() || who.UserID != emulator.Bot {
		t.Fatalf("auth.test: %+v, %v", who, err)
	}
	ch, ts := l.post()
	if _, _, _, err := l.api.UpdateMessageContext(ctx, ch, ts, slack.MsgOptionText("Decided", false), slack.MsgOptionBlocks(slack.NewDividerBlock())); err != nil {
		t.Fatal(err)
	}
	h, err := l.api.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{ChannelID: ch, IncludeAllMetadata: true, Oldest: "0"})
	if err != nil || len(h.Messages) != 1 || h.Messages[0].Text != "Decided" || h.Messages[0].Metadata.EventPayload["delivery"] != "d1" {
		t.Fatalf("history: %+v, %v", h, err)
	}
	if _, _, err := l.api.PostMessageContext(ctx, ch, slack.MsgOptionText("a note", false), slack.MsgOptionTS(ts)); err != nil {
		t.Fatal(err)
	}
	replies, _, _, err := l.api.GetConversationRepliesContext(ctx, &slack.GetConversationRepliesParameters{ChannelID: ch, Timestamp: ts})
	if err != nil || len(replies) != 2 || replies[1].Text != "a note" {
		t.Fatalf("replies: %+v, %v", replies, err)
	}
	if _, err := l.api.UploadFileContext(ctx, slack.UploadFileParameters{Filename: "plan.diff", Title: "The plan", Content: "+a\n-b\n", FileSize: 6, Channel: ch, ThreadTimestamp: ts}); err != nil {
		t.Fatal(err)
	}
	if f := l.Files(); len(f) != 1 || string(f[0].Content) != "+a\n-b\n" || f[0].ThreadTS != ts {
		t.Fatalf("files: %+v", f)
	}
	if _, err := l.api.PostEphemeralContext(ctx, ch, emulator.Ada, slack.MsgOptionText("for you", false)); err != nil {
		t.Fatal(err)
	}
	if e := l.Ephemerals(emulator.Ada, ch); len(e) != 1 || e[0].Text != "for you" || len(l.Ephemerals(emulator.Tim, ch)) != 0 {
		t.Fatalf("ephemerals: %+v", e)
	}
	u, err := l.api.GetUserInfoContext(ctx, emulator.Gus)
	if err != nil || !u.IsRestricted || u.TeamID != l.TeamID() {
		t.Fatalf("users.info: %+v, %v", u, err)
	}
	if u, err := l.api.GetUserByEmailContext(ctx, "ADA@harbor.example"); err != nil || u.ID != emulator.Ada {
		t.Fatalf("by email: %+v, %v", u, err)
	}
	m, err := l.api.GetUserGroupMembersContext(ctx, emulator.Release)
	if err != nil || strings.Join(m, ",") != emulator.Ada+","+emulator.Grace {
		t.Fatalf("group: %v, %v", m, err)
	}
	dm, _, _, err := l.api.OpenConversationContext(ctx, &slack.OpenConversationParameters{Users: []string{emulator.Ada}})
	if err != nil || !strings.HasPrefix(dm.ID, "D") {
		t.Fatalf("open: %+v, %v", dm, err)
	}
	if err := l.api.AddReactionContext(ctx, "eyes", slack.NewRefToMessage(ch, ts)); err != nil {
		t.Fatal(err)
	}
	info, err := l.api.GetConversationInfoContext(ctx, &slack.GetConversationInfoInput{ChannelID: ch})
	if err != nil || !info.IsMember || !info.IsExtShared {
		t.Fatalf("info: %+v, %v", info, err)
	}
	if link, err := l.api.GetPermalinkContext(ctx, &slack.PermalinkParameters{Channel: ch, Ts: ts}); err != nil || !strings.HasPrefix(link, l.url) {
		t.Fatalf("permalink: %q, %v", link, err)
	}
}

func TestClickAndModal(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ch, ts := l.post()
	l.on(func(w http.ResponseWriter, got received) {
		p := got.payload()
		switch p["type"] {
		case "block_actions":
			view := slack.ModalViewRequest{
				Type: slack.VTModal, Title: slack.NewTextBlockObject("plain_text", "Deny", false, false),
				Submit: slack.NewTextBlockObject("plain_text", "Deny", false, false), PrivateMetadata: "d1",
				Blocks: slack.Blocks{BlockSet: []slack.Block{slack.NewInputBlock("why", slack.NewTextBlockObject("plain_text", "Why?", false, false), nil,
					&slack.PlainTextInputBlockElement{Type: slack.METPlainTextInput, ActionID: "reason"})}},
			}
			if _, err := l.api.OpenViewContext(context.Background(), p["trigger_id"].(string), view); err != nil {
				t.Errorf("views.open: %v", err)
			}
		case "view_submission":
			values := p["view"].(map[string]any)["state"].(map[string]any)["values"].(map[string]any)
			if why := values["why"].(map[string]any)["reason"].(map[string]any)["value"]; why != "not today" {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"response_action":"errors","errors":{"why":"say more"}}`)
			}
		}
	})
	a, err := l.Click(t.Context(), emulator.Ada, ch, ts, "deny")
	if err != nil || a.Status != 200 || a.Shown != "" {
		t.Fatalf("click: %+v, %v", a, err)
	}
	views := l.OpenViews(emulator.Ada)
	if len(views) != 1 || views[0].Title() != "Deny" {
		t.Fatalf("views: %+v", views)
	}
	if _, err := l.SubmitView(t.Context(), emulator.Ada, views[0].ID, map[string]string{"why": "no"}); err != nil {
		t.Fatal(err)
	}
	if v := l.OpenViews(emulator.Ada); len(v) != 1 || v[0].Errors["why"] != "say more" {
		t.Fatalf("the error is not shown: %+v", v)
	}
	if _, err := l.SubmitView(t.Context(), emulator.Ada, views[0].ID, map[string]string{"reason": "not today"}); err != nil {
		t.Fatal(err)
	}
	if v := l.OpenViews(emulator.Ada); len(v) != 0 {
		t.Fatalf("the modal is still open: %+v", v)
	}
}
