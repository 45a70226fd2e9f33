package slack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/countersign/countersign/bot/chat"
)

const (
	// handlerDeadline leaves one of Slack's three seconds for the way there and
	// back (interactivity/handling-user-interaction).
	handlerDeadline = 2 * time.Second
	// callTimeout bounds one call of the Web API.
	callTimeout = 10 * time.Second
	// maxAnswer bounds what is read of one answer of the Web API.
	maxAnswer = 16 << 20
)

var (
	teamPattern       = regexp.MustCompile(`^T[A-Z0-9]{1,30}$`)
	enterprisePattern = regexp.MustCompile(`^E[A-Z0-9]{1,30}$`)
	appPattern        = regexp.MustCompile(`^A[A-Z0-9]{1,30}$`)
	userPattern       = regexp.MustCompile(`^[UW][A-Z0-9]{1,30}$`)
	groupPattern      = regexp.MustCompile(`^S[A-Z0-9]{1,30}$`)
	channelPattern    = regexp.MustCompile(`^[CDG][A-Z0-9]{1,30}$`)
	stampPattern      = regexp.MustCompile(`^[0-9]{1,12}\.[0-9]{1,9}$`)
	// mentionsPattern is all the markup that we ever write.
	mentionsPattern = regexp.MustCompile(`^(<!subteam\^S[A-Z0-9]{1,30}>|<@[UW][A-Z0-9]{1,30}>)( (<!subteam\^S[A-Z0-9]{1,30}>|<@[UW][A-Z0-9]{1,30}>))*$`)
)

// Config is what an installation of the app needs to know.
type Config struct {
	// BotToken is the bot user's token, xoxb-….
	BotToken string
	// AppToken is the app-level token, xapp-…, with connections:write. Only
	// Socket Mode needs it.
	AppToken string
	// SigningSecret proves that an HTTP request comes from Slack. Only Socket
	// Mode can do without.
	SigningSecret string
	// AppID is our own app, A….
	AppID string
	// TeamIDs are the workspaces whose people may act, T…; at least one.
	TeamIDs []string
	// EnterpriseID is the Enterprise Grid organisation, E…, if there is one.
	EnterpriseID string
	// APIURL is where the Web API lives; Slack's own if empty. It ends in /.
	APIURL string
	// HTTPClient calls the Web API, with a time limit and without redirects
	// whatever it says itself. Nil uses http.DefaultTransport.
	HTTPClient *http.Client
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Log is where refusals and failures are told; slog.Default if nil.
	Log *slog.Logger
	// SocketMode receives over a socket that we open, so that Slack needs no
	// address of ours.
	SocketMode bool
}

// Slack is one installation of the app. It implements chat.Platform.
type Slack struct {
	cfg      Config
	api      *slack.Client
	client   *http.Client
	apiURL   *url.URL
	log      *slog.Logger
	deadline time.Duration
	ping     time.Duration
	backoff  time.Duration
}

var _ chat.Platform = (*Slack)(nil)

// New checks a configuration and returns the platform. The error joins all
// faults and names none of the secrets.
func New(cfg Config) (*Slack, error) {
	if cfg.APIURL == "" {
		cfg.APIURL = slack.APIURL
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	api, err := cfg.check()
	if err != nil {
		return nil, err
	}
	cfg.TeamIDs = slices.Clone(cfg.TeamIDs)
	s := &Slack{
		cfg: cfg, apiURL: api, client: client(cfg.HTTPClient), log: cfg.Log,
		deadline: handlerDeadline, ping: 30 * time.Second, backoff: time.Second,
	}
	s.api = slack.New(cfg.BotToken,
		slack.OptionAPIURL(cfg.APIURL),
		slack.OptionHTTPClient(s.client),
		slack.OptionAppLevelToken(cfg.AppToken),
		slack.OptionLog(quiet{}),
	)
	return s, nil
}

// Name implements chat.Platform.
func (s *Slack) Name() string { return "slack" }

// LogValue keeps the secrets of a configuration out of logs.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("app_id", c.AppID), slog.Any("team_ids", c.TeamIDs), slog.Bool("socket_mode", c.SocketMode))
}

// String keeps the secrets of a configuration out of fmt.
func (c Config) String() string { return "slack app " + c.AppID }

// GoString keeps the secrets of a configuration out of %#v.
func (c Config) GoString() string { return c.String() }

func (c *Config) check() (*url.URL, error) {
	var faults []error
	fault := func(bad bool, message string) {
		if bad {
			faults = append(faults, errors.New("slack: "+message))
		}
	}
	fault(!strings.HasPrefix(c.BotToken, "xox"), "bot_token must be a bot token (xoxb-…): take it from OAuth & Permissions")
	fault(c.SocketMode && !strings.HasPrefix(c.AppToken, "xapp-"), "app_token must be an app-level token (xapp-…) with connections:write, for Socket Mode")
	fault(!c.SocketMode && c.SigningSecret == "", "signing_secret is empty: without it anybody could approve; take it from Basic Information, or use Socket Mode")
	fault(!appPattern.MatchString(c.AppID), "app_id must be the app's id (A…)")
	fault(len(c.TeamIDs) == 0, "team_ids must name at least one workspace (T…): an empty list would let nobody act")
	for _, id := range c.TeamIDs {
		fault(!teamPattern.MatchString(id), fmt.Sprintf("team_ids: %.40q is no workspace id (T…)", id))
	}
	fault(c.EnterpriseID != "" && !enterprisePattern.MatchString(c.EnterpriseID), "enterprise_id must be an organisation's id (E…)")
	u, err := url.Parse(c.APIURL)
	if err != nil {
		fault(true, "api_url cannot be read")
		return nil, errors.Join(faults...)
	}
	fault(u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())), "api_url must be https, or http on a loopback address")
	fault(!strings.HasSuffix(u.Path, "/") || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Host == "",
		"api_url must be a plain address that ends in /, like https://slack.com/api/")
	return u, errors.Join(faults...)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// client follows no redirect, for one would carry the token elsewhere, and
// bounds the time and the size of an answer.
func client(given *http.Client) *http.Client {
	c := http.Client{Transport: http.DefaultTransport}
	if given != nil {
		c = *given
		if c.Transport == nil {
			c.Transport = http.DefaultTransport
		}
	}
	c.Transport = capped{c.Transport}
	c.Timeout = callTimeout
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// capped bounds what is read of an answer.
type capped struct{ next http.RoundTripper }

func (t capped) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

// quiet drops what the library would log: it knows of message content.
type quiet struct{}

func (quiet) Output(int, string) error { return nil }

// ours reports whether a workspace, or the organisation of one, is ours. An
// empty id is nobody's.
func (s *Slack) ours(team, enterprise string) bool {
	if team != "" {
		return slices.Contains(s.cfg.TeamIDs, team) || s.organisation(enterprise)
	}
	return s.organisation(enterprise)
}

func (s *Slack) organisation(id string) bool {
	return id != "" && id == s.cfg.EnterpriseID
}

// background is a context for work after an acknowledgement: the caller may go
// away, the work has its own limit.
func background(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
}
