package opa

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/policies"
)

// deploy is a request that the default bundle sends to review.
func deploy() policies.Input {
	return policies.Input{
		Subject: policies.Subject{Issuer: "https://ci.example", Name: "repo:1"},
		ServiceAccount: policies.ServiceAccount{
			Name: "deployer", Owners: []string{"olga"}, Actions: []string{"deploy"},
			Audiences: []string{"https://cloud.example", "https://vault.example"}, Scopes: []string{"deploy", "read"},
		},
		Trigger: policies.Trigger{Kind: "person", Person: "tim"},
		Request: policies.Request{
			Action: "deploy", Resource: "shop", Audience: "https://cloud.example", Scopes: []string{"deploy"},
			TTL: policies.Duration(5 * time.Minute), TTLSeconds: 300, Reason: "release 1.2",
			Context: policies.Context{Environment: "production"},
		},
		Now: "2026-01-02T03:04:05Z",
	}
}

const head = "package countersign\n\n"

// allow and fine are entry points that nothing is wrong with.
const (
	allow = `decision := {"effect": "allow", "reasons": ["fine"], "scopes": input.request.scopes, "audience": input.request.audience, "max_ttl": "5m"}` + "\n"
	fine  = `review := {"deny": false, "reasons": []}` + "\n"
)

func source(text string) fstest.MapFS {
	return fstest.MapFS{"main.rego": {Data: []byte(head + text)}}
}

// load lets evaluations take their time, so that a busy machine changes no
// outcome; TestEndlessPolicyIsCut is about the limit that Load sets.
func load(t testing.TB, fsys fs.FS, o Options) *Engine {
	t.Helper()
	e, err := Load(t.Context(), fsys, o)
	if err != nil {
		t.Fatal(err)
	}
	e.limit = time.Minute
	return e
}

func TestDefaultBundleDecides(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	e := load(t, policies.Bundle(), Options{Samples: policies.Samples(), Log: slog.New(slog.NewJSONHandler(&log, nil))})
	got, err := e.Decide(t.Context(), deploy())
	if err != nil {
		t.Fatal(err)
	}
	want := policies.Decision{
		Effect: policies.Review, Reasons: []string{"deploy in production needs a review"},
		Stages:   []policies.Stage{{Name: "release", Approvers: policies.Approvers{Groups: []string{"release"}, People: []string{}}, Quorum: 1}},
		Scopes:   []string{"deploy"},
		Audience: "https://cloud.example", MaxTTL: policies.Duration(15 * time.Minute),
		Channels: []string{"approvals"}, Notify: []string{}, Deadline: policies.Duration(time.Hour), Risk: "high",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	in := deploy()
	in.Person = &policies.Person{ID: "tim"}
	v, err := e.Review(t.Context(), in)
	if err != nil || !v.Deny || len(v.Reasons) != 1 {
		t.Errorf("review by the trigger: %+v, %v", v, err)
	}
	in.Person.ID = "ada"
	if v, err := e.Review(t.Context(), in); err != nil || v.Deny {
		t.Errorf("review by an approver: %+v, %v", v, err)
	}
	if !strings.Contains(log.String(), `"samples":11`) || !strings.Contains(log.String(), e.Revision()) {
		t.Errorf("log does not say what was loaded: %s", log.String())
	}
}

// Each policy loads, and each evaluation denies with an error.
func TestDecideFailsClosed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		policy string
		want   error
		says   string
	}{
		"undefined":        {`decision := {"effect": "allow"} if input.now == ""`, ErrUndefined, "default"},
		"text":             {`decision := "allow"`, ErrResult, "must be an object"},
		"boolean":          {`decision := true`, ErrResult, "must be an object"},
		"unknown key":      {`decision := {"effect": "allow", "reasons": ["a"], "max_ttl": "5m", "ttl": "5m"}`, ErrResult, "decision.ttl is unknown"},
		"key of a number":  {`decision := {"effect": "deny", "reasons": ["a"], 3: 4}`, ErrResult, "key"},
		"no effect":        {`decision := {"reasons": ["a"]}`, ErrResult, "effect"},
		"unknown effect":   {`decision := {"effect": "permit", "reasons": ["a"]}`, ErrResult, "effect"},
		"no reasons":       {`decision := {"effect": "deny", "reasons": []}`, ErrResult, "reasons"},
		"empty reason":     {`decision := {"effect": "deny", "reasons": [" "]}`, ErrResult, "decision.reasons[0] must not be empty"},
		"no ttl":           {`decision := {"effect": "allow", "reasons": ["a"]}`, ErrResult, "max_ttl"},
		"ttl of a number":  {`decision := {"effect": "allow", "reasons": ["a"], "max_ttl": 300}`, ErrResult, "decision.max_ttl must be a text"},
		"ttl without unit": {`decision := {"effect": "allow", "reasons": ["a"], "max_ttl": "300"}`, ErrResult, "duration"},
		"ttl too long":     {`decision := {"effect": "allow", "reasons": ["a"], "max_ttl": "16m"}`, ErrResult, "max_ttl"},
		"null audience":    {`decision := {"effect": "allow", "reasons": ["a"], "max_ttl": "5m", "audience": null}`, ErrResult, "decision.audience must be a text"},
		"unknown risk":     {`decision := {"effect": "allow", "reasons": ["a"], "max_ttl": "5m", "risk": "huge"}`, ErrResult, "risk"},
		"scope not asked":  {`decision := {"effect": "allow", "reasons": ["a"], "max_ttl": "5m", "audience": input.request.audience, "scopes": ["read"]}`, ErrResult, `"read"`},
		"foreign audience": {`decision := {"effect": "allow", "reasons": ["a"], "max_ttl": "5m", "audience": "https://evil.example"}`, ErrResult, "audience"},
		"other audience":   {`decision := {"effect": "allow", "reasons": ["a"], "max_ttl": "5m", "audience": "https://vault.example"}`, ErrResult, "was asked for"},
		"no audience":      {`decision := {"effect": "allow", "reasons": ["a"], "max_ttl": "5m", "scopes": ["deploy"]}`, ErrResult, "audience"},
		"no stages":        {`decision := {"effect": "review", "reasons": ["a"], "max_ttl": "5m", "channels": ["c"], "deadline": "1h"}`, ErrResult, "stage"},
		"stages of a set":  {`decision := {"effect": "review", "reasons": ["a"], "max_ttl": "5m", "channels": ["c"], "deadline": "1h", "stages": {1}}`, ErrResult, "decision.stages must be a list"},
		"half a person":    {`decision := {"effect": "review", "reasons": ["a"], "max_ttl": "5m", "channels": ["c"], "deadline": "1h", "stages": [{"name": "a", "quorum": 0.5, "approvers": {"people": ["ada"]}}]}`, ErrResult, "decision.stages[0].quorum"},
		"unknown approver": {`decision := {"effect": "review", "reasons": ["a"], "max_ttl": "5m", "channels": ["c"], "deadline": "1h", "stages": [{"name": "a", "quorum": 1, "approvers": {"roles": ["ada"]}}]}`, ErrResult, "decision.stages[0].approvers.roles is unknown"},
		"unnamed approver": {`decision := {"effect": "review", "reasons": ["a"], "max_ttl": "5m", "channels": ["c"], "deadline": "1h", "stages": [{"name": "a", "quorum": 1, "approvers": {"people": [""]}}]}`, ErrResult, "people[0] must not be empty"},
		"builtin error":    {`decision := {"effect": "allow", "reasons": ["a"], "max_ttl": "5m"} if to_number(input.now) > 0`, ErrEvaluation, "main.rego:3"},
		"conflict":         {"decision := {\"effect\": \"allow\"} if input.now\ndecision := {\"effect\": \"deny\"} if input.now", ErrEvaluation, "conflict"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := load(t, source(test.policy+"\n"+fine), Options{})
			d, err := e.Decide(t.Context(), deploy())
			if d.Effect != policies.Deny || len(d.Reasons) != 1 || len(d.Scopes) != 0 || d.MaxTTL != 0 {
				t.Errorf("decision is %+v, want a bare denial", d)
			}
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v, want %v with %q", err, test.want, test.says)
			}
		})
	}
}

func TestDecideTwin(t *testing.T) {
	t.Parallel()
	d, err := load(t, source(allow+fine), Options{}).Decide(t.Context(), deploy())
	if err != nil || d.Effect != policies.Allow {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestReviewFailsClosed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		policy string
		want   error
	}{
		"undefined":     {`review := {"deny": false, "reasons": []} if input.now == ""`, ErrUndefined},
		"text":          {`review := "fine"`, ErrResult},
		"no deny":       {`review := {"reasons": []}`, ErrResult},
		"deny of text":  {`review := {"deny": "false", "reasons": []}`, ErrResult},
		"unknown key":   {`review := {"deny": false, "reasons": [], "allow": true}`, ErrResult},
		"no reason":     {`review := {"deny": true, "reasons": []}`, ErrResult},
		"builtin error": {`review := {"deny": false, "reasons": []} if to_number(input.now) > 0`, ErrEvaluation},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := load(t, source(allow+test.policy), Options{}).Review(t.Context(), deploy())
			if !v.Deny || len(v.Reasons) != 1 {
				t.Errorf("verdict is %+v, want a denial", v)
			}
			if !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
		})
	}
}

func TestEndlessPolicyIsCut(t *testing.T) {
	t.Parallel()
	e, err := Load(t.Context(), source(`decision := {"effect": "allow", "reasons": ["a"], "max_ttl": "5m"} if {
	count([1 | some a in numbers.range(1, 100000); some b in numbers.range(1, 100000); a * b == -1]) == 0
}
`+fine), Options{})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	d, err := e.Decide(t.Context(), deploy())
	took := time.Since(start)
	if d.Effect != policies.Deny || !errors.Is(err, ErrTooSlow) {
		t.Errorf("%+v, %v", d, err)
	}
	if took < Limit || took > 10*Limit {
		t.Errorf("cut after %s, want about %s", took, Limit)
	}
	e.limit = time.Minute
	if v, err := e.Review(t.Context(), deploy()); err != nil || v.Deny {
		t.Errorf("the engine goes on: %+v, %v", v, err)
	}
}

func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	e := load(t, source(allow+fine), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d, err := e.Decide(ctx, deploy())
	if d.Effect != policies.Deny || !errors.Is(err, context.Canceled) || errors.Is(err, ErrTooSlow) {
		t.Errorf("%+v, %v", d, err)
	}
	for range cap(e.turns) {
		e.turns <- struct{}{}
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if d, err := e.Decide(ctx, deploy()); d.Effect != policies.Deny || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while others evaluate: %+v, %v", d, err)
	}
	<-e.turns
	if d, err := e.Decide(t.Context(), deploy()); err != nil || d.Effect != policies.Allow {
		t.Errorf("after a turn came free: %+v, %v", d, err)
	}
}

func TestConcurrentDecisions(t *testing.T) {
	t.Parallel()
	e := load(t, policies.Bundle(), Options{})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 20 {
				d, err := e.Decide(t.Context(), deploy())
				if err != nil || d.Effect != policies.Review {
					t.Errorf("%+v, %v", d, err)
				}
			}
		})
	}
	wg.Wait()
	if len(e.turns) != 0 {
		t.Errorf("%d turns were not given back", len(e.turns))
	}
}

func TestRevision(t *testing.T) {
	t.Parallel()
	base := source(allow + fine)
	with := func(name, text string) fstest.MapFS {
		m := maps.Clone(base)
		m[name] = &fstest.MapFile{Data: []byte(text)}
		return m
	}
	revision := func(fsys fs.FS, data map[string]any) string { return load(t, fsys, Options{Data: data}).Revision() }
	first := revision(base, nil)
	if len(first) != 32 || first != revision(source(allow+fine), nil) {
		t.Errorf("revision %q is not stable", first)
	}
	same := map[string]string{
		"tests":            revision(with("main_test.rego", "package t\n\ntest_a := true\n"), nil),
		"empty data":       revision(with("data.json", " { } "), nil),
		"files aside":      revision(with("README.md", "hello"), nil),
		"data that is off": revision(with("data.json", `{"a": 1}`), map[string]any{"a": nil}),
	}
	for name, r := range same {
		if r != first {
			t.Errorf("%s must not change the revision", name)
		}
	}
	seen := map[string]string{first: "first"}
	for name, r := range map[string]string{
		"source": revision(source(allow+fine+"\n"), nil),
		"module": revision(with("more.rego", "package more\n"), nil),
		"name":   revision(with("other.rego", "package more\n"), nil),
		"data":   revision(base, map[string]any{"a": 1}),
		"value":  revision(base, map[string]any{"a": "1"}),
	} {
		if seen[r] != "" {
			t.Errorf("%s and %s have the same revision", name, seen[r])
		}
		seen[r] = name
	}
}
