package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/countersign/countersign/adapters/emulator"
	"github.com/countersign/countersign/store/audit"
)

// patience is how long a step of the story may take.
const patience = 20 * time.Second

// asked is a request that the command line waits for.
type asked struct {
	done chan struct{}
	err  error
	out  bytes.Buffer
	told lockedBuffer
}

// answer is what the command line prints with --output json.
type answer struct {
	State   string
	Outcome struct{ Kind, By, Reason string }
	ID      string
	Code    string
	Token   string
	Scopes  []string
	Receipt json.RawMessage
}

// lockedBuffer may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// ask runs the command line of the service account beside the story.
func (d *demo) ask(ctx context.Context, args ...string) *asked {
	a := &asked{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.err = run(ctx, append(args, "--output", "json"), strings.NewReader(""), &a.out, &a.told, d.env.getenv)
	}()
	return a
}

// ended waits for the command line and holds it to the exit code.
func (a *asked) ended(ctx context.Context, code int) (answer, error) {
	var got answer
	select {
	case <-a.done:
	case <-ctx.Done():
		return got, ctx.Err()
	case <-time.After(patience):
		return got, errors.New("the command line still waits")
	}
	if c := exitCode(a.err); c != code {
		return got, fmt.Errorf("exit code %d, want %d: %w", c, code, a.err)
	}
	if err := json.Unmarshal(a.out.Bytes(), &got); err != nil {
		return got, fmt.Errorf("the command line's answer %q: %w", a.out.String(), err)
	}
	return got, nil
}

// play is the whole story. Every step is checked; the first that is not as it
// should be ends it.
func (d *demo) play(ctx context.Context) error {
	d.say("Countersign at %s, chat at %s\n", d.config.PublicURL, d.page)
	var deployed answer
	steps := []struct {
		says string
		do   func() error
	}{
		{"a routine deployment to the test environment is approved by policy", func() error { return d.routine(ctx) }},
		{"an action that the service account may not ask for is denied by policy", func() error { return d.forbidden(ctx) }},
		{"a production deployment is shown as a card, refused to those who may not review, approved by Ada, and yields a credential", func() (err error) {
			deployed, err = d.production(ctx)
			return err
		}},
		{"the credential verifies offline against the published keys", func() error { _, err := d.proveCredential(ctx, deployed.Token); return err }},
		{"introspection says that it is active", func() error { return d.introspect(ctx, deployed.Token, true) }},
		{"its receipt verifies with the log's public key, and a changed one does not", func() error { return d.proveReceipt(deployed.Receipt, deployed.Token) }},
		{"a denial with its reason reaches the machine", func() error { return d.denied(ctx) }},
		{"a key rotation needs two people, and one person's two clicks are one", func() error { return d.twoPeople(ctx) }},
		{"Ada revokes the deployment on its card, and introspection says inactive", func() error { return d.revoked(ctx, deployed) }},
		{"/approvals audit answers Ada privately, and refuses Tim", func() error { return d.auditInChat(ctx, deployed) }},
		{"the whole audit log verifies", func() error { return d.auditVerifies(ctx) }},
	}
	for i, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, s.says, err)
		}
		d.say("  ✓ %2d  %s", i+1, s.says)
	}
	d.say("\nEvery step is as it should be. The state stays in %s.", d.state)
	return nil
}

func (d *demo) routine(ctx context.Context) error {
	a := d.ask(ctx, d.requestArgs("test-bot", "--action", "deploy", "--resource", "shop/api", "--environment", "test", "--scopes", "deploy:shop-test",
		"--audience", "shop-test", "--reason", "nightly", "--check", "unit tests=passed", "--diff", "none")...)
	got, err := a.ended(ctx, exitOK)
	if err == nil && (got.Token == "" || got.Outcome.By != "policy") {
		err = fmt.Errorf("approved by %q, credential present: %v", got.Outcome.By, got.Token != "")
	}
	return err
}

func (d *demo) forbidden(ctx context.Context) error {
	a := d.ask(ctx, d.requestArgs("ci-bot", "--action", "drop-database", "--resource", "shop", "--environment", "production", "--reason", "tidy up", "--diff", "none")...)
	_, err := a.ended(ctx, exitDeniedByPolicy)
	return err
}

func (d *demo) production(ctx context.Context) (answer, error) {
	a := d.ask(ctx, d.lastCommit()...)
	card, err := d.card(ctx, emulator.Deploys)
	if err != nil {
		return answer{}, err
	}
	for user, says := range map[string]string{
		emulator.Tim: "somebody else", emulator.Gus: "full members", emulator.Sam: "directory",
	} {
		if err := d.click(ctx, user, card, "approve"); err != nil {
			return answer{}, err
		}
		if err := d.told(ctx, user, card.Channel, says); err != nil {
			return answer{}, err
		}
	}
	if err := d.click(ctx, emulator.Ada, card, "approve"); err != nil {
		return answer{}, err
	}
	got, err := a.ended(ctx, exitOK)
	switch {
	case err != nil:
		return got, err
	case got.Token == "" || got.Outcome.By != "Ada Approver":
		return got, fmt.Errorf("approved by %q, credential present: %v", got.Outcome.By, got.Token != "")
	case !strings.Contains(string(card.Blocks), got.Code) || !strings.Contains(a.told.String(), got.Code):
		return got, fmt.Errorf("the code %s does not stand on both the card and the command line", got.Code)
	}
	return got, d.shows(ctx, card, "Approved by Ada Approver", "Credential issued")
}

func (d *demo) denied(ctx context.Context) error {
	a := d.ask(ctx, d.lastCommit("--diff", "none")...)
	card, err := d.card(ctx, emulator.Deploys)
	if err != nil {
		return err
	}
	if err := d.click(ctx, emulator.Ada, card, "deny"); err != nil {
		return err
	}
	var views []emulator.View
	err = d.eventually(ctx, "no form opens for Ada", func() bool {
		views = d.slack.OpenViews(emulator.Ada)
		return len(views) == 1
	})
	if err != nil {
		return err
	}
	if _, err := d.slack.SubmitView(ctx, emulator.Ada, views[0].ID, reasonIn(views[0])); err != nil {
		return err
	}
	got, err := a.ended(ctx, exitDeniedByPerson)
	if err == nil && got.Outcome.Reason != reason {
		err = fmt.Errorf("the machine learns %q", got.Outcome.Reason)
	}
	return errors.Join(err, d.shows(ctx, card, "Denied by Ada Approver", reason))
}

// reason is what Ada writes.
const reason = "Freeze until Monday"

// reasonIn fills the one field of a form.
func reasonIn(v emulator.View) map[string]string {
	var blocks []struct {
		Type    string `json:"type"`
		BlockID string `json:"block_id"`
	}
	values := map[string]string{}
	if err := json.Unmarshal(v.Blocks(), &blocks); err != nil {
		return values
	}
	for _, b := range blocks {
		if b.Type == "input" {
			values[b.BlockID] = reason
		}
	}
	return values
}

func (d *demo) twoPeople(ctx context.Context) error {
	a := d.ask(ctx, d.requestArgs("ci-bot", "--action", "rotate-key", "--resource", "shop/signing-key", "--environment", "production", "--ttl", "5m", "--reason", "quarterly", "--diff", "none")...)
	card, err := d.card(ctx, emulator.Security)
	if err != nil {
		return err
	}
	for range 2 {
		if err := d.click(ctx, emulator.Ada, card, "approve"); err != nil {
			return err
		}
	}
	if err := d.shows(ctx, card, "1 of 2"); err != nil {
		return err
	}
	if err := d.click(ctx, emulator.Grace, card, "approve"); err != nil {
		return err
	}
	_, err = a.ended(ctx, exitOK)
	return err
}

func (d *demo) revoked(ctx context.Context, deployed answer) error {
	for _, m := range d.slack.Messages(emulator.Deploys) {
		if strings.Contains(string(m.Blocks), deployed.Code) && slices.Contains(m.Buttons(), "countersign:revoke") {
			if err := d.click(ctx, emulator.Ada, m, "revoke"); err != nil {
				return err
			}
			return errors.Join(d.introspect(ctx, deployed.Token, false), d.shows(ctx, m, "Revoked by Ada Approver"))
		}
	}
	return errors.New("no card with a Revoke button")
}

func (d *demo) auditInChat(ctx context.Context, deployed answer) error {
	for user, says := range map[string]string{emulator.Ada: "issued", emulator.Tim: "open to its readers only"} {
		got, err := d.slack.Command(ctx, user, emulator.Deploys, "/approvals audit request:"+deployed.Code)
		if err != nil {
			return err
		}
		if got.Shown != "" || !strings.Contains(string(got.Body), says) {
			return fmt.Errorf("the answer to %s does not say %q: %s %s", user, says, got.Shown, got.Body)
		}
	}
	for _, m := range d.slack.Messages(emulator.Deploys) {
		if strings.Contains(m.Text+string(m.Blocks), "SEQ") {
			return errors.New("the audit log was shown to the channel")
		}
	}
	return nil
}

func (d *demo) auditVerifies(ctx context.Context) error {
	var out bytes.Buffer
	err := run(ctx, []string{"audit", "verify", "--config", d.path("countersign.yaml")}, strings.NewReader(""), &out, &out, d.env.getenv)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out.String())
	}
	return nil
}

// card waits for a card with an Approve button in a channel.
func (d *demo) card(ctx context.Context, channel string) (emulator.Message, error) {
	var found emulator.Message
	err := d.eventually(ctx, "no card to approve appears in "+channel, func() bool {
		for _, m := range d.slack.Messages(channel) {
			if slices.Contains(m.Buttons(), "countersign:approve") {
				found = m
				return true
			}
		}
		return false
	})
	return found, err
}

// click presses a button as a person, and wants the server to answer in time.
func (d *demo) click(ctx context.Context, user string, card emulator.Message, verb string) error {
	got, err := d.slack.Click(ctx, user, card.Channel, card.TS, "countersign:"+verb)
	if err != nil {
		return err
	}
	if got.Status != http.StatusOK || got.Shown != "" {
		return fmt.Errorf("the click of %s was answered with %d %s", user, got.Status, got.Shown)
	}
	return nil
}

// told waits for a private answer with the given words.
func (d *demo) told(ctx context.Context, user, channel, says string) error {
	return d.eventually(ctx, fmt.Sprintf("%s is not told %q", user, says), func() bool {
		return slices.ContainsFunc(d.slack.Ephemerals(user, channel), func(m emulator.Message) bool {
			return strings.Contains(m.Text+string(m.Blocks), says)
		})
	})
}

// shows waits until the card says all of the words.
func (d *demo) shows(ctx context.Context, card emulator.Message, words ...string) error {
	return d.eventually(ctx, fmt.Sprintf("the card does not say %q", words), func() bool {
		for _, m := range d.slack.Messages(card.Channel) {
			if m.TS == card.TS {
				return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(string(m.Blocks), w) })
			}
		}
		return false
	})
}

func (d *demo) eventually(ctx context.Context, otherwise string, what func() bool) error {
	for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if what() {
			return nil
		}
	}
	return errors.Join(ctx.Err(), errors.New(otherwise))
}

// proven is what an outsider reads in a credential.
type proven struct {
	subject, scope string
	expires        time.Time
}

// proveCredential does what a deploy target does: it fetches the published keys
// and verifies, with a library that had no part in signing.
func (d *demo) proveCredential(ctx context.Context, raw string) (proven, error) {
	set, err := jwk.Fetch(ctx, d.config.PublicURL+"/.well-known/jwks.json")
	if err != nil {
		return proven{}, err
	}
	t, err := jwt.Parse([]byte(raw), jwt.WithKeySet(set, jws.WithRequireKid(true)), jwt.WithIssuer(d.config.PublicURL), jwt.WithAudience("shop-production"),
		jwt.WithRequiredClaim("exp"), jwt.WithRequiredClaim("txn"), jwt.WithRequiredClaim("apd"))
	if err != nil {
		return proven{}, err
	}
	var p proven
	p.subject, _ = t.Subject()
	p.expires, _ = t.Expiration()
	if err := t.Get("scope", &p.scope); err != nil {
		return p, err
	}
	changed := []byte(raw)
	changed[len(changed)-10] ^= 1
	if _, err := jwt.Parse(changed, jwt.WithKeySet(set, jws.WithRequireKid(true))); err == nil {
		return p, errors.New("a changed credential verifies as well")
	}
	return p, nil
}

// proveReceipt verifies a receipt with the log's public key, and that a changed
// one does not.
func (d *demo) proveReceipt(text []byte, credential string) error {
	key, err := audit.LoadVerifier(d.path(auditVerifierKey))
	if err != nil {
		return err
	}
	var r struct{ Leaf, Proof string }
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	leaf, _, err := audit.VerifyReceipt(audit.Receipt{Leaf: []byte(r.Leaf), Proof: []byte(r.Proof)}, key)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(credential)))
	if leaf.Type != "issued" || !strings.Contains(string(leaf.Data), hex.EncodeToString(sum[:])) {
		return errors.New("the receipt is not for this credential")
	}
	changed := strings.Replace(r.Leaf, `"type":"issued"`, `"type":"denied"`, 1)
	if _, _, err := audit.VerifyReceipt(audit.Receipt{Leaf: []byte(changed), Proof: []byte(r.Proof)}, key); err == nil {
		return errors.New("a changed receipt verifies as well")
	}
	return nil
}

// introspect asks as the configured verifier.
func (d *demo) introspect(ctx context.Context, raw string, want bool) error {
	secret, err := os.ReadFile(filepath.Join(d.state, "secrets", "verifier"))
	if err != nil {
		return err
	}
	body := strings.NewReader(url.Values{"token": {raw}}.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.config.PublicURL+"/v1/introspect", body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("shop", strings.TrimSpace(string(secret)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var got struct{ Active bool }
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return fmt.Errorf("status %d: %w", resp.StatusCode, err)
	}
	if resp.StatusCode != http.StatusOK || got.Active != want {
		return fmt.Errorf("status %d, active %v, want %v", resp.StatusCode, got.Active, want)
	}
	return nil
}
