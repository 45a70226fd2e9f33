package chattest

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/countersign/countersign/bot/chat"
)

const (
	// maxShown is how much of one text the fake shows, in characters.
	maxShown = 1000
	// maxLines is how many lines of a kind the fake shows.
	maxLines = 20
)

// Text is a card as the fake draws it: plain lines in the order in which a
// person reads them, so that a test can look for words. No value but the diff's
// can end its line.
func Text(c chat.Card) string {
	var b strings.Builder
	line := func(format string, parts ...string) {
		shown := make([]any, len(parts))
		for i, p := range parts {
			shown[i] = strings.ReplaceAll(show(p), "\n", "⟨U+000A⟩")
		}
		fmt.Fprintf(&b, format+"\n", shown...)
	}
	line("%s [%s]", c.Title, c.State)
	line("code %s", c.Code)
	for _, f := range c.Fields[:min(len(c.Fields), maxLines)] {
		line("%s: %s", f.Label, f.Value)
	}
	for _, p := range c.Policy[:min(len(c.Policy), maxLines)] {
		line("policy: %s", p)
	}
	for _, f := range c.Says[:min(len(c.Says), maxLines)] {
		line("caller says (unverified) %s: %s", f.Label, f.Value)
	}
	for _, k := range c.Checks[:min(len(c.Checks), maxLines)] {
		line("check %s: %s %s %s", k.Name, k.Status, k.Value, k.Threshold)
	}
	if c.Diff != nil {
		line("diff %s", c.Diff.Stat)
		b.WriteString(show(c.Diff.Preview) + "\n")
	}
	for _, l := range c.Links[:min(len(c.Links), maxLines)] {
		line("link %s: %s", l.Title, l.URL)
	}
	for _, r := range c.Reviews[:min(len(c.Reviews), maxLines)] {
		line("review: %s", r)
	}
	if !c.Deadline.IsZero() {
		line("expires %s", c.Deadline.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	for _, a := range c.Actions {
		line("[%s]", a.Label)
	}
	return b.String()
}

// show makes what cannot be seen visible and cuts what is too long.
func show(s string) string {
	var b strings.Builder
	n := 0
	for i, w := 0, 0; i < len(s); i += w {
		var r rune
		r, w = utf8.DecodeRuneInString(s[i:])
		if n++; n > maxShown {
			fmt.Fprintf(&b, "… (%d more characters)", utf8.RuneCountInString(s[i:]))
			break
		}
		switch {
		case r == utf8.RuneError && w == 1:
			fmt.Fprintf(&b, "⟨0x%02X⟩", s[i])
		case r == '\n', r == ' ', !hidden(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		}
	}
	return b.String()
}

// hidden reports whether a reader could not see r.
func hidden(r rune) bool {
	return !unicode.IsGraphic(r) ||
		unicode.In(r, unicode.Zs, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}
