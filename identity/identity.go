// Package identity owns the words for who takes part: the machine that asks
// (subject), what its token proved (evidence), the one run that asks (binding),
// the human behind that run (trigger), the people who may review (person,
// directory), and the secret that follows (credential).
//
// It holds types and the directory only. Its rule: nothing here trusts a name
// that a token, a chat message or a request merely says. Accounts are compared
// by stable ids, and an empty part of an account never equals anything.
package identity

import (
	"fmt"
	"io"
	"time"
)

// Subject is the machine that asks: the issuer of its token and its stable name
// at that issuer. Both are non-empty in any verified evidence.
type Subject struct {
	Issuer string `json:"issuer"`
	Name   string `json:"name"`
}

// Binding names the one run that asks, for example "run:9127/attempt:2" for a
// GitHub Actions job, or "key:THUMBPRINT" for a machine that signs for itself.
// Another run of the same pipeline has another binding and is a stranger.
type Binding string

// TriggerKind says what is known of the human behind a run.
type TriggerKind string

const (
	// TriggerNone: no human started the run (a schedule, a daemon).
	TriggerNone TriggerKind = "none"
	// TriggerPerson: a human of the directory started the run.
	TriggerPerson TriggerKind = "person"
	// TriggerUnmapped: a human started the run whom the directory does not know.
	TriggerUnmapped TriggerKind = "unmapped"
)

// Trigger is the human behind a run, as the evidence shows it.
type Trigger struct {
	Kind TriggerKind `json:"kind"`
	// Account is the trigger's account at the issuer; zero for TriggerNone.
	Account Account `json:"account,omitzero"`
	// Person is the directory's person id; empty unless Kind is TriggerPerson.
	Person string `json:"person,omitempty"`
	// Name is for display only and decides nothing.
	Name string `json:"name,omitempty"`
	// Again is true where the run was started again, and the evidence does not
	// say by whom: whoever did may be among the approvers.
	Again bool `json:"again,omitempty"`
}

// Evidence is what a verified token proved. Nothing below the door that
// verified it ever sees the token.
type Evidence struct {
	Subject Subject
	// ServiceAccount is the name of the trust rule that matched.
	ServiceAccount string
	Binding        Binding
	// Trigger carries Kind, Account and Name; the core asks the directory for
	// the person.
	Trigger Trigger
	// Token is the token's one-time id, to be consumed in the transaction that
	// creates a request. Its ID is empty for tokens that may repeat.
	Token OneTime
	// Facts are stable, normalised claims for policy and card (repository, ref,
	// commit, environment, run_url …). Keys are the profile's; values are text.
	Facts map[string]string
}

// OneTime identifies a token that may be used once: RFC 7519 "jti" at an
// issuer, never the token's bytes.
type OneTime struct {
	Issuer string
	ID     string
	// Expires is when the token stops being acceptable, leeway included; until
	// then the id is remembered.
	Expires time.Time
}

// Caller is who reads, redeems or cancels a request: only the same subject with
// the same binding under the same service account is the same caller.
type Caller struct {
	ServiceAccount string
	Subject        Subject
	Binding        Binding
}

// Caller returns the part of the evidence that later calls must match.
func (e Evidence) Caller() Caller {
	return Caller{ServiceAccount: e.ServiceAccount, Subject: e.Subject, Binding: e.Binding}
}

// ServiceAccount is the part of a trust rule that policy and cards need: who
// owns the machine and what it may ask at all. An empty list allows nothing.
type ServiceAccount struct {
	Name      string   `json:"name"`
	Owners    []string `json:"owners"` // person ids
	Actions   []string `json:"actions"`
	Audiences []string `json:"audiences"`
	Scopes    []string `json:"scopes"`
	// Labels are the operator's own words for policy, for example tier: gold.
	Labels map[string]string `json:"labels"`
}

// Grant is what a credential is minted for.
type Grant struct {
	ID             string // the credential's jti, random
	Request        string // the request's id: claim "txn"
	Digest         string // the grant digest: claim "apd"
	Subject        string // account:environment:action: claim "sub"
	ServiceAccount string // claim "client_id"
	Audience       string
	Scopes         []string
	Issued         time.Time
	Expires        time.Time
}

// Credential is a minted secret together with what may be written down of it.
type Credential struct {
	Grant
	// Token is the secret itself. It prints as "[redacted]".
	Token Secret
	// SHA256 is the hex digest of the token, which stands in the audit log.
	SHA256 string
}

// Secret is a string that cannot print, log or marshal itself by accident.
type Secret string

const redacted = "[redacted]"

// String implements fmt.Stringer; it never shows the secret.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer; it never shows the secret.
func (Secret) GoString() string { return redacted }

// Format implements fmt.Formatter, so that no verb shows the secret.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler; it never shows the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Reveal returns the secret. Every call is a place to look at.
func (s Secret) Reveal() string { return string(s) }
