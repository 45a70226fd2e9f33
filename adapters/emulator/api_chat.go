package emulator

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// The lengths of a message's text, in UTF-16 units.
const (
	maxText       = 40_000 // longer is cut, with a warning
	maxUpdateText = 4_000  // longer is refused by chat.update
)

// content is what chat.postMessage, chat.update, chat.postEphemeral and
// response URLs take alike.
type content struct {
	text     string
	blocks   json.RawMessage
	metadata json.RawMessage
	cut      bool
}

// readContent checks text, blocks and metadata.
func (s *Slack) readContent(a args) (c content, err error) {
	c.text = a["text"]
	if c.blocks, err = s.checkBlocks(a["blocks"], inMessage); err != nil {
		return c, err
	}
	if c.metadata, err = checkMetadata(a["metadata"]); err != nil {
		return c, err
	}
	if a["attachments"] != "" && a["attachments"] != "[]" {
		return c, &apiError{code: "invalid_attachments", messages: []string{"[ERROR] the emulator knows no attachments; use blocks"}}
	}
	if strings.TrimSpace(c.text) == "" && c.blocks == nil {
		return c, fail("no_text")
	}
	if units(c.text) > maxText {
		c.text, c.cut = cut(c.text, maxText), true
	}
	return c, nil
}

func (c content) warn(out reply) reply {
	if c.cut {
		out["warning"] = "message_truncated"
		out["response_metadata"] = reply{"warnings": []string{"message_truncated"}}
	}
	return out
}

// checkMetadata returns nil for none and for {}.
func checkMetadata(text string) (json.RawMessage, error) {
	if text == "" {
		return nil, nil
	}
	var m map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &m) != nil {
		return nil, fail("invalid_metadata_format")
	}
	if len(m) == 0 {
		return nil, nil
	}
	var meta struct {
		EventType    string         `json:"event_type"`
		EventPayload map[string]any `json:"event_payload"`
	}
	if json.Unmarshal([]byte(text), &meta) != nil || meta.EventType == "" || meta.EventPayload == nil {
		return nil, fail("invalid_metadata_schema")
	}
	if len(text) > 8000 {
		return nil, fail("metadata_too_large")
	}
	return json.RawMessage(text), nil
}

// target finds the channel that a message goes to: an id, a #name, or a user's
// id for direct messages.
func (s *Slack) target(to string) (*Channel, error) {
	c := s.channel(to)
	if c == nil {
		if i := slices.IndexFunc(s.channels, func(c *Channel) bool { return c.Name != "" && c.Name == strings.TrimPrefix(to, "#") }); i >= 0 {
			c = s.channels[i]
		}
	}
	if u := s.user(to); c == nil && u != nil {
		if u.Deactivated || u.Bot || u.Team != s.opt.TeamID {
			return nil, fail("channel_not_found")
		}
		c = s.direct(u)
	}
	switch {
	case c == nil, c.Private && !c.has(Bot):
		return nil, fail("channel_not_found")
	case c.Archived:
		return nil, fail("is_archived")
	case !c.has(Bot):
		return nil, fail("not_in_channel")
	}
	return c, nil
}

func (s *Slack) chatPostMessage(a args) (reply, error) {
	c, err := s.target(a["channel"])
	if err != nil {
		return nil, err
	}
	body, err := s.readContent(a)
	if err != nil {
		return nil, err
	}
	if err := s.crowded(c.ID); err != nil {
		return nil, err
	}
	m := &Message{Channel: c.ID, User: Bot, Text: body.text, Blocks: body.blocks, Metadata: body.metadata}
	// A thread that is not there loses the reply to the channel; only the
	// missing thread_ts in the answer tells.
	if parent := s.message(c.ID, a["thread_ts"], ""); parent != nil {
		m.ThreadTS = parent.TS
		if parent.reply() {
			m.ThreadTS = parent.ThreadTS
		}
	}
	s.add(m)
	return body.warn(reply{"channel": c.ID, "ts": m.TS, "message": s.wire(m, true)}), nil
}

func (s *Slack) chatUpdate(a args) (reply, error) {
	c := s.channel(a["channel"]) // an id: a user's is not followed here
	switch {
	case c == nil, c.Private && !c.has(Bot):
		return nil, fail("channel_not_found")
	case c.Archived:
		return nil, fail("is_inactive")
	}
	m := s.message(c.ID, a["ts"], "")
	switch {
	case m == nil:
		return nil, fail("message_not_found")
	case m.User != Bot:
		return nil, fail("cant_update_message")
	case units(a["text"]) > maxUpdateText:
		return nil, fail("msg_too_long")
	}
	body, err := s.readContent(a)
	if err != nil {
		return nil, err
	}
	if hasRichText(m.Blocks) && body.blocks != nil && !hasRichText(body.blocks) {
		return nil, fail("block_mismatch")
	}
	m.Text, m.Blocks = body.text, body.blocks
	if a["metadata"] != "" {
		m.Metadata = body.metadata
	}
	m.Edited = m.Edited || body.blocks == nil
	m.Updates++
	s.changed()
	return reply{"channel": c.ID, "ts": m.TS, "text": m.Text, "message": s.wire(m, true)}, nil
}

func (s *Slack) chatDelete(a args) (reply, error) {
	c := s.channel(a["channel"])
	if c == nil {
		return nil, fail("channel_not_found")
	}
	m := s.message(c.ID, a["ts"], "")
	if m == nil {
		return nil, fail("message_not_found")
	}
	if m.User != Bot {
		return nil, fail("cant_delete_message")
	}
	s.remove(m)
	return reply{"channel": c.ID, "ts": m.TS}, nil
}

func (s *Slack) chatPostEphemeral(a args) (reply, error) {
	c, err := s.target(a["channel"])
	if err != nil {
		return nil, err
	}
	u := s.user(a["user"])
	if u == nil || u.Deactivated || !c.has(u.ID) {
		return nil, fail("user_not_in_channel")
	}
	body, err := s.readContent(a)
	if err != nil {
		return nil, err
	}
	m := s.add(&Message{Channel: c.ID, User: Bot, Only: u.ID, Text: body.text, Blocks: body.blocks, ThreadTS: a["thread_ts"]})
	return body.warn(reply{"message_ts": m.TS}), nil
}

func (s *Slack) chatGetPermalink(a args) (reply, error) {
	c := s.channel(a["channel"])
	if c == nil {
		return nil, fail("channel_not_found")
	}
	if s.message(c.ID, a["message_ts"], "") == nil {
		return nil, fail("message_not_found")
	}
	link := s.base + "/?channel=" + url.QueryEscape(c.ID) + "#m" + a["message_ts"]
	return reply{"channel": c.ID, "permalink": link}, nil
}

func (s *Slack) reactionsAdd(a args) (reply, error) {
	c := s.channel(a["channel"])
	if c == nil {
		return nil, fail("channel_not_found")
	}
	m := s.message(c.ID, a["timestamp"], "")
	name := strings.Trim(a["name"], ":")
	switch {
	case m == nil:
		return nil, fail("message_not_found")
	case name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-+'") != "":
		return nil, fail("invalid_name")
	case slices.Contains(m.Reactions[name], Bot):
		return nil, fail("already_reacted")
	}
	reactions := maps.Clone(m.Reactions)
	if reactions == nil {
		reactions = map[string][]string{}
	}
	reactions[name] = append(slices.Clone(reactions[name]), Bot)
	m.Reactions = reactions
	s.changed()
	return reply{}, nil
}
