package emulator_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"github.com/countersign/countersign/adapters/emulator"
)

// socketLab is a lab in Socket Mode with a client of slack-go, whose events go
// to on, connected.
func socketLab(t *testing.T, ackWithin time.Duration, on func(c *socketmode.Client, e socketmode.Event)) *lab {
	t.Helper()
	l := newLab(t, func(o *emulator.Options) { o.SocketMode, o.AckWithin = true, ackWithin })
	api := slack.New(l.BotToken(), slack.OptionAppLevelToken(l.AppToken()), slack.OptionAPIURL(l.url+"/api/"))
	c := socketmode.New(api)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.RunContext(ctx) }()
	go func() {
		for {
			select {
			case e := <-c.Events:
				on(c, e)
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); l.Close(); <-done })
	l.waitSockets(1)
	return l
}

func (l *lab) waitSockets(n int) {
	l.t.Helper()
	for range 500 {
		if l.Sockets() == n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	l.t.Fatalf("%d sockets, want %d", l.Sockets(), n)
}

func TestSocketMode(t *testing.T) {
	t.Parallel()
	l := socketLab(t, 5*time.Second, func(c *socketmode.Client, e socketmode.Event) {
		switch e.Type {
		case socketmode.EventTypeSlashCommand:
			_ = c.Ack(*e.Request, map[string]any{"text": "by socket"})
		case socketmode.EventTypeInteractive, socketmode.EventTypeEventsAPI:
			_ = c.Ack(*e.Request)
		}
	})
	ch, ts := l.post()
	if a, err := l.Click(t.Context(), emulator.Ada, ch, ts, "approve"); err != nil || a.Shown != "" || a.Status != 200 {
		t.Errorf("click: %+v, %v", a, err)
	}
	if a, err := l.Command(t.Context(), emulator.Ada, ch, "/approvals pending"); err != nil || a.Shown != "" {
		t.Errorf("command: %+v, %v", a, err)
	}
	if e := l.Ephemerals(emulator.Ada, ch); len(e) != 1 || e[0].Text != "by socket" {
		t.Errorf("ephemerals: %+v", e)
	}
	if a := l.Event(t.Context(), map[string]any{"type": "app_home_opened", "user": emulator.Ada}); len(a) != 1 || a[0].Status != 200 {
		t.Errorf("event: %+v", a)
	}
	if n := len(l.received()); n != 0 {
		t.Errorf("%d deliveries over HTTP in Socket Mode", n)
	}
	l.Disconnect("refresh_requested")
	for range 500 { // until the client has connected again and the old connection is forgotten
		if len(l.Calls("apps.connections.open")) == 2 && l.Sockets() == 1 {
			if a, err := l.Click(t.Context(), emulator.Ada, ch, ts, "approve"); err == nil && a.Shown == "" {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("no click arrives after a refresh")
}

func TestSocketWithoutAck(t *testing.T) {
	t.Parallel()
	l := socketLab(t, 100*time.Millisecond, func(*socketmode.Client, socketmode.Event) {})
	ch, ts := l.post()
	if a, err := l.Click(t.Context(), emulator.Ada, ch, ts, "approve"); err != nil || a.Shown != emulator.TimedOut {
		t.Errorf("no acknowledgement: %+v, %v", a, err)
	}
	l.RefuseSockets(true)
	l.DropSockets()
	l.waitSockets(0)
	if a, err := l.Click(t.Context(), emulator.Ada, ch, ts, "approve"); err != nil || a.Shown != emulator.Undelivered {
		t.Errorf("no connection: %+v, %v", a, err)
	}
}

// TestSocketRules speaks the protocol itself, where a client would be too kind.
func TestSocketRules(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *emulator.Options) { o.SocketMode = true; o.AckWithin = 200 * time.Millisecond })
	open := func() string {
		t.Helper()
		_, link, err := slack.New("", slack.OptionAppLevelToken(l.AppToken()), slack.OptionAPIURL(l.url+"/api/")).StartSocketModeContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	link := open()
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), link, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var hello struct {
		Type           string
		NumConnections int `json:"num_connections"`
	}
	if err := conn.ReadJSON(&hello); err != nil || hello.Type != "hello" || hello.NumConnections != 1 {
		t.Fatalf("%+v, %v", hello, err)
	}
	if c, _, err := websocket.DefaultDialer.DialContext(t.Context(), link, nil); err == nil {
		c.Close()
		t.Error("an address is good for one connection")
	}
	// An acknowledgement of 20,480 bytes is dropped, one of less arrives.
	go func() {
		for {
			var e struct {
				EnvelopeID string `json:"envelope_id"`
				Payload    struct{ Text string }
			}
			if conn.ReadJSON(&e) != nil {
				return
			}
			size := 20_479
			if e.Payload.Text == "large" {
				size++
			}
			frame := []byte(`{"envelope_id":"` + e.EnvelopeID + `","payload":{"text":""}}`)
			pad := make([]byte, size-len(frame))
			for i := range pad {
				pad[i] = ' '
			}
			_ = conn.WriteMessage(websocket.TextMessage, append(frame[:len(frame)-1:len(frame)-1], append(pad, '}')...))
		}
	}()
	for text, want := range map[string]string{"large": emulator.TimedOut, "small": emulator.Undelivered} { // the empty text is refused once it arrives
		if a, err := l.Command(t.Context(), emulator.Ada, emulator.Deploys, "/approvals "+text); err != nil || a.Shown != want {
			t.Errorf("%s: %+v, %v", text, a, err)
		}
	}
	for range 9 {
		c, _, err := websocket.DefaultDialer.DialContext(t.Context(), open(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	l.waitSockets(10)
	api := slack.New("", slack.OptionAppLevelToken(l.AppToken()), slack.OptionAPIURL(l.url+"/api/"))
	if _, _, err := api.StartSocketModeContext(t.Context()); err == nil || err.Error() != "too_many_websockets" {
		t.Errorf("the eleventh connection: %v", err)
	}
	var d emulator.Delivery
	if raw, err := json.Marshal(l.Deliveries()); err != nil || json.Unmarshal(raw, &[]emulator.Delivery{d}) != nil {
		t.Errorf("deliveries as JSON: %v", err)
	}
}
