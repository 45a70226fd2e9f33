package slack_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/countersign/countersign/adapters/emulator"
	"github.com/countersign/countersign/adapters/slack"
	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/bot/chat/chattest"
)

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, socket := range []bool{false, true} {
		w := newWorld(t, socket, nil)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.app.Run(ctx, &chattest.Ear{}) }()
		if socket {
			w.connected(t, 2)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("socket mode %v: %v", socket, err)
		}
	}
}

func TestRunEndsWithABadToken(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]string{"unknown token": "", "revoked": "token_revoked", "wrong type": "not_allowed_token_type", "no scope": "missing_scope"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, true, func(c *slack.Config) {
				if code == "" {
					c.AppToken = "xapp-canary"
				}
			})
			if code != "" {
				w.fault(t, emulator.Fault{Method: "apps.connections.open", Kind: emulator.Refuse, Code: code})
			}
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
			defer stop()
			err := w.app.Run(ctx, &chattest.Ear{})
			if err == nil || chat.ClassOf(err) != chat.Misconfigured {
				t.Fatalf("Run: %v", err)
			}
			if strings.Contains(err.Error()+w.log.String(), "canary") || strings.Contains(w.log.String(), w.em.AppToken()) {
				t.Error("the token stands in an error or the log")
			}
		})
	}
}

func TestSocketsComeBack(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(*emulator.Slack){
		"refresh": func(em *emulator.Slack) { em.Disconnect("refresh_requested") },
		"dropped": func(em *emulator.Slack) { em.DropSockets() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, true, nil)
			ear := &chattest.Ear{}
			w.Listen(t, ear)
			ref := w.post(t, chattest.Sample("d"))
			w.Press(t, w.account(emulator.Ada), ref, chat.Approve)
			cut(w.em)
			w.connected(t, 4)
			w.Press(t, w.account(emulator.Ada), ref, chat.Deny)
			chattest.Eventually(t, "both clicks", func() bool { return len(ear.Clicks()) == 2 })
		})
	}
}

func TestWarningKeepsTheSocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true, nil)
	ear := &chattest.Ear{}
	w.Listen(t, ear)
	ref := w.post(t, chattest.Sample("d"))
	w.em.Disconnect("warning")
	w.connected(t, 2)
	chattest.Eventually(t, "a click after the warning", func() bool {
		channel, ts := place(ref)
		answer, err := w.em.Click(t.Context(), emulator.Ada, channel, ts, "countersign:approve")
		return err == nil && answer.Shown == "" && len(ear.Clicks()) > 0
	})
}

// TestEndWaitsForWhatHasBegun ends the run while a click is being answered: the
// click is acknowledged all the same.
func TestEndWaitsForWhatHasBegun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true, nil)
	begun, ended := make(chan struct{}), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		ended <- w.app.Run(ctx, &chattest.Ear{OnClick: func(context.Context, chat.Click) chat.Reply {
			close(begun)
			time.Sleep(100 * time.Millisecond)
			return chat.Reply{Text: "Approved by you."}
		}})
	}()
	w.connected(t, 2)
	ref := w.post(t, chattest.Sample("d"))
	go func() {
		<-begun
		stop()
	}()
	w.Press(t, w.account(emulator.Ada), ref, chat.Approve)
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	w.told(t, emulator.Ada, "Approved by you.")
}

// TestFloodIsBounded presses more at once than is answered at once: the rest is
// not acknowledged, and what comes afterwards is answered again.
func TestFloodIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true, nil)
	free := make(chan struct{})
	ear := &chattest.Ear{OnClick: func(ctx context.Context, c chat.Click) chat.Reply {
		if c.Verb == chat.Approve {
			<-free
		}
		return chat.Reply{Text: "Heard."}
	}}
	w.Listen(t, ear)
	channel, ts := place(w.post(t, chattest.Sample("d")))
	var all sync.WaitGroup
	var lost atomic.Int32
	for range 80 {
		all.Go(func() {
			answer, err := w.em.Click(t.Context(), emulator.Ada, channel, ts, "countersign:approve")
			if err == nil && answer.Shown == emulator.TimedOut {
				lost.Add(1)
			}
		})
	}
	chattest.Eventually(t, "a refusal", func() bool { return strings.Contains(w.log.String(), "too many at once") })
	heard := len(ear.Clicks()) // all of them are still being answered
	close(free)
	all.Wait()
	if heard == 0 || heard > 64 || lost.Load() == 0 {
		t.Errorf("%d clicks were heard, %d were told that they are lost", heard, lost.Load())
	}
	w.Press(t, w.account(emulator.Ada), channel+":"+ts, chat.Deny)
}

func TestSocketEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true, nil)
	ear := &chattest.Ear{}
	w.Listen(t, ear)
	for _, event := range []map[string]any{{"type": "tokens_revoked"}, {"type": "something_new"}, {"type": "message", "text": 7}} {
		answers := w.em.Event(t.Context(), event)
		if last := answers[len(answers)-1]; last.Shown != "" || len(answers) != 1 {
			t.Errorf("%v was answered %+v", event, answers)
		}
	}
	if !strings.Contains(w.log.String(), "slack tokens were revoked") {
		t.Error("the revocation is not logged")
	}
	if n := len(ear.Clicks()) + len(ear.Commands()); n != 0 {
		t.Errorf("the handler heard %d", n)
	}
}

// silence is a Slack whose sockets open and then say nothing, not even a ping.
func silence(t *testing.T, opened *atomic.Int32, greet func(*websocket.Conn)) *slack.Slack {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/api/apps.connections.open", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"ok":true,"url":"ws%s/link"}`, strings.TrimPrefix(server.URL, "http"))
	})
	mux.HandleFunc("/link", func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
		conn, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		opened.Add(1)
		greet(conn)
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	})
	cfg := good()
	cfg.APIURL, cfg.SocketMode = server.URL+"/api/", true
	cfg.Log = slog.New(slog.NewTextHandler(&bytes.Buffer{}, nil))
	s, err := slack.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDeadSocketIsReplaced(t *testing.T) {
	t.Parallel()
	var opened atomic.Int32
	s := silence(t, &opened, func(*websocket.Conn) {})
	s.Hurry(time.Second, 50*time.Millisecond, 10*time.Millisecond)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, &chattest.Ear{}) }()
	chattest.Eventually(t, "two new sockets", func() bool { return opened.Load() >= 4 })
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestGarbageOnASocket sends what no Slack sends, then a click.
func TestGarbageOnASocket(t *testing.T) {
	t.Parallel()
	var opened atomic.Int32
	ear := &chattest.Ear{}
	s := silence(t, &opened, func(conn *websocket.Conn) {
		for _, m := range []string{
			`{}`, `{"type":"hello"}`, `not json`, `{"type":"new_kind","envelope_id":"e0"}`, `[]`,
			`{"type":"interactive","envelope_id":"e1","payload":"text"}`, `{"type":"interactive","payload":{}}`,
			`{"type":"slash_commands","envelope_id":"e2","payload":{"command":7}}`,
			`{"type":"events_api","envelope_id":"e3","payload":{"type":"event_callback","event":7}}`,
			`{"type":"interactive","envelope_id":"e4","accepts_response_payload":true,"payload":` + press + `}`,
		} {
			if conn.WriteMessage(websocket.TextMessage, []byte(m)) != nil {
				return
			}
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, ear) }()
	chattest.Eventually(t, "the click of each socket", func() bool { return len(ear.Clicks()) >= 2 })
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}
