package slack_test

import (
	"strings"
	"testing"

	slackgo "github.com/slack-go/slack"

	"github.com/countersign/countersign/adapters/slack"
)

func text(s string) *slackgo.TextBlockObject {
	return slackgo.NewTextBlockObject(slackgo.PlainTextType, s, false, false)
}

func markdown(s string, verbatim bool) *slackgo.TextBlockObject {
	return slackgo.NewTextBlockObject(slackgo.MarkdownType, s, false, verbatim)
}

func section(t *slackgo.TextBlockObject) slackgo.Block { return slackgo.NewSectionBlock(t, nil, nil) }

func many(n int, b func(i int) slackgo.Block) []slackgo.Block {
	var out []slackgo.Block
	for i := range n {
		out = append(out, b(i))
	}
	return out
}

func buttons(n int, change func(*slackgo.ButtonBlockElement)) slackgo.Block {
	var out []slackgo.BlockElement
	for i := range n {
		b := slackgo.NewButtonBlockElement(strings.Repeat("a", i+1), "v", text("Go"))
		change(b)
		out = append(out, b)
	}
	return slackgo.NewActionBlock("", out...)
}

func fields(n int, s string) slackgo.Block {
	var out []*slackgo.TextBlockObject
	for range n {
		out = append(out, text(s))
	}
	return slackgo.NewSectionBlock(nil, out, nil)
}

func contexts(n int) slackgo.Block {
	var out []slackgo.MixedElement
	for range n {
		out = append(out, text("x"))
	}
	return slackgo.NewContextBlock("", out...)
}

func rich(e ...slackgo.RichTextSectionElement) slackgo.Block {
	return slackgo.NewRichTextBlock("", slackgo.NewRichTextSection(e...))
}

func link(url, text string) slackgo.RichTextSectionElement {
	return slackgo.NewRichTextSectionLinkElement(url, text, nil)
}

// TestCheckBlocks holds each limit from both sides.
func TestCheckBlocks(t *testing.T) {
	t.Parallel()
	one := func(b slackgo.Block) []slackgo.Block { return []slackgo.Block{b} }
	long := func(n int) string { return strings.Repeat("x", n) }
	plainButton := func(*slackgo.ButtonBlockElement) {}
	for name, test := range map[string]struct{ good, bad []slackgo.Block }{
		"blocks":            {many(50, func(int) slackgo.Block { return section(text("x")) }), many(51, func(int) slackgo.Block { return section(text("x")) })},
		"no blocks":         {one(section(text("x"))), nil},
		"serialized":        {many(4, func(int) slackgo.Block { return section(text(long(3000))) }), many(5, func(int) slackgo.Block { return section(text(long(3000))) })},
		"section":           {one(section(text(long(3000)))), one(section(text(long(3001))))},
		"section in UTF-16": {one(section(text(strings.Repeat("😀", 1500)))), one(section(text(strings.Repeat("😀", 1501))))},
		"empty text":        {one(section(text("x"))), one(section(text("")))},
		"empty section":     {one(section(text("x"))), one(section(nil))},
		"header":            {one(slackgo.NewHeaderBlock(text(long(150)))), one(slackgo.NewHeaderBlock(text(long(151))))},
		"header's type":     {one(slackgo.NewHeaderBlock(text("x"))), one(slackgo.NewHeaderBlock(markdown("<@U1>", true)))},
		"fields":            {one(fields(10, "x")), one(fields(11, "x"))},
		"field":             {one(fields(1, long(2000))), one(fields(1, long(2001)))},
		"context":           {one(contexts(10)), one(contexts(11))},
		"actions":           {one(buttons(25, plainButton)), one(buttons(26, plainButton))},
		"same action":       {one(buttons(2, plainButton)), one(buttons(2, func(b *slackgo.ButtonBlockElement) { b.ActionID = "same" }))},
		"button's text":     {one(buttons(1, func(b *slackgo.ButtonBlockElement) { b.Text = text(long(75)) })), one(buttons(1, func(b *slackgo.ButtonBlockElement) { b.Text = text(long(76)) }))},
		"button's value":    {one(buttons(1, func(b *slackgo.ButtonBlockElement) { b.Value = long(2000) })), one(buttons(1, func(b *slackgo.ButtonBlockElement) { b.Value = long(2001) }))},
		"button's style":    {one(buttons(1, func(b *slackgo.ButtonBlockElement) { b.Style = "danger" })), one(buttons(1, func(b *slackgo.ButtonBlockElement) { b.Style = "loud" }))},
		"action_id":         {one(buttons(1, func(b *slackgo.ButtonBlockElement) { b.ActionID = long(255) })), one(buttons(1, func(b *slackgo.ButtonBlockElement) { b.ActionID = long(256) }))},
		"block_id": {one(slackgo.NewHeaderBlock(text("x"), slackgo.HeaderBlockOptionBlockID(long(255)))),
			one(slackgo.NewHeaderBlock(text("x"), slackgo.HeaderBlockOptionBlockID(long(256))))},
		"same block_id": {
			many(2, func(i int) slackgo.Block {
				return slackgo.NewHeaderBlock(text("x"), slackgo.HeaderBlockOptionBlockID(long(i+1)))
			}),
			many(2, func(int) slackgo.Block {
				return slackgo.NewHeaderBlock(text("x"), slackgo.HeaderBlockOptionBlockID("same"))
			}),
		},
		"emoji":            {one(section(text(":x:"))), one(section(slackgo.NewTextBlockObject(slackgo.PlainTextType, ":x:", true, false)))},
		"markup":           {one(section(markdown("<!subteam^S1> <@U1>", true))), one(section(markdown("<!channel>", true)))},
		"markup with text": {one(section(markdown("<@W1>", true))), one(section(markdown("<@W1> *hi*", true)))},
		"not verbatim":     {one(section(markdown("<@U1>", true))), one(section(markdown("<@U1>", false)))},
		"link":             {one(rich(link("https://a.example", "https://a.example"))), one(rich(link("https://a.example", "https://b.example")))},
		"rich text":        {one(rich(slackgo.NewRichTextSectionTextElement("x", nil))), one(rich(slackgo.NewRichTextSectionUserElement("U1", nil)))},
		"other blocks":     {one(slackgo.NewDividerBlock()), one(slackgo.NewImageBlock("https://a.example/x.png", "x", "", nil))},
	} {
		if err := slack.CheckBlocks(test.good); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := slack.CheckBlocks(test.bad); err == nil {
			t.Errorf("%s: the limit does not hold", name)
		}
	}
}

func TestCheckView(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		good, bad func(*slackgo.ModalViewRequest)
	}{
		"title":            {func(v *slackgo.ModalViewRequest) { v.Title = text(strings.Repeat("x", 24)) }, func(v *slackgo.ModalViewRequest) { v.Title = text(strings.Repeat("x", 25)) }},
		"submit":           {func(v *slackgo.ModalViewRequest) { v.Submit = text(strings.Repeat("x", 24)) }, func(v *slackgo.ModalViewRequest) { v.Submit = text(strings.Repeat("x", 25)) }},
		"close":            {func(v *slackgo.ModalViewRequest) { v.Close = text(strings.Repeat("x", 24)) }, func(v *slackgo.ModalViewRequest) { v.Close = text(strings.Repeat("x", 25)) }},
		"private_metadata": {func(v *slackgo.ModalViewRequest) { v.PrivateMetadata = strings.Repeat("x", 3000) }, func(v *slackgo.ModalViewRequest) { v.PrivateMetadata = strings.Repeat("x", 3001) }},
		"callback_id":      {func(v *slackgo.ModalViewRequest) { v.CallbackID = strings.Repeat("x", 255) }, func(v *slackgo.ModalViewRequest) { v.CallbackID = strings.Repeat("x", 256) }},
		"blocks": {
			func(v *slackgo.ModalViewRequest) {
				v.Blocks.BlockSet = many(100, func(int) slackgo.Block { return section(text("x")) })
			},
			func(v *slackgo.ModalViewRequest) {
				v.Blocks.BlockSet = many(101, func(int) slackgo.Block { return section(text("x")) })
			},
		},
		"size": {
			func(v *slackgo.ModalViewRequest) {
				v.Blocks.BlockSet = many(80, func(int) slackgo.Block { return section(text(strings.Repeat("x", 3000))) })
			},
			func(v *slackgo.ModalViewRequest) {
				v.Blocks.BlockSet = many(90, func(int) slackgo.Block { return section(text(strings.Repeat("x", 3000))) })
			},
		},
		"max_length": {
			func(v *slackgo.ModalViewRequest) {
				v.Blocks.BlockSet[1].(*slackgo.InputBlock).Element.(*slackgo.PlainTextInputBlockElement).MaxLength = 3000
			},
			func(v *slackgo.ModalViewRequest) {
				v.Blocks.BlockSet[1].(*slackgo.InputBlock).Element.(*slackgo.PlainTextInputBlockElement).MaxLength = 3001
			},
		},
		"label": {
			func(v *slackgo.ModalViewRequest) {
				v.Blocks.BlockSet[1].(*slackgo.InputBlock).Label = text(strings.Repeat("x", 2000))
			},
			func(v *slackgo.ModalViewRequest) {
				v.Blocks.BlockSet[1].(*slackgo.InputBlock).Label = text(strings.Repeat("x", 2001))
			},
		},
	} {
		for want, change := range map[bool]func(*slackgo.ModalViewRequest){true: test.good, false: test.bad} {
			view, err := slack.FormView(denyPrompt(), "C1", "C1:1.1")
			if err != nil {
				t.Fatal(err)
			}
			change(&view)
			if err := slack.CheckView(view); (err == nil) != want {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
