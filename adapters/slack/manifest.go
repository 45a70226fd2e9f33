package slack

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
)

// SlashCommand is the command that the manifest declares.
const SlashCommand = "/approvals"

// botScopes are what the app asks for, each for a method that it calls.
var botScopes = []string{
	"chat:write",       // cards, notes and private answers
	"commands",         // /approvals
	"users:read",       // who is a member, a guest, a bot, deactivated
	"usergroups:read",  // user groups as approvers
	"files:write",      // a long diff, as a file in the thread
	"im:write",         // cards as direct messages
	"channels:read",    // doctor: is the bot in the channel, is it archived
	"groups:read",      // the same for private channels
	"channels:history", // finding a card whose post was not answered
	"groups:history",   // the same in private channels
	"im:history",       // the same in direct messages
}

// Manifest returns the app manifest, as JSON, that api.slack.com/apps makes an
// app of. publicURL is where Slack reaches us; Socket Mode needs none.
func Manifest(publicURL string, socket bool) ([]byte, error) {
	base, err := manifestBase(publicURL, socket)
	if err != nil {
		return nil, err
	}
	at := func(path string, to map[string]any, key string) map[string]any {
		if !socket {
			to[key] = base + path
		}
		return to
	}
	manifest := map[string]any{
		"_metadata": map[string]any{"major_version": 1, "minor_version": 1},
		"display_information": map[string]any{
			"name":             "Countersign",
			"description":      "A machine asks, a person signs: approvals of privileged actions",
			"background_color": "#1f2933",
		},
		"features": map[string]any{
			"app_home": map[string]any{
				"home_tab_enabled": false, "messages_tab_enabled": true, "messages_tab_read_only_enabled": true,
			},
			"bot_user": map[string]any{"display_name": "countersign", "always_online": true},
			"slash_commands": []any{at("/slack/commands", map[string]any{
				"command": SlashCommand, "description": "See and decide requests for approval",
				"usage_hint": "pending | mine | show ID | approve ID | deny ID | revoke ID | audit | help", "should_escape": false,
			}, "url")},
		},
		"oauth_config": map[string]any{"scopes": map[string]any{"bot": botScopes}},
		"settings": map[string]any{
			"event_subscriptions": at("/slack/events", map[string]any{
				"bot_events": []string{"app_uninstalled", "tokens_revoked"},
			}, "request_url"),
			"interactivity":          at("/slack/interactions", map[string]any{"is_enabled": true}, "request_url"),
			"org_deploy_enabled":     false,
			"socket_mode_enabled":    socket,
			"token_rotation_enabled": false,
		},
	}
	raw, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(raw, '\n'), nil
}

func manifestBase(publicURL string, socket bool) (string, error) {
	if socket {
		return "", nil
	}
	u, err := url.Parse(publicURL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("slack: the manifest needs public_url as a plain https address, for Slack calls it; without one use Socket Mode")
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}
