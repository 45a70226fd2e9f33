package opa

import (
	"io/fs"
	"path"
	"testing"

	"github.com/open-policy-agent/opa/v1/format"

	"github.com/countersign/countersign/policies"
)

// The default bundle's own tests run by OPA's runner, and reach nearly all of it.
func TestDefaultBundle(t *testing.T) {
	t.Parallel()
	r, err := Test(t.Context(), policies.Bundle())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range r.Tests {
		if !test.Pass {
			t.Errorf("%s: %s failed\n%s", test.Location, test.Name, test.Detail)
		}
	}
	t.Logf("%d tests, %.1f %% of lines covered; not covered: %v", len(r.Tests), r.Coverage, r.Uncovered)
	if r.Coverage < 90 {
		t.Errorf("coverage is %.1f %%, want at least 90 %%", r.Coverage)
	}
}

// The default bundle stands as OPA's formatter writes it.
func TestDefaultBundleIsFormatted(t *testing.T) {
	t.Parallel()
	entries, err := fs.ReadDir(policies.Bundle(), ".")
	if err != nil {
		t.Fatal(err)
	}
	modules := 0
	for _, e := range entries {
		if path.Ext(e.Name()) != ".rego" {
			continue
		}
		modules++
		text, err := fs.ReadFile(policies.Bundle(), e.Name())
		if err != nil {
			t.Fatal(err)
		}
		want, err := format.Source(e.Name(), text)
		if err != nil {
			t.Fatal(err)
		}
		if string(text) != string(want) {
			t.Errorf("%s is not formatted: run opa fmt", e.Name())
		}
	}
	if modules == 0 {
		t.Error("the bundle has no modules")
	}
}
