// Package policies owns the contract between Countersign and Rego: the input
// that a policy sees, the decision that it returns, and the default bundle.
//
// Its rule: absence denies. The zero Decision denies, and so does anything that
// does not decode into one exactly.
package policies

import (
	"errors"
	"fmt"
	"time"
)

// ErrUnanswered: the policy did not answer in time. Unlike a policy that fails,
// it may answer when it is asked again; until then nothing is allowed.
var ErrUnanswered = errors.New("the policy did not answer in time")

// Effect is what the policy decided at submission.
type Effect string

const (
	Deny   Effect = "deny"
	Allow  Effect = "allow"
	Review Effect = "review"
)

// Duration is a time.Duration written in JSON and Rego as Go writes it: "15m",
// "1h30m". Bare numbers are refused.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 15m or 1h", b)
	}
	*d = Duration(v)
	return nil
}

// Input is what a policy sees: data.countersign.decision at submission, and,
// with Reviews and Person, data.countersign.review at each review and again
// when a credential is redeemed. input.schema.json describes it.
type Input struct {
	Subject        Subject           `json:"subject"`
	ServiceAccount ServiceAccount    `json:"service_account"`
	Trigger        Trigger           `json:"trigger"`
	Request        Request           `json:"request"`
	Facts          map[string]string `json:"facts"` // what the token proved of the run
	// Now is the time of evaluation, RFC 3339 in UTC, whole seconds: the only
	// clock that a policy has.
	Now string `json:"now"`
	// Reviews are the reviews so far; absent at submission.
	Reviews []ReviewSoFar `json:"reviews,omitempty"`
	// Person is who reviews now; absent at submission and at redemption.
	Person *Person `json:"person,omitempty"`
}

// Subject is the machine that asks.
type Subject struct {
	Issuer string `json:"issuer"`
	Name   string `json:"name"`
}

// ServiceAccount is the trust rule that the machine matched.
type ServiceAccount struct {
	Name      string            `json:"name"`
	Owners    []string          `json:"owners"`
	Actions   []string          `json:"actions"`
	Audiences []string          `json:"audiences"`
	Scopes    []string          `json:"scopes"`
	Labels    map[string]string `json:"labels"`
}

// Trigger is the human behind the run: kind none, person or unmapped.
type Trigger struct {
	Kind   string `json:"kind"`
	Person string `json:"person,omitempty"`
	Name   string `json:"name,omitempty"`
}

// Request is what is asked. All of it but what Input.Facts proves is the
// caller's word.
type Request struct {
	Action   string   `json:"action"`
	Resource string   `json:"resource"`
	Audience string   `json:"audience"`
	Scopes   []string `json:"scopes"`
	TTL      Duration `json:"ttl"`
	// TTLSeconds is TTL as a number, so that a policy can compare it.
	TTLSeconds int64   `json:"ttl_seconds"`
	Reason     string  `json:"reason"`
	Context    Context `json:"context"`
}

// Context is what the caller tells about the request.
type Context struct {
	Environment string            `json:"environment"`
	Risk        string            `json:"risk"`
	Diff        Diff              `json:"diff"`
	Checks      []Check           `json:"checks"`
	Tickets     []string          `json:"tickets"`
	Labels      map[string]string `json:"labels"`
}

// Diff summarises a change; the text itself is not policy input.
type Diff struct {
	Files   int      `json:"files"`
	Added   int      `json:"added"`
	Removed int      `json:"removed"`
	Paths   []string `json:"paths"`
}

// Check is one automatic check: status passed, failed, pending or skipped.
type Check struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Value  string `json:"value,omitempty"`
}

// ReviewSoFar is a review that has been counted.
type ReviewSoFar struct {
	Person  string `json:"person"`
	Verdict string `json:"verdict"` // approve or deny
	Stage   int    `json:"stage"`
}

// Person is who reviews, with the groups of the directory that hold them.
type Person struct {
	ID     string   `json:"id"`
	Groups []string `json:"groups"`
}

// Decision is the policy's answer at submission, frozen with the request.
type Decision struct {
	Effect  Effect   `json:"effect"`
	Reasons []string `json:"reasons"`
	// Stages are the ordered gates; empty unless Effect is review.
	Stages []Stage `json:"stages,omitempty"`
	// Scopes and Audience are what a credential may carry; Scopes may only be a
	// subset of what was asked.
	Scopes   []string `json:"scopes,omitempty"`
	Audience string   `json:"audience,omitempty"`
	MaxTTL   Duration `json:"max_ttl,omitempty"`
	// Channels get cards with buttons, Notify cards without, by their names in
	// the configuration.
	Channels []string `json:"channels,omitempty"`
	Notify   []string `json:"notify,omitempty"`
	// Deadline is how long people have, from creation.
	Deadline Duration `json:"deadline,omitempty"`
	// Risk is the policy's own word for the card: low, medium, high or critical.
	Risk string `json:"risk,omitempty"`
}

// Stage is one gate: Quorum distinct people out of Approvers.
type Stage struct {
	Name      string    `json:"name"`
	Approvers Approvers `json:"approvers"`
	Quorum    int       `json:"quorum"`
	// Distinct refuses a person who approved an earlier stage.
	Distinct bool `json:"distinct,omitempty"`
}

// Approvers are groups of the directory and single people by id.
type Approvers struct {
	Groups []string `json:"groups,omitempty"`
	People []string `json:"people,omitempty"`
}

// Verdict is the answer of data.countersign.review. It may only deny.
type Verdict struct {
	Deny    bool     `json:"deny"`
	Reasons []string `json:"reasons"`
}

// Bounds of a decision. A longer life than MaxTTL is not short-lived; a longer
// deadline leaves cards that nobody remembers.
const (
	MaxTTL      = 15 * time.Minute
	MaxDeadline = 7 * 24 * time.Hour
	MaxQuorum   = 20
)

// Check reports everything that makes the decision unusable. A decision that
// does not pass is treated as a denial, with the error as its reason.
func (d Decision) Check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	switch d.Effect {
	case Deny, Allow:
		if len(d.Stages) > 0 {
			fault("effect %s must not have stages", d.Effect)
		}
	case Review:
		if len(d.Stages) == 0 {
			fault("effect review needs at least one stage")
		}
		if len(d.Channels) == 0 {
			fault("effect review needs at least one channel")
		}
		if d.Deadline <= 0 || time.Duration(d.Deadline) > MaxDeadline {
			fault("deadline must be more than 0 and at most %s", MaxDeadline)
		}
	default:
		fault("effect must be allow, deny or review, not %q", d.Effect)
	}
	if d.Effect != Deny && (d.MaxTTL <= 0 || time.Duration(d.MaxTTL) > MaxTTL) {
		fault("max_ttl must be more than 0 and at most %s", MaxTTL)
	}
	if len(d.Reasons) == 0 {
		fault("reasons must say why")
	}
	for i, s := range d.Stages {
		if s.Quorum < 1 || s.Quorum > MaxQuorum {
			fault("stage %d: quorum must be 1 to %d", i, MaxQuorum)
		}
		if len(s.Approvers.Groups)+len(s.Approvers.People) == 0 {
			fault("stage %d: no approvers", i)
		}
	}
	return errors.Join(faults...)
}
