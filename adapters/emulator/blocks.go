package emulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// surface is where blocks are shown: it rules how many there may be, and which.
type surface struct {
	name   string
	most   int
	blocks []string
}

var (
	inMessage = surface{"message", 50, []string{"header", "section", "context", "actions", "divider", "rich_text", "image", "markdown"}}
	inModal   = surface{"modal", 100, []string{"header", "section", "context", "actions", "divider", "rich_text", "image", "input"}}
)

// maxBlocksText is the size of all blocks as JSON beyond which the platform was
// seen to answer msg_blocks_too_long. The rule is not documented.
const maxBlocksText = 13_200

// maxBlockFaults bounds the messages of one invalid_blocks answer.
const maxBlockFaults = 20

// checkBlocks checks a blocks argument and returns it with the missing block
// ids made up, as the platform does. No blocks, or an empty list, is nil.
func (s *Slack) checkBlocks(text string, on surface) (json.RawMessage, error) {
	if text == "" {
		return nil, nil
	}
	var list []any
	if err := decode([]byte(text), &list); err != nil {
		return nil, fail("invalid_blocks_format")
	}
	if len(list) == 0 {
		return nil, nil
	}
	c := &checker{}
	c.blocks("/blocks", list, on)
	if err := c.err("invalid_blocks"); err != nil {
		return nil, err
	}
	if on.name == inMessage.name && units(compact(text)) > maxBlocksText {
		return nil, fail("msg_blocks_too_long")
	}
	s.nameBlocks(list)
	return encode(list), nil
}

// nameBlocks gives a block_id to each block that has none.
func (s *Slack) nameBlocks(list []any) {
	for _, b := range list {
		if m, ok := b.(map[string]any); ok && m["block_id"] == nil {
			m["block_id"] = s.opt.NewID()[:5]
		}
	}
}

func decode(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return fmt.Errorf("more than one JSON value")
	}
	return nil
}

func compact(text string) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(text)) != nil {
		return text
	}
	return b.String()
}

func hasRichText(blocks json.RawMessage) bool {
	var list []struct {
		Type string `json:"type"`
	}
	_ = json.Unmarshal(blocks, &list)
	return slices.ContainsFunc(list, func(b struct {
		Type string `json:"type"`
	}) bool {
		return b.Type == "rich_text"
	})
}

// checker collects what is wrong with blocks or a view, each fault with a JSON
// pointer, in the platform's wording as far as that is known.
type checker struct {
	faults []string
	ids    map[string]bool // block ids
}

func (c *checker) say(at, format string, a ...any) {
	if len(c.faults) < maxBlockFaults {
		c.faults = append(c.faults, "[ERROR] "+fmt.Sprintf(format, a...)+" [json-pointer:"+at+"]")
	}
}

func (c *checker) err(code string) error {
	if len(c.faults) == 0 {
		return nil
	}
	bare := make([]string, len(c.faults))
	for i, f := range c.faults {
		bare[i] = strings.TrimPrefix(f, "[ERROR] ")
	}
	return &apiError{code: code, messages: c.faults, more: reply{"errors": bare}}
}

func (c *checker) blocks(at string, list []any, on surface) {
	c.ids = map[string]bool{}
	if len(list) > on.most {
		c.say(at, "no more than %d items allowed", on.most)
	}
	for i, b := range list {
		at := fmt.Sprintf("%s/%d", at, i)
		kind := c.object(at, b, blockShapes, on.blocks)
		if kind == "" {
			continue
		}
		block := b.(map[string]any)
		if id, _ := block["block_id"].(string); id != "" {
			if c.ids[id] {
				c.say(at+"/block_id", "`block_id` %q already exists", cut(id, 60))
			}
			c.ids[id] = true
		}
		if kind == "section" && block["text"] == nil && block["fields"] == nil {
			c.say(at, "missing required field: text or fields")
		}
		c.uniqueActions(at, block)
	}
}

// uniqueActions checks that an action_id stands once in a block.
func (c *checker) uniqueActions(at string, block map[string]any) {
	seen := map[string]bool{}
	list, _ := block["elements"].([]any)
	for i, e := range list {
		m, _ := e.(map[string]any)
		if id, _ := m["action_id"].(string); id != "" {
			if seen[id] {
				c.say(fmt.Sprintf("%s/elements/%d/action_id", at, i), "`action_id` %q already exists", cut(id, 60))
			}
			seen[id] = true
		}
	}
}

// object checks a typed object against its shape. It returns its type, or ""
// when it is none of the allowed ones.
func (c *checker) object(at string, v any, shapes map[string]shape, allowed []string) string {
	m, ok := v.(map[string]any)
	if !ok {
		c.say(at, "must provide an object")
		return ""
	}
	kind, _ := m["type"].(string)
	sh, known := shapes[kind]
	if !known || !slices.Contains(allowed, kind) {
		c.say(at+"/type", "unsupported type: %s", cut(kind, 60))
		return ""
	}
	c.shape(at, m, sh)
	return kind
}

// shape checks an object's members.
func (c *checker) shape(at string, m map[string]any, sh shape) {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if _, ok := sh[name]; !ok && name != "type" {
			c.say(at, "invalid additional property: %s", cut(name, 60))
		}
	}
	for _, name := range sortedNames(sh) {
		p := sh[name]
		v, ok := m[name]
		switch {
		case ok:
			p.check(c, at+"/"+name, v)
		case p.need:
			c.say(at, "missing required field: %s", name)
		}
	}
}

func sortedNames(sh shape) []string {
	names := make([]string, 0, len(sh))
	for name := range sh {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
