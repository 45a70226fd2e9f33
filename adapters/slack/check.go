package slack

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/slack-go/slack"
)

// The limits of Block Kit that our messages and views meet, in UTF-16 units or
// items (reference/block-kit, reference/methods/chat.update and views.open).
const (
	limitMessageBlocks   = 50
	limitViewBlocks      = 100
	limitHeader          = 150
	limitText            = 3000
	limitFields          = 10
	limitField           = 2000
	limitContext         = 10
	limitActions         = 25
	limitButtonText      = 75
	limitButtonValue     = 2000
	limitLink            = 3000
	limitID              = 255
	limitLabel           = 2000
	limitInput           = 3000
	limitPlaceholder     = 150
	limitViewTitle       = 24
	limitPrivateMetadata = 3000
	limitView            = 250000
)

// object is a decoded block, element or text object.
type object map[string]any

func (o object) text(key string) string  { s, _ := o[key].(string); return s }
func (o object) under(key string) object { m, _ := o[key].(map[string]any); return m }
func (o object) list(key string) (out []object) {
	items, _ := o[key].([]any)
	for _, item := range items {
		m, _ := item.(map[string]any)
		out = append(out, m)
	}
	return out
}

// checker collects what breaks a limit.
type checker struct {
	faults []error
	ids    map[string]bool
}

func (c *checker) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf(format, args...))
}

func (c *checker) max(what, text string, low, high int) {
	if n := width(text); n < low || n > high {
		c.fault("%s has %d characters, not %d to %d", what, n, low, high)
	}
}

func (c *checker) count(what string, n, low, high int) {
	if n < low || n > high {
		c.fault("%s has %d items, not %d to %d", what, n, low, high)
	}
}

// checkBlocks returns an error that names every limit that a message breaks.
func checkBlocks(blocks []slack.Block) error {
	c := checker{ids: map[string]bool{}}
	raw, decoded, err := decode(blocks)
	if err != nil {
		return err
	}
	if n := width(string(raw)); n > maxBlocks {
		c.fault("the blocks have %d characters, not at most %d", n, maxBlocks)
	}
	c.count("the message", len(decoded), 1, limitMessageBlocks)
	for _, b := range decoded {
		c.block(b)
	}
	return errors.Join(c.faults...)
}

// checkView is checkBlocks for a modal.
func checkView(v slack.ModalViewRequest) error {
	c := checker{ids: map[string]bool{}}
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var view object
	if err := json.Unmarshal(raw, &view); err != nil {
		return err
	}
	if len(raw) > limitView {
		c.fault("the view has %d bytes, not at most %d", len(raw), limitView)
	}
	for _, key := range []string{"title", "submit", "close"} {
		if t := view.under(key); t != nil {
			c.plain("the view's "+key, t, limitViewTitle)
		}
	}
	c.max("private_metadata", view.text("private_metadata"), 0, limitPrivateMetadata)
	c.max("callback_id", view.text("callback_id"), 0, limitID)
	c.count("the view", len(view.list("blocks")), 1, limitViewBlocks)
	for _, b := range view.list("blocks") {
		c.block(b)
	}
	return errors.Join(c.faults...)
}

func decode(blocks []slack.Block) ([]byte, []object, error) {
	raw, err := json.Marshal(blocks)
	if err != nil {
		return nil, nil, err
	}
	var out []object
	return raw, out, json.Unmarshal(raw, &out)
}

func (c *checker) block(b object) {
	if id := b.text("block_id"); id != "" {
		c.max("block_id", id, 1, limitID)
		if c.ids[id] {
			c.fault("block_id %q stands twice", id)
		}
		c.ids[id] = true
	}
	switch kind := b.text("type"); kind {
	case "header":
		c.plain("a header", b.under("text"), limitHeader)
	case "section":
		c.section(b)
	case "context":
		c.count("a context", len(b.list("elements")), 1, limitContext)
		for _, e := range b.list("elements") {
			c.any("a context's text", e, limitText)
		}
	case "actions":
		c.count("actions", len(b.list("elements")), 1, limitActions)
		seen := map[string]bool{}
		for _, e := range b.list("elements") {
			c.button(e, seen)
		}
	case "input":
		c.input(b)
	case "rich_text":
		c.count("a rich_text", len(b.list("elements")), 1, limitMessageBlocks)
		for _, e := range b.list("elements") {
			c.rich(e)
		}
	case "divider":
	default:
		c.fault("blocks of the type %q are not ours", kind)
	}
}

func (c *checker) section(b object) {
	t, fields := b.under("text"), b.list("fields")
	if t == nil && len(fields) == 0 {
		c.fault("a section has neither text nor fields")
	}
	if t != nil {
		c.any("a section's text", t, limitText)
	}
	c.count("a section", len(fields), 0, limitFields)
	for _, f := range fields {
		c.any("a section's field", f, limitField)
	}
}

func (c *checker) button(e object, seen map[string]bool) {
	if e.text("type") != "button" {
		c.fault("elements of the type %q are not ours", e.text("type"))
	}
	c.plain("a button", e.under("text"), limitButtonText)
	c.max("a button's value", e.text("value"), 0, limitButtonValue)
	c.max("a button's url", e.text("url"), 0, limitLink)
	id := e.text("action_id")
	c.max("action_id", id, 1, limitID)
	if seen[id] {
		c.fault("action_id %q stands twice", id)
	}
	seen[id] = true
	if s := e.text("style"); s != "" && s != "primary" && s != "danger" {
		c.fault("a button has the style %q", s)
	}
}

func (c *checker) input(b object) {
	c.plain("an input's label", b.under("label"), limitLabel)
	if h := b.under("hint"); h != nil {
		c.plain("an input's hint", h, limitLabel)
	}
	e := b.under("element")
	if e.text("type") != "plain_text_input" {
		c.fault("inputs of the type %q are not ours", e.text("type"))
	}
	c.max("action_id", e.text("action_id"), 1, limitID)
	if n, ok := e["max_length"].(float64); ok && (n < 1 || n > limitInput) {
		c.fault("an input's max_length is %v, not 1 to %d", n, limitInput)
	}
	if p := e.under("placeholder"); p != nil {
		c.plain("a placeholder", p, limitPlaceholder)
	}
}

// rich checks one element of a rich_text block: of what it may hold we use text
// and links that show where they lead.
func (c *checker) rich(e object) {
	if t := e.text("type"); t != "rich_text_preformatted" && t != "rich_text_section" {
		c.fault("rich text of the type %q is not ours", t)
	}
	c.count("a rich text", len(e.list("elements")), 1, 1000)
	for _, part := range e.list("elements") {
		switch part.text("type") {
		case "text":
			c.max("a rich text's text", part.text("text"), 1, maxBlocks)
		case "link":
			c.max("a link", part.text("url"), 1, limitLink)
			if part.text("text") != part.text("url") {
				c.fault("a link hides where it leads")
			}
		default:
			c.fault("rich text parts of the type %q are not ours", part.text("type"))
		}
	}
}

// plain checks a text object in which nothing is markup.
func (c *checker) plain(what string, t object, high int) {
	if t.text("type") != "plain_text" {
		c.fault("%s is no plain_text", what)
	}
	if emoji, ok := t["emoji"].(bool); !ok || emoji {
		c.fault("%s would turn :names: into emoji", what)
	}
	c.max(what, t.text("text"), 1, high)
}

// any checks a text object; markup may hold nothing but our mentions.
func (c *checker) any(what string, t object, high int) {
	if t.text("type") != "mrkdwn" {
		c.plain(what, t, high)
		return
	}
	c.max(what, t.text("text"), 1, high)
	if verbatim, _ := t["verbatim"].(bool); !verbatim || !mentionsPattern.MatchString(t.text("text")) {
		c.fault("%s has markup that is not ours", what)
	}
}
