package emulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// What a person cannot do.
var (
	ErrNotThere  = errors.New("not there for this person")        // no such channel, message, button or modal
	ErrNotFilled = errors.New("the form is not filled correctly") // the client refuses to send it
)

// button is a button and the block it stands in.
type button struct {
	blockID string
	element map[string]any
}

func (b button) name() string { id, _ := b.element["action_id"].(string); return id }

// buttons finds the buttons in blocks, in their order.
func buttons(blocks json.RawMessage) (out []button) {
	var all []struct {
		BlockID   string           `json:"block_id"`
		Elements  []map[string]any `json:"elements"`
		Accessory map[string]any   `json:"accessory"`
	}
	_ = json.Unmarshal(blocks, &all) // checked when they came
	for _, b := range all {
		for _, e := range append(b.Elements, b.Accessory) {
			if e["type"] == "button" {
				out = append(out, button{b.BlockID, e})
			}
		}
	}
	return out
}

// findButton finds a button by its action_id, or by block_id and action_id as
// "block/action". Several of one name are refused.
func findButton(blocks json.RawMessage, action string) (button, error) {
	found := slices.DeleteFunc(buttons(blocks), func(b button) bool {
		return b.name() != action && b.blockID+"/"+b.name() != action
	})
	if len(found) != 1 {
		return button{}, fmt.Errorf("%w: %d buttons are called %q", ErrNotThere, len(found), action)
	}
	return found[0], nil
}

// Buttons are the action ids of a message's buttons, in their order.
func (m Message) Buttons() []string {
	var out []string
	for _, b := range buttons(m.Blocks) {
		out = append(out, b.name())
	}
	return out
}

// actor finds who acts and where. A deactivated account may act: its click may
// have been on the way.
func (s *Slack) actor(user, channel string) (*User, *Channel, error) {
	u, c := s.user(user), s.channel(channel)
	if u == nil || c == nil || !s.sees(u, c) && !u.Deactivated {
		return nil, nil, fmt.Errorf("%w: channel %s for %s", ErrNotThere, channel, user)
	}
	return u, c, nil
}

// origin is what every interaction says of its app and team.
func (s *Slack) origin(typ string, u *User) map[string]any {
	return map[string]any{
		"type": typ, "token": "deprecated", "api_app_id": s.opt.AppID,
		"team":       map[string]any{"id": s.opt.TeamID, "domain": "harbor"},
		"user":       map[string]any{"id": u.ID, "username": u.Name, "name": u.Name, "team_id": u.Team},
		"enterprise": nil, "is_enterprise_install": false,
	}
}

// Click presses a message's button, named by its action_id or as
// "block_id/action_id". The message may be one that only this person sees. A
// confirm dialog is taken as confirmed.
func (s *Slack) Click(ctx context.Context, user, channel, ts, action string) (Answer, error) {
	s.mu.Lock()
	u, c, err := s.actor(user, channel)
	if err != nil {
		s.mu.Unlock()
		return Answer{}, err
	}
	m := s.message(channel, ts, "")
	if own := s.message(channel, ts, user); own != nil {
		m = own
	}
	if m == nil {
		s.mu.Unlock()
		return Answer{}, fmt.Errorf("%w: message %s", ErrNotThere, ts)
	}
	b, err := findButton(m.Blocks, action)
	if err != nil {
		s.mu.Unlock()
		return Answer{}, err
	}
	p := s.origin("block_actions", u)
	name := c.Name
	if c.IM != "" {
		name = "directmessage"
	}
	p["channel"] = map[string]any{"id": c.ID, "name": name}
	p["container"] = map[string]any{"type": "message", "message_ts": m.TS, "channel_id": c.ID, "is_ephemeral": m.Only != ""}
	if m.Only == "" {
		p["message"] = s.wire(m, false)
	}
	p["state"] = map[string]any{"values": map[string]any{}}
	p["trigger_id"] = s.newTrigger(u.ID, "")
	p["response_url"] = s.newHook(c.ID, u.ID, m)
	p["actions"] = []any{s.pressed(b)}
	s.mu.Unlock()
	return s.deliver(ctx, letter{kind: Interactions, typ: "block_actions", payload: p}), nil
}

func (s *Slack) pressed(b button) map[string]any {
	a := maps.Clone(b.element)
	delete(a, "confirm")
	a["block_id"], a["action_ts"] = b.blockID, s.ts()
	return a
}

// ClickInView presses a button of the person's visible modal.
func (s *Slack) ClickInView(ctx context.Context, user, viewID, action string) (Answer, error) {
	s.mu.Lock()
	u, v, err := s.visible(user, viewID)
	if err != nil {
		s.mu.Unlock()
		return Answer{}, err
	}
	b, err := findButton(v.Blocks(), action)
	if err != nil {
		s.mu.Unlock()
		return Answer{}, err
	}
	p := s.origin("block_actions", u)
	p["container"] = map[string]any{"type": "view", "view_id": v.ID}
	p["view"] = s.wireView(v)
	p["trigger_id"] = s.newTrigger(u.ID, v.Root)
	p["actions"] = []any{s.pressed(b)}
	s.mu.Unlock()
	return s.deliver(ctx, letter{kind: Interactions, typ: "block_actions", payload: p}), nil
}

// visible finds the modal that a person can touch.
func (s *Slack) visible(user, viewID string) (*User, *View, error) {
	u, stack := s.user(user), s.views[user]
	if u == nil || len(stack) == 0 || stack[len(stack)-1].ID != viewID {
		return nil, nil, fmt.Errorf("%w: modal %s for %s", ErrNotThere, viewID, user)
	}
	return u, stack[len(stack)-1], nil
}

// Command types a line that starts with the app's slash command.
func (s *Slack) Command(ctx context.Context, user, channel, line string) (Answer, error) {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	s.mu.Lock()
	u, c, err := s.actor(user, channel)
	switch {
	case err != nil:
	case word != s.opt.Command:
		err = fmt.Errorf("%w: no app answers to %q here", ErrNotThere, word)
	case u.Team != s.opt.TeamID:
		err = fmt.Errorf("%w: slash commands are not shared with other workspaces", ErrNotThere)
	}
	if err != nil {
		s.mu.Unlock()
		return Answer{}, err
	}
	name := c.Name
	if c.IM != "" {
		name = "directmessage"
	}
	link := s.newHook(c.ID, u.ID, nil)
	h := s.hooks[link[strings.LastIndexByte(link, '/')+1:]]
	p := map[string]any{
		"token": "deprecated", "team_id": s.opt.TeamID, "team_domain": "harbor", "channel_id": c.ID, "channel_name": name,
		"user_id": u.ID, "user_name": u.Name, "command": word, "text": s.markUp(strings.TrimSpace(rest)), "api_app_id": s.opt.AppID,
		"is_enterprise_install": "false", "response_url": link, "trigger_id": s.newTrigger(u.ID, ""),
	}
	s.mu.Unlock()
	a := s.deliver(ctx, letter{kind: Commands, typ: word, payload: p})
	if a.Status != http.StatusOK || a.Shown != "" {
		return a, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.respondInAck(h, a.Body) != nil {
		a.Shown = Undelivered
	}
	return a, nil
}

// markUp writes @name and #channel as the platform sends them to a command with
// should_escape, and escapes the rest.
func (s *Slack) markUp(text string) string {
	text = escaper.Replace(text)
	words := strings.Fields(text)
	for i, w := range words {
		if j := slices.IndexFunc(s.users, func(u *User) bool { return w == "@"+u.Name }); j >= 0 {
			words[i] = "<@" + s.users[j].ID + "|" + s.users[j].Name + ">"
		}
		if j := slices.IndexFunc(s.channels, func(c *Channel) bool { return c.Name != "" && w == "#"+c.Name }); j >= 0 {
			words[i] = "<#" + s.channels[j].ID + "|" + s.channels[j].Name + ">"
		}
		if w != words[i] {
			text = strings.Replace(text, w, words[i], 1)
		}
	}
	return text
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// Post writes a message as a person; threadTS may be empty. The app hears of it
// if it is subscribed to app_mention, message.channels, message.groups or
// message.im; the answers are those to the last of these events.
func (s *Slack) Post(ctx context.Context, user, channel, threadTS, text string) (Message, []Answer, error) {
	s.mu.Lock()
	u, c, err := s.actor(user, channel)
	if err == nil && (!c.has(u.ID) || c.Archived) {
		err = fmt.Errorf("%w: %s cannot write in %s", ErrNotThere, user, channel)
	}
	if err != nil {
		s.mu.Unlock()
		return Message{}, nil, err
	}
	marked := strings.ReplaceAll(escaper.Replace(text), "@"+s.user(Bot).Name, "<@"+Bot+">")
	m := s.add(&Message{Channel: c.ID, User: u.ID, Text: marked, ThreadTS: threadTS}).copy()
	event := map[string]any{"type": "message", "channel": c.ID, "user": u.ID, "text": m.Text, "ts": m.TS, "event_ts": m.TS, "team": u.Team}
	if threadTS != "" {
		event["thread_ts"] = threadTS
	}
	name, kind := "message.channels", "channel"
	switch {
	case c.IM != "":
		name, kind = "message.im", "im"
	case c.Private:
		name, kind = "message.groups", "group"
	}
	event["channel_type"] = kind
	hears := slices.Contains(s.opt.Events, name) && c.has(Bot)
	mention := slices.Contains(s.opt.Events, "app_mention") && c.has(Bot) && c.IM == "" && strings.Contains(m.Text, "<@"+Bot+">")
	s.mu.Unlock()
	var answers []Answer
	if hears {
		answers = s.Event(ctx, event)
	}
	if mention {
		event = maps.Clone(event)
		event["type"] = "app_mention"
		delete(event, "channel_type")
		answers = s.Event(ctx, event)
	}
	return m, answers, nil
}
