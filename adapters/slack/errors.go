package slack

import (
	"context"
	"errors"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/countersign/countersign/bot/chat"
)

// waitUnnamed is how long to wait after a rate limit that names no time: the
// limits are counted by the minute (apis/web-api/rate-limits).
const waitUnnamed = time.Minute

// maxWait bounds what a platform can make us wait.
const maxWait = time.Hour

// op is one method of the Web API. A repeatable one does no harm when it is
// done twice, so that an unknown outcome is simply tried again.
type op struct {
	name       string
	repeatable bool
}

var (
	opPost      = op{name: "chat.postMessage"}
	opUpdate    = op{"chat.update", true}
	opFind      = op{"conversations.history", true}
	opOpen      = op{"conversations.open", true}
	opNote      = op{name: "chat.postMessage (thread)"}
	opAttach    = op{name: "files.upload"}
	opMember    = op{"users.info", true}
	opAuth      = op{"auth.test", true}
	opChannel   = op{"conversations.info", true}
	opView      = op{"views.open", true}
	opEphemeral = op{"chat.postEphemeral", true}
	opAnswer    = op{"response_url", true}
	opConnect   = op{"apps.connections.open", true}
)

// verdict is what an error code of Slack means for us.
type verdict struct {
	class chat.Class
	fix   string
}

const (
	fixToken   = "check bot_token: reinstall the app and copy the new token"
	fixInvite  = "invite the bot to the channel: /invite @countersign"
	fixChannel = "check the channel's id, and invite the bot if the channel is private"
	fixAllowed = "let the app post there: a workspace setting forbids it"
	fixCard    = "this card breaks a limit of Slack that the adapter does not know: please report it"
)

// verdicts sorts Slack's error codes. What is not in it may have happened.
var verdicts = map[string]verdict{
	"ratelimited":                {chat.RateLimited, ""},
	"rate_limited":               {chat.RateLimited, ""},
	"message_limit_exceeded":     {chat.RateLimited, ""},
	"too_many_websockets":        {chat.RateLimited, ""},
	"request_timeout":            {chat.Retry, ""},
	"team_added_to_org":          {chat.Retry, ""},
	"external_channel_migrating": {chat.Retry, ""},
	"streaming_state_conflict":   {chat.Retry, ""},

	"message_not_found":       {chat.Gone, ""},
	"cant_update_message":     {chat.Gone, ""},
	"edit_window_closed":      {chat.Gone, ""},
	"block_mismatch":          {chat.Gone, ""},
	"is_inactive":             {chat.Gone, ""},
	"is_archived":             {chat.Gone, ""},
	"channel_is_archived":     {chat.Gone, ""},
	"thread_not_found":        {chat.Gone, ""},
	"cannot_reply_to_message": {chat.Gone, ""},
	"user_disabled":           {chat.Gone, ""},
	"user_not_found":          {chat.Gone, ""},
	"user_not_visible":        {chat.Gone, ""},
	"users_not_found":         {chat.Gone, ""},

	"invalid_auth":             {chat.Misconfigured, fixToken},
	"not_authed":               {chat.Misconfigured, fixToken},
	"account_inactive":         {chat.Misconfigured, fixToken},
	"token_revoked":            {chat.Misconfigured, fixToken},
	"token_expired":            {chat.Misconfigured, fixToken},
	"not_allowed_token_type":   {chat.Misconfigured, fixToken},
	"no_permission":            {chat.Misconfigured, fixToken},
	"org_login_required":       {chat.Misconfigured, "wait until the workspace has moved to its organisation, then reinstall the app"},
	"ekm_access_denied":        {chat.Misconfigured, "an administrator has suspended access to messages"},
	"missing_scope":            {chat.Misconfigured, "add the missing scope to the app and reinstall it"},
	"team_access_not_granted":  {chat.Misconfigured, "grant the app access to the workspace"},
	"team_not_found":           {chat.Misconfigured, "check team_ids"},
	"access_denied":            {chat.Misconfigured, fixAllowed},
	"enterprise_is_restricted": {chat.Misconfigured, fixAllowed},
	"plan_upgrade_required":    {chat.Misconfigured, "the workspace's plan does not have this"},
	"messages_tab_disabled":    {chat.Misconfigured, "switch on the messages tab of App Home"},
	"not_in_channel":           {chat.Misconfigured, fixInvite},
	"channel_not_found":        {chat.Misconfigured, fixChannel},
	"invalid_blocks":           {chat.Misconfigured, fixCard},
	"invalid_blocks_format":    {chat.Misconfigured, fixCard},
	"msg_blocks_too_long":      {chat.Misconfigured, fixCard},
	"msg_too_long":             {chat.Misconfigured, fixCard},
	"metadata_too_large":       {chat.Misconfigured, fixCard},
	"invalid_metadata_format":  {chat.Misconfigured, fixCard},
	"no_text":                  {chat.Misconfigured, fixCard},
	"invalid_arguments":        {chat.Misconfigured, fixCard},
	"invalid_trigger":          {chat.Gone, ""},
	"invalid_trigger_id":       {chat.Gone, ""},
	"expired_trigger_id":       {chat.Gone, ""},
	"exchanged_trigger_id":     {chat.Gone, ""},
	"view_too_large":           {chat.Misconfigured, fixCard},
}

var (
	codePattern  = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)
	scopePattern = regexp.MustCompile(`^[a-z:._, ]{1,200}$`)
)

// classify turns an error of the library into one of ours. It carries over only
// words that it knows the shape of: the error of a call may hold its address,
// and with that a token or a response_url.
func classify(o op, err error) error {
	var done *chat.Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	e := &chat.Error{Op: o.name}
	var answer slack.SlackErrorResponse
	var limited *slack.RateLimitedError
	var status slack.StatusCodeError
	switch {
	case errors.As(err, &limited):
		e.Class, e.Code, e.After = chat.RateLimited, "ratelimited", min(max(limited.RetryAfter, time.Second), maxWait)
	case errors.As(err, &answer):
		judge(e, o, answer)
	case errors.As(err, &status):
		judgeStatus(e, o, status.Code)
	case notSent(err):
		e.Class, e.Code = chat.Retry, "unreachable"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		e.Class, e.Code = unknown(o), "timeout"
	default:
		e.Class, e.Code = unknown(o), "unreadable_answer"
	}
	return e
}

func judge(e *chat.Error, o op, answer slack.SlackErrorResponse) {
	e.Code = answer.Err
	if !codePattern.MatchString(e.Code) {
		e.Class, e.Code = unknown(o), "unreadable_answer"
		return
	}
	v, known := verdicts[e.Code]
	switch {
	case !known && strings.HasPrefix(e.Code, "restricted_action"):
		v = verdict{chat.Misconfigured, fixAllowed}
	case !known:
		v.class = unknown(o)
	case e.Code == "channel_not_found" && o != opPost && o != opChannel && o != opFind:
		// There was a message: its channel is no more. Before a first post it is
		// as likely a private channel that nobody has let the bot into.
		v = verdict{class: chat.Gone}
	}
	e.Class, e.Fix = v.class, v.fix
	if e.Class == chat.RateLimited {
		e.After = waitUnnamed
	}
	if e.Code == "missing_scope" && scopePattern.MatchString(answer.Needed) {
		e.Fix = "add the scope " + answer.Needed + " to the app and reinstall it"
	}
}

func judgeStatus(e *chat.Error, o op, status int) {
	switch {
	case status == http.StatusTooManyRequests:
		e.Class, e.Code, e.After = chat.RateLimited, "ratelimited", waitUnnamed
	case status >= 300 && status < 400:
		e.Class, e.Code, e.Fix = chat.Misconfigured, "redirected", "check api_url"
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		e.Class, e.Code, e.Fix = chat.Misconfigured, "http_forbidden", fixToken
	case status == http.StatusNotFound:
		e.Class, e.Code, e.Fix = chat.Misconfigured, "http_not_found", "check api_url"
	default:
		e.Class, e.Code = unknown(o), "http_error"
	}
}

// unknown is the class of a call that may have been done.
func unknown(o op) chat.Class {
	if o.repeatable {
		return chat.Retry
	}
	return chat.Ambiguous
}

// empty is the error of an answer that says neither yes nor no.
func empty(o op) error {
	return &chat.Error{Class: unknown(o), Op: o.name, Code: "empty_answer"}
}

// notSent reports whether a call failed before its first byte left.
func notSent(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// code is the word for a log: never the text of an error.
func code(err error) string {
	var e *chat.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return "error"
}
