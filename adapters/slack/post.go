package slack

import (
	"context"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/countersign/countersign/bot/chat"
)

const (
	// maxText is the limit of chat.update's text; a notification needs less.
	maxText = 1000
	// maxNote is the limit of one section's text.
	maxNote = 3000
	// skew is how far our clock may be from Slack's when we look for a post.
	skew = 5 * time.Minute
	// pageSize and maxPages bound how far back we look.
	pageSize = 200
	maxPages = 25
)

// Post implements chat.Platform. channel is a channel's id, or a user's, which
// stands for the direct messages with that user.
func (s *Slack) Post(ctx context.Context, channel string, c chat.Card) (string, error) {
	options, err := message(opPost, c)
	if err != nil {
		return "", err
	}
	channel, err = s.resolve(ctx, channel)
	if err != nil {
		return "", err
	}
	where, ts, err := s.api.PostMessageContext(ctx, channel, append(options, metadata(c))...)
	if err != nil {
		return "", classify(opPost, err)
	}
	return makeRef(where, ts)
}

// Update implements chat.Platform.
func (s *Slack) Update(ctx context.Context, ref string, c chat.Card) error {
	channel, ts, err := splitRef(opUpdate, ref)
	if err != nil {
		return err
	}
	options, err := message(opUpdate, c)
	if err != nil {
		return err
	}
	where, _, _, err := s.api.UpdateMessageContext(ctx, channel, ts, append(options, metadata(c))...)
	if err != nil {
		return classify(opUpdate, err)
	}
	if where == "" {
		return empty(opUpdate)
	}
	return nil
}

// Find implements chat.Platform. It needs the history scope of the channel's
// kind; without it Slack cannot look.
func (s *Slack) Find(ctx context.Context, channel, delivery string, since time.Time) ([]string, error) {
	channel, err := s.resolve(ctx, channel)
	if err != nil {
		return nil, err
	}
	var refs []string
	query := slack.GetConversationHistoryParameters{
		ChannelID: channel, Oldest: stamp(since.Add(-skew)), Inclusive: true,
		Limit: pageSize, IncludeAllMetadata: true,
	}
	for range maxPages {
		page, err := s.api.GetConversationHistoryContext(ctx, &query)
		if err != nil {
			err = classify(opFind, err)
			if code(err) == "missing_scope" {
				return nil, chat.ErrUnsupported
			}
			return nil, err
		}
		if !page.Ok {
			return nil, empty(opFind)
		}
		for _, m := range page.Messages {
			if s.shows(m, delivery) {
				refs = append(refs, channel+":"+m.Timestamp)
			}
		}
		query.Cursor = page.ResponseMetaData.NextCursor
		if query.Cursor == "" {
			return refs, nil
		}
	}
	return nil, &chat.Error{Class: chat.Misconfigured, Op: opFind.name, Code: "history_too_long", Fix: "use a channel with less traffic"}
}

// shows reports whether a message is our card for a delivery. Anybody may read
// our metadata and post it again, so the message must be our app's.
func (s *Slack) shows(m slack.Message, delivery string) bool {
	if m.Metadata.EventType != eventType || m.Metadata.EventPayload["delivery"] != delivery || !stampPattern.MatchString(m.Timestamp) {
		return false
	}
	app := ""
	if m.BotProfile != nil {
		app = m.BotProfile.AppID
	}
	return m.BotID != "" && (app == "" || app == s.cfg.AppID)
}

// Note implements chat.Platform.
func (s *Slack) Note(ctx context.Context, ref, text string) error {
	channel, ts, err := splitRef(opNote, ref)
	if err != nil {
		return err
	}
	shown := show(orDash(text), maxNote, manyLines)
	options := append(plainly(), slack.MsgOptionTS(ts),
		slack.MsgOptionText(literal(show(text, maxText, oneLine)), false),
		slack.MsgOptionBlocks(slack.NewSectionBlock(plain(shown), nil, nil)))
	where, posted, err := s.api.PostMessageContext(ctx, channel, options...)
	if err != nil {
		return classify(opNote, err)
	}
	if where == "" || posted == "" {
		return empty(opNote)
	}
	return nil
}

// Attach implements chat.Platform: the file goes up first and is then shared in
// the thread, so that an error may leave a file that nobody sees.
func (s *Slack) Attach(ctx context.Context, ref string, f chat.File) error {
	channel, ts, err := splitRef(opAttach, ref)
	if err != nil {
		return err
	}
	text := string(f.Text)
	if text == "" {
		text = "(empty)\n" // Slack refuses a file of no bytes
	}
	file, err := s.api.UploadFileContext(ctx, slack.UploadFileParameters{
		Channel: channel, ThreadTimestamp: ts, Content: text, FileSize: len(text),
		Filename: show(orDash(f.Name), 120, oneLine), Title: show(orDash(f.Title), 120, oneLine),
	})
	if err != nil {
		return classify(opAttach, err)
	}
	if file.ID == "" {
		return empty(opAttach)
	}
	return nil
}

// resolve turns a user's id into the id of the direct messages with that user:
// chat.update and conversations.history know no other.
func (s *Slack) resolve(ctx context.Context, channel string) (string, error) {
	switch {
	case userPattern.MatchString(channel):
	case channelPattern.MatchString(channel):
		return channel, nil
	default:
		return "", &chat.Error{Class: chat.Misconfigured, Op: opPost.name, Code: "channel_not_found", Fix: fixChannel}
	}
	c, _, _, err := s.api.OpenConversationContext(ctx, &slack.OpenConversationParameters{Users: []string{channel}})
	if err != nil {
		return "", classify(opOpen, err)
	}
	if c == nil || !channelPattern.MatchString(c.ID) {
		return "", empty(opOpen)
	}
	return c.ID, nil
}

// message returns what a card's message says, after checking it against every
// limit that is known.
func message(o op, c chat.Card) ([]slack.MsgOption, error) {
	blocks := face(c)
	if err := checkBlocks(blocks); err != nil {
		return nil, &chat.Error{Class: chat.Misconfigured, Op: o.name, Code: "card_over_limits", Fix: err.Error()}
	}
	return append(plainly(), slack.MsgOptionText(notification(c), false), slack.MsgOptionBlocks(blocks...)), nil
}

// notification is the text of a message that shows a card.
func notification(c chat.Card) string {
	text := c.Summary
	if text == "" {
		text = c.Title
	}
	return literal(show(orDash(text), maxText, oneLine))
}

// plainly switches off what Slack would read into a text. It is sent with every
// update too, which otherwise resets parse to its own default.
func plainly() []slack.MsgOption {
	return []slack.MsgOption{
		slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl(),
		slack.MsgOptionLinkNames(false), slack.MsgOptionParse(false),
	}
}

// metadata lets us find the card again. It holds nothing but the delivery's id.
func metadata(c chat.Card) slack.MsgOption {
	return slack.MsgOptionMetadata(slack.SlackMetadata{
		EventType: eventType, EventPayload: map[string]any{"delivery": c.Delivery},
	})
}

// makeRef joins the place of a message. Slack can answer 200 and say nothing:
// then the message may stand there or not.
func makeRef(channel, ts string) (string, error) {
	if !channelPattern.MatchString(channel) || !stampPattern.MatchString(ts) {
		return "", empty(opPost)
	}
	return channel + ":" + ts, nil
}

func splitRef(o op, ref string) (channel, ts string, err error) {
	channel, ts, _ = strings.Cut(ref, ":")
	if !channelPattern.MatchString(channel) || !stampPattern.MatchString(ts) {
		return "", "", &chat.Error{Class: chat.Gone, Op: o.name, Code: "no_reference"}
	}
	return channel, ts, nil
}
