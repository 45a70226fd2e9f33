package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/countersign/countersign/adapters/rest"
	"github.com/countersign/countersign/adapters/slack"
	"github.com/countersign/countersign/bot"
	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/identity/token"
	"github.com/countersign/countersign/policies/opa"
	"github.com/countersign/countersign/store/audit"
	"github.com/countersign/countersign/store/bolt"
)

const (
	// socketPause is how long to wait after Slack has refused the socket.
	socketPause = time.Minute
	// readyFor is how long an answer of /readyz holds: anybody may ask.
	readyFor = 5 * time.Second
)

// shutdownGrace is how long calls under way may take once the server stops.
const shutdownGrace = 10 * time.Second

func newServeCommand(env environment) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(file)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewJSONHandler(env.stderr, nil))
			s, err := newServer(cmd.Context(), c, env.getenv, log)
			if err != nil {
				return err
			}
			return s.run(cmd.Context())
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "countersign.yaml", "the configuration `file`")
	return cmd
}

// server is the whole object graph.
type server struct {
	config     *config
	log        *slog.Logger
	store      *bolt.Store
	broker     *bot.Broker
	reconciler *bot.Reconciler
	slack      *slack.Slack // nil when not configured
	http       *http.Server
	listener   net.Listener

	looking  sync.Mutex // guards the newest answer of /readyz
	looked   time.Time
	problems []rest.Problem
}

// newServer builds everything in the order in which it depends on each other,
// and listens, so that an address in use is told before anything runs.
func newServer(ctx context.Context, c *config, getenv func(string) string, log *slog.Logger) (*server, error) {
	directory, err := c.directory()
	if err != nil {
		return nil, fmt.Errorf("people and groups: %w", err)
	}
	verifier, err := token.NewVerifier(ctx, c.rules(), token.Options{Log: log})
	if err != nil {
		return nil, fmt.Errorf("service_accounts: %w", err)
	}
	engine, err := c.policy(ctx, log)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	minter, err := c.minter()
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	platforms, slackApp, err := c.platforms(getenv, log)
	if err != nil {
		return nil, err
	}
	verifiers, err := c.verifiers(getenv)
	if err != nil {
		return nil, fmt.Errorf("verifiers: %w", err)
	}
	db, err := c.openStore(log)
	if err != nil {
		return nil, err
	}
	broker := &bot.Broker{
		Store: db, Policy: engine, Minter: minter, Accounts: verifier, Directory: directory,
		Channels: c.destinations(), Platforms: platforms, AuditReaders: c.Audit.Readers,
		Log: log, Now: time.Now, NewRequestID: newRequestID, NewSecretID: newSecretID,
	}
	s := &server{config: c, log: log, store: db, broker: broker, reconciler: bot.NewReconciler(broker), slack: slackApp}
	api, err := rest.New(rest.Config{
		Broker: broker, Tokens: verifier, Minter: published{minter, c.PublicURL}, Issuer: c.PublicURL, Verifiers: verifiers,
		InvalidToken: token.ErrInvalid, KeysUnavailable: token.ErrKeysUnavailable,
		Ready: s.ready, Log: log, NewID: newSecretID,
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	mux := http.NewServeMux()
	api.Mount(mux)
	if slackApp != nil && !c.Slack.SocketMode {
		slackApp.Mount(mux, broker)
	}
	s.http = &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, WriteTimeout: time.Minute,
		// The machines' API sets its own time for a body, and none for a wait.
		ReadTimeout: 15 * time.Second, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	s.http.RegisterOnShutdown(api.Drain)
	if s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", c.Listen); err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), db.Close())
	}
	return s, nil
}

// run serves until ctx ends, then finishes what was accepted: first no new
// calls, then the cards under way, then the store.
func (s *server) run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var background errgroup.Group
	background.Go(func() error { s.reconciler.Run(work); return nil })
	socket, closeSocket := context.WithCancel(work)
	defer closeSocket()
	failed := make(chan error, 2)
	background.Go(func() error {
		if err := serveAdmin(work, s.config.statePath(adminSocket), adminHandler(s.broker, s.store)); err != nil {
			failed <- err
		}
		return nil
	})
	if s.slack != nil && s.config.Slack.SocketMode {
		background.Go(func() error { s.keepSocket(socket); return nil })
	}
	go func() { failed <- s.serve() }()
	s.log.Info("serving", "address", s.listener.Addr().String(), "public_url", s.config.PublicURL, "revision", s.broker.Policy.Revision())
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.log.Info("stopping")
	closeSocket()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if shutdown := s.http.Shutdown(grace); shutdown != nil {
		s.log.Warn("calls were cut off", "error", shutdown.Error())
		_ = s.http.Close() // they had their time
	}
	stop()
	return errors.Join(err, background.Wait(), s.store.Close())
}

// keepSocket runs Socket Mode until ctx ends. What Slack refuses (a revoked
// token) is told, and tried again: the machines' API goes on meanwhile.
func (s *server) keepSocket(ctx context.Context) {
	for {
		err := s.slack.Run(ctx, s.broker)
		if ctx.Err() != nil {
			return
		}
		s.log.Error("slack refuses the socket: run countersign doctor --online", "error", err.Error())
		select {
		case <-ctx.Done():
			return
		case <-time.After(socketPause):
		}
	}
}

func (s *server) serve() error {
	var err error
	if t := s.config.TLS; t != nil && !t.BehindProxy {
		err = s.http.ServeTLS(s.listener, s.config.path(t.CertFile), s.config.path(t.KeyFile))
	} else {
		err = s.http.Serve(s.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// ready reports what keeps the server from doing its work. It looks at most
// once in readyFor, and once at a time.
func (s *server) ready(ctx context.Context) []rest.Problem {
	s.looking.Lock()
	defer s.looking.Unlock()
	if time.Since(s.looked) > readyFor {
		s.problems, s.looked = s.look(ctx), time.Now()
	}
	return s.problems
}

func (s *server) look(ctx context.Context) []rest.Problem {
	var out []rest.Problem
	if err := s.store.Ping(ctx); err != nil {
		s.log.Error("store is not writable", "error", err.Error())
		out = append(out, rest.Problem{Component: "store", Detail: "the state cannot be written: see the server's log"})
	}
	if err := s.broker.PolicyAnswers(ctx); err != nil {
		s.log.Error("policy does not answer", "error", err.Error())
		out = append(out, rest.Problem{Component: "policy", Detail: "the policy does not answer: see the server's log"})
	}
	for name, p := range s.broker.Platforms {
		if err := p.Check(ctx, ""); err != nil {
			s.log.Warn("platform is not reachable", "platform", name, "error", err.Error())
			out = append(out, rest.Problem{Component: name, Detail: "the platform is not reachable: run countersign doctor --online"})
		}
	}
	return out
}

// published is the minter as the machines' API shows it.
type published struct {
	*token.Minter
	url string
}

func (p published) Discovery() []byte { return p.Minter.Discovery(p.url) }

func (c *config) rules() []token.Rule {
	var rules []token.Rule
	for _, a := range c.ServiceAccounts {
		r := token.Rule{
			Profile: a.Profile, Issuer: a.Issuer, Audience: a.Audience, Match: a.Match,
			Keys: token.KeySource{JWKSURL: a.Keys.JWKSURL, JWKSFile: c.path(a.Keys.JWKSFile), PublicKeyFile: c.path(a.Keys.PublicKeyFile)},
		}
		if r.Audience == "" {
			r.Audience = c.PublicURL
		}
		r.Name, r.Owners, r.Actions, r.Audiences, r.Scopes, r.Labels = a.Name, a.Owners, a.Actions, a.Audiences, a.Scopes, a.Labels
		rules = append(rules, r)
	}
	return rules
}

func (c *config) policy(ctx context.Context, log *slog.Logger) (*opa.Engine, error) {
	bundle, options := c.policySource(log)
	return opa.Load(ctx, bundle, options)
}

// minter loads the signing key of each algorithm that an audience wants, and
// makes those that are missing.
func (c *config) minter() (*token.Minter, error) {
	if err := os.MkdirAll(c.statePath(keyFolder), 0o700); err != nil {
		return nil, err
	}
	var keys []token.SigningKey
	var audiences []token.Audience
	seen := map[string]bool{}
	for _, a := range c.Audiences {
		alg := a.Algorithm
		if alg == "" {
			alg = "ES256"
		}
		audiences = append(audiences, token.Audience{Name: a.Name, Algorithm: alg})
		if seen[alg] {
			continue
		}
		seen[alg] = true
		key, err := loadOrMakeKey(c.statePath(keyFolder, alg+".pem"), alg)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return token.NewMinter(c.PublicURL, keys, audiences)
}

func loadOrMakeKey(path, alg string) (token.SigningKey, error) {
	key, err := token.LoadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = token.GenerateKey(alg); err != nil {
		return key, err
	}
	return key, token.WriteKey(path, key)
}

// openStore opens the database with the log's key. The key is made together
// with the database, and never for one that is there already.
func (c *config) openStore(log *slog.Logger) (*bolt.Store, error) {
	if err := os.MkdirAll(c.statePath(), 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(c.statePath(), 0o700); err != nil { // it may have been there before
		return nil, err
	}
	key, err := audit.LoadKey(c.statePath(auditKey))
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Stat(c.statePath(databaseFile)); statErr == nil {
			return nil, fmt.Errorf("%s is missing, but the log that it signs is there: restore the key from its backup", c.statePath(auditKey))
		}
		if key, err = audit.GenerateKey(c.origin()); err == nil {
			err = errors.Join(key.Save(c.statePath(auditKey)), os.WriteFile(c.statePath(auditVerifierKey), []byte(key.Public()+"\n"), 0o644))
		}
	}
	if err != nil {
		return nil, err
	}
	return bolt.Open(c.statePath(databaseFile), bolt.Options{Signer: key, Origin: c.Audit.Origin, Log: log})
}

// origin names a new log: by default after the host that machines know.
func (c *config) origin() string {
	if c.Audit.Origin != "" {
		return c.Audit.Origin
	}
	_, host, _ := strings.Cut(c.PublicURL, "://")
	return host + "/audit/1"
}

func (c *config) platforms(getenv func(string) string, log *slog.Logger) (map[string]chat.Platform, *slack.Slack, error) {
	platforms := map[string]chat.Platform{}
	if c.Slack == nil {
		return platforms, nil, nil
	}
	cfg, err := c.slackApp(getenv, log)
	if err != nil {
		return nil, nil, err
	}
	app, err := slack.New(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("slack: %w", err)
	}
	platforms[app.Name()] = app
	return platforms, app, nil
}

// slackApp resolves the secrets of the Slack app.
func (c *config) slackApp(getenv func(string) string, log *slog.Logger) (slack.Config, error) {
	bot, botErr := c.resolve(c.Slack.BotToken, getenv)
	app, appErr := c.resolve(c.Slack.AppToken, getenv)
	signing, signingErr := c.resolve(c.Slack.SigningSecret, getenv)
	if err := errors.Join(wrap("slack.bot_token", botErr), wrap("slack.app_token", appErr), wrap("slack.signing_secret", signingErr)); err != nil {
		return slack.Config{}, err
	}
	return slack.Config{
		BotToken: bot.Reveal(), AppToken: app.Reveal(), SigningSecret: signing.Reveal(), AppID: c.Slack.AppID, TeamIDs: c.Slack.TeamIDs,
		EnterpriseID: c.Slack.EnterpriseID, APIURL: c.Slack.APIURL, SocketMode: c.Slack.SocketMode, Log: log,
	}, nil
}

func wrap(where string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", where, err)
}

func (c *config) verifiers(getenv func(string) string) ([]rest.Verifier, error) {
	var out []rest.Verifier
	for _, v := range c.Verifiers {
		secret, err := c.resolve(v.Secret, getenv)
		if err != nil {
			return nil, wrap(v.Name, err)
		}
		out = append(out, rest.Verifier{Name: v.Name, Audience: v.Audience, SecretSHA256: sha256.Sum256([]byte(secret.Reveal()))})
	}
	return out, nil
}

func (c *config) destinations() map[string][]bot.Destination {
	out := map[string][]bot.Destination{}
	for name, ch := range c.Channels {
		for platform, id := range ch {
			out[name] = append(out[name], bot.Destination{Platform: platform, Channel: id})
		}
	}
	return out
}

// newRequestID is time-ordered: a ULID.
func newRequestID() string { return "req_" + strings.ToLower(ulid.Make().String()) }

// newSecretID is 160 random bits in lower-case base 32.
func newSecretID() string {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))
}
