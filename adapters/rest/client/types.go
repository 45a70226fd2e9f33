package client

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Duration is a time.Duration that JSON holds as Go writes it: "15m".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Ask is what a machine asks for.
type Ask struct {
	Action   string `json:"action"`
	Resource string `json:"resource"`
	// Audience is who the credential is for; the policy's choice when empty.
	Audience string `json:"audience,omitempty"`
	// Scopes are what the credential may do; none asks for a decision only.
	Scopes []string `json:"scopes,omitempty"`
	// TTL is how long the credential is wanted for: 1 s to 15 minutes.
	TTL         Duration     `json:"ttl"`
	Reason      string       `json:"reason"`
	TriggeredBy *TriggeredBy `json:"triggered_by,omitempty"`
	Context     Context      `json:"context"`
}

// TriggeredBy names the human behind the run, who then may not review.
type TriggeredBy struct {
	Kind string `json:"kind"` // github, gitlab, slack …
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	URL  string `json:"url,omitempty"`
}

// Context is what the people who review are told.
type Context struct {
	Environment string            `json:"environment,omitempty"`
	Risk        string            `json:"risk,omitempty"` // low, medium, high or critical
	Diff        string            `json:"diff,omitempty"` // unified diff
	Checks      []Check           `json:"checks,omitempty"`
	Links       []Link            `json:"links,omitempty"`
	Tickets     []string          `json:"tickets,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
}

// Check is one automatic check: status passed, failed, pending or skipped.
type Check struct {
	Name      string `json:"name"`
	Status    string `json:"status"`
	Value     string `json:"value,omitempty"`
	Threshold string `json:"threshold,omitempty"`
	URL       string `json:"url,omitempty"`
}

// Link is an address with a title.
type Link struct {
	Title string `json:"title"`
	URL   string `json:"url"`
}

// State is where a request stands.
type State string

// The states. All but Pending are decided; Ended and Revoked were Approved.
const (
	Pending   State = "pending"
	Approved  State = "approved"
	Rejected  State = "denied"
	Expired   State = "expired"
	Cancelled State = "cancelled"
	Ended     State = "ended"
	Revoked   State = "revoked"
)

// Request is a request as the run that asked sees it.
type Request struct {
	ID string `json:"id"`
	// Code is what the card in the chat shows as well: print it, so that people
	// can compare.
	Code    string   `json:"code"`
	Digest  string   `json:"digest"`
	Version uint64   `json:"version"`
	State   State    `json:"state"`
	Outcome *Outcome `json:"outcome,omitempty"` // nil while pending

	Action      string   `json:"action"`
	Resource    string   `json:"resource"`
	Environment string   `json:"environment,omitempty"`
	Audience    string   `json:"audience,omitempty"`
	Scopes      []string `json:"scopes"`
	TTL         Duration `json:"ttl"`

	Decision Decision `json:"decision"`
	Stages   []Stage  `json:"stages"`
	Reviews  []Review `json:"reviews"`

	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`

	retryAfter time.Duration // of the answer
}

// Decided reports whether waiting is over.
func (r Request) Decided() bool { return r.State != Pending }

// Outcome is how a request came to an end, or to an approval. Kind is approved,
// denied_by_policy, denied_by_person, expired, undeliverable, cancelled, ended
// or revoked.
type Outcome struct {
	Kind   string    `json:"kind"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Decision is what the policy decided: allow, deny or review.
type Decision struct {
	Effect   string   `json:"effect"`
	Reasons  []string `json:"reasons"`
	Risk     string   `json:"risk,omitempty"`
	Revision string   `json:"revision"`
}

// Stage is one gate: open, waiting or complete.
type Stage struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Quorum   int    `json:"quorum"`
	Approved int    `json:"approved"`
}

// Review is one person's answer.
type Review struct {
	By      string    `json:"by"`
	Verdict string    `json:"verdict"`
	Reason  string    `json:"reason,omitempty"`
	Stage   int       `json:"stage"`
	At      time.Time `json:"at"`
}

// Credential is what an approval yields.
type Credential struct {
	Token     Secret    `json:"token"`
	TokenType string    `json:"token_type"`
	ExpiresAt time.Time `json:"expires_at"`
	Scopes    []string  `json:"scopes"`
	Audience  string    `json:"audience"`
	Receipt   Receipt   `json:"receipt"`
}

// Receipt proves that the issue stands in the audit log: Leaf is the log's
// entry, Proof a C2SP tlog-proof with the signed checkpoint.
type Receipt struct {
	Leaf  []byte `json:"leaf"`
	Proof []byte `json:"proof"`
}

// Secret is a string that does not print, log or marshal itself by accident.
type Secret string

const redacted = "[redacted]"

// String implements fmt.Stringer; it never shows the secret.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer; it never shows the secret.
func (Secret) GoString() string { return redacted }

// MarshalText implements encoding.TextMarshaler; it never shows the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Secret) UnmarshalText(b []byte) error {
	*s = Secret(b)
	return nil
}

// Reveal returns the secret.
func (s Secret) Reveal() string { return string(s) }

// Types of problems, which never change. See IsProblem.
const (
	problemType = "urn:countersign:problem:"

	Denied          = problemType + "denied"          // by the policy, at submission
	Refused         = problemType + "refused"         // by the policy, at redemption
	NotFound        = problemType + "not-found"       // or another run's
	Unauthenticated = problemType + "unauthenticated" // no token
	InvalidToken    = problemType + "invalid-token"
	TokenReplayed   = problemType + "token-replayed"
	UnknownAccount  = problemType + "unknown-account" // the token is good, its account is not configured
	InvalidRequest  = problemType + "invalid-request"
	InvalidJSON     = problemType + "invalid-json"
	KeyMismatch     = problemType + "key-mismatch" // same key, other request
	StillPending    = problemType + "pending"
	InvalidGrant    = problemType + "invalid-grant" // not approved, used up or over
	NoCredential    = problemType + "no-credential" // asked without scopes
	WrongState      = problemType + "wrong-state"
	RateLimited     = problemType + "rate-limited"
	OutcomeUnknown  = problemType + "outcome-unknown"
	Internal        = problemType + "internal"
)

// Problem is an error that the server told (RFC 9457). Type is empty where
// something between client and server answered, or a call of the OAuth kind.
type Problem struct {
	Type     string  `json:"type"`
	Title    string  `json:"title"`
	Status   int     `json:"status"`
	Detail   string  `json:"detail"`
	Instance string  `json:"instance"` // the call, as the server's log names it
	Errors   []Fault `json:"errors"`
	// RequestID, Code and Reasons tell of a request that was denied.
	RequestID string   `json:"request_id"`
	Code      string   `json:"code"`
	Reasons   []string `json:"reasons"`
}

// Fault is one thing that is wrong with a request: Pointer is a JSON pointer.
type Fault struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

// Error implements error: everything that the server said, in one line.
func (p *Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "countersign: %s (%d)", p.Title, p.Status)
	for _, s := range []string{p.Detail, strings.Join(p.Reasons, "; ")} {
		if s != "" {
			b.WriteString(": " + s)
		}
	}
	for _, f := range p.Errors {
		fmt.Fprintf(&b, "; %s: %s", f.Pointer, f.Detail)
	}
	return b.String()
}

// IsProblem reports whether err is a problem of the type, such as Denied.
func IsProblem(err error, kind string) bool {
	var p *Problem
	return errors.As(err, &p) && p.Type == kind
}
