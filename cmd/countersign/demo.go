package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/countersign/countersign/adapters/emulator"
	"github.com/countersign/countersign/identity/token"
)

// demoConfig is the configuration that the demo writes and then loads like any
// other.
const demoConfig = `# Made by "countersign demo". Everything listens on loopback.
public_url: %[1]s
listen: %[2]s
state: .

service_accounts:
  - name: ci-bot
    profile: assertion          # signs its own tokens with ci-bot.key.pem
    issuer: ci-bot
    keys: {public_key_file: ci-bot.pub.pem}
    owners: [p_timtrigger]
    actions: [deploy, rotate-key, read-data]
    audiences: [shop-production]
    scopes: ["deploy:shop", "read:shop"]
  - name: test-bot              # may touch the test environment only: what it asks there is routine
    profile: assertion
    issuer: test-bot
    keys: {public_key_file: test-bot.pub.pem}
    owners: [p_timtrigger]
    actions: [deploy]
    audiences: [shop-test]
    scopes: ["deploy:shop-test"]
    labels: {environment: test}

audiences:
  - {name: shop-production, algorithm: ES256}
  - {name: shop-test}
verifiers:
  - {name: shop, audience: shop-production, secret: {file: secrets/verifier}}

people:
  - {id: p_adaapprover, name: Ada Approver, accounts: ["slack:%[3]s/U0ADA"]}
  - {id: p_graceguardian, name: Grace Guardian, accounts: ["slack:%[3]s/U0GRACE"]}
  - {id: p_timtrigger, name: Tim Trigger, accounts: ["slack:%[3]s/U0TIM"]}
  - {id: p_gusguest, name: Gus Guest, accounts: ["slack:%[3]s/U0GUS"]}
groups:
  release: {people: [p_adaapprover, p_graceguardian, p_timtrigger, p_gusguest], mentions: {slack: S0RELEASE}}
  security: {people: [p_adaapprover, p_graceguardian]}
  data-owners: {people: [p_adaapprover, p_graceguardian]}
  approvers: {people: [p_adaapprover, p_graceguardian]}
channels:
  approvals: {slack: C0DEPLOYS}
  security: {slack: C0SECURITY}

slack:
  api_url: %[4]s/api/           # a real workspace needs no api_url
  app_id: %[5]s
  team_ids: [%[3]s]
  bot_token: {file: secrets/slack-bot-token}
  signing_secret: {file: secrets/slack-signing-secret}

policy:
  data:
    config:
      raise: {files: 100000, lines: 10000000}       # one click is enough, however large the commit is
      rules: {rotate: {any: {channels: [security]}}}
audit:
  origin: countersign.demo/audit/1
  readers: [security]
`

func newDemoCommand(env environment) *cobra.Command {
	d := &demo{env: env}
	var script bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the main job on this machine, with a local chat workspace to click in",
		Long: `Start a server and a local chat workspace on loopback, and ask for a deployment
of the last commit of the git work tree that you stand in. Open the page that is
printed, click Approve, and watch the credential arrive.

With --script, or without a terminal, the whole story is played through the same
wire protocols without anybody clicking: each step is checked and printed, and
the exit code is not 0 if a single one is not as it should be.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return d.run(cmd.Context(), script || !isTerminal(env.stdin) || !isTerminal(env.stdout))
		},
	}
	cmd.Flags().BoolVar(&script, "script", false, "play the whole story without a person")
	cmd.Flags().StringVar(&d.state, "state", ".demo", "the `folder` for configuration, keys and database")
	cmd.Flags().StringVar(&d.listen, "listen", "127.0.0.1:8480", "the server's `address`; port 0 takes a free one")
	cmd.Flags().StringVar(&d.chat, "chat", "127.0.0.1:8481", "the chat page's `address`; port 0 takes a free one")
	return cmd
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// demo is a server and a chat workspace in one process. They know each other by
// their addresses only.
type demo struct {
	env                 environment
	state, listen, chat string
	limits              *emulator.Limits // of the workspace; Slack's own if nil

	config *config
	slack  *emulator.Slack
	page   string // the chat page's address
	stop   context.CancelFunc
}

// path is a file in the demo's state.
func (d *demo) path(name string) string { return filepath.Join(d.state, name) }

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.env.stdout, format+"\n", args...) }

// run starts everything, lets the story or the person go on, and stops.
func (d *demo) run(ctx context.Context, script bool) error {
	ctx, d.stop = context.WithCancel(ctx)
	defer d.stop()
	log, closeLog, err := d.openLog()
	if err != nil {
		return err
	}
	defer closeLog()
	ln, err := d.prepare(ctx, log)
	if err != nil {
		return err
	}
	var all errgroup.Group
	all.Go(func() error { return d.slack.Serve(ctx, ln) })
	if d.config, err = loadConfig(d.path("countersign.yaml")); err != nil {
		return err
	}
	s, err := newServer(ctx, d.config, d.env.getenv, log)
	if err != nil {
		return errors.Join(err, d.halt(&all))
	}
	all.Go(func() error {
		defer d.stop()
		return s.run(ctx)
	})
	if err := d.awaitServer(ctx); err != nil {
		return errors.Join(err, d.halt(&all))
	}
	if script {
		err = d.play(ctx)
	} else {
		err = d.show(ctx)
	}
	return errors.Join(err, d.halt(&all))
}

func (d *demo) halt(all *errgroup.Group) error {
	d.stop()
	return all.Wait()
}

// openLog keeps the server's log out of the way, in the state folder.
func (d *demo) openLog() (*slog.Logger, func(), error) {
	if err := os.MkdirAll(filepath.Join(d.state, "secrets"), 0o700); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(d.path("server.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(slog.NewJSONHandler(f, nil)), func() { _ = f.Close() }, nil
}

// prepare makes the workspace, the machine's key and the configuration. What a
// run before has left goes on: keys, database and log.
func (d *demo) prepare(ctx context.Context, log *slog.Logger) (net.Listener, error) {
	var err error
	if d.listen, err = freePort(d.listen); err != nil {
		return nil, err
	}
	d.slack = emulator.New(emulator.Options{Log: log, Limits: d.limits})
	ln, err := d.slack.Listen(d.chat)
	if err != nil {
		return nil, fmt.Errorf("the chat page: %w (choose another address with --chat)", err)
	}
	d.page = "http://" + ln.Addr().String()
	server := "http://" + d.listen
	d.slack.SetRequestURLs(server+"/slack/interactions", server+"/slack/commands", server+"/slack/events")
	if err := d.ours(ctx); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	if err := errors.Join(d.machineKey("ci-bot"), d.machineKey("test-bot"), d.verifierSecret()); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	text := fmt.Sprintf(demoConfig, server, d.listen, d.slack.TeamID(), d.page, d.slack.AppID())
	for name, content := range map[string]string{
		"countersign.yaml": text, "secrets/slack-bot-token": d.slack.BotToken(), "secrets/slack-signing-secret": d.slack.SigningSecret(),
	} {
		if err := os.WriteFile(d.path(name), []byte(content), 0o600); err != nil {
			return nil, errors.Join(err, ln.Close())
		}
	}
	return ln, nil
}

// ours refuses a folder with a configuration that the demo did not make, or on
// which a server runs: nothing of theirs is written over.
func (d *demo) ours(ctx context.Context) error {
	if err := newSocketLog(d.path(adminSocket)).alive(ctx); !errors.Is(err, errNoServer) {
		return errors.Join(fmt.Errorf("a server runs on the state in %s: stop it, or choose another folder with --state", d.state), err)
	}
	text, err := os.ReadFile(d.path("countersign.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if first, _, _ := strings.Cut(demoConfig, "\n"); err == nil && !strings.HasPrefix(string(text), first) {
		err = fmt.Errorf("%s was not made by the demo: choose another folder with --state", d.path("countersign.yaml"))
	}
	return err
}

// machineKey makes a service account's key pair, unless it is there.
func (d *demo) machineKey(account string) error {
	key, err := loadOrMakeKey(d.path(account+".key.pem"), "ES256")
	if err != nil {
		return err
	}
	public, err := token.PublicPEM(key.Public())
	if err != nil {
		return err
	}
	return os.WriteFile(d.path(account+".pub.pem"), public, 0o644)
}

// verifierSecret makes the secret by which the deploy target introspects.
func (d *demo) verifierSecret() error {
	f, err := os.OpenFile(d.path("secrets/verifier"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, rand.Text()+"\n")
	return errors.Join(err, f.Close())
}

// freePort replaces port 0 by a free one: the address stands in the
// configuration, so it must be known before the server listens.
func freePort(addr string) (string, error) {
	if !strings.HasSuffix(addr, ":0") {
		return addr, nil
	}
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// awaitServer waits until the server is ready.
func (d *demo) awaitServer(ctx context.Context) error {
	for range 100 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.config.PublicURL+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("the server does not become ready: see %s", d.path("server.log"))
}

// requestArgs is the command line by which a service account asks.
func (d *demo) requestArgs(account string, args ...string) []string {
	return append([]string{"request", "--server", d.config.PublicURL, "--key", d.path(account + ".key.pem"), "--issuer", account}, args...)
}

// lastCommit asks for a deployment of the last commit here.
func (d *demo) lastCommit(extra ...string) []string {
	return d.requestArgs("ci-bot", append([]string{
		"--action", "deploy", "--resource", "shop/api", "--environment", "production", "--scopes", "deploy:shop",
		"--audience", "shop-production", "--ttl", "10m", "--reason", "Roll out the last commit", "--check", "unit tests=passed:412 of 412",
		"--check", "image scan=passed:0 critical:0", "--ticket", "SHOP-1024", "--triggered-by", "slack:" + d.slack.TeamID() + "/" + emulator.Tim + ":Tim Trigger",
	}, extra...)...)
}

// show asks once, waits for a person, and leaves everything running.
func (d *demo) show(ctx context.Context) error {
	d.say(`
  Countersign runs at %s, and a chat workspace at

      %s

  1. Open that page. You are Ada, who may approve deployments.
  2. A card in #deploys shows what the machine below asks for. Compare the short code.
  3. Click Approve. The command below goes on by itself.
`, d.config.PublicURL, d.page)
	credential := filepath.Join(d.state, "credential")
	receipt := filepath.Join(d.state, "receipt.json")
	for _, name := range []string{credential, receipt} { // of a run before
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	args := d.lastCommit("--credential-file", credential, "--receipt-file", receipt)
	d.say("  $ countersign %s\n", strings.Join(quoted(args), " "))
	err := run(ctx, args, d.env.stdin, d.env.stdout, d.env.stderr, d.env.getenv)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // Ctrl-C is how it ends
	}
	if err != nil {
		d.say("\n  The request came to its end without a credential: %s", err)
	} else if err := d.proveFiles(ctx, credential, receipt); err != nil {
		return err
	}
	d.say(`
  Go on as you like; Ctrl-C ends it. In the page, type:   /approvals audit    /approvals help
  In another terminal, for example:
      bin/countersign audit query --config %[1]s
      bin/countersign audit verify --config %[1]s
      bin/countersign doctor --config %[1]s
      bin/countersign %[2]s
`, d.path("countersign.yaml"), strings.Join(quoted(d.lastCommit()), " "))
	<-ctx.Done()
	return nil
}

// proveFiles checks what the command line has received.
func (d *demo) proveFiles(ctx context.Context, credential, receipt string) error {
	raw, err := os.ReadFile(credential)
	if err != nil {
		return err
	}
	g, err := d.proveCredential(ctx, strings.TrimSpace(string(raw)))
	if err != nil {
		return err
	}
	d.say("\n  ✓ the credential verifies against %s/.well-known/jwks.json: %s may %s until %s", d.config.PublicURL, g.subject, g.scope, g.expires.Format(time.TimeOnly))
	text, err := os.ReadFile(receipt)
	if err != nil {
		return err
	}
	if err := d.proveReceipt(text, string(raw)); err != nil {
		return err
	}
	d.say("  ✓ its receipt proves that it stands in the audit log")
	var out strings.Builder
	if err := run(ctx, []string{"audit", "verify", "--config", d.path("countersign.yaml")}, strings.NewReader(""), &out, &out, d.env.getenv); err != nil {
		return err
	}
	d.say("  ✓ the audit log verifies")
	return nil
}

// quoted makes arguments safe to paste into a shell.
func quoted(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = a
		if strings.ContainsAny(a, " \"'$`\\*?#&;()<>|") {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return out
}
