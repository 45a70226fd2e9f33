package emulator_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/countersign/countersign/adapters/emulator"
)

// TestBlockKitLimits asks for each limit once at its edge and once beyond.
func TestBlockKitLimits(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	x := func(n int) string { return strings.Repeat("x", n) }
	plain := func(n int) string { return fmt.Sprintf(`{"type":"plain_text","text":"%s"}`, x(n)) }
	times := func(n int, s string) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }
	numbered := func(n int, format string) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(format, i))
		}
		return strings.Join(all, ",")
	}
	button := func(rest string) string {
		return `{"type":"actions","elements":[{"type":"button","text":` + plain(1) + rest + `}]}`
	}
	for _, c := range []struct {
		name, good, bad, at string
	}{
		{"blocks", times(50, `{"type":"divider"}`), times(51, `{"type":"divider"}`), "/blocks"},
		{"header", `{"type":"header","text":` + plain(150) + `}`, `{"type":"header","text":` + plain(151) + `}`, "/blocks/0/text/text"},
		{"header is plain", `{"type":"header","text":` + plain(1) + `}`, `{"type":"header","text":{"type":"mrkdwn","text":"x"}}`, "/blocks/0/text/type"},
		{"section text", `{"type":"section","text":` + plain(3000) + `}`, `{"type":"section","text":` + plain(3001) + `}`, "/blocks/0/text/text"},
		{"empty text", `{"type":"section","text":` + plain(1) + `}`, `{"type":"section","text":` + plain(0) + `}`, "/blocks/0/text/text"},
		{"section needs something", `{"type":"section","text":` + plain(1) + `}`, `{"type":"section"}`, "/blocks/0"},
		{"fields", `{"type":"section","fields":[` + times(10, plain(1)) + `]}`, `{"type":"section","fields":[` + times(11, plain(1)) + `]}`, "/blocks/0/fields"},
		{"field text", `{"type":"section","fields":[` + plain(2000) + `]}`, `{"type":"section","fields":[` + plain(2001) + `]}`, "/blocks/0/fields/0/text"},
		{"context", `{"type":"context","elements":[` + times(10, plain(1)) + `]}`, `{"type":"context","elements":[` + times(11, plain(1)) + `]}`, "/blocks/0/elements"},
		{
			"actions", `{"type":"actions","elements":[` + numbered(25, `{"type":"button","action_id":"a%d","text":{"type":"plain_text","text":"b"}}`) + `]}`,
			`{"type":"actions","elements":[` + numbered(26, `{"type":"button","action_id":"a%d","text":{"type":"plain_text","text":"b"}}`) + `]}`, "/blocks/0/elements",
		},
		{"button text", `{"type":"actions","elements":[{"type":"button","text":` + plain(75) + `}]}`, `{"type":"actions","elements":[{"type":"button","text":` + plain(76) + `}]}`, "/blocks/0/elements/0/text/text"},
		{"button value", button(`,"value":"` + x(2000) + `"`), button(`,"value":"` + x(2001) + `"`), "/blocks/0/elements/0/value"},
		{"button url", button(`,"url":"` + x(3000) + `"`), button(`,"url":"` + x(3001) + `"`), "/blocks/0/elements/0/url"},
		{"button style", button(`,"style":"danger"`), button(`,"style":"loud"`), "/blocks/0/elements/0/style"},
		{"accessibility label", button(`,"accessibility_label":"` + x(75) + `"`), button(`,"accessibility_label":"` + x(76) + `"`), "/blocks/0/elements/0/accessibility_label"},
		{"action id", button(`,"action_id":"` + x(255) + `"`), button(`,"action_id":"` + x(256) + `"`), "/blocks/0/elements/0/action_id"},
		{"block id", `{"type":"divider","block_id":"` + x(255) + `"}`, `{"type":"divider","block_id":"` + x(256) + `"}`, "/blocks/0/block_id"},
		{"block id twice", `{"type":"divider","block_id":"a"},{"type":"divider","block_id":"b"}`, `{"type":"divider","block_id":"a"},{"type":"divider","block_id":"a"}`, "/blocks/1/block_id"},
		{
			"confirm", button(`,"confirm":{"title":` + plain(100) + `,"text":` + plain(300) + `,"confirm":` + plain(30) + `,"deny":` + plain(30) + `}`),
			button(`,"confirm":{"title":` + plain(100) + `,"text":` + plain(301) + `,"confirm":` + plain(30) + `,"deny":` + plain(30) + `}`), "/blocks/0/elements/0/confirm/text/text",
		},
		{"misspelt member", `{"type":"divider"}`, `{"type":"divider","blockid":"x"}`, "/blocks/0"},
		{"no input in messages", `{"type":"divider"}`, `{"type":"input","label":` + plain(1) + `,"element":{"type":"plain_text_input"}}`, "/blocks/0/type"},
		{
			"rich text", `{"type":"rich_text","elements":[{"type":"rich_text_preformatted","border":0,"elements":[{"type":"text","text":"x"}]}]}`,
			`{"type":"rich_text","elements":[{"type":"rich_text_preformatted","elements":[{"type":"broadcast","range":"here"}]}]}`, "/blocks/0/elements/0/elements/0/type",
		},
	} {
		if _, out := l.call("chat.postMessage", map[string]string{"channel": emulator.Deploys, "blocks": "[" + c.good + "]"}); out["ok"] != true {
			t.Errorf("%s: at the limit: %v", c.name, out)
		}
		_, out := l.call("chat.postMessage", map[string]string{"channel": emulator.Deploys, "blocks": "[" + c.bad + "]"})
		said, _ := json.Marshal(out["response_metadata"])
		if out["error"] != "invalid_blocks" || !strings.Contains(string(said), "[json-pointer:"+c.at+"]") {
			t.Errorf("%s: beyond the limit: %v, want invalid_blocks at %s", c.name, out, c.at)
		}
	}
}

func TestTextIsMeasuredInUTF16Units(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	header := func(text string) any {
		_, out := l.call("chat.postMessage", map[string]string{"channel": emulator.Deploys, "blocks": `[{"type":"header","text":{"type":"plain_text","text":"` + text + `"}}]`})
		return out["ok"]
	}
	if header(strings.Repeat("😀", 75)) != true || header(strings.Repeat("😀", 76)) != false {
		t.Error("a character beyond the basic plane counts twice")
	}
}

func TestAllBlocksTogether(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	post := func(n int) any {
		var blocks []string
		for i := range 5 {
			blocks = append(blocks, fmt.Sprintf(`{"type":"section","block_id":"b%d","text":{"type":"plain_text","text":"%s"}}`, i, strings.Repeat("x", n)))
		}
		_, out := l.call("chat.postMessage", map[string]string{"channel": emulator.Deploys, "blocks": "[" + strings.Join(blocks, ",") + "]"})
		return out["error"]
	}
	if got := post(2700); got != "msg_blocks_too_long" {
		t.Errorf("beyond 13,200: %v", got)
	}
	if got := post(2500); got != nil {
		t.Errorf("below 13,200: %v", got)
	}
}

func TestMissingBlockIDsAreMadeUp(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.call("chat.postMessage", map[string]string{"channel": emulator.Deploys, "blocks": `[{"type":"divider"},{"type":"divider","block_id":"mine"}]`})
	var got []struct {
		BlockID string `json:"block_id"`
	}
	if err := json.Unmarshal(l.Messages(emulator.Deploys)[0].Blocks, &got); err != nil || got[0].BlockID == "" || got[1].BlockID != "mine" {
		t.Errorf("%+v, %v", got, err)
	}
	// What was sent stands in the record as it was sent.
	if c := l.Calls("chat.postMessage"); string(c[0].Blocks()) != `[{"type":"divider"},{"type":"divider","block_id":"mine"}]` {
		t.Errorf("recorded: %s", c[0].Blocks())
	}
}

func FuzzBlocks(f *testing.F) {
	f.Add(divider)
	f.Add(`[{"type":"section","text":{"type":"mrkdwn","text":"*x*"},"accessory":{"type":"button","text":{"type":"plain_text","text":"b"}}}]`)
	f.Add(`[{"type":"rich_text","elements":[{"type":"rich_text_list","style":"bullet","elements":[{"type":"rich_text_section","elements":[]}]}]}]`)
	f.Add(`[null,1,"x",{"type":null}]`)
	s := emulator.New(emulator.Options{Limits: &emulator.Limits{}})
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, blocks string) {
		stored, err := emulator.CheckBlocks(s, blocks)
		if err != nil || stored == nil {
			return
		}
		again, err := emulator.CheckBlocks(s, string(stored))
		if err != nil && !strings.Contains(err.Error(), "msg_blocks_too_long") || err == nil && string(again) != string(stored) {
			t.Errorf("%s is accepted, but what is stored of it is not: %s, %v", blocks, again, err)
		}
	})
}
