package chattest

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/bot/chat"
)

// hostile is what callers write to be taken for somebody else.
const hostile = "begin<!channel> <!here> <@U0123456789> <!subteam^S0123456789> <https://evil.example|https://good.example> " +
	"@everyone *bold* `code` [text](https://evil.example) <at>Ada</at> &lt;!channel&gt; :white_check_mark: " +
	"bidi\u202eltr\u2066 zero\u200bwidth\u200d\ufeff variation\ufe0f blank\u00a0\u3164 control\x00\x1b[31m\u0085 soft\u00ad tag\U000e0041 bad\xff\nForged: yes\r\nForged: also end"

func hostileCard(delivery string) chat.Card {
	c := Sample(delivery)
	c.Title, c.Summary = hostile, hostile
	c.Fields = []chat.Field{{Label: "Resource", Value: hostile}, {Label: "Subject", Value: "<!channel>"}}
	c.Policy, c.Reviews = []string{hostile}, []string{hostile}
	c.Says = []chat.Field{{Label: "Reason", Value: hostile}}
	c.Checks = []chat.Check{{Name: hostile, Status: hostile, Value: hostile, Threshold: hostile}}
	c.Diff = &chat.Diff{Stat: hostile, Preview: strings.ReplaceAll(hostile, "Forged:", "+Forged:"), Whole: true}
	c.Links = []chat.Link{
		{Title: hostile, URL: "https://good.example@evil.example/" + hostile}, {Title: "x", URL: "javascript:alert(1)"},
		{Title: "https://good.example", URL: "https://evil.example/\u202egnp"},
	}
	return c
}

func testHostile(t *testing.T, h *Harness) {
	tame := Sample("d-tame")
	tame.Mentions = []chat.Mention{h.Mention}
	want := h.World.Face(t, post(t, h, tame)).Live
	if len(want) != 1 {
		t.Fatalf("the mention is not live: %q", want)
	}
	c := hostileCard("d-hostile")
	c.Mentions = append(tame.Mentions, chat.Mention{Group: "S1> <!channel"},
		chat.Mention{Account: chat.Account{Platform: h.Person.Platform, Space: h.Person.Space, ID: "U1> <!here"}})
	ref := post(t, h, c)
	face := h.World.Face(t, ref)
	if d := cmp.Diff(want, face.Live); d != "" {
		t.Errorf("untrusted text is live: %s", d)
	}
	checkVisible(t, h, face.Text)
	for _, r := range []rune{0x202e, 0x2066, 0x200b, 0xfe0f, 0x3164, 0x1b, 0xad} {
		if !strings.Contains(face.Text, h.Escaped(r)) {
			t.Errorf("%U is not made visible", r)
		}
	}
	if !strings.Contains(face.Text, "<!channel>") {
		t.Error("the text is changed, not shown")
	}
	for line := range strings.Lines(face.Text) {
		if strings.HasPrefix(line, "Forged:") {
			t.Errorf("a value fakes a line of its own: %q", line)
		}
	}
	if err := h.Platform.Note(t.Context(), ref, hostile); err != nil {
		t.Fatalf("Note: %v", err)
	}
	checkVisible(t, h, strings.Join(h.World.Thread(t, ref), "\n"))
}

// checkVisible fails if a text holds what nobody can see.
func checkVisible(t *testing.T, h *Harness, text string) {
	t.Helper()
	if !utf8.ValidString(text) || strings.ContainsRune(text, utf8.RuneError) {
		t.Error("the text is no good UTF-8")
	}
	for _, r := range text {
		if r == '\n' || r == '\t' || r == ' ' {
			continue
		}
		if hidden(r) {
			t.Errorf("%U stands raw in the text; it should be %s", r, h.Escaped(r))
		}
	}
}

func testLong(t *testing.T, h *Harness) {
	for n, part := range []string{"é😀", "a", "<", "\u202e", "e\u0301", "\"\\\n"} {
		long := strings.Repeat(part, 1<<20/len(part))
		c := Sample(fmt.Sprintf("d-long-%d", n))
		c.Title, c.Summary, c.State = long, long, long
		c.Fields = append(c.Fields, chat.Field{Label: "Scopes", Value: long})
		c.Says[0].Value, c.Diff.Preview, c.Diff.Stat = long, long, long
		for range 100 {
			c.Policy = append(c.Policy, long[:1000])
			c.Reviews = append(c.Reviews, long[:1000])
			c.Checks = append(c.Checks, chat.Check{Name: long[:1000], Status: "failed"})
			c.Links = append(c.Links, chat.Link{Title: long[:1000], URL: "https://ci.example.com/" + long[:1000]})
			c.Fields = append(c.Fields, chat.Field{Label: "More", Value: long[:1000]})
		}
		ref := post(t, h, c)
		face := h.World.Face(t, ref)
		checkVisible(t, h, face.Text)
		if !strings.Contains(face.Text, h.Marker) {
			t.Errorf("%q: nothing tells that the text was cut", part)
		}
		if len(face.Text) > h.MaxText {
			t.Errorf("%q: the card shows %d bytes", part, len(face.Text))
		}
		if len(face.Buttons) != 3 || !strings.Contains(face.Text, "prod/orders") {
			t.Errorf("%q: the buttons or the resource had to give way", part)
		}
		if err := h.Platform.Update(t.Context(), ref, decided(c)); err != nil {
			t.Errorf("%q: Update: %v", part, err)
		}
	}
}
