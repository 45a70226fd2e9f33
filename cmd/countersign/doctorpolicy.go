package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/countersign/countersign/policies/opa"
)

// checkPolicy loads the policy, has it answer its samples, and runs its tests.
func (d *doctor) checkPolicy(ctx context.Context) {
	bundle, o := d.config.policySource(slog.New(slog.DiscardHandler))
	engine, err := opa.Load(ctx, bundle, o)
	if err != nil {
		d.fail("policy", "correct the policy: the server does not start with it", "%s", inline(err))
		return
	}
	samples := "without samples"
	if o.Samples != nil {
		samples = "and its samples pass"
	}
	d.ok("policy", "revision %.12s loads %s", engine.Revision(), samples)
	d.checkPolicyNames(bundle, o.Data)
	report, err := opa.Test(ctx, bundle)
	switch {
	case errors.Is(err, opa.ErrNoTests):
		d.warn("policy", "write rules named test_… in files named *_test.rego", "the bundle has no tests")
	case err != nil:
		d.fail("policy", "correct the bundle's tests", "%s", inline(err))
	case !report.Pass():
		for _, t := range report.Tests {
			if !t.Pass {
				d.fail("policy", "correct the policy or its test", "the test %s fails (%s)", t.Name, t.Location)
			}
		}
	default:
		d.ok("policy", "%d tests pass", len(report.Tests))
	}
}

// checkPolicyNames finds groups and channels that the policy's data names and the
// configuration does not have: a request that needs one cannot be reviewed. Data
// of another shape than the default bundle's names nothing that is found here.
func (d *doctor) checkPolicyNames(bundle fs.FS, patch map[string]any) {
	raw, err := fs.ReadFile(bundle, "data.json")
	if err != nil {
		return // a bundle may do without
	}
	var data any
	if err := json.Unmarshal(raw, &data); err != nil {
		return // told by the engine
	}
	names := map[string]map[string]bool{"groups": {}, "channels": {}, "notify": {}}
	collectNames(mergePatch(data, patch), names)
	maps.Copy(names["channels"], names["notify"])
	missing := func(what string, have func(string) bool) {
		lacking := slices.DeleteFunc(slices.Sorted(maps.Keys(names[what])), have)
		if len(lacking) > 0 {
			d.warn("policy", "add what you need to "+what+" in the configuration, or change policy.data",
				"the policy's data names %s that the configuration does not have (%s): a request that needs one is denied", what, strings.Join(lacking, ", "))
		}
	}
	missing("groups", func(name string) bool { _, ok := d.config.Groups[name]; return ok })
	missing("channels", func(name string) bool { _, ok := d.config.Channels[name]; return ok })
}

// collectNames gathers the strings of every list that has one of the names.
func collectNames(v any, names map[string]map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			list, ok := value.([]any)
			if set := names[key]; ok && set != nil {
				for _, item := range list {
					if name, ok := item.(string); ok {
						set[name] = true
					}
				}
			}
			collectNames(value, names)
		}
	case []any:
		for _, item := range v {
			collectNames(item, names)
		}
	}
}

// mergePatch lays a merge patch over a document (RFC 7396 section 2).
func mergePatch(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out := map[string]any{}
	if t, ok := target.(map[string]any); ok {
		maps.Copy(out, t)
	}
	for name, value := range p {
		if value == nil {
			delete(out, name)
			continue
		}
		out[name] = mergePatch(out[name], value)
	}
	return out
}
