package emulator

import (
	"io"
	"maps"
	"net/http"
	"time"
)

const (
	hookUses = 5
	hookLife = 30 * time.Minute
)

// hook is a response URL: for a while the app may answer where somebody acted,
// whether or not it is a member there.
type hook struct {
	channel, user string
	source        *Message // the message acted on; nil for a command
	uses          int
	end           time.Time
}

// newHook returns a response URL. It needs s.mu.
func (s *Slack) newHook(channel, user string, source *Message) string {
	now := s.opt.Now()
	for id, h := range s.hooks {
		if now.Sub(h.end) > hookLife {
			delete(s.hooks, id)
		}
	}
	id := s.opt.NewID()
	s.hooks[id] = &hook{channel: channel, user: user, source: source, end: now.Add(hookLife)}
	return s.base + "/hook/" + id
}

// serveHook answers POST to a response URL. It takes JSON and no token.
func (s *Slack) serveHook(w http.ResponseWriter, r *http.Request) {
	do := func(w http.ResponseWriter) {
		raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		a := args{}
		if err == nil {
			err = a.addJSON(raw)
		}
		s.mu.Lock()
		if err == nil {
			err = s.useHook(r.PathValue("hook"), a)
		}
		out := answer(nil, err)
		code := ""
		if err != nil {
			code = err.Error()
		}
		s.calls = remember(s.calls, Call{At: s.opt.Now(), Method: "hook", Args: a, Error: code, Reply: out})
		s.mu.Unlock()
		s.log.Info("response url used", "error", code)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		if err != nil {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write(out)
	}
	if !s.misbehave(w, r, "hook", do) {
		do(w)
	}
}

func (s *Slack) useHook(id string, a args) error {
	h := s.hooks[id]
	switch {
	case h == nil:
		return fail("no_such_url")
	case s.opt.Now().After(h.end):
		return fail("expired_url")
	case h.uses >= hookUses:
		return fail("used_url")
	}
	if err := s.respond(h, a); err != nil {
		return err
	}
	h.uses++
	return nil
}

// respond does what an answer to an interaction or a command says: it replaces
// or deletes the message acted on, or says something, to the person alone
// unless response_type is in_channel. It needs s.mu.
func (s *Slack) respond(h *hook, a args) error {
	if a.bool("delete_original") {
		if h.source == nil {
			return fail("message_not_found")
		}
		s.remove(h.source)
		return nil
	}
	a = maps.Clone(a)     // the record keeps what was sent
	delete(a, "metadata") // not read here; slack-go always sends an empty one
	body, err := s.readContent(a)
	if err != nil {
		return err
	}
	if a.bool("replace_original") && h.source != nil {
		h.source.Text, h.source.Blocks = body.text, body.blocks
		h.source.Updates++
		s.changed()
		return nil
	}
	m := &Message{Channel: h.channel, User: Bot, Text: body.text, Blocks: body.blocks, ThreadTS: a["thread_ts"], Only: h.user}
	if a["response_type"] == "in_channel" {
		m.Only = ""
	}
	s.add(m)
	return nil
}

// respondInAck does what the answer's body to a slash command says: nothing if
// it is empty, a message if it is text or JSON.
func (s *Slack) respondInAck(h *hook, body []byte) error {
	if len(body) == 0 || string(body) == "null" {
		return nil
	}
	a := args{}
	if err := a.addJSON(body); err != nil {
		a["text"] = string(body)
	}
	if len(a) == 0 { // {}
		return nil
	}
	return s.respond(h, a)
}
