package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/countersign/countersign/adapters/rest/client"
)

// lastCall is how long the call may take that cancels after an interrupt.
const lastCall = 20 * time.Second

// waiter takes one request from the ask to its end. A time-out or a signal
// never decides anything: it says how to go on.
type waiter struct {
	flags    *requestFlags
	client   *client.Client
	ask      client.Ask
	progress *progress
	stdout   io.Writer
	actions  bool // in a GitHub Actions job: mask the credential
	json     bool
	timedOut func() bool // whether --timeout is over

	credential, receipt *reservedFile // nil where none was asked for
}

// result is what --output json prints: one object, whatever happened once the
// request was known.
type result struct {
	State    string          `json:"state"`
	Outcome  *client.Outcome `json:"outcome,omitempty"`
	ID       string          `json:"id"`
	Code     string          `json:"code"`
	Digest   string          `json:"digest,omitzero"`
	Reasons  []string        `json:"reasons,omitzero"` // of the policy
	Scopes   []string        `json:"scopes,omitzero"`
	Audience string          `json:"audience,omitzero"`

	Token          string     `json:"token,omitzero"`
	CredentialFile string     `json:"credential_file,omitzero"`
	ExpiresAt      *time.Time `json:"expires_at,omitzero"`
	Receipt        *receipt   `json:"receipt,omitzero"`
}

// receipt is the proof as countersign-verify reads it: both members hold the
// exact text.
type receipt struct {
	Leaf  string `json:"leaf"`
	Proof string `json:"proof"`
}

// waiter checks everything that can be checked before anybody is asked.
func (f *requestFlags) waiter(cmd *cobra.Command, env environment) (*waiter, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	source, err := f.machineToken(env.getenv)
	if err != nil {
		return nil, err
	}
	w := &waiter{
		flags: f, progress: newProgress(env.stderr, env.getenv), stdout: env.stdout,
		actions: env.getenv("GITHUB_ACTIONS") == "true", json: wantsJSON(cmd),
	}
	w.client, err = client.New(client.Config{URL: f.server, Token: source, OnRetry: w.progress.outage})
	if err != nil {
		return nil, usageError("--server: %w", errors.New(said(err)))
	}
	if f.resume != "" {
		return w, nil
	}
	if w.ask, err = f.given(); err != nil {
		return nil, err
	}
	c := collector{getenv: env.getenv, warn: func(text string) { w.progress.line("warning: %s", text) }}
	return w, c.add(cmd.Context(), &w.ask, f.diff)
}

// run is the whole life of the command.
func (w *waiter) run(ctx context.Context) (err error) {
	if err := w.reserve(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.credential.discard(), w.receipt.discard()) }()
	limited, cancel := ctx, context.CancelFunc(func() {})
	if w.flags.timeout > 0 {
		limited, cancel = context.WithTimeout(ctx, w.flags.timeout)
	}
	defer cancel()
	w.timedOut = func() bool { return limited.Err() != nil }
	r, err := w.begin(limited)
	if err != nil {
		return w.explain(ctx, r, err)
	}
	w.progress.line("request %s  code %s  (the card in the chat shows the same code)", r.ID, r.Code)
	w.progress.start()
	defer w.progress.end()
	w.progress.show(r)
	for !r.Decided() && !w.flags.noWait {
		next, err := w.client.Changed(limited, r.ID, r.Version)
		if err != nil {
			return w.explain(ctx, r, err)
		}
		r = next
		w.progress.show(r)
	}
	return w.finish(limited, ctx, r)
}

// reserve makes the files before anybody is asked: an approval must not be lost
// to a folder that cannot be written.
func (w *waiter) reserve() (err error) {
	if w.credential, err = reserve(w.flags.credentialFile); err != nil {
		return usageError("--credential-file: %w", err)
	}
	if w.receipt, err = reserve(w.flags.receiptFile); err != nil {
		return errors.Join(usageError("--receipt-file: %w", err), w.credential.discard())
	}
	return nil
}

// begin asks, or finds the request to go on with.
func (w *waiter) begin(ctx context.Context) (client.Request, error) {
	if id := w.flags.resume; id != "" {
		return w.client.Get(ctx, id)
	}
	key := w.flags.idempotencyKey
	if key == "" {
		key = rand.Text()
	}
	return w.client.SubmitKeyed(ctx, key, w.ask)
}

// finish acts on a request that is decided, or that nobody waits for.
func (w *waiter) finish(limited, ctx context.Context, r client.Request) error {
	if r.State != client.Approved || len(r.Scopes) == 0 {
		return w.report(r, nil)
	}
	cred, err := w.client.Redeem(limited, r.ID)
	if err == nil {
		return w.report(r, &cred)
	}
	if client.IsProblem(err, client.InvalidGrant) {
		// What was approved may be over or revoked by now: that is the answer.
		if now, getErr := w.client.Get(limited, r.ID); getErr == nil && now.State != client.Approved {
			w.progress.show(now)
			return w.report(now, nil)
		}
	}
	return w.explain(ctx, r, err)
}

// report hands over what there is, and ends with the state's exit code.
func (w *waiter) report(r client.Request, cred *client.Credential) error {
	w.progress.settle()
	out := result{
		State: string(r.State), Outcome: r.Outcome, ID: r.ID, Code: r.Code, Digest: r.Digest,
		Reasons: r.Decision.Reasons, Scopes: r.Scopes, Audience: r.Audience,
	}
	if cred != nil {
		if err := w.handOver(&out, cred); err != nil {
			return err
		}
	}
	if w.json {
		if err := writeJSON(w.stdout, out); err != nil {
			return err
		}
	}
	return w.ending(r)
}

// handOver puts the credential where it was asked for. The mask goes first, so
// that no log shows what follows; the runner reads it from standard error as
// well as from standard output, which may be captured.
func (w *waiter) handOver(out *result, cred *client.Credential) error {
	secret := cred.Token.Reveal()
	if strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) || secret == "" {
		return errors.New("the server's answer holds no credential that can be used")
	}
	if w.actions {
		fmt.Fprintln(w.progress.w, "::add-mask::"+secret)
	}
	out.Scopes, out.Audience, out.ExpiresAt = cred.Scopes, cred.Audience, &cred.ExpiresAt
	out.Receipt = &receipt{Leaf: string(cred.Receipt.Leaf), Proof: string(cred.Receipt.Proof)}
	if w.receipt != nil {
		text := &strings.Builder{}
		if err := writeJSON(text, out.Receipt); err != nil {
			return err
		}
		if err := w.receipt.fill(text.String()); err != nil {
			return fmt.Errorf("--receipt-file: %w", err)
		}
	}
	if w.credential != nil {
		if err := w.credential.fill(secret); err != nil {
			return fmt.Errorf("--credential-file: %w; take the credential with countersign request --resume %s, within two minutes of the approval's first use", err, out.ID)
		}
		out.CredentialFile = w.flags.credentialFile
	}
	w.progress.line("credential for %s, scopes %s, until %s", cred.Audience, strings.Join(cred.Scopes, " "), cred.ExpiresAt.UTC().Format(time.RFC3339))
	switch {
	case w.credential != nil:
	case w.json:
		out.Token = secret
	default:
		_, err := fmt.Fprintln(w.stdout, secret)
		return err
	}
	return nil
}

// ending is the error, or none, for the state in which a request was left.
func (w *waiter) ending(r client.Request) error {
	kind := ""
	if r.Outcome != nil {
		kind = r.Outcome.Kind
	}
	fail := func(code int) error { return &codedError{code, errors.New(describe(r))} }
	switch {
	case r.State == client.Approved:
		return nil
	case r.State == client.Pending:
		return w.undecided(r, "not decided yet")
	case kind == "denied_by_policy":
		return fail(exitDeniedByPolicy)
	case r.State == client.Rejected:
		return fail(exitDeniedByPerson)
	case kind == "undeliverable":
		return fail(exitUndeliverable)
	case r.State == client.Expired, r.State == client.Ended:
		return fail(exitExpired)
	case r.State == client.Cancelled:
		return fail(exitCancelled)
	case r.State == client.Revoked:
		return fail(exitRevoked)
	}
	return fmt.Errorf("the server names a state that this version does not know: %s; update countersign", r.State)
}

// undecided says how to go on with a request that nothing is known of yet.
func (w *waiter) undecided(r client.Request, why string) error {
	if r.ID == "" {
		return &codedError{exitUndecided, fmt.Errorf("%s: it is not known whether the request was made; nothing was approved by that", why)}
	}
	return &codedError{exitUndecided, fmt.Errorf("%s: the request is left as it stands; go on with: countersign request --resume %s", why, r.ID)}
}

// explain makes the command's end of a call that failed. r is the request as far
// as it is known; ctx is over when a signal came.
func (w *waiter) explain(ctx context.Context, r client.Request, err error) error {
	w.progress.end()
	if r.ID == "" {
		r.ID = w.flags.resume
	}
	var problem *client.Problem
	switch {
	case ctx.Err() != nil:
		return w.interrupted(ctx, r)
	case w.timedOut():
		return w.unknown(r, "no decision within "+w.flags.timeout.String())
	case client.IsProblem(err, client.Denied) && errors.As(err, &problem):
		return w.deniedAtOnce(problem)
	case client.IsProblem(err, client.Refused):
		return &codedError{exitDeniedByPolicy, errors.New(said(err))}
	case client.IsProblem(err, client.InvalidRequest):
		return &codedError{exitUsage, errors.New(said(err))}
	case errors.As(err, &problem) && problem.Status < 500 && problem.Status != 429:
		return w.failed(r, problem)
	case errors.Is(err, client.ErrUnreachable), errors.As(err, &problem):
		return w.unknown(r, said(err))
	}
	return w.failed(r, err)
}

// failed is an error that trying again does not mend. The request, if there is
// one, goes on without us.
func (w *waiter) failed(r client.Request, err error) error {
	if r.State != client.Pending {
		return errors.New(said(err))
	}
	return fmt.Errorf("%s; the request is still pending; once that is mended, go on with: countersign request --resume %s", said(err), printable(r.ID))
}

// deniedAtOnce is a policy's denial at submission, which is an answer with the
// request's id but not the request.
func (w *waiter) deniedAtOnce(p *client.Problem) error {
	reason := strings.Join(p.Reasons, "; ")
	r := client.Request{
		ID: p.RequestID, Code: p.Code, State: client.Rejected, Scopes: w.ask.Scopes, Audience: w.ask.Audience,
		Outcome: &client.Outcome{Kind: "denied_by_policy", By: "policy", Reason: reason}, Decision: client.Decision{Reasons: p.Reasons},
	}
	w.progress.line("request %s  code %s", r.ID, r.Code)
	return w.report(r, nil)
}

// interrupted leaves the request as it stands, or takes it back if that was
// asked for.
func (w *waiter) interrupted(ctx context.Context, r client.Request) error {
	if !w.flags.cancel || r.ID == "" {
		return w.unknown(r, "interrupted")
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCall)
	defer cancel()
	cancelled, err := w.client.Cancel(last, r.ID)
	if err != nil {
		return w.unknown(r, "interrupted, and the request could not be cancelled ("+said(err)+")")
	}
	w.progress.line("%s  %s", cancelled.Code, describe(cancelled))
	return w.report(cancelled, nil)
}

// unknown ends without a decision, and prints what is known as JSON too.
func (w *waiter) unknown(r client.Request, why string) error {
	if w.json && r.ID != "" {
		out := result{State: string(r.State), ID: r.ID, Code: r.Code, Digest: r.Digest, Outcome: r.Outcome}
		if out.State == "" {
			out.State = "unknown"
		}
		if err := writeJSON(w.stdout, out); err != nil {
			return err
		}
	}
	return w.undecided(r, why)
}
