package opa

import (
	"testing"

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
