package slack

import (
	"context"
	"log/slog"
	"net/url"
	"strings"

	"github.com/slack-go/slack"

	"github.com/countersign/countersign/bot/chat"
)

// responseHost is where Slack takes private answers.
const responseHost = "hooks.slack.com"

// listener is one person, and the ways to tell them something in private.
type listener struct {
	user        string
	channel     string
	responseURL string
}

// tell shows a reply to one person, by the response_url that came with what they
// did, else in the channel. It is the last resort already: an error is only
// logged.
func (s *Slack) tell(ctx context.Context, to listener, r chat.Reply) {
	if r.Text == "" && r.Table == "" && r.Card == nil {
		return
	}
	options := []slack.MsgOption{
		slack.MsgOptionText(literal(show(orDash(r.Text), maxText, oneLine)), false),
		slack.MsgOptionBlocks(private(r)...),
	}
	if s.answerable(to.responseURL) {
		_, _, err := s.api.PostMessageContext(ctx, "",
			slack.MsgOptionCompose(options...), slack.MsgOptionResponseURL(to.responseURL, slack.ResponseTypeEphemeral))
		if err == nil {
			return
		}
		s.log.WarnContext(ctx, "slack response_url failed", slog.String("code", code(classify(opAnswer, err))))
	}
	if to.channel == "" {
		s.log.WarnContext(ctx, "slack private answer has nowhere to go")
		return
	}
	_, err := s.api.PostEphemeralContext(ctx, to.channel, to.user, append(plainly(), options...)...)
	if err != nil {
		s.log.WarnContext(ctx, "slack private answer failed", slog.String("code", code(classify(opEphemeral, err))))
	}
}

// answerable reports whether a response_url leads to Slack, or to the host of
// the configured Web API. Anything else could make us call a stranger.
func (s *Slack) answerable(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.User != nil || u.Host == "" {
		return false
	}
	return u.Scheme == "https" && strings.EqualFold(u.Host, responseHost) ||
		u.Scheme == s.apiURL.Scheme && strings.EqualFold(u.Host, s.apiURL.Host)
}

// open shows a form within the three seconds that a trigger_id lives.
func (s *Slack) open(ctx context.Context, trigger string, view slack.ModalViewRequest) error {
	if err := checkView(view); err != nil {
		return &chat.Error{Class: chat.Misconfigured, Op: opView.name, Code: "view_over_limits", Fix: err.Error()}
	}
	resp, err := s.api.OpenViewContext(ctx, trigger, view)
	if err != nil {
		return classify(opView, err)
	}
	if resp == nil || !resp.Ok {
		return empty(opView)
	}
	return nil
}
