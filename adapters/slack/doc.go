// Package slack owns Slack: it draws cards as Block Kit messages, authenticates
// what Slack delivers, by HTTP or by Socket Mode, and turns it into clicks and
// commands, and it sorts Slack's errors into classes.
//
// Its rule: nothing that Slack did not sign, for this app and these workspaces,
// reaches the Handler; and no text that somebody else wrote stands where Slack
// reads markup. It neither retries, sleeps, decides nor remembers.
//
// The rules of the platform come from docs.slack.dev: authentication/
// verifying-requests-from-slack, interactivity/handling-user-interaction,
// apis/events-api, apis/web-api/rate-limits, reference/block-kit and
// messaging/formatting-message-text.
package slack
