package chattest

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/countersign/countersign/bot/chat"
)

// maxShown is how much of one text the fake shows, in characters.
const maxShown = 2000

// Text is a card as the fake draws it: plain lines in the order in which a
// person reads them, so that a test can look for words.
func Text(c chat.Card) string {
	var b strings.Builder
	line := func(format string, parts ...string) {
		shown := make([]any, len(parts))
		for i, p := range parts {
			shown[i] = show(p)
		}
		fmt.Fprintf(&b, format+"\n", shown...)
	}
	line("%s [%s]", c.Title, c.State)
	line("code %s", c.Code)
	for _, f := range c.Fields {
		line("%s: %s", f.Label, f.Value)
	}
	for _, p := range c.Policy {
		line("policy: %s", p)
	}
	for _, f := range c.Says {
		line("caller says (unverified) %s: %s", f.Label, f.Value)
	}
	for _, k := range c.Checks {
		line("check %s: %s %s %s", k.Name, k.Status, k.Value, k.Threshold)
	}
	if c.Diff != nil {
		line("diff %s\n%s", c.Diff.Stat, c.Diff.Preview)
	}
	for _, l := range c.Links {
		line("link %s: %s", l.Title, l.URL)
	}
	for _, r := range c.Reviews {
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
	for i, r := range s {
		if n++; n > maxShown {
			fmt.Fprintf(&b, "… (%d more characters)", utf8.RuneCountInString(s[i:]))
			break
		}
		if r == '\n' || r == ' ' || unicode.IsGraphic(r) && !unicode.Is(unicode.Zs, r) && !unicode.Is(unicode.Variation_Selector, r) {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, "⟨U+%04X⟩", r)
	}
	return b.String()
}
