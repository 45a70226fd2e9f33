package slack_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/countersign/countersign/adapters/slack"
)

func good() slack.Config {
	return slack.Config{
		BotToken: "xoxb-canary-bot", AppToken: "xapp-canary-app", SigningSecret: "canary-signing",
		AppID: "A0APP", TeamIDs: []string{"T0TEAM"}, APIURL: "https://slack.com/api/",
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	if _, err := slack.New(good()); err != nil {
		t.Fatalf("a good configuration: %v", err)
	}
	for name, test := range map[string]struct {
		change func(*slack.Config)
		want   string // of the error; empty if it is good
	}{
		"Slack's own address":               {func(c *slack.Config) { c.APIURL = "" }, ""},
		"loopback without TLS":              {func(c *slack.Config) { c.APIURL = "http://127.0.0.1:4000/api/" }, ""},
		"loopback by name":                  {func(c *slack.Config) { c.APIURL = "http://localhost/api/" }, ""},
		"loopback of IPv6":                  {func(c *slack.Config) { c.APIURL = "http://[::1]:4000/api/" }, ""},
		"socket mode without a secret":      {func(c *slack.Config) { c.SocketMode, c.SigningSecret = true, "" }, ""},
		"an organisation":                   {func(c *slack.Config) { c.EnterpriseID = "E0ORG" }, ""},
		"no secret":                         {func(c *slack.Config) { c.SigningSecret = "" }, "signing_secret"},
		"socket mode without the app token": {func(c *slack.Config) { c.SocketMode, c.AppToken = true, "" }, "app_token"},
		"the bot token as app token":        {func(c *slack.Config) { c.SocketMode, c.AppToken = true, c.BotToken }, "app_token"},
		"no bot token":                      {func(c *slack.Config) { c.BotToken = "" }, "bot_token"},
		"no app":                            {func(c *slack.Config) { c.AppID = "" }, "app_id"},
		"no team":                           {func(c *slack.Config) { c.TeamIDs = nil }, "team_ids"},
		"an empty team":                     {func(c *slack.Config) { c.TeamIDs = []string{"T0TEAM", ""} }, "team_ids"},
		"a name of a team":                  {func(c *slack.Config) { c.TeamIDs = []string{"harbor"} }, "team_ids"},
		"a bad organisation":                {func(c *slack.Config) { c.EnterpriseID = "T0TEAM" }, "enterprise_id"},
		"no final slash":                    {func(c *slack.Config) { c.APIURL = "https://slack.com/api" }, "ends in /"},
		"no TLS":                            {func(c *slack.Config) { c.APIURL = "http://slack.com/api/" }, "https"},
		"no TLS, almost loopback":           {func(c *slack.Config) { c.APIURL = "http://127.0.0.1.example.com/api/" }, "https"},
		"a query":                           {func(c *slack.Config) { c.APIURL = "https://slack.com/api/?x=/" }, "plain address"},
		"a user":                            {func(c *slack.Config) { c.APIURL = "https://slack.com@evil.example/api/" }, "plain address"},
		"no host":                           {func(c *slack.Config) { c.APIURL = "https:///api/" }, "plain address"},
		"no address":                        {func(c *slack.Config) { c.APIURL = "https://[/" }, "api_url"},
	} {
		cfg := good()
		test.change(&cfg)
		_, err := slack.New(cfg)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v does not name %s", name, err, test.want)
		}
	}
}

func TestNewTellsAllFaultsAndNoSecret(t *testing.T) {
	t.Parallel()
	_, err := slack.New(slack.Config{BotToken: "canary", AppToken: "canary", SocketMode: true, APIURL: "http://slack.com/api"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"bot_token", "app_token", "app_id", "team_ids", "api_url must be https", "ends in /"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
	var log strings.Builder
	cfg := good()
	slog.New(slog.NewTextHandler(&log, nil)).Info("configured", "slack", cfg)
	for _, text := range []string{err.Error(), log.String(), fmt.Sprint(cfg), fmt.Sprintf("%+v %#v", cfg, cfg)} {
		if strings.Contains(text, "canary") {
			t.Errorf("a secret stands in %q", text)
		}
	}
}

func TestManifest(t *testing.T) {
	t.Parallel()
	type manifest struct {
		Display struct {
			Name string `json:"name"`
		} `json:"display_information"`
		Features struct {
			Commands []struct {
				Command, URL string
			} `json:"slash_commands"`
			Bot struct {
				Name string `json:"display_name"`
			} `json:"bot_user"`
		} `json:"features"`
		OAuth struct {
			Scopes struct{ Bot []string } `json:"scopes"`
		} `json:"oauth_config"`
		Settings struct {
			Events struct {
				URL string `json:"request_url"`
			} `json:"event_subscriptions"`
			Interactivity struct {
				Enabled bool   `json:"is_enabled"`
				URL     string `json:"request_url"`
			} `json:"interactivity"`
			Socket   bool `json:"socket_mode_enabled"`
			Rotation bool `json:"token_rotation_enabled"`
		} `json:"settings"`
	}
	for _, socket := range []bool{false, true} {
		raw, err := slack.Manifest("https://sign.example.com/", socket)
		if err != nil {
			t.Fatal(err)
		}
		var m manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		for _, scope := range []string{
			"chat:write", "commands", "users:read", "usergroups:read", "files:write", "im:write",
			"channels:read", "groups:read", "channels:history", "groups:history", "im:history",
		} {
			if !slices.Contains(m.OAuth.Scopes.Bot, scope) {
				t.Errorf("the scope %s is missing", scope)
			}
		}
		if len(m.OAuth.Scopes.Bot) != len(slack.BotScopes) || len(m.Display.Name) > 35 || m.Features.Bot.Name == "" {
			t.Errorf("the manifest is %s", raw)
		}
		if len(m.Features.Commands) != 1 || m.Features.Commands[0].Command != slack.SlashCommand {
			t.Errorf("the commands are %v", m.Features.Commands)
		}
		if !m.Settings.Interactivity.Enabled || m.Settings.Socket != socket || m.Settings.Rotation {
			t.Errorf("the settings are %+v", m.Settings)
		}
		urls := []string{m.Features.Commands[0].URL, m.Settings.Events.URL, m.Settings.Interactivity.URL}
		want := []string{"https://sign.example.com/slack/commands", "https://sign.example.com/slack/events", "https://sign.example.com/slack/interactions"}
		if socket {
			want = []string{"", "", ""}
		}
		if !slices.Equal(urls, want) {
			t.Errorf("the addresses are %q, not %q", urls, want)
		}
	}
	for _, bad := range []string{"", "http://sign.example.com", "https://", "sign.example.com", "https://u@sign.example.com", "https://sign.example.com/?a"} {
		if _, err := slack.Manifest(bad, false); err == nil {
			t.Errorf("a manifest was made for %q", bad)
		}
	}
	if _, err := slack.Manifest("", true); err != nil {
		t.Errorf("Socket Mode needs no address: %v", err)
	}
}
