package opa

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/countersign/countersign/policies"
)

// blocks returns the guide's fenced examples by the name after their language.
func blocks(t *testing.T) map[string]string {
	t.Helper()
	guide, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, m := range regexp.MustCompile("(?ms)^```[a-z]+ ([a-z_.]+)\n(.*?)^```$").FindAllStringSubmatch(string(guide), -1) {
		found[m[1]] = m[2]
	}
	if want := strings.Count(string(guide), "\n```") / 2; len(found) != want {
		t.Fatalf("%d of the guide's %d examples are tested", len(found), want)
	}
	return found
}

func TestGuidesData(t *testing.T) {
	t.Parallel()
	var data map[string]any
	if err := json.Unmarshal([]byte(blocks(t)["data"]), &data); err != nil {
		t.Fatal(err)
	}
	e := load(t, policies.Bundle(), Options{Data: data})
	in := deploy()
	d, err := e.Decide(t.Context(), in)
	if err != nil || d.Channels[0] != "releases" || strings.Join(d.Stages[0].Approvers.Groups, " ") != "release sre" {
		t.Errorf("%+v, %v", d, err)
	}
	in.Request.Context.Environment = "payments"
	if d, err = e.Decide(t.Context(), in); err != nil || len(d.Stages) != 2 || !d.Stages[1].Distinct {
		t.Errorf("%+v, %v", d, err)
	}
	in.Request.Context.Environment = "qa"
	if d, err = e.Decide(t.Context(), in); err != nil || d.Effect != policies.Deny {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestGuidesConfiguration(t *testing.T) {
	t.Parallel()
	var c struct {
		Policy struct{ Data map[string]any }
	}
	if err := yaml.Unmarshal([]byte(blocks(t)["configuration"]), &c); err != nil {
		t.Fatal(err)
	}
	in := deploy()
	in.Request.Action, in.Request.Context.Environment = "unlock", ""
	in.ServiceAccount.Actions = append(in.ServiceAccount.Actions, "unlock")
	d, err := load(t, policies.Bundle(), Options{Data: c.Policy.Data}).Decide(t.Context(), in)
	if err != nil || time.Duration(d.Deadline) != 2*time.Hour {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestGuidesPolicy(t *testing.T) {
	t.Parallel()
	b := blocks(t)
	fsys := fstest.MapFS{}
	for _, name := range []string{"main.rego", "main_test.rego", "data.json"} {
		fsys[name] = &fstest.MapFile{Data: []byte(b[name])}
	}
	load(t, fsys, Options{Samples: fstest.MapFS{"sample.json": {Data: []byte(b["sample"])}}})
	r, err := Test(t.Context(), fsys)
	if err != nil || !r.Pass() {
		t.Errorf("%+v, %v", r, err)
	}
}
