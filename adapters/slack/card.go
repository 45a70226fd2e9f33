package slack

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/countersign/countersign/bot/chat"
)

// actionPrefix stands before the verb in an action_id.
const actionPrefix = "countersign:"

// eventType names our metadata. Every app of the workspace can read it.
const eventType = "countersign_card"

// maxBlocks is the size of all blocks of a message, in UTF-16 units of their
// JSON. Slack refused messages of about 13,200 and tells no limit.
const maxBlocks = 13000

// sizes are how much of a card is drawn: UTF-16 units of one text, and items of
// one list.
type sizes struct {
	value, fields int // of what was proven and will be granted; the last to give way
	says          int // of the caller's words
	line, lines   int // of policy, checks, reviews and links
	link          int // of an address
	preview       int // of a diff; none if zero
}

// room holds the sizes to try, largest first: the preview gives way before the
// caller's words, and those before what was proven. The last one fits whatever
// the card holds.
var room = []sizes{
	{600, 24, 1500, 400, 16, 600, 2800},
	{600, 24, 1500, 400, 16, 600, 1400},
	{600, 24, 1500, 400, 16, 600, 600},
	{600, 24, 1500, 400, 16, 600, 0},
	{600, 24, 700, 300, 12, 400, 0},
	{600, 24, 300, 200, 8, 300, 0},
	{600, 24, 150, 120, 6, 200, 0},
	{600, 24, 64, 64, 3, 100, 0},
	{300, 20, 64, 64, 2, 64, 0},
	{100, 16, 64, 64, 2, 64, 0},
	{64, 12, 64, 64, 2, 64, 0},
}

// face draws a card as blocks that Slack accepts.
func face(c chat.Card) []slack.Block {
	var blocks []slack.Block
	for _, r := range room {
		blocks = draw(c, r)
		if serialized(blocks) <= maxBlocks {
			break
		}
	}
	return blocks
}

// serialized is the size of blocks on the wire, in UTF-16 units.
func serialized(blocks []slack.Block) int {
	raw, err := json.Marshal(blocks)
	if err != nil {
		return maxBlocks + 1
	}
	return width(string(raw))
}

// pen draws the blocks of one card. Block ids hold the version, for Slack wants
// new ones with every update.
type pen struct {
	sizes
	prefix string
	blocks []slack.Block
}

func (p *pen) id(name string) string { return p.prefix + name }

func (p *pen) plain(name, text string) {
	p.blocks = append(p.blocks, slack.NewSectionBlock(plain(text), nil, nil, slack.SectionBlockOptionBlockID(p.id(name))))
}

func (p *pen) rich(name string, elements ...slack.RichTextElement) {
	p.blocks = append(p.blocks, slack.NewRichTextBlock(p.id(name), elements...))
}

func draw(c chat.Card, r sizes) []slack.Block {
	p := &pen{sizes: r, prefix: fmt.Sprintf("v%d.", c.Version)}
	p.blocks = append(p.blocks, slack.NewHeaderBlock(plain(show(orDash(c.Title), 150, oneLine)), slack.HeaderBlockOptionBlockID(p.id("title"))))
	p.plain("state", sign(c.Mood)+" "+show(orDash(c.State), 300, oneLine)+"\nShort code: "+show(orDash(c.Code), 64, oneLine))
	p.mentions(c)
	p.rich("facts", preformatted(p.table(c.Fields, r.value, "(nothing is stated)")))
	p.list("policy", "Policy", "• ", c.Policy)
	p.says(c.Says)
	p.checks(c.Checks)
	p.diff(c.Diff)
	p.links(c.Links)
	p.list("reviews", "Reviews", "• ", c.Reviews)
	p.foot(c)
	p.buttons(c)
	return p.blocks
}

// mentions calls people. It is the only markup of a card, and holds nothing but
// ids of the right shape.
func (p *pen) mentions(c chat.Card) {
	if len(c.Actions) == 0 {
		return
	}
	var ids []string
	for _, m := range c.Mentions {
		switch {
		case len(ids) == 20:
		case m.Group != "" && groupPattern.MatchString(m.Group):
			ids = append(ids, "<!subteam^"+m.Group+">")
		case m.Group == "" && m.Account.Platform == "slack" && userPattern.MatchString(m.Account.ID):
			ids = append(ids, "<@"+m.Account.ID+">")
		}
	}
	if len(ids) > 0 {
		text := slack.NewTextBlockObject(slack.MarkdownType, strings.Join(ids, " "), false, true)
		p.blocks = append(p.blocks, slack.NewSectionBlock(text, nil, nil, slack.SectionBlockOptionBlockID(p.id("mentions"))))
	}
}

// table writes labels and values below each other. A value cannot end its line.
func (p *pen) table(fields []chat.Field, limit int, none string) string {
	if len(fields) == 0 {
		return none
	}
	pad := 0
	for _, f := range fields[:min(len(fields), p.fields)] {
		pad = max(pad, min(width(f.Label), 16))
	}
	var b strings.Builder
	for i, f := range fields {
		if i == p.fields {
			fmt.Fprintf(&b, "\n%s", unseen(len(fields)-i))
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		label := show(f.Label, 64, oneLine)
		fmt.Fprintf(&b, "%s%s  %s", label, strings.Repeat(" ", max(0, pad-width(label))), show(f.Value, limit, oneLine))
		if scripts := mixed(f.Value); scripts != "" {
			b.WriteString(" ⟨" + scripts + "⟩")
		}
	}
	return b.String()
}

// says draws the caller's own words in a box that says so.
func (p *pen) says(fields []chat.Field) {
	if len(fields) == 0 {
		return
	}
	p.plain("says", "Caller says (unverified)")
	var parts []string
	for i, f := range fields {
		if i == p.lines {
			parts = append(parts, unseen(len(fields)-i))
			break
		}
		value := show(f.Value, p.sizes.says/(1+i), manyLines)
		parts = append(parts, show(f.Label, 64, oneLine)+":\n"+indent(value))
	}
	p.rich("says.text", preformatted(strings.Join(parts, "\n")))
}

// indent keeps the lines of a long text apart from the labels.
func indent(s string) string { return "  " + strings.ReplaceAll(s, "\n", "\n  ") }

// list draws lines of plain text under a heading.
func (p *pen) list(name, heading, bullet string, lines []string) {
	if len(lines) == 0 {
		return
	}
	shown := []string{heading}
	for i, line := range lines {
		if i == p.lines {
			shown = append(shown, unseen(len(lines)-i))
			break
		}
		shown = append(shown, bullet+show(line, p.line, oneLine))
	}
	p.paragraphs(name, shown)
}

// paragraphs spreads lines over as many sections as their limit asks for.
func (p *pen) paragraphs(name string, lines []string) {
	text, part := "", 0
	flush := func() {
		if text != "" {
			p.plain(fmt.Sprintf("%s.%d", name, part), text)
			text, part = "", part+1
		}
	}
	for _, line := range lines {
		if width(text)+1+width(line) > 3000 {
			flush()
		}
		if text != "" {
			text += "\n"
		}
		text += line
	}
	flush()
}

func (p *pen) checks(checks []chat.Check) {
	var lines []string
	for _, k := range checks {
		line := checkSign(k.Status) + " " + k.Status + ": " + k.Name
		if k.Value != "" {
			line += " = " + k.Value
		}
		if k.Threshold != "" {
			line += " (threshold " + k.Threshold + ")"
		}
		lines = append(lines, line)
	}
	p.list("checks", "Checks, as the caller says", "", lines)
}

func (p *pen) diff(d *chat.Diff) {
	if d == nil {
		return
	}
	preview := ""
	if p.preview > 0 && d.Preview != "" {
		preview = show(d.Preview, p.preview, manyLines)
	}
	heading := "Change, as the caller says: " + show(orDash(d.Stat), p.line, oneLine)
	switch {
	case !d.Whole:
		heading += "\nThis is only a part: all of it stands in the thread as a file."
	case preview == "" && d.Preview != "":
		heading += "\nNo room for it here: press Details to see it."
	}
	p.plain("diff", heading)
	if preview != "" {
		p.rich("diff.text", preformatted(preview))
	}
}

// links shows addresses in full. One is a link only if what it shows is exactly
// where it leads; the caller's name for it stands apart.
func (p *pen) links(links []chat.Link) {
	if len(links) == 0 {
		return
	}
	names := []string{"Links, as the caller names them"}
	var elements []slack.RichTextSectionElement
	for i, l := range links {
		if i == p.lines {
			names = append(names, unseen(len(links)-i))
			break
		}
		names = append(names, fmt.Sprintf("%d. %s", i+1, show(orDash(l.Title), p.line, oneLine)))
		elements = append(elements, richText(fmt.Sprintf("%d. ", i+1)))
		if shown := show(l.URL, p.link, oneLine); shown == l.URL && followable(l.URL) {
			elements = append(elements, slack.NewRichTextSectionLinkElement(l.URL, l.URL, nil))
		} else {
			elements = append(elements, richText(orDash(shown)))
		}
		elements = append(elements, richText("\n"))
	}
	p.paragraphs("links", names)
	p.rich("links.to", &slack.RichTextPreformatted{Type: slack.RTEPreformatted, Elements: elements})
}

// followable reports whether an address may be followed by a click: the web
// only, nothing that is read one way and resolved another.
func followable(address string) bool {
	for _, r := range address {
		if r <= ' ' || r > '~' {
			return false
		}
	}
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}

// foot holds what ties the card to the record.
func (p *pen) foot(c chat.Card) {
	parts := []string{"Request " + show(orDash(c.Request), 64, oneLine), fmt.Sprintf("version %d", c.Version)}
	if !c.Deadline.IsZero() {
		parts = append(parts, "expires "+c.Deadline.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	p.blocks = append(p.blocks, slack.NewContextBlock(p.id("foot"),
		plain(strings.Join(parts, " · ")), plain("Digest "+show(orDash(c.Digest), 128, oneLine))))
}

func (p *pen) buttons(c chat.Card) {
	var buttons []slack.BlockElement
	for _, a := range c.Actions {
		if c.Button == "" || len(buttons) == 25 {
			break
		}
		b := slack.NewButtonBlockElement(actionPrefix+string(a.Verb), c.Button, plain(show(orDash(a.Label), 75, oneLine)))
		switch a.Verb {
		case chat.Approve:
			b.Style = slack.StylePrimary
		case chat.Deny, chat.Revoke:
			b.Style = slack.StyleDanger
		}
		buttons = append(buttons, b)
	}
	if len(buttons) > 0 {
		p.blocks = append(p.blocks, slack.NewActionBlock(p.id("actions"), buttons...))
	}
}

func plain(text string) *slack.TextBlockObject {
	return slack.NewTextBlockObject(slack.PlainTextType, text, false, false)
}

func richText(text string) slack.RichTextSectionElement {
	return slack.NewRichTextSectionTextElement(text, nil)
}

func preformatted(text string) slack.RichTextElement {
	return &slack.RichTextPreformatted{
		Type: slack.RTEPreformatted, Elements: []slack.RichTextSectionElement{richText(text)},
	}
}

// orDash keeps a text from being empty, which Slack refuses.
func orDash(s string) string {
	if strings.TrimSpace(s) == "" {
		return "–"
	}
	return s
}

func unseen(n int) string { return fmt.Sprintf("… (%d more: press Details)", n) }

// sign tells a mood to those who see no colour.
func sign(m chat.Mood) string {
	switch m {
	case chat.Waiting:
		return "⏳"
	case chat.Good:
		return "✓"
	case chat.Bad:
		return "✗"
	}
	return "■"
}

func checkSign(status string) string {
	switch status {
	case "passed":
		return "✓"
	case "failed":
		return "✗"
	case "pending":
		return "…"
	}
	return "–"
}

// stamp writes a time as Slack does in ts, seconds and microseconds.
func stamp(t time.Time) string {
	return fmt.Sprintf("%d.%06d", t.Unix(), t.Nanosecond()/1000)
}
