package slack

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// layout says which white space a place can bear.
type layout int

const (
	// oneLine makes a line break visible, so that a value cannot fake a label.
	oneLine layout = iota
	// manyLines keeps line breaks and tabs, for preformatted text.
	manyLines
)

// maxMarks is how many combining marks may follow a character: more of them
// would paint over the lines around it.
const maxMarks = 2

// markRoom is kept free for the marker of a cut.
const markRoom = 32

// show is the one way of anybody's text into a card: it normalises to NFC,
// writes as ⟨U+202E⟩ what a reader could not see or what could move other text
// (controls, bidi and zero-width characters, variation selectors, blanks other
// than a space, characters that no font has), and cuts to limit UTF-16 units, on
// a rune, with a marker that tells how many characters are missing.
func show(s string, limit int, l layout) string {
	if limit < 2*markRoom {
		limit = 2 * markRoom
	}
	// Normalising makes at most one unit out of twelve bytes, so this much of the
	// text fills any limit, and a megabyte costs no more than a page.
	head, rest := split(s, 12*limit)
	head = norm.NFC.String(head)
	var b strings.Builder
	units, marks := 0, maxMarks
	cut := -1 // the length of b before the marker
	cutAt := 0
	for i, w := 0, 0; i < len(head); i += w {
		var piece string
		piece, w = escape(head[i:], l, &marks)
		n := width(piece)
		if cut < 0 && units+n > limit-markRoom {
			cut, cutAt = b.Len(), i
		}
		if units+n > limit {
			return b.String()[:cut] + more(utf8.RuneCountInString(head[cutAt:])+utf8.RuneCountInString(rest))
		}
		b.WriteString(piece)
		units += n
	}
	if rest != "" {
		if cut < 0 {
			cut, cutAt = b.Len(), len(head)
		}
		return b.String()[:cut] + more(utf8.RuneCountInString(head[cutAt:])+utf8.RuneCountInString(rest))
	}
	return b.String()
}

// more is the marker of a cut.
func more(n int) string { return fmt.Sprintf("… (%d more characters)", n) }

// split cuts s after at most n bytes, on a rune.
func split(s string, n int) (head, rest string) {
	if len(s) <= n {
		return s, ""
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n], s[n:]
}

// escape returns the first rune of s as it is shown, and its length in s.
func escape(s string, l layout, marks *int) (string, int) {
	r, w := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && w == 1 {
		return fmt.Sprintf("⟨0x%02X⟩", s[0]), 1
	}
	mark := unicode.In(r, unicode.Mn, unicode.Me)
	if mark {
		*marks++
	} else {
		*marks = 0
	}
	switch {
	case l == manyLines && (r == '\n' || r == '\t'):
		*marks = maxMarks
		return s[:w], w
	case hidden(r), mark && *marks > maxMarks:
		return fmt.Sprintf("⟨U+%04X⟩", r), w
	}
	return s[:w], w
}

// hidden reports whether a reader could not see r for what it is. The opening
// bracket of our own escapes is among them, so that no text can fake one.
func hidden(r rune) bool {
	switch {
	case r == ' ':
		return false
	case r == '⟨', r == '\u2800':
		return true
	case !unicode.IsGraphic(r), unicode.Is(unicode.Zs, r):
		return true
	}
	return unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// width is the length of s in UTF-16 units, which is how Slack's limits are
// measured when in doubt.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// literal makes text safe where Slack reads mrkdwn after all, as in the
// notification of a message (messaging/formatting-message-text).
func literal(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// alphabets are those whose letters are taken for each other's.
var alphabets = []struct {
	name  string
	table *unicode.RangeTable
}{
	{"Latin", unicode.Latin}, {"Cyrillic", unicode.Cyrillic}, {"Greek", unicode.Greek},
	{"Armenian", unicode.Armenian}, {"Cherokee", unicode.Cherokee},
}

// mixed warns of a word whose letters come from alphabets that look alike, as a
// name that is meant to be read as another one has them (Unicode UTS 39). It is
// empty where there is none; only the beginning of a very long text is judged.
func mixed(s string) string {
	s, _ = split(s, 4096)
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return !unicode.IsLetter(r) }) {
		var found []string
		for _, a := range alphabets {
			if strings.ContainsFunc(word, func(r rune) bool { return unicode.Is(a.table, r) }) {
				found = append(found, a.name)
			}
		}
		if len(found) > 1 {
			return "careful: one word mixes " + found[0] + " and " + found[1] + " letters"
		}
	}
	return ""
}
