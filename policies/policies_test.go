package policies_test

import (
	"encoding/json"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/policies"
)

// review is a decision that nothing is wrong with.
func review() policies.Decision {
	return policies.Decision{
		Effect: policies.Review, Reasons: []string{"a"},
		Stages: []policies.Stage{{Name: "s", Approvers: policies.Approvers{Groups: []string{"g"}}, Quorum: 1}},
		MaxTTL: policies.Duration(policies.MaxTTL), Channels: []string{"c"}, Deadline: policies.Duration(policies.MaxDeadline),
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]policies.Decision{
		"review": review(),
		"deny":   {Effect: policies.Deny, Reasons: []string{"a"}},
		"allow":  {Effect: policies.Allow, Reasons: []string{"a"}, MaxTTL: 1},
	} {
		if err := d.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	tests := map[string]struct {
		spoil func(*policies.Decision)
		says  string
	}{
		"zero":             {func(d *policies.Decision) { *d = policies.Decision{} }, "effect"},
		"effect":           {func(d *policies.Decision) { d.Effect = "permit" }, "permit"},
		"reasons":          {func(d *policies.Decision) { d.Reasons = nil }, "reasons"},
		"allow and stages": {func(d *policies.Decision) { d.Effect = policies.Allow }, "must not have stages"},
		"stages":           {func(d *policies.Decision) { d.Stages = nil }, "at least one stage"},
		"channels":         {func(d *policies.Decision) { d.Channels = nil }, "channel"},
		"no deadline":      {func(d *policies.Decision) { d.Deadline = 0 }, "deadline"},
		"long deadline":    {func(d *policies.Decision) { d.Deadline++ }, "deadline"},
		"no life":          {func(d *policies.Decision) { d.MaxTTL = 0 }, "max_ttl"},
		"long life":        {func(d *policies.Decision) { d.MaxTTL++ }, "max_ttl"},
		"no quorum":        {func(d *policies.Decision) { d.Stages[0].Quorum = 0 }, "quorum"},
		"huge quorum":      {func(d *policies.Decision) { d.Stages[0].Quorum = policies.MaxQuorum + 1 }, "quorum"},
		"nobody":           {func(d *policies.Decision) { d.Stages[0].Approvers = policies.Approvers{} }, "no approvers"},
	}
	for name, test := range tests {
		d := review()
		test.spoil(&d)
		if err := d.Check(); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error does not say %q: %v", name, test.says, err)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	var d policies.Duration
	if err := json.Unmarshal([]byte(`"1h30m"`), &d); err != nil || time.Duration(d) != 90*time.Minute {
		t.Errorf("%v, %v", d, err)
	}
	if raw, err := json.Marshal(d); err != nil || string(raw) != `"1h30m0s"` {
		t.Errorf("%s, %v", raw, err)
	}
	for _, s := range []string{`90`, `"90"`, `""`, `"an hour"`} {
		if err := json.Unmarshal([]byte(s), &d); err == nil {
			t.Errorf("%s was read", s)
		}
	}
}

func TestEmbedded(t *testing.T) {
	t.Parallel()
	for name, fsys := range map[string]fs.FS{"decision.rego": policies.Bundle(), "data.json": policies.Bundle(), "rotate-key.json": policies.Samples()} {
		if _, err := fs.Stat(fsys, name); err != nil {
			t.Error(err)
		}
	}
	if !json.Valid(policies.InputSchema) {
		t.Error("the input schema is not JSON")
	}
}
