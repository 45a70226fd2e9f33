package emulator

import (
	"encoding/json"
	"time"
)

// maxView is the size of a whole view as JSON, in bytes.
const maxView = 250_000

// maxStack is how many modals may lie on each other.
const maxStack = 3

// triggerLife is how long an app may use a trigger id.
const triggerLife = 3 * time.Second

// View is a modal that a user has open.
type View struct {
	ID   string `json:"id"`
	User string `json:"user"`
	Hash string `json:"hash"`
	Root string `json:"root"`
	Prev string `json:"prev,omitempty"`
	// Body is what the app sent: title, blocks, private_metadata and so on.
	Body map[string]json.RawMessage `json:"body"`
	// Errors are shown at the input blocks of these ids.
	Errors map[string]string `json:"errors,omitempty"`

	values map[string]map[string]reply // block id → action id → value
}

// Title is the modal's title.
func (v View) Title() string {
	var t struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal(v.Body["title"], &t)
	return t.Text
}

// Blocks are the modal's blocks as JSON.
func (v View) Blocks() json.RawMessage { return v.Body["blocks"] }

func (v *View) text(name string) string {
	var t string
	_ = json.Unmarshal(v.Body[name], &t)
	return t
}

func (v *View) flag(name string) bool {
	var b bool
	_ = json.Unmarshal(v.Body[name], &b)
	return b
}

// input is an input block of a view.
type input struct {
	BlockID  string `json:"block_id"`
	Type     string `json:"type"`
	Optional bool   `json:"optional"`
	Element  struct {
		Type      string `json:"type"`
		ActionID  string `json:"action_id"`
		MinLength int    `json:"min_length"`
		MaxLength int    `json:"max_length"`
		Initial   string `json:"initial_value"`
	} `json:"element"`
}

func (v *View) inputs() []input {
	var all, out []input
	_ = json.Unmarshal(v.Body["blocks"], &all)
	for _, b := range all {
		if b.Type == "input" {
			out = append(out, b)
		}
	}
	return out
}

// trigger is a right to open one modal.
type trigger struct {
	user string
	end  time.Time
	used bool
	root string // the view that it came from, "" for a message or a command
}

func (s *Slack) newTrigger(user, root string) string {
	now := s.opt.Now()
	for id, t := range s.triggers { // an hour later nobody asks whether it was expired or unknown
		if now.Sub(t.end) > time.Hour {
			delete(s.triggers, id)
		}
	}
	id := s.id("") + "." + s.id("") + "." + s.opt.NewID()
	s.triggers[id] = &trigger{user: user, end: now.Add(triggerLife), root: root}
	return id
}

// useTrigger takes a trigger id, once.
func (s *Slack) useTrigger(id string) (*trigger, error) {
	t := s.triggers[id]
	switch {
	case t == nil:
		return nil, fail("invalid_trigger_id")
	case t.used:
		return nil, fail("exchanged_trigger_id")
	case s.opt.Now().After(t.end):
		return nil, fail("expired_trigger_id")
	}
	t.used = true
	return t, nil
}

// readView checks a view argument.
func (s *Slack) readView(text string) (map[string]json.RawMessage, error) {
	var body map[string]any
	if text == "" || decode([]byte(text), &body) != nil || body == nil {
		return nil, fail("invalid_arguments")
	}
	if len(compact(text)) > maxView {
		return nil, fail("view_too_large")
	}
	c := &checker{}
	if body["type"] != "modal" {
		c.say("/view/type", "unsupported type; the emulator knows modals")
	}
	c.shape("/view", body, viewShape)
	list, _ := body["blocks"].([]any)
	c.blocks("/view/blocks", list, inModal)
	for _, b := range list {
		if m, _ := b.(map[string]any); m["type"] == "input" && body["submit"] == nil {
			c.say("/view", "missing required field: submit, as there is an input block")
			break
		}
	}
	if err := c.err("invalid_arguments"); err != nil {
		return nil, err
	}
	s.nameBlocks(list)
	for _, b := range list {
		s.nameAction(b)
	}
	var out map[string]json.RawMessage
	if err := json.Unmarshal(encode(body), &out); err != nil {
		return nil, fail("invalid_arguments")
	}
	return out, nil
}

// nameAction gives an action_id to an input's element that has none.
func (s *Slack) nameAction(block any) {
	b, _ := block.(map[string]any)
	if e, ok := b["element"].(map[string]any); ok && e["action_id"] == nil {
		e["action_id"] = s.opt.NewID()[:5]
	}
}

func (s *Slack) newHash() string { return s.ts()[:10] + "." + s.opt.NewID()[:8] }

func (s *Slack) viewsOpen(a args) (reply, error) {
	body, err := s.readView(a["view"])
	if err != nil {
		return nil, err
	}
	t, err := s.useTrigger(a["trigger_id"])
	if err != nil {
		return nil, err
	}
	v := &View{ID: s.id("V0"), User: t.user, Hash: s.newHash(), Body: body}
	v.Root = v.ID
	s.views[t.user] = []*View{v}
	s.changed()
	return reply{"view": s.wireView(v)}, nil
}

func (s *Slack) viewsPush(a args) (reply, error) {
	body, err := s.readView(a["view"])
	if err != nil {
		return nil, err
	}
	t, err := s.useTrigger(a["trigger_id"])
	if err != nil {
		return nil, err
	}
	stack := s.views[t.user]
	if t.root == "" || len(stack) == 0 || stack[0].ID != t.root {
		return nil, fail("not_found")
	}
	v, err := s.push(t.user, body)
	if err != nil {
		return nil, err
	}
	return reply{"view": s.wireView(v)}, nil
}

// push lays a modal on the user's visible one.
func (s *Slack) push(user string, body map[string]json.RawMessage) (*View, error) {
	stack := s.views[user]
	if len(stack) >= maxStack {
		return nil, fail("push_limit_reached")
	}
	v := &View{ID: s.id("V0"), User: user, Hash: s.newHash(), Body: body, Root: stack[0].ID, Prev: stack[len(stack)-1].ID}
	s.views[user] = append(stack, v)
	s.changed()
	return v, nil
}

func (s *Slack) viewsUpdate(a args) (reply, error) {
	body, err := s.readView(a["view"])
	if err != nil {
		return nil, err
	}
	v := s.view(a["view_id"], a["external_id"])
	switch {
	case v == nil:
		return nil, fail("not_found")
	case a["hash"] != "" && a["hash"] != v.Hash:
		return nil, fail("hash_conflict")
	}
	s.replace(v, body)
	return reply{"view": s.wireView(v)}, nil
}

func (s *Slack) replace(v *View, body map[string]json.RawMessage) {
	v.Body, v.Hash, v.Errors = body, s.newHash(), nil
	s.changed()
}

// view finds an open view by its id, or by the app's own id for it.
func (s *Slack) view(id, external string) *View {
	for _, stack := range s.views {
		for _, v := range stack {
			if v.ID == id || id == "" && external != "" && v.text("external_id") == external {
				return v
			}
		}
	}
	return nil
}

// OpenViews are a user's modals, the visible one last.
func (s *Slack) OpenViews(user string) []View {
	return snapshot(s, func() []*View { return s.views[user] })
}

// wireView is a view as the app sees it.
func (s *Slack) wireView(v *View) reply {
	values := v.values
	if values == nil {
		values = map[string]map[string]reply{}
	}
	out := reply{
		"id": v.ID, "team_id": s.opt.TeamID, "type": "modal", "hash": v.Hash, "root_view_id": v.Root, "previous_view_id": nil,
		"app_id": s.opt.AppID, "bot_id": botID, "app_installed_team_id": s.opt.TeamID, "state": reply{"values": values},
		"private_metadata": "", "callback_id": "", "external_id": "", "submit": nil, "close": nil, "clear_on_close": false, "notify_on_close": false, "submit_disabled": false,
	}
	if v.Prev != "" {
		out["previous_view_id"] = v.Prev
	}
	for k, x := range v.Body {
		out[k] = x
	}
	return out
}
