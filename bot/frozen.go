package bot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
)

// Frozen is the canonical request: what was asked, by whom, and what the policy
// decided, fixed at creation. Its RFC 8785 form is hashed into the request
// digest, cards are drawn from it and from nothing else, and it never changes.
type Frozen struct {
	// Type separates this digest from every other: "countersign/request/v1".
	Type string `json:"type"`
	ID   string `json:"id"`
	// Nonce is random, so that the digest tells nothing of the text under it.
	Nonce          string            `json:"nonce"`
	ServiceAccount string            `json:"service_account"`
	Owners         []string          `json:"owners"`
	Subject        identity.Subject  `json:"subject"`
	Binding        identity.Binding  `json:"binding"`
	Trigger        identity.Trigger  `json:"trigger"`
	TriggeredBy    *TriggeredBy      `json:"triggered_by,omitempty"`
	Facts          map[string]string `json:"facts"`
	// Excluded are the people who may not review: the trigger, and whoever the
	// caller says triggered it.
	Excluded []string `json:"excluded"`

	Action   string   `json:"action"`
	Resource string   `json:"resource"`
	Audience string   `json:"audience"`
	Scopes   []string `json:"scopes"` // to be granted: asked, and left by the policy
	// TTL is the credential's life as it will be granted.
	TTL     policies.Duration `json:"ttl"`
	Reason  string            `json:"reason"`
	Context FrozenContext     `json:"context"`

	Decision policies.Decision `json:"decision"`
	Revision string            `json:"revision"`
	Created  time.Time         `json:"created"`
	Deadline time.Time         `json:"deadline,omitzero"`
}

// FrozenContext is Context with the diff replaced by its hash and summary.
type FrozenContext struct {
	Environment string            `json:"environment"`
	Risk        string            `json:"risk"`
	Diff        *FrozenDiff       `json:"diff,omitempty"`
	Checks      []Check           `json:"checks"`
	Links       []Link            `json:"links"`
	Tickets     []string          `json:"tickets"`
	Labels      map[string]string `json:"labels"`
}

// FrozenDiff stands for a diff that is kept as a blob.
type FrozenDiff struct {
	SHA256  string   `json:"sha256"`
	Bytes   int      `json:"bytes"`
	Files   int      `json:"files"`
	Added   int      `json:"added"`
	Removed int      `json:"removed"`
	Paths   []string `json:"paths"` // at most maxPaths, each cut to maxText characters
}

// grantForm is what the grant digest covers.
type grantForm struct {
	Type    string            `json:"type"` // "countersign/grant/v1"
	Request string            `json:"request"`
	Reviews []grantReview     `json:"reviews"`
	Scopes  []string          `json:"scopes"`
	TTL     policies.Duration `json:"ttl"`
}

type grantReview struct {
	Person  string    `json:"person"`
	Verdict string    `json:"verdict"`
	Stage   int       `json:"stage"`
	Digest  string    `json:"digest"`
	At      time.Time `json:"at"`
}

// canonical returns v in RFC 8785 form and the hex SHA-256 of that.
func canonical(v any) ([]byte, string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, "", fmt.Errorf("encode canonical form: %w", err)
	}
	value := jsontext.Value(raw)
	if err := value.Canonicalize(); err != nil {
		return nil, "", fmt.Errorf("canonicalise: %w", err)
	}
	sum := sha256.Sum256(value)
	return value, hex.EncodeToString(sum[:]), nil
}

// thaw reads the frozen request of a record, and refuses one whose bytes no
// longer match the digest.
func thaw(r store.Request) (Frozen, error) {
	sum := sha256.Sum256(r.Canonical)
	if hex.EncodeToString(sum[:]) != r.Digest {
		return Frozen{}, fmt.Errorf("request %s: the stored request does not match its digest", r.ID)
	}
	var f Frozen
	if err := json.Unmarshal(r.Canonical, &f); err != nil {
		return Frozen{}, fmt.Errorf("request %s: read the frozen request: %w", r.ID, err)
	}
	return f, nil
}

// grantDigest covers the request digest, the reviews, and what is granted.
func grantDigest(r store.Request, scopes []string, ttl time.Duration) (string, error) {
	g := grantForm{Type: "countersign/grant/v1", Request: r.Digest, Scopes: scopes, TTL: policies.Duration(ttl), Reviews: []grantReview{}}
	for _, v := range r.Reviews {
		g.Reviews = append(g.Reviews, grantReview{v.Person, v.Verdict, v.Stage, v.Digest, v.At.UTC()})
	}
	_, digest, err := canonical(g)
	return digest, err
}

// crockford is Douglas Crockford's base 32 alphabet: no I, L, O, U.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// shortCode is what people compare between card and log: the first 30 bits of
// the digest in six characters.
func shortCode(digest string) string {
	b, err := hex.DecodeString(digest)
	if err != nil || len(b) < 4 {
		return ""
	}
	bits := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	var code [6]byte
	for i := range code {
		code[i] = crockford[bits>>(27-5*i)&31]
	}
	return string(code[:])
}
