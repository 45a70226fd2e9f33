package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/countersign/countersign/adapters/rest/client"
)

const exitHelp = `Exit codes:
  0   approved (and, with scopes, the credential was handed over)
  1   another error
  2   wrong usage
  10  denied by the policy
  11  denied by a person
  12  expired: nobody answered in time, or the approval ran out
  13  undeliverable: nobody could be asked
  14  cancelled
  15  revoked
  20  no decision is known yet: the server cannot be reached, --timeout or a
      signal ended the wait, or --no-wait was given. Nothing was decided by that;
      go on with: countersign request --resume ID`

const requestLong = `Ask for a privileged action, wait for the decision, and take the credential.

The short code is printed at once; people see the same one on the card. With
--scopes, the credential is the only line on standard output, or goes to
--credential-file; without, the decision is all there is.

Who asks is proven by a key (--key and --issuer: see countersign keys new), or,
inside a GitHub Actions job with "permissions: id-token: write", by the job's own
token. Commit, author, branch, change and run are collected by themselves where
there is a git work tree or a GitHub Actions job.

`

// requestFlags is the command line of countersign request.
type requestFlags struct {
	server, audienceURL, key, issuer string

	action, resource, audience, reason, environment, risk, triggeredBy string

	scopes, checks, links, tickets, labels []string

	ttl            time.Duration
	diff           string
	resume         string
	idempotencyKey string
	timeout        time.Duration
	noWait         bool
	cancel         bool
	credentialFile string
	receiptFile    string
}

func newRequestCommand(env environment) *cobra.Command {
	f := requestFlags{}
	cmd := &cobra.Command{
		Use:     "request --action A --resource R --reason TEXT",
		Short:   "Ask for a privileged action and wait for the decision",
		Long:    requestLong + exitHelp,
		Example: `  countersign request --action deploy --resource payments --environment production --scopes deploy:payments --audience https://deploy.example.com --ttl 10m --reason "release 2026.11.20" --check tests=passed:412/412`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.fill(env.getenv)
			w, err := f.waiter(cmd, env)
			if err != nil {
				return err
			}
			return w.run(cmd.Context())
		},
	}
	f.define(cmd.Flags())
	return cmd
}

func (f *requestFlags) define(s *pflag.FlagSet) {
	s.SortFlags = false
	s.StringVar(&f.server, "server", "", "the server's `URL` (or COUNTERSIGN_SERVER)")
	s.StringVar(&f.key, "key", "", "the machine's private key `file` (or COUNTERSIGN_KEY)")
	s.StringVar(&f.issuer, "issuer", "", "the machine's `name`, with --key (or COUNTERSIGN_ISSUER)")
	s.StringVar(&f.audienceURL, "audience-url", "", "the `URL` that tokens are made out to; the server's by default")

	s.StringVar(&f.action, "action", "", "what is to be done, for example deploy")
	s.StringVar(&f.resource, "resource", "", "to what")
	s.StringVar(&f.environment, "environment", "", "where, for example production")
	s.StringSliceVar(&f.scopes, "scopes", nil, "what the credential may do, `a,b`; none asks for a decision only")
	s.StringVar(&f.audience, "audience", "", "who the credential is for; the policy's choice by default")
	s.DurationVar(&f.ttl, "ttl", 10*time.Minute, "how long the credential lasts")
	s.StringVar(&f.reason, "reason", "", "why, for the people who review")
	s.StringVar(&f.risk, "risk", "", "low, medium, high or critical, as you see it")
	s.StringArrayVar(&f.checks, "check", nil, "an automatic check, `name=status[:value[:threshold]]`; status is passed, failed, pending or skipped (repeatable)")
	s.StringArrayVar(&f.links, "link", nil, "a link, `title=url` (repeatable)")
	s.StringArrayVar(&f.tickets, "ticket", nil, "a ticket's `id` (repeatable)")
	s.StringArrayVar(&f.labels, "label", nil, "a label, `key=value` (repeatable)")
	s.StringVar(&f.diff, "diff", "auto", "the change: a `FILE` with a unified diff, auto (from git), or none")
	s.StringVar(&f.triggeredBy, "triggered-by", "", "the human behind the run, who then may not review: `kind:id[:name]`")

	s.StringVar(&f.resume, "resume", "", "go on with the request of this `ID` instead of asking anew; the same run or key must ask")
	s.StringVar(&f.idempotencyKey, "idempotency-key", "", "asking again under the same `key` finds the same request; random by default")
	s.BoolVar(&f.noWait, "no-wait", false, "do not wait for people")
	s.DurationVar(&f.timeout, "timeout", 0, "stop waiting after this long; decides nothing (0: wait until decided)")
	s.BoolVar(&f.cancel, "cancel-on-interrupt", false, "cancel the request on SIGINT or SIGTERM; by default it stays pending")
	s.StringVar(&f.credentialFile, "credential-file", "", "write the credential to this new `file` (mode 0600) instead of standard output")
	s.StringVar(&f.receiptFile, "receipt-file", "", "write the audit log's receipt to this new `file`, for countersign-verify")
}

// fill takes from the environment what the command line leaves open.
func (f *requestFlags) fill(getenv func(string) string) {
	for name, value := range map[string]*string{"COUNTERSIGN_SERVER": &f.server, "COUNTERSIGN_KEY": &f.key, "COUNTERSIGN_ISSUER": &f.issuer} {
		if *value == "" {
			*value = getenv(name)
		}
	}
	f.server = strings.TrimRight(f.server, "/")
	if f.audienceURL == "" {
		f.audienceURL = f.server
	}
}

// check reports everything that is missing or wrong at once.
func (f *requestFlags) check() error {
	var faults []error
	need := func(value, flag string) {
		if value == "" {
			faults = append(faults, fmt.Errorf("%s is missing", flag))
		}
	}
	need(f.server, "--server (or COUNTERSIGN_SERVER)")
	if f.resume == "" {
		need(f.action, "--action")
		need(f.resource, "--resource")
		need(f.reason, "--reason")
	} else if f.action != "" || f.resource != "" || f.idempotencyKey != "" {
		faults = append(faults, errors.New("--resume goes on with a request as it was asked: leave out --action, --resource and --idempotency-key"))
	}
	if f.ttl < time.Second {
		faults = append(faults, errors.New("--ttl must be at least 1s"))
	}
	if f.timeout < 0 {
		faults = append(faults, errors.New("--timeout must not be negative"))
	}
	if f.noWait && f.timeout > 0 {
		faults = append(faults, errors.New("--no-wait and --timeout exclude each other"))
	}
	if len(faults) > 0 {
		return usageError("%w", errors.Join(faults...))
	}
	return nil
}

// given is the ask as the command line alone has it.
func (f *requestFlags) given() (client.Ask, error) {
	ask := client.Ask{
		Action: f.action, Resource: f.resource, Audience: f.audience, Scopes: f.scopes, TTL: client.Duration(f.ttl), Reason: f.reason,
		Context: client.Context{Environment: f.environment, Risk: f.risk, Tickets: f.tickets, Labels: map[string]string{}},
	}
	var faults []error
	for _, text := range f.checks {
		c, err := parseCheck(text)
		faults = append(faults, err)
		ask.Context.Checks = append(ask.Context.Checks, c)
	}
	for _, text := range f.links {
		l, err := parseLink(text)
		faults = append(faults, err)
		ask.Context.Links = append(ask.Context.Links, l)
	}
	for _, text := range f.labels {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			faults = append(faults, fmt.Errorf("--label %q: write key=value", text))
		}
		ask.Context.Labels[key] = value
	}
	if f.triggeredBy != "" {
		t, err := parseTrigger(f.triggeredBy)
		faults = append(faults, err)
		ask.TriggeredBy = t
	}
	if err := errors.Join(faults...); err != nil {
		return ask, usageError("%w", err)
	}
	return ask, nil
}

var checkStatuses = []string{"passed", "failed", "pending", "skipped"}

// parseCheck reads name=status[:value[:threshold]].
func parseCheck(text string) (client.Check, error) {
	name, rest, ok := strings.Cut(text, "=")
	parts := strings.SplitN(rest, ":", 3)
	if !ok || name == "" || !slices.Contains(checkStatuses, parts[0]) {
		return client.Check{}, fmt.Errorf("--check %q: write name=status[:value[:threshold]], with a status out of %s", text, strings.Join(checkStatuses, ", "))
	}
	c := client.Check{Name: name, Status: parts[0]}
	if len(parts) > 1 {
		c.Value = parts[1]
	}
	if len(parts) > 2 {
		c.Threshold = parts[2]
	}
	return c, nil
}

// parseLink reads title=url; an address alone has no title.
func parseLink(text string) (client.Link, error) {
	title, address, ok := strings.Cut(text, "=")
	if !ok || isWebAddress(text) {
		title, address = "", text
	}
	if !isWebAddress(address) {
		return client.Link{}, fmt.Errorf("--link %q: write title=url, with an http or https address", text)
	}
	return client.Link{Title: title, URL: address}, nil
}

func isWebAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// parseTrigger reads kind:id[:name].
func parseTrigger(text string) (*client.TriggeredBy, error) {
	parts := strings.SplitN(text, ":", 3)
	if len(parts) < 2 || parts[0] == "" || parts[1] == "" {
		return nil, fmt.Errorf("--triggered-by %q: write kind:id[:name], for example github:583231:octocat", text)
	}
	t := &client.TriggeredBy{Kind: parts[0], ID: parts[1]}
	if len(parts) == 3 {
		t.Name = parts[2]
	}
	return t, nil
}

// maxDiff bounds a diff, in bytes. The server takes little more, and a whole
// request must fit into maxAsk.
const (
	maxDiff = 3_400_000
	maxAsk  = 4<<20 - 4<<10
)

// readDiff reads the file of --diff. One that the server would refuse is told
// before anybody is asked.
func readDiff(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", usageError("--diff: %w", err)
	}
	if info.Size() > maxDiff {
		return "", usageError("--diff: %s has %d bytes, and at most %d can be shown: cut it to what matters, or use --diff none with a --link to the change", path, info.Size(), maxDiff)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", usageError("--diff: %w", err)
	}
	text := strings.ToValidUTF8(string(raw), "\uFFFD")
	if !isDiff(text) {
		return "", usageError("--diff: %s is not a unified diff (as from git diff)", path)
	}
	return text, nil
}
