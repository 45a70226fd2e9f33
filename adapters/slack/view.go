package slack

import (
	"github.com/go-json-experiment/json"
	"github.com/slack-go/slack"

	"github.com/countersign/countersign/bot/chat"
)

const (
	formCallback = actionPrefix + "reason"
	inputBlock   = "reason"
	inputAction  = "reason"
)

// maxAck is what an acknowledgement may have in bytes: Socket Mode drops one of
// 20 KB or more without a word, so that no door sends one.
const maxAck = 20000

// formView is the modal that asks for a text. It is drawn so that it fits an
// acknowledgement even if every character has to be escaped.
func formView(p chat.Prompt, f form) (slack.ModalViewRequest, error) {
	memory, err := json.Marshal(f)
	if err != nil {
		return slack.ModalViewRequest{}, err
	}
	input := slack.NewPlainTextInputBlockElement(nil, inputAction)
	input.Multiline = true
	input.MaxLength = limitInput
	if p.MaxLength > 0 {
		input.MaxLength = min(p.MaxLength, limitInput)
	}
	t := &pen{sizes: sizes{value: 120, fields: 10}}
	return slack.ModalViewRequest{
		Type:            slack.VTModal,
		Title:           plain(short(p.Title, "Countersign")),
		Submit:          plain(short(p.Submit, "Send")),
		Close:           plain("Cancel"),
		CallbackID:      formCallback,
		PrivateMetadata: string(memory),
		Blocks: slack.Blocks{BlockSet: []slack.Block{
			slack.NewRichTextBlock("facts", preformatted(t.table(p.Facts, t.value, "(nothing is stated)"))),
			slack.NewInputBlock(inputBlock, plain(show(orDash(p.Label), 150, oneLine)), nil, input),
		}},
	}, nil
}

// messageView is a modal that only tells.
func messageView(r chat.Reply) slack.ModalViewRequest {
	blocks := []slack.Block{slack.NewSectionBlock(plain(show(orDash(r.Text), 1000, manyLines)), nil, nil)}
	if r.Table != "" {
		blocks = append(blocks, slack.NewRichTextBlock("", preformatted(show(r.Table, 2000, manyLines))))
	}
	return slack.ModalViewRequest{
		Type: slack.VTModal, Title: plain("Countersign"), Close: plain("Close"),
		Blocks: slack.Blocks{BlockSet: blocks},
	}
}

// short is a title or button of a modal, 24 characters at most; ours, so that
// a marker of a cut would only take away room.
func short(s, otherwise string) string {
	s = show(s, 2*markRoom, oneLine)
	if s == "" {
		return otherwise
	}
	units := 0
	for i, r := range s {
		if units += width(string(r)); units > limitViewTitle {
			return s[:lastRune(s, i)] + "…"
		}
	}
	return s
}

// lastRune is where the rune before i begins.
func lastRune(s string, i int) int {
	last := 0
	for at := range s[:i] {
		last = at
	}
	return last
}

// private draws what only one person is shown: text, table and card, each as
// long as the whole fits.
func private(r chat.Reply) []slack.Block {
	var blocks []slack.Block
	for k, room := range room {
		shrink := 1 << k
		blocks = []slack.Block{slack.NewSectionBlock(plain(show(orDash(r.Text), max(2800/shrink, 300), manyLines)), nil, nil)}
		if r.Table != "" {
			table := preformatted(show(r.Table, max(9000/shrink, 300), manyLines))
			blocks = append(blocks, slack.NewRichTextBlock("", table))
		}
		if r.Card != nil {
			blocks = append(blocks, draw(*r.Card, room)...)
		}
		if serialized(blocks) <= maxBlocks {
			break
		}
	}
	return blocks
}
