package bot

import (
	"github.com/countersign/countersign/policies"
)

// Ask is what a machine asks for, as it stands in POST /v1/requests. All of it
// is the caller's word.
type Ask struct {
	Action   string `json:"action"`
	Resource string `json:"resource"`
	// Audience is who the credential is for; the policy's when empty.
	Audience string `json:"audience,omitempty"`
	// Scopes are what the credential may do. None asks for a decision only.
	Scopes      []string          `json:"scopes,omitempty"`
	TTL         policies.Duration `json:"ttl"`
	Reason      string            `json:"reason"`
	TriggeredBy *TriggeredBy      `json:"triggered_by,omitempty"`
	Context     Context           `json:"context,omitzero"`
}

// TriggeredBy is whom the caller names as the human behind the run. It can only
// add people who may not review.
type TriggeredBy struct {
	Kind string `json:"kind"` // an account kind of the directory: github, slack …
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	URL  string `json:"url,omitempty"`
}

// Context is what the caller tells about a request.
type Context struct {
	Environment string            `json:"environment,omitempty"`
	Risk        string            `json:"risk,omitempty"` // low, medium, high or critical, as the caller sees it
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
