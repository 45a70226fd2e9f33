package emulator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// SubmitView sends the person's visible modal. The values are those of its text
// inputs, each named by its block_id, its action_id or "block_id/action_id"; a
// select takes its option's value. The client refuses what the form does not
// allow: then the error is ErrNotFilled and nothing is sent.
func (s *Slack) SubmitView(ctx context.Context, user, viewID string, values map[string]string) (Answer, error) {
	s.mu.Lock()
	u, v, err := s.visible(user, viewID)
	if err == nil {
		err = v.fill(values)
	}
	if err != nil {
		s.mu.Unlock()
		return Answer{}, err
	}
	v.Errors = nil
	p := s.origin("view_submission", u)
	p["view"] = s.wireView(v)
	p["trigger_id"] = s.newTrigger(u.ID, v.Root)
	p["response_urls"] = []any{}
	s.mu.Unlock()
	a := s.deliver(ctx, letter{kind: Interactions, typ: "view_submission", payload: p})
	if a.Status != http.StatusOK || a.Shown != "" {
		return a, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, v, err := s.visible(user, viewID); err == nil { // the app may have closed it meanwhile
		if err := s.followAck(v, a.Body); err != nil {
			s.log.Warn("the app's answer to a form was refused", "error", err.Error())
			a.Shown = Undelivered
		}
	}
	return a, nil
}

// fill sets a view's values, and refuses what its inputs do not allow.
func (v *View) fill(values map[string]string) error {
	left := maps.Clone(values)
	state := map[string]map[string]reply{}
	for _, in := range v.inputs() {
		text := in.Element.Initial
		for _, name := range []string{in.BlockID, in.Element.ActionID, in.BlockID + "/" + in.Element.ActionID} {
			if t, ok := left[name]; ok {
				text = t
				delete(left, name)
			}
		}
		n := units(text)
		switch {
		case text == "" && !in.Optional:
			return fmt.Errorf("%w: %s needs a value", ErrNotFilled, in.BlockID)
		case in.Element.MaxLength > 0 && n > in.Element.MaxLength:
			return fmt.Errorf("%w: %s takes at most %d characters", ErrNotFilled, in.BlockID, in.Element.MaxLength)
		case text != "" && n < in.Element.MinLength:
			return fmt.Errorf("%w: %s takes at least %d characters", ErrNotFilled, in.BlockID, in.Element.MinLength)
		}
		state[in.BlockID] = map[string]reply{in.Element.ActionID: inputValue(in, text)}
	}
	for name := range left {
		return fmt.Errorf("%w: there is no input %q", ErrNotFilled, name)
	}
	v.values = state
	return nil
}

func inputValue(in input, text string) reply {
	out := reply{"type": in.Element.Type}
	switch {
	case in.Element.Type == "plain_text_input" && text == "":
		out["value"] = nil
	case in.Element.Type == "plain_text_input":
		out["value"] = text
	case in.Element.Type == "checkboxes":
		out["selected_options"] = []any{reply{"value": text}}
	default:
		out["selected_option"] = reply{"value": text}
	}
	return out
}

// followAck does what the answer to a view_submission says: nothing closes the
// view, response_action errors, update, push and clear do as they are called.
func (s *Slack) followAck(v *View, body []byte) error {
	var ack struct {
		Action string            `json:"response_action"`
		Errors map[string]string `json:"errors"`
		View   json.RawMessage   `json:"view"`
	}
	if body = bytes.TrimSpace(body); len(body) > 0 && json.Unmarshal(body, &ack) != nil {
		return fail("invalid_ack")
	}
	switch ack.Action {
	case "":
		if len(body) > 0 && string(body) != "null" && string(body) != "{}" && string(body) != `""` {
			return fail("invalid_ack")
		}
		s.pop(v)
	case "clear":
		delete(s.views, v.User)
		s.changed()
	case "errors":
		ids := []string{}
		for _, in := range v.inputs() {
			ids = append(ids, in.BlockID)
		}
		for id := range ack.Errors {
			if !slices.Contains(ids, id) {
				return fail("invalid_ack") // only input blocks can show an error
			}
		}
		if len(ack.Errors) == 0 {
			return fail("invalid_ack")
		}
		v.Errors = ack.Errors
		s.changed()
	case "update", "push":
		view, err := s.readView(string(ack.View))
		if err != nil {
			return err
		}
		if ack.Action == "push" {
			_, err := s.push(v.User, view)
			return err
		}
		s.replace(v, view)
	default:
		return fail("invalid_ack")
	}
	return nil
}

func (s *Slack) pop(v *View) {
	s.views[v.User] = slices.DeleteFunc(s.views[v.User], func(x *View) bool { return x == v })
	s.changed()
}

// CloseView closes the person's visible modal, and tells the app if it asked to
// be told (notify_on_close).
func (s *Slack) CloseView(ctx context.Context, user, viewID string) (Answer, error) {
	s.mu.Lock()
	u, v, err := s.visible(user, viewID)
	if err != nil {
		s.mu.Unlock()
		return Answer{}, err
	}
	all := v.flag("clear_on_close")
	p := s.origin("view_closed", u)
	p["view"], p["is_cleared"] = s.wireView(v), all
	s.pop(v)
	if all {
		delete(s.views, user)
	}
	s.mu.Unlock()
	if !v.flag("notify_on_close") {
		return Answer{Status: http.StatusOK}, nil
	}
	return s.deliver(ctx, letter{kind: Interactions, typ: "view_closed", payload: p}), nil
}
