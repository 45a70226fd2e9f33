// Package emulator owns a local Slack: its Web API, signed deliveries, Socket
// Mode, response URLs and modals as they go over the wire, with people who act
// and a page to watch and click.
//
// The demo runs against it and so do tests: a client built for the real
// platform talks to it with nothing but its API URL changed. It therefore
// imports nothing of the rest of the repository, and refuses whatever the
// platform is known to refuse; where the platform's behaviour is not
// documented, it takes the less convenient reading.
//
// Its rule: it serves this machine only. Listen refuses any other address, and
// the handler refuses a caller or a Host header that is not loopback. Whoever
// can open the page can act as anybody in it, so nothing of value may hang on
// its answers.
package emulator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Options set up a workspace. The zero value is a workspace with the default
// people and channels, fresh random secrets and the platform's own limits.
type Options struct {
	// Now tells the time; nil means time.Now. It rules message timestamps,
	// signatures, the life of trigger ids and response URLs, and rate limits.
	Now func() time.Time
	// NewID returns at least 24 random letters and digits; nil means rand.Text.
	NewID func() string
	// Log receives one line for each call and delivery; nil discards them. No
	// line holds a token, a secret or a message.
	Log *slog.Logger
	// Client sends the signed deliveries; nil means a client without redirects.
	Client *http.Client

	// TeamID, AppID and AppName are the workspace and the app installed in it;
	// empty means DefaultTeam, DefaultApp and "Countersign".
	TeamID, AppID, AppName string
	// Command is the app's slash command; empty means "/approvals".
	Command string
	// BotToken, AppToken and SigningSecret are made at random when empty.
	BotToken, AppToken, SigningSecret string
	// Scopes are the bot token's; nil means AllScopes.
	Scopes []string
	// Events are the event types that the app is subscribed to, such as
	// "app_mention" and "message.im". App.Event sends any type at once.
	Events []string

	// SocketMode sends everything over web sockets and nothing over HTTP.
	SocketMode bool
	// Limits are the rate limits; nil means SlackLimits, and &Limits{} none.
	Limits *Limits
	// AckWithin is how long the app has for an answer, in real time; zero means 3 s.
	AckWithin time.Duration
	// EventRetries are the pauses before an event is sent again; nil means at
	// once, after 1 minute and after 5 minutes.
	EventRetries []time.Duration
	// Payload, if not nil, may change what is sent before it is signed: a null
	// team, a strange app id. The kind is the payload's type ("block_actions"),
	// the event's type, or the slash command, whose values are strings.
	Payload func(kind string, payload map[string]any)
}

// Slack is one workspace with one app installed. It is safe for concurrent use.
type Slack struct {
	opt     Options
	log     *slog.Logger
	handler http.Handler
	closed  context.Context
	close   context.CancelFunc

	mu       sync.Mutex
	base     string // "http://127.0.0.1:4000"; set, or learned from the first request
	urls     map[Kind]string
	users    []*User
	channels []*Channel
	groups   []*Group
	messages []*Message // in the order of posting, ephemeral ones among them
	lastTS   time.Time
	triggers map[string]*trigger
	hooks    map[string]*hook
	views    map[string][]*View // user id → stack, the visible one last
	files    []*File
	uploads  map[string]*File
	buckets  map[string]*bucket
	faults   []*Fault
	calls    []Call
	sent     []Delivery
	links    map[string]time.Time // socket keys not yet used → their end
	sockets  []*socket
	nextSock int
	refuse   bool // no new sockets
	watchers map[chan struct{}]struct{}
}

// New sets up a workspace. Close ends its sockets and retries.
func New(opt Options) *Slack {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.NewID == nil {
		opt.NewID = rand.Text
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Client == nil {
		opt.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	orDefault(&opt.TeamID, DefaultTeam)
	orDefault(&opt.AppID, DefaultApp)
	orDefault(&opt.AppName, "Countersign")
	orDefault(&opt.Command, "/approvals")
	orDefault(&opt.BotToken, "xoxb-emulator-"+opt.NewID())
	orDefault(&opt.AppToken, "xapp-emulator-"+opt.NewID())
	orDefault(&opt.SigningSecret, strings.ToLower(opt.NewID()))
	if opt.Scopes == nil {
		opt.Scopes = AllScopes()
	}
	if opt.Limits == nil {
		opt.Limits = SlackLimits()
	}
	if opt.AckWithin == 0 {
		opt.AckWithin = 3 * time.Second
	}
	if opt.EventRetries == nil {
		opt.EventRetries = []time.Duration{0, time.Minute, 5 * time.Minute}
	}
	s := &Slack{
		opt: opt, log: opt.Log,
		urls:     map[Kind]string{},
		triggers: map[string]*trigger{},
		hooks:    map[string]*hook{},
		views:    map[string][]*View{},
		uploads:  map[string]*File{},
		buckets:  map[string]*bucket{},
		links:    map[string]time.Time{},
		watchers: map[chan struct{}]struct{}{},
	}
	s.closed, s.close = context.WithCancel(context.Background())
	s.settle()
	s.handler = s.routes()
	return s
}

func orDefault(p *string, v string) {
	if *p == "" {
		*p = v
	}
}

// Close ends every web socket and every waiting retry.
func (s *Slack) Close() {
	s.close()
	s.DropSockets()
}

// BotToken is the app's xoxb- token.
func (s *Slack) BotToken() string { return s.opt.BotToken }

// AppToken is the app's xapp- token, for Socket Mode.
func (s *Slack) AppToken() string { return s.opt.AppToken }

// SigningSecret signs what is delivered over HTTP.
func (s *Slack) SigningSecret() string { return s.opt.SigningSecret }

// TeamID is the workspace, AppID the app.
func (s *Slack) TeamID() string { return s.opt.TeamID }

// AppID is the id of the app.
func (s *Slack) AppID() string { return s.opt.AppID }

// SetRequestURLs says where the app listens. An empty URL is not served.
func (s *Slack) SetRequestURLs(interactions, commands, events string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.urls = map[Kind]string{Interactions: interactions, Commands: commands, Events: events}
}

// SetURL says where this workspace's own handler is reached, such as
// "http://127.0.0.1:4000". Without it, the first request tells. Response URLs,
// permalinks and upload addresses start with it.
func (s *Slack) SetURL(base string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base = strings.TrimSuffix(base, "/")
}

// ErrNotLoopback refuses to serve anybody but this machine.
var ErrNotLoopback = errors.New("the emulator listens on a loopback address only")

// Listen opens addr ("127.0.0.1:0", "localhost:4000"), which must be a loopback
// address, and sets the workspace's URL.
func (s *Slack) Listen(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is no host:port", ErrNotLoopback, addr)
	}
	if !loopback(host) {
		return nil, fmt.Errorf("%w: %q is none", ErrNotLoopback, addr)
	}
	ln, err := (&net.ListenConfig{}).Listen(s.closed, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if a, ok := ln.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("%w: %s is none", ErrNotLoopback, ln.Addr()), ln.Close())
	}
	s.SetURL("http://" + ln.Addr().String())
	return ln, nil
}

// Serve answers on ln until ctx ends, which closes the workspace too.
func (s *Slack) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		s.Close()
		_ = srv.Close()
	})
	err := srv.Serve(ln)
	if !stop() {
		<-done
	}
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
