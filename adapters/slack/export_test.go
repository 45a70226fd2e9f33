package slack

import (
	"encoding/json"
	"time"

	"github.com/slack-go/slack"

	"github.com/countersign/countersign/bot/chat"
)

// What the tests of the package's outside need of its inside.
var (
	CheckBlocks = checkBlocks
	CheckView   = checkView
	Face        = face
	Private     = private
	BotScopes   = botScopes
	Width       = width
	Followable  = followable
)

const (
	MaxBlocks = maxBlocks
	MaxAck    = maxAck
)

// OneLine and ManyLines are show in both layouts.
func OneLine(s string, limit int) string   { return show(s, limit, oneLine) }
func ManyLines(s string, limit int) string { return show(s, limit, manyLines) }

// FormView is formView for a click at a place.
func FormView(p chat.Prompt, channel, ref string) (slack.ModalViewRequest, error) {
	return formView(p, form{Delivery: p.Button, Verb: p.Verb, Channel: channel, Ref: ref})
}

// MessageView is messageView.
func MessageView(r chat.Reply) slack.ModalViewRequest { return messageView(r) }

// Hurry shortens the times of a Slack.
func (s *Slack) Hurry(deadline, ping, backoff time.Duration) {
	s.deadline, s.ping, s.backoff = deadline, ping, backoff
}

// Answerable is answerable.
func (s *Slack) Answerable(address string) bool { return s.answerable(address) }

// Decode turns blocks into plain JSON values.
func Decode(blocks []slack.Block) []map[string]any {
	raw, _ := json.Marshal(blocks)
	var out []map[string]any
	_ = json.Unmarshal(raw, &out)
	return out
}
