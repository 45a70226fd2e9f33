package slack

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"

	"github.com/slack-go/slack"

	"github.com/countersign/countersign/bot/chat"
)

// outcome is how a delivery is acknowledged, and what follows. Slack waits for
// the acknowledgement and for nothing else.
type outcome struct {
	// ack is the JSON body of the acknowledgement; none if empty.
	ack []byte
	// text is the plain body of the acknowledgement of url_verification.
	text string
	// after runs once the acknowledgement has left.
	after func(context.Context)
	// instead runs in place of after where the acknowledgement cannot carry ack.
	instead func(context.Context)
}

const (
	textUnconfirmed = "Not confirmed: the answer took too long. The card tells whether it counted; if it still asks, try again."
	textElsewhere   = "This workspace is not one of those whose people may act here. Nothing has changed."
	textNoForm      = "The form could not be opened in time. Nothing has changed: press the button again."
	textSeeCard     = "Done: see the card."
	textNothing     = "Nothing has changed."
)

// receive is the one way of a delivery to the Handler, whichever door it came
// through: it is read, checked, handed over within the deadline, and answered.
func (s *Slack) receive(ctx context.Context, h chat.Handler, d delivery) (outcome, error) {
	switch d.kind {
	case command:
		return s.receiveCommand(ctx, h, d)
	case event:
		return s.receiveEvent(ctx, d)
	}
	var i interaction
	if err := parse(d.payload, &i); err != nil {
		return outcome{}, err
	}
	if i.App != s.cfg.AppID {
		return outcome{}, errWrongApp
	}
	channel, _ := i.place()
	to := listener{user: i.User.ID, channel: channel, responseURL: i.ResponseURL}
	var c *chat.Click
	switch i.Type {
	case "block_actions":
		c = i.click(d.at)
	case "view_submission":
		c = i.submission(d.at)
	default:
		return outcome{}, nil // view_closed, and whatever else the app was set up to send
	}
	switch {
	case !userPattern.MatchString(i.User.ID):
		return outcome{}, errMalformed
	case c == nil:
		s.log.DebugContext(ctx, "slack interaction is not ours", slog.String("type", show(i.Type, 64, oneLine)))
		return outcome{}, nil
	case !s.ours(i.Team.ID, i.Enterprise.ID) || c.Account.Space == "":
		return s.elsewhere(i.Type, to), nil
	case i.Type == "view_submission":
		return s.submit(ctx, h, *c), nil
	}
	return s.press(ctx, h, *c, to, i.TriggerID), nil
}

// elsewhere answers somebody of another workspace without asking the Handler.
func (s *Slack) elsewhere(kind string, to listener) outcome {
	r := chat.Reply{Text: textElsewhere, Refused: true}
	if kind == "view_submission" {
		return viewOutcome(slack.NewUpdateViewSubmissionResponse(ptr(messageView(r))))
	}
	return outcome{after: func(ctx context.Context) { s.tell(ctx, to, r) }}
}

// press answers a pressed button.
func (s *Slack) press(ctx context.Context, h chat.Handler, c chat.Click, to listener, trigger string) outcome {
	r := s.ask(ctx, func(ctx context.Context) chat.Reply { return h.Click(ctx, direct(c)) })
	if r.Prompt != nil {
		return outcome{after: s.prompt(*r.Prompt, form{Channel: c.Channel, Ref: c.Ref}, to, trigger)}
	}
	r.Card = nil // the heart updates every copy by itself
	if r.Text == "" && r.Table == "" {
		r.Text = textSeeCard
		if r.Refused {
			r.Text = textNothing
		}
	}
	return outcome{after: func(ctx context.Context) { s.tell(ctx, to, r) }}
}

// direct leaves out the channel of a click in direct messages: cards are sent to
// the person's id, and Slack names the conversation by another. Nobody else can
// press a button there.
func direct(c chat.Click) chat.Click {
	if strings.HasPrefix(c.Channel, "D") {
		c.Channel = ""
	}
	return c
}

// prompt opens a form for the same click.
func (s *Slack) prompt(p chat.Prompt, f form, to listener, trigger string) func(context.Context) {
	f.Delivery, f.Verb = p.Button, p.Verb
	return func(ctx context.Context) {
		view, err := formView(p, f)
		if err == nil {
			err = s.open(ctx, trigger, view)
		}
		if err != nil {
			s.log.WarnContext(ctx, "slack form not opened", slog.String("code", code(err)))
			s.tell(ctx, to, chat.Reply{Text: textNoForm, Refused: true})
		}
	}
}

// submit answers a sent form. A refusal stays in the form, where it can be read
// and mended, as does the text that comes with the same prompt again; an
// acceptance closes it.
func (s *Slack) submit(ctx context.Context, h chat.Handler, c chat.Click) outcome {
	r := s.ask(ctx, func(ctx context.Context) chat.Reply { return h.Click(ctx, direct(c)) })
	if r.Prompt != nil && r.Text == "" {
		f := form{Delivery: r.Prompt.Button, Verb: r.Prompt.Verb, Channel: c.Channel, Ref: c.Ref}
		if view, err := formView(*r.Prompt, f); err == nil {
			return viewOutcome(slack.NewUpdateViewSubmissionResponse(&view))
		}
	}
	r.Card = nil // the heart updates every copy by itself
	if r.Text == "" {
		r.Text = textSeeCard
		if r.Refused {
			r.Text = textNothing
		}
	}
	var out outcome
	switch {
	case (r.Refused || r.Prompt != nil) && r.Table == "" && width(r.Text) <= 200 && r.Text != textUnconfirmed:
		out = viewOutcome(slack.NewErrorsViewSubmissionResponse(map[string]string{inputBlock: show(r.Text, 300, oneLine)}))
	case r.Refused || c.Channel == "":
		out = viewOutcome(slack.NewUpdateViewSubmissionResponse(ptr(messageView(r))))
	default:
		out = viewOutcome(slack.NewClearViewSubmissionResponse())
		out.after = func(ctx context.Context) {
			s.tell(ctx, listener{user: c.Account.ID, channel: c.Channel}, r)
		}
	}
	return out
}

// typed turns a command's text back into what was typed: Slack escapes these
// three characters in it.
var typed = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")

// receiveCommand answers a slash command in its acknowledgement.
func (s *Slack) receiveCommand(ctx context.Context, h chat.Handler, d delivery) (outcome, error) {
	var c slash
	if err := parse(d.payload, &c); err != nil {
		return outcome{}, err
	}
	if c.App != s.cfg.AppID {
		return outcome{}, errWrongApp
	}
	if c.Command == "" || !userPattern.MatchString(c.User) {
		return outcome{}, errMalformed
	}
	to := listener{user: c.User, responseURL: c.ResponseURL}
	if channelPattern.MatchString(c.Channel) {
		to.channel = c.Channel
	}
	r := chat.Reply{Text: textElsewhere, Refused: true}
	if c.Team != "" && s.ours(c.Team, c.Enterprise) {
		r = s.ask(ctx, func(ctx context.Context) chat.Reply {
			return h.Command(ctx, chat.Command{
				Account: chat.Account{Platform: "slack", Space: c.Team, ID: c.User},
				Text:    typed.Replace(c.Text), Channel: to.channel, At: d.at,
			})
		})
	}
	if r.Prompt != nil {
		return outcome{after: s.prompt(*r.Prompt, form{Channel: to.channel}, to, c.TriggerID)}, nil
	}
	if r.Text == "" && r.Table == "" && r.Card == nil {
		r.Text = textNothing
	}
	ack, err := json.Marshal(map[string]any{
		"response_type": slack.ResponseTypeEphemeral,
		"text":          literal(show(orDash(r.Text), maxText, oneLine)),
		"blocks":        private(r),
	})
	if err != nil {
		return outcome{}, err
	}
	return outcome{ack: ack, instead: func(ctx context.Context) { s.tell(ctx, to, r) }}, nil
}

// maxChallenge bounds what url_verification wants back.
const maxChallenge = 255

// receiveEvent acknowledges events. None of them changes anything here; two say
// that the app is about to fall silent.
func (s *Slack) receiveEvent(ctx context.Context, d delivery) (outcome, error) {
	var n notice
	if err := parse(d.payload, &n); err != nil {
		return outcome{}, err
	}
	if n.Type == "url_verification" {
		if len(n.Challenge) > maxChallenge || !deliveryPattern.MatchString(n.Challenge) {
			return outcome{}, errMalformed
		}
		return outcome{text: n.Challenge}, nil
	}
	if n.App != s.cfg.AppID {
		return outcome{}, errWrongApp
	}
	if n.Type == "event_callback" && s.ours(n.Team, n.Enterprise) {
		switch n.Event.Type {
		case "app_uninstalled":
			s.log.ErrorContext(ctx, "slack app was uninstalled: install it again")
		case "tokens_revoked":
			s.log.ErrorContext(ctx, "slack tokens were revoked: reinstall the app and configure the new token")
		}
	}
	return outcome{}, nil
}

// ask calls the Handler within the deadline. Whatever goes wrong in it, nothing
// is confirmed.
func (s *Slack) ask(ctx context.Context, do func(context.Context) chat.Reply) chat.Reply {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.deadline)
	defer cancel()
	unconfirmed := chat.Reply{Text: textUnconfirmed, Refused: true}
	answer := make(chan chat.Reply, 1)
	go func() {
		reply := unconfirmed
		defer func() {
			if recover() != nil {
				s.log.ErrorContext(ctx, "slack: the answer to a delivery panicked")
				reply = unconfirmed
			}
			answer <- reply
		}()
		reply = do(ctx)
	}()
	select {
	case r := <-answer:
		if ctx.Err() == nil {
			return r
		}
	case <-ctx.Done():
	}
	s.log.WarnContext(ctx, "slack: a delivery was not answered in time")
	return unconfirmed
}

// viewOutcome acknowledges a sent form.
func viewOutcome(r *slack.ViewSubmissionResponse) outcome {
	ack, err := json.Marshal(r)
	if err != nil {
		return outcome{}
	}
	return outcome{ack: ack}
}

func ptr[T any](v T) *T { return &v }
