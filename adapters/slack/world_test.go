package slack_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/adapters/emulator"
	"github.com/countersign/countersign/adapters/slack"
	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/bot/chat/chattest"
)

// world is a local workspace with the app installed, by one of the two doors.
type world struct {
	em     *emulator.Slack
	app    *slack.Slack
	url    string // of our own paths
	socket bool
	log    *buffer
	mux    *http.ServeMux
	twist  atomic.Pointer[func(kind string, payload map[string]any)]
}

// buffer is a log that tests can read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newWorld(t testing.TB, socket bool, change func(*slack.Config)) *world {
	t.Helper()
	w := &world{socket: socket, log: &buffer{}, mux: http.NewServeMux()}
	w.em = emulator.New(emulator.Options{
		SocketMode: socket, Limits: &emulator.Limits{},
		Payload: func(kind string, payload map[string]any) {
			if twist := w.twist.Load(); twist != nil {
				(*twist)(kind, payload)
			}
		},
	})
	platform := httptest.NewServer(w.em.Handler())
	ours := httptest.NewServer(w.mux)
	t.Cleanup(func() {
		w.em.Close()
		ours.Close()
		platform.Close()
	})
	w.url = ours.URL
	w.em.SetURL(platform.URL)
	w.em.SetRequestURLs(ours.URL+"/slack/interactions", ours.URL+"/slack/commands", ours.URL+"/slack/events")
	cfg := slack.Config{
		BotToken: w.em.BotToken(), AppID: w.em.AppID(), TeamIDs: []string{w.em.TeamID()},
		APIURL: platform.URL + "/api/", SocketMode: socket,
		Log: slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if socket {
		cfg.AppToken = w.em.AppToken()
	} else {
		cfg.SigningSecret = w.em.SigningSecret()
	}
	if change != nil {
		change(&cfg)
	}
	app, err := slack.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.app = app
	return w
}

func (w *world) Listen(t testing.TB, h chat.Handler) {
	t.Helper()
	if !w.socket {
		w.app.Mount(w.mux, h)
		return
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.app.Run(ctx, h) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	w.connected(t, 2)
}

// connected waits until so many sockets have been opened since the start.
func (w *world) connected(t testing.TB, n int) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.log.String())
		}
	})
	chattest.Eventually(t, fmt.Sprintf("%d sockets", n), func() bool {
		return strings.Count(w.log.String(), "slack socket open") >= n
	})
}

func place(ref string) (channel, ts string) {
	channel, ts, _ = strings.Cut(ref, ":")
	return channel, ts
}

func (w *world) Press(t testing.TB, who chat.Account, ref string, v chat.Verb) {
	t.Helper()
	channel, ts := place(ref)
	answer, err := w.em.Click(t.Context(), who.ID, channel, ts, "countersign:"+string(v))
	if err != nil || answer.Shown != "" {
		t.Errorf("Click: %v, %d %s %q", err, answer.Status, answer.Body, answer.Shown)
	}
}

func (w *world) Repeat(t testing.TB, who chat.Account, ref string, v chat.Verb) {
	t.Helper()
	if err := w.em.Inject(emulator.Fault{Method: string(emulator.Interactions), Kind: emulator.Twice, Times: 1}); err != nil {
		t.Fatal(err)
	}
	w.Press(t, who, ref, v)
}

func (w *world) Form(_ testing.TB, who chat.Account) string {
	for _, v := range w.em.OpenViews(who.ID) {
		if strings.Contains(string(v.Blocks()), `"plain_text_input"`) {
			return v.Title() + "\n" + seen(v.Blocks()).Text
		}
	}
	return ""
}

func (w *world) Send(t testing.TB, who chat.Account, reason string) {
	t.Helper()
	views := w.em.OpenViews(who.ID)
	if len(views) == 0 {
		t.Fatal("no form is open")
	}
	answer, err := w.em.SubmitView(t.Context(), who.ID, views[len(views)-1].ID, map[string]string{"reason": reason})
	if err != nil || answer.Shown != "" {
		t.Errorf("SubmitView: %v, %d %s %q", err, answer.Status, answer.Body, answer.Shown)
	}
}

func (w *world) Type(t testing.TB, who chat.Account, channel, line string) {
	t.Helper()
	answer, err := w.em.Command(t.Context(), who.ID, channel, "/approvals "+line)
	if err != nil || answer.Shown != "" {
		t.Errorf("Command: %v, %d %s %q", err, answer.Status, answer.Body, answer.Shown)
	}
}

func (w *world) Face(t testing.TB, ref string) chattest.Face {
	t.Helper()
	channel, ts := place(ref)
	for _, m := range w.em.Messages(channel) {
		if m.TS == ts {
			face := seen(m.Blocks)
			face.Live = append(face.Live, markup.FindAllString(m.Text, -1)...)
			return face
		}
	}
	t.Fatalf("no message at %q", ref)
	return chattest.Face{}
}

func (w *world) Thread(_ testing.TB, ref string) []string {
	channel, ts := place(ref)
	var out []string
	for _, m := range w.em.Thread(channel, ts)[1:] {
		face := seen(m.Blocks)
		if live := append(face.Live, markup.FindAllString(m.Text, -1)...); len(live) > 0 {
			face.Text += fmt.Sprintf("\nLIVE %q", live)
		}
		out = append(out, face.Text)
	}
	for _, f := range w.em.Files() {
		if f.Channel == channel && f.ThreadTS == ts {
			out = append(out, string(f.Content))
		}
	}
	return out
}

func (w *world) Private(_ testing.TB, who chat.Account) []string {
	var out []string
	for _, c := range w.em.Channels() {
		for _, m := range w.em.Ephemerals(who.ID, c.ID) {
			out = append(out, seen(m.Blocks).Text)
		}
	}
	for _, v := range w.em.OpenViews(who.ID) {
		if !strings.Contains(string(v.Blocks()), `"plain_text_input"`) {
			out = append(out, seen(v.Blocks()).Text)
		}
		for _, e := range v.Errors {
			out = append(out, e)
		}
	}
	return out
}

// markup is what Slack makes live where it reads mrkdwn.
var markup = regexp.MustCompile(`<[^>]*>`)

// seen draws blocks as a person sees them.
func seen(blocks json.RawMessage) chattest.Face {
	var face chattest.Face
	var decoded any
	if json.Unmarshal(blocks, &decoded) != nil {
		return face
	}
	var lines []string
	look(decoded, &face, &lines)
	face.Text = strings.Join(lines, "\n")
	return face
}

func look(v any, face *chattest.Face, lines *[]string) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			look(item, face, lines)
		}
	case map[string]any:
		lookObject(v, face, lines)
	}
}

func lookObject(o map[string]any, face *chattest.Face, lines *[]string) {
	text, _ := o["text"].(string)
	kind, _ := o["type"].(string)
	switch kind {
	case "plain_text", "text":
		*lines = append(*lines, text)
		return
	case "mrkdwn":
		*lines = append(*lines, text)
		face.Live = append(face.Live, markup.FindAllString(text, -1)...)
		return
	case "link":
		*lines = append(*lines, text)
		if text != o["url"] {
			face.Live = append(face.Live, fmt.Sprint("hidden link ", o["url"]))
		}
		return
	case "button":
		id, _ := o["action_id"].(string)
		face.Buttons = append(face.Buttons, chat.Verb(strings.TrimPrefix(id, "countersign:")))
		if o["url"] != nil {
			face.Live = append(face.Live, "a button that leads away")
		}
		return
	case "user", "usergroup", "broadcast", "channel", "emoji", "image", "date":
		face.Live = append(face.Live, kind)
		return
	}
	for _, key := range []string{"label", "text", "fields", "elements", "element"} {
		look(o[key], face, lines)
	}
}

// click is the payload of a pressed button, as Slack sends it.
func (w *world) click(ref string) map[string]any {
	channel, ts := place(ref)
	return map[string]any{
		"type": "block_actions", "api_app_id": w.em.AppID(),
		"team": map[string]any{"id": w.em.TeamID()}, "user": map[string]any{"id": emulator.Ada, "team_id": w.em.TeamID()},
		"channel":   map[string]any{"id": channel},
		"container": map[string]any{"type": "message", "channel_id": channel, "message_ts": ts},
		"actions":   []any{map[string]any{"type": "button", "action_id": "countersign:approve", "block_id": "b", "value": "d-forged"}},
	}
}

func form(t testing.TB, payload any) []byte {
	t.Helper()
	raw, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	return []byte("payload=" + url.QueryEscape(string(raw)))
}

// send posts a body, signed at a time, after change has had its way with the
// request, and returns the status.
func (w *world) send(t testing.TB, path string, at time.Time, body []byte, change func(*http.Request)) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Slack-Request-Timestamp", fmt.Sprint(at.Unix()))
	req.Header.Set("X-Slack-Signature", emulator.Sign(w.em.SigningSecret(), at.Unix(), body))
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0 // the server hung up on a body that is too large
	}
	resp.Body.Close()
	return resp.StatusCode
}
