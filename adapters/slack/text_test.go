package slack_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/countersign/countersign/adapters/slack"
	"github.com/countersign/countersign/bot/chat"
)

func TestShow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ in, want string }{
		{"prod/orders", "prod/orders"},
		{"", ""},
		{"a b", "a b"},
		{"Ünïcödé 日本語 😀", "Ünïcödé 日本語 😀"},
		{"cafe\u0301", "café"},
		{"a\u202eb", "a⟨U+202E⟩b"},
		{"a\u2066b\u2069", "a⟨U+2066⟩b⟨U+2069⟩"},
		{"a\u200bb\u200d\ufeff", "a⟨U+200B⟩b⟨U+200D⟩⟨U+FEFF⟩"},
		{"a\u00a0b\u2003c", "a⟨U+00A0⟩b⟨U+2003⟩c"},
		{"a\nb\tc\r", "a⟨U+000A⟩b⟨U+0009⟩c⟨U+000D⟩"},
		{"\x00\x1b[31m\x7f\u0085", "⟨U+0000⟩⟨U+001B⟩[31m⟨U+007F⟩⟨U+0085⟩"},
		{"x\ufe0f\U000e0101", "x⟨U+FE0F⟩⟨U+E0101⟩"},
		{"\u3164\u115f\u2800\u034f", "⟨U+3164⟩⟨U+115F⟩⟨U+2800⟩⟨U+034F⟩"},
		{"tag\U000e0041", "tag⟨U+E0041⟩"},
		{"soft\u00adhyphen", "soft⟨U+00AD⟩hyphen"},
		{"bad\xff\xc3", "bad⟨0xFF⟩⟨0xC3⟩"},
		{"⟨U+202E⟩", "⟨U+27E8⟩U+202E⟩"},
		{"\ue000\U0010ffff", "⟨U+E000⟩⟨U+10FFFF⟩"},
		{"z\u0335\u0336\u0337\u0338", "z\u0335\u0336⟨U+0337⟩⟨U+0338⟩"},
		{"\u0301x", "⟨U+0301⟩x"},
	} {
		if got := slack.OneLine(test.in, 3000); got != test.want {
			t.Errorf("%q is shown as %q, not %q", test.in, got, test.want)
		}
	}
	if got := slack.ManyLines("a\n\tb\r\n", 3000); got != "a\n\tb⟨U+000D⟩\n" {
		t.Errorf("many lines are shown as %q", got)
	}
}

func TestShowCuts(t *testing.T) {
	t.Parallel()
	exact := strings.Repeat("é", 100)
	if got := slack.OneLine(exact, 100); got != exact {
		t.Errorf("a text that fits is cut: %q", got)
	}
	got := slack.OneLine(exact+"é", 100)
	if want := strings.Repeat("é", 68) + "… (33 more characters)"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	if got := slack.OneLine(strings.Repeat("😀", 1000), 100); got != strings.Repeat("😀", 34)+"… (966 more characters)" {
		t.Errorf("%q", got)
	}
	if got := slack.OneLine(strings.Repeat("\u202e", 1<<20), 100); !strings.HasSuffix(got, "⟩… (1048568 more characters)") {
		t.Errorf("%q", got)
	}
}

// FuzzShow holds what every card relies on: whatever comes in, what goes out can
// be seen, has a bounded length, and cannot be told to have come from us.
func FuzzShow(f *testing.F) {
	for _, s := range []string{"plain", "\u202e", "⟨U+202E⟩", "e\u0301\u0301\u0301", "\xff\n\t", "😀\ufe0f", "각", strings.Repeat("x", 200)} {
		f.Add(s, 64)
		f.Add(s, 3000)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 64 + (limit&0x7fffffff)%3000
		one, many := slack.OneLine(s, limit), slack.ManyLines(s, limit)
		for _, got := range []string{one, many} {
			if slack.Width(got) > limit {
				t.Errorf("%d units, not at most %d", slack.Width(got), limit)
			}
			if !utf8.ValidString(got) {
				t.Errorf("%q is no UTF-8", got)
			}
		}
		for _, r := range one {
			if r != ' ' && (!unicode.IsGraphic(r) || unicode.In(r, unicode.Zs, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)) {
				t.Errorf("%U stands raw in %q", r, one)
			}
		}
		if n := norm.NFC.String(s); utf8.ValidString(s) && one != n && !strings.Contains(one, "⟨U+") && !strings.Contains(one, "more characters)") {
			t.Errorf("%q became %q without a trace", s, one)
		}
	})
}

func TestMixedAlphabets(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"p\u0430ypal": true, "prod/\u043erders": true, "gr\u03bfup": true,
		"paypal": false, "прод/orders": false, "βeta αlpha": true, "日本 orders": false, "": false,
	} {
		c := waiting()
		c.Fields[0].Value = value
		if got := strings.Contains(seenBlocks(t, slack.Face(c)), "careful: one word mixes"); got != want {
			t.Errorf("%q: warned %v", value, got)
		}
	}
}

func TestNothingIsEmpty(t *testing.T) {
	t.Parallel()
	c := chat.Card{
		Delivery: "d", Fields: []chat.Field{{}}, Policy: []string{""}, Says: []chat.Field{{}}, Checks: []chat.Check{{}},
		Diff: &chat.Diff{}, Links: []chat.Link{{}}, Reviews: []string{""}, Actions: []chat.Action{{}}, Mentions: []chat.Mention{{}},
	}
	for _, c := range []chat.Card{{}, c} {
		if err := slack.CheckBlocks(slack.Face(c)); err != nil {
			t.Error(err)
		}
	}
}
