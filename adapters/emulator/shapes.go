package emulator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// shape says which members an object may have; the member "type" is implied.
// The numbers are the platform's documented limits (Block Kit reference).
type shape map[string]prop

type prop struct {
	need  bool
	check func(c *checker, at string, v any)
}

func need(check func(*checker, string, any)) prop { return prop{true, check} }
func may(check func(*checker, string, any)) prop  { return prop{false, check} }

// str is a string of at least low and at most high characters.
func str(low, high int) func(*checker, string, any) {
	return func(c *checker, at string, v any) {
		text, ok := v.(string)
		switch n := units(text); {
		case !ok:
			c.say(at, "must provide a string")
		case n > high:
			c.say(at, "must be less than %d characters", high+1)
		case n < low:
			c.say(at, "must be more than %d characters", low-1)
		}
	}
}

// oneOf is one of some words.
func oneOf(words ...string) func(*checker, string, any) {
	return func(c *checker, at string, v any) {
		if text, ok := v.(string); !ok || !slices.Contains(words, text) {
			c.say(at, "value must be one of %s", strings.Join(words, ", "))
		}
	}
}

func boolean(c *checker, at string, v any) {
	if _, ok := v.(bool); !ok {
		c.say(at, "must provide a boolean")
	}
}

// number is a whole number between low and high.
func number(low, high int64) func(*checker, string, any) {
	return func(c *checker, at string, v any) {
		n, ok := v.(json.Number)
		i, err := n.Int64()
		if !ok || err != nil || i < low || i > high {
			c.say(at, "must be a whole number between %d and %d", low, high)
		}
	}
}

// list is an array of at least low and at most high items.
func list(low, high int, item func(*checker, string, any)) func(*checker, string, any) {
	return func(c *checker, at string, v any) {
		items, ok := v.([]any)
		switch {
		case !ok:
			c.say(at, "must provide an array")
		case len(items) > high:
			c.say(at, "no more than %d items allowed", high)
		case len(items) < low:
			c.say(at, "must have at least %d items", low)
		}
		for i, it := range items {
			item(c, fmt.Sprintf("%s/%d", at, i), it)
		}
	}
}

// of is an object of a fixed shape without a type.
func of(sh shape) func(*checker, string, any) {
	return func(c *checker, at string, v any) {
		if m, ok := v.(map[string]any); ok {
			c.shape(at, m, sh)
			return
		}
		c.say(at, "must provide an object")
	}
}

// kinds is an object of one of some types.
func kinds(shapes map[string]shape, allowed ...string) func(*checker, string, any) {
	return func(c *checker, at string, v any) { c.object(at, v, shapes, allowed) }
}

// plain is a plain_text object of at most n characters.
func plain(n int) func(*checker, string, any) { return text(n, "plain_text") }

// anyText is a plain_text or mrkdwn object of at most n characters.
func anyText(n int) func(*checker, string, any) { return text(n, "plain_text", "mrkdwn") }

func text(n int, allowed ...string) func(*checker, string, any) {
	return kinds(map[string]shape{
		"plain_text": {"text": need(str(1, n)), "emoji": may(boolean)},
		"mrkdwn":     {"text": need(str(1, n)), "verbatim": may(boolean)},
	}, allowed...)
}

var (
	id255   = str(1, 255)
	confirm = of(shape{"title": need(plain(100)), "text": need(plain(300)), "confirm": need(plain(30)), "deny": need(plain(30)), "style": may(oneOf("primary", "danger"))})
	option  = of(shape{"text": need(anyText(75)), "value": need(str(1, 75)), "description": may(anyText(75)), "url": may(str(1, 3000))})
	img     = shape{"alt_text": need(str(1, 2000)), "image_url": may(str(1, 3000)), "slack_file": may(of(shape{"id": may(str(1, 255)), "url": may(str(1, 3000))}))}

	elements = map[string]shape{
		"button": {
			"text": need(plain(75)), "action_id": may(id255), "value": may(str(0, 2000)), "url": may(str(1, 3000)),
			"style": may(oneOf("primary", "danger")), "confirm": may(confirm), "accessibility_label": may(str(1, 75)),
		},
		"overflow": {"action_id": may(id255), "options": need(list(1, 5, option)), "confirm": may(confirm)},
		"static_select": {
			"action_id": may(id255), "options": need(list(1, 100, option)), "initial_option": may(option),
			"placeholder": may(plain(150)), "confirm": may(confirm), "focus_on_load": may(boolean),
		},
		"radio_buttons": {"action_id": may(id255), "options": need(list(1, 10, option)), "initial_option": may(option), "confirm": may(confirm), "focus_on_load": may(boolean)},
		"checkboxes":    {"action_id": may(id255), "options": need(list(1, 10, option)), "initial_options": may(list(1, 10, option)), "confirm": may(confirm), "focus_on_load": may(boolean)},
		"plain_text_input": {
			"action_id": may(id255), "initial_value": may(str(0, 3000)), "multiline": may(boolean), "min_length": may(number(0, 3000)), "max_length": may(number(1, 3000)),
			"placeholder": may(plain(150)), "focus_on_load": may(boolean),
			"dispatch_action_config": may(of(shape{"trigger_actions_on": may(list(1, 2, oneOf("on_enter_pressed", "on_character_entered")))})),
		},
		"image":      img,
		"plain_text": {"text": need(str(1, 3000)), "emoji": may(boolean)},
		"mrkdwn":     {"text": need(str(1, 3000)), "verbatim": may(boolean)},
	}

	blockShapes = map[string]shape{
		"header":  {"block_id": may(id255), "text": need(plain(150))},
		"divider": {"block_id": may(id255)},
		"section": {
			"block_id": may(id255), "text": may(anyText(3000)), "fields": may(list(1, 10, anyText(2000))), "expand": may(boolean),
			"accessory": may(kinds(elements, "button", "overflow", "static_select", "radio_buttons", "checkboxes", "image")),
		},
		"context":  {"block_id": may(id255), "elements": need(list(1, 10, kinds(elements, "plain_text", "mrkdwn", "image")))},
		"actions":  {"block_id": may(id255), "elements": need(list(1, 25, kinds(elements, "button", "overflow", "static_select", "radio_buttons", "checkboxes")))},
		"image":    {"block_id": may(id255), "alt_text": need(str(1, 2000)), "image_url": may(str(1, 3000)), "slack_file": img["slack_file"], "title": may(plain(2000))},
		"markdown": {"block_id": may(id255), "text": need(str(1, 12_000))},
		"input": {
			"block_id": may(id255), "label": need(plain(2000)), "hint": may(plain(2000)), "optional": may(boolean), "dispatch_action": may(boolean),
			"element": need(kinds(elements, "plain_text_input", "static_select", "radio_buttons", "checkboxes")),
		},
		"rich_text": {"block_id": may(id255), "elements": need(list(0, 1000, kinds(richParts, "rich_text_section", "rich_text_preformatted", "rich_text_quote", "rich_text_list")))},
	}

	style  = of(shape{"bold": may(boolean), "italic": may(boolean), "strike": may(boolean), "code": may(boolean), "underline": may(boolean), "highlight": may(boolean), "client_highlight": may(boolean), "unlink": may(boolean)})
	inline = map[string]shape{
		"text":      {"text": need(str(1, 12_000)), "style": may(style)},
		"link":      {"url": need(str(1, 3000)), "text": may(str(0, 12_000)), "unsafe": may(boolean), "style": may(style)},
		"emoji":     {"name": need(str(1, 255)), "unicode": may(str(1, 255)), "skin_tone": may(number(1, 6)), "style": may(style)},
		"user":      {"user_id": need(str(1, 255)), "style": may(style)},
		"usergroup": {"usergroup_id": need(str(1, 255)), "style": may(style)},
		"channel":   {"channel_id": need(str(1, 255)), "style": may(style)},
		"broadcast": {"range": need(oneOf("here", "channel", "everyone")), "style": may(style)},
		"color":     {"value": need(str(1, 50)), "style": may(style)},
		"date":      {"timestamp": need(number(0, 1<<40)), "format": need(str(1, 255)), "url": may(str(1, 3000)), "fallback": may(str(1, 255)), "style": may(style)},
	}
	inlines   = list(0, 1000, kinds(inline, "text", "link", "emoji", "user", "usergroup", "channel", "broadcast", "color", "date"))
	section   = shape{"elements": need(inlines)}
	richParts = map[string]shape{
		"rich_text_section":      section,
		"rich_text_quote":        {"elements": need(inlines), "border": may(number(0, 1))},
		"rich_text_preformatted": {"elements": need(list(0, 1000, kinds(inline, "text", "link"))), "border": may(number(0, 1)), "language": may(str(1, 50))},
		"rich_text_list": {
			"style": need(oneOf("bullet", "ordered")), "indent": may(number(0, 8)), "offset": may(number(0, 10_000)), "border": may(number(0, 1)),
			"elements": need(list(0, 1000, kinds(map[string]shape{"rich_text_section": section}, "rich_text_section"))),
		},
	}

	viewShape = shape{
		"title": need(plain(24)), "submit": may(plain(24)), "close": may(plain(24)), "blocks": need(list(0, 100, func(*checker, string, any) {})),
		"private_metadata": may(str(0, 3000)), "callback_id": may(str(0, 255)), "external_id": may(str(0, 255)),
		"clear_on_close": may(boolean), "notify_on_close": may(boolean), "submit_disabled": may(boolean),
	}
)
