package emulator

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
	"unicode/utf16"
)

// Message is a message in a channel, or one that a single user sees.
type Message struct {
	Channel string `json:"channel"`
	// TS is the id within the channel: seconds of Unix time with six decimals.
	TS       string          `json:"ts"`
	ThreadTS string          `json:"thread_ts,omitempty"` // of the thread's first message
	User     string          `json:"user"`
	Text     string          `json:"text"`
	Blocks   json.RawMessage `json:"blocks,omitempty"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
	Files    []File          `json:"files,omitempty"`
	// Only is the user who alone sees an ephemeral message.
	Only      string              `json:"only,omitempty"`
	Edited    bool                `json:"edited,omitempty"`
	Updates   int                 `json:"updates,omitempty"` // how often the app changed it
	Reactions map[string][]string `json:"reactions,omitempty"`
}

// ts returns the next message id. Ids of one workspace never collide, however
// the clock stands.
func (s *Slack) ts() string {
	now := s.opt.Now().Truncate(time.Microsecond)
	if !now.After(s.lastTS) {
		now = s.lastTS.Add(time.Microsecond)
	}
	s.lastTS = now
	return fmt.Sprintf("%d.%06d", now.Unix(), now.Nanosecond()/1000)
}

// message finds one; an ephemeral message is found by who sees it only.
func (s *Slack) message(channel, ts, only string) *Message {
	for _, m := range slices.Backward(s.messages) {
		if m.Channel == channel && m.TS == ts && m.Only == only {
			return m
		}
	}
	return nil
}

// Messages are a channel's messages, oldest first, without replies and without
// those that a single user sees.
func (s *Slack) Messages(channel string) []Message {
	return s.pick(func(m *Message) bool { return m.Channel == channel && m.Only == "" && !m.reply() })
}

// Thread is a message and its replies.
func (s *Slack) Thread(channel, ts string) []Message {
	return s.pick(func(m *Message) bool {
		return m.Channel == channel && m.Only == "" && (m.TS == ts || m.ThreadTS == ts)
	})
}

// Ephemerals are what only this user sees in a channel.
func (s *Slack) Ephemerals(user, channel string) []Message {
	return s.pick(func(m *Message) bool { return m.Channel == channel && m.Only == user })
}

func (m *Message) reply() bool { return m.ThreadTS != "" && m.ThreadTS != m.TS }

func (s *Slack) pick(keep func(*Message) bool) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Message
	for _, m := range s.messages {
		if keep(m) {
			out = append(out, m.copy())
		}
	}
	return out
}

func (m *Message) copy() Message {
	c := *m
	c.Files = slices.Clone(m.Files)
	c.Reactions = map[string][]string{}
	for k, v := range m.Reactions {
		c.Reactions[k] = slices.Clone(v)
	}
	return c
}

// add files a message away.
func (s *Slack) add(m *Message) *Message {
	m.TS = s.ts()
	s.messages = append(s.messages, m)
	s.changed()
	return m
}

func (s *Slack) remove(m *Message) {
	s.messages = slices.DeleteFunc(s.messages, func(x *Message) bool { return x == m })
	s.changed()
}

// wire is the message as the Web API and interactions show it.
func (s *Slack) wire(m *Message, metadata bool) reply {
	out := reply{"type": "message", "ts": m.TS, "user": m.User, "text": m.Text, "team": s.opt.TeamID}
	if m.User == Bot {
		out["bot_id"], out["app_id"] = botID, s.opt.AppID
	}
	if m.Blocks != nil {
		out["blocks"] = m.Blocks
	}
	if m.ThreadTS != "" {
		out["thread_ts"] = m.ThreadTS
	}
	if n := s.replies(m); n > 0 {
		out["thread_ts"], out["reply_count"] = m.TS, n
	}
	if m.Edited {
		out["edited"] = reply{"user": m.User, "ts": m.TS}
	}
	if metadata && m.Metadata != nil {
		out["metadata"] = m.Metadata
	}
	if len(m.Files) > 0 {
		files := []reply{}
		for _, f := range m.Files {
			files = append(files, f.wire())
		}
		out["files"] = files
	}
	for name, users := range m.Reactions {
		list, _ := out["reactions"].([]reply)
		out["reactions"] = append(list, reply{"name": name, "users": users, "count": len(users)})
	}
	return out
}

func (s *Slack) replies(m *Message) (n int) {
	for _, x := range s.messages {
		if x.Channel == m.Channel && x.ThreadTS == m.TS && x.Only == "" && x != m {
			n++
		}
	}
	return n
}

// units measures text as this emulator counts characters: UTF-16 units of the
// text on the wire. The platform does not say how it counts; this is the most
// that any reading yields.
func units(text string) int {
	n := 0
	for _, r := range text {
		n += utf16.RuneLen(r)
	}
	return n
}

// cut shortens text to at most n units, on a whole character.
func cut(text string, n int) string {
	for i, r := range text {
		if n -= utf16.RuneLen(r); n < 0 {
			return text[:i]
		}
	}
	return text
}
