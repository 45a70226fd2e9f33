package slack

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/slack-go/slack"

	"github.com/countersign/countersign/bot/chat"
)

// slackbot is Slack's own account, which does not say that it is a bot.
const slackbot = "USLACKBOT"

// needed are the bot scopes without which nothing works. The others of the
// manifest are missed where they are used.
var needed = []string{"chat:write", "commands", "users:read"}

// Member implements chat.Platform. Somebody is at home only if Slack names one of
// our workspaces, or our organisation, as theirs: is_stranger is false for people
// of another company who share a channel with us.
func (s *Slack) Member(ctx context.Context, a chat.Account) (chat.Member, error) {
	if a.Platform != s.Name() || a.Space == "" || !userPattern.MatchString(a.ID) {
		return chat.Member{}, nil
	}
	u, err := s.api.GetUserInfoContext(ctx, a.ID)
	if err != nil {
		err = classify(opMember, err)
		if c := code(err); c == "user_not_found" || c == "user_not_visible" {
			return chat.Member{}, nil
		}
		return chat.Member{}, err
	}
	if u == nil || u.ID != a.ID {
		return chat.Member{}, empty(opMember)
	}
	home := u.TeamID != "" && u.TeamID == a.Space && slices.Contains(s.cfg.TeamIDs, u.TeamID)
	org := s.organisation(u.Enterprise.EnterpriseID) && slices.Contains(s.cfg.TeamIDs, a.Space)
	guest := u.IsRestricted || u.IsUltraRestricted || u.IsStranger
	name := u.RealName
	if name == "" {
		name = u.Name
	}
	return chat.Member{
		Known:  true,
		Human:  !u.IsBot && !u.IsWorkflowBot && !u.IsConnectorBot && u.ID != slackbot,
		Active: !u.Deleted && !u.IsInvitedUser,
		Home:   (home || org) && !guest,
		Name:   show(name, 80, oneLine),
	}, nil
}

// Check implements chat.Platform.
func (s *Slack) Check(ctx context.Context, channel string) error {
	who, err := s.api.AuthTestContext(ctx)
	if err != nil {
		return classify(opAuth, err)
	}
	if who == nil || who.TeamID == "" {
		return empty(opAuth)
	}
	if !s.ours(who.TeamID, who.EnterpriseID) {
		return &chat.Error{Class: chat.Misconfigured, Op: opAuth.name, Code: "wrong_workspace",
			Fix: "bot_token belongs to a workspace that is not in team_ids"}
	}
	if missing := missingScopes(who.Header); len(missing) > 0 {
		return &chat.Error{Class: chat.Misconfigured, Op: opAuth.name, Code: "missing_scope",
			Fix: "add the scopes " + strings.Join(missing, ", ") + " to the app and reinstall it"}
	}
	if channel == "" {
		return nil
	}
	return s.checkChannel(ctx, channel)
}

// missingScopes reads the scopes that Slack names with every answer; where it
// names none, nothing can be said.
func missingScopes(h http.Header) []string {
	given := h.Get("X-OAuth-Scopes")
	if given == "" {
		return nil
	}
	var have []string
	for scope := range strings.SplitSeq(given, ",") {
		have = append(have, strings.TrimSpace(scope))
	}
	return slices.DeleteFunc(slices.Clone(needed), func(n string) bool { return slices.Contains(have, n) })
}

func (s *Slack) checkChannel(ctx context.Context, channel string) error {
	id, err := s.resolve(ctx, channel)
	if err != nil {
		return err
	}
	if strings.HasPrefix(id, "D") {
		return nil // conversations.open has just said that we may write there
	}
	info, err := s.api.GetConversationInfoContext(ctx, &slack.GetConversationInfoInput{ChannelID: id})
	if err != nil {
		return classify(opChannel, err)
	}
	switch {
	case info == nil || info.ID == "":
		return empty(opChannel)
	case info.IsArchived:
		return &chat.Error{Class: chat.Gone, Op: opChannel.name, Code: "is_archived"}
	case !info.IsMember:
		return &chat.Error{Class: chat.Misconfigured, Op: opChannel.name, Code: "not_in_channel", Fix: fixInvite}
	}
	return nil
}
