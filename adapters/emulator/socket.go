package emulator

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	maxSockets   = 10     // connections of one app
	maxAck       = 20_480 // acknowledgements of so many bytes are dropped without a word
	linkLife     = 30 * time.Second
	pingEvery    = 5 * time.Second
	socketWrites = 10 * time.Second
)

// socket is one Socket Mode connection.
type socket struct {
	conn *websocket.Conn
	mu   sync.Mutex // for writing
	acks map[string]chan json.RawMessage
	done chan struct{}
}

func (s *Slack) appsConnectionsOpen(args) (reply, error) {
	switch {
	case !s.opt.SocketMode, s.refuse:
		return nil, fail("socket_mode_disabled")
	case len(s.sockets) >= maxSockets:
		return nil, fail("too_many_websockets")
	}
	key := s.opt.NewID()
	s.links[key] = s.opt.Now().Add(linkLife)
	return reply{"url": strings.Replace(s.base, "http", "ws", 1) + "/link/" + key}, nil
}

// serveSocket takes a web socket at the address that apps.connections.open gave
// out, once.
func (s *Slack) serveSocket(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	end, ok := s.links[r.PathValue("key")]
	delete(s.links, r.PathValue("key"))
	full := len(s.sockets) >= maxSockets || s.refuse
	now := s.opt.Now()
	s.mu.Unlock()
	if !ok || now.After(end) || full {
		http.Error(w, "no such connection", http.StatusForbidden)
		return
	}
	// The key is the right to connect; a browser never has one.
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	conn.SetReadLimit(maxBody)
	k := &socket{conn: conn, acks: map[string]chan json.RawMessage{}, done: make(chan struct{})}
	s.mu.Lock()
	s.sockets = append(s.sockets, k)
	n := len(s.sockets)
	s.mu.Unlock()
	k.send(map[string]any{
		"type": "hello", "num_connections": n, "connection_info": map[string]any{"app_id": s.opt.AppID},
		"debug_info": map[string]any{"host": "applink-emulator", "build_number": 1, "approximate_connection_time": 18060},
	})
	go k.ping()
	k.read()
	s.mu.Lock()
	s.sockets = slices.DeleteFunc(s.sockets, func(x *socket) bool { return x == k })
	s.mu.Unlock()
}

func (k *socket) send(v any) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_ = k.conn.SetWriteDeadline(time.Now().Add(socketWrites))
	return k.conn.WriteMessage(websocket.TextMessage, encode(v)) == nil
}

func (k *socket) ping() {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-k.done:
			return
		case <-tick.C:
			if k.conn.WriteControl(websocket.PingMessage, []byte("ping"), time.Now().Add(socketWrites)) != nil {
				return
			}
		}
	}
}

// read passes acknowledgements on until the connection ends.
func (k *socket) read() {
	defer close(k.done)
	defer k.conn.Close()
	for {
		_, raw, err := k.conn.ReadMessage()
		if err != nil {
			return
		}
		var ack struct {
			EnvelopeID string          `json:"envelope_id"`
			Payload    json.RawMessage `json:"payload"`
		}
		if len(raw) >= maxAck || json.Unmarshal(raw, &ack) != nil {
			continue
		}
		k.mu.Lock()
		ch := k.acks[ack.EnvelopeID]
		delete(k.acks, ack.EnvelopeID)
		k.mu.Unlock()
		if ch != nil {
			ch <- ack.Payload
		}
	}
}

// deliverSocket sends a letter over one of the connections, in turn: the
// platform promises no more than that it picks one.
func (s *Slack) deliverSocket(ctx context.Context, l letter) Answer {
	s.mu.Lock()
	if len(s.sockets) == 0 {
		s.mu.Unlock()
		return Answer{Shown: Undelivered}
	}
	s.nextSock++
	k := s.sockets[s.nextSock%len(s.sockets)]
	id := strings.ToLower(s.opt.NewID())
	s.mu.Unlock()

	envelope := map[string]any{"envelope_id": id, "payload": l.payload, "accepts_response_payload": l.kind != Events}
	switch l.kind {
	case Interactions:
		envelope["type"] = "interactive"
	case Commands:
		envelope["type"] = "slash_commands"
	case Events:
		envelope["type"] = "events_api"
		envelope["retry_attempt"], envelope["retry_reason"] = l.retry, l.reason
	}
	ch := make(chan json.RawMessage, 1)
	k.mu.Lock()
	k.acks[id] = ch
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		delete(k.acks, id)
		k.mu.Unlock()
	}()
	if !k.send(envelope) {
		return Answer{Shown: Undelivered}
	}
	select {
	case payload := <-ch:
		if l.kind == Events {
			payload = nil
		}
		return Answer{Status: http.StatusOK, Body: payload}
	case <-k.done:
		<-ctx.Done() // the person waits as long for an answer that cannot come
		return failed(ctx)
	case <-ctx.Done():
		return failed(ctx)
	}
}

// Sockets is the number of open Socket Mode connections.
func (s *Slack) Sockets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sockets)
}

func (s *Slack) openSockets() []*socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sockets)
}

// DropSockets breaks every connection without a word.
func (s *Slack) DropSockets() {
	for _, k := range s.openSockets() {
		_ = k.conn.NetConn().Close()
	}
}

// RefuseSockets lets no new connection in, or lets them in again.
func (s *Slack) RefuseSockets(refuse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

// Disconnect tells every connection to go, for a reason: "warning" announces the
// end and leaves the connection open, "refresh_requested" and "link_disabled"
// close it.
func (s *Slack) Disconnect(reason string) {
	for _, k := range s.openSockets() {
		k.send(map[string]any{"type": "disconnect", "reason": reason, "debug_info": map[string]any{"host": "applink-emulator"}})
		if reason != "warning" {
			_ = k.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
			_ = k.conn.Close()
		}
	}
}
