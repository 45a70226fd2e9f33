package opa

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/countersign/countersign/policies"
)

// What a bundle may be refused for. Each message says where, and what to do.
func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	good := source(allow + fine)
	with := func(name, text string) fstest.MapFS {
		m := maps.Clone(good)
		m[name] = file(text)
		return m
	}
	tests := map[string]struct {
		fsys fstest.MapFS
		says []string
	}{
		"nothing":          {fstest.MapFS{"README.md": file("hi")}, []string{"no .rego file"}},
		"syntax":           {source("decision := {\n"), []string{"main.rego:", "rego_parse_error"}},
		"two files":        {fstest.MapFS{"a.rego": file(head + "a := {"), "b.rego": file(head + "b := [")}, []string{"a.rego:3", "b.rego:3"}},
		"empty file":       {with("empty.rego", "# nothing\n"), []string{"empty.rego", "package"}},
		"no decision":      {source(fine), []string{"data.countersign.decision", "write one named decision"}},
		"no review":        {source(allow), []string{"data.countersign.review"}},
		"other package":    {fstest.MapFS{"main.rego": file("package mine\n\n" + allow + fine)}, []string{"data.countersign.decision", "data.countersign.review"}},
		"misspelt input":   {source(`decision := {"effect": "allow"} if input.reqest.action == "deploy"` + "\n" + fine), []string{"main.rego:3", "input.reqest", "input.schema.json"}},
		"deeper misspelt":  {source(`decision := {"effect": "allow"} if input.request.context.enviroment == "test"` + "\n" + fine), []string{"main.rego:3", "enviroment"}},
		"type mismatch":    {source(`decision := {"effect": "allow"} if startswith(input.request.ttl_seconds, "1")` + "\n" + fine), []string{"main.rego:3", "rego_type_error"}},
		"unused variable":  {source("decision := {\"effect\": \"allow\"} if {\n\tx := 1\n}\n" + fine), []string{"main.rego:4", "unused"}},
		"data over rules":  {with("data.json", `{"countersign": {"decision": {"effect": "allow"}}}`), []string{"conflict"}},
		"data of a list":   {with("data.json", `[]`), []string{"data.json", "object"}},
		"data twice":       {with("data.json", `{"a": 1, "a": 2}`), []string{"data.json", "duplicate"}},
		"data in YAML":     {with("data.yaml", `a: 1`), []string{"data.yaml", "data.json"}},
		"data further in":  {with("more/data.json", `{}`), []string{"more/data.json", "root"}},
		"faults":           {source(allow + fine + `faults := {"mind the gap"}`), []string{"the policy's data is wrong", "mind the gap"}},
		"undefined faults": {source(allow + fine + `faults := {"a"} if data.x`), []string{"undefined"}},
		"boolean faults":   {source(allow + fine + `faults := false`), []string{"list of texts"}},
		"failing faults":   {source(allow + fine + `faults := {to_number("x")}`), []string{"main.rego"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, test.fsys, Options{}, test.says...)
		})
	}
	for name, fsys := range map[string]fstest.MapFS{
		"good":          good,
		"hidden":        with(".git/bad.rego", "package"),
		"hidden file":   with("._main.rego", "package"),
		"data":          with("data.json", `{"a": 1}`),
		"broken tests":  with("main_test.rego", "package"),
		"no faults":     source(allow + fine + "faults := set()\n"),
		"other package": with("lib/more.rego", "package more\n\nx := 1\n"),
	} {
		t.Run("not "+name, func(t *testing.T) {
			t.Parallel()
			load(t, fsys, Options{})
		})
	}
}

func refused(t *testing.T, fsys fstest.MapFS, o Options, says ...string) {
	t.Helper()
	_, err := Load(t.Context(), fsys, o)
	if err == nil {
		t.Fatal("loaded")
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error does not say %q:\n%v", s, err)
		}
	}
}

// A policy that reaches outside of its input and data does not compile, however
// it names the builtin.
func TestWithheldBuiltins(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]string{
		"network":     `http.send({"method": "GET", "url": "http://127.0.0.1/"})`,
		"lookup":      `net.lookup_ip_addr("localhost")`,
		"environment": `opa.runtime()`,
		"parser":      `rego.parse_module("a.rego", "package a")`,
		"clock":       `time.now_ns()`,
		"random":      `rand.intn("a", 3)`,
		"uuid":        `uuid.rfc4122("a")`,
		"token clock": `io.jwt.decode_verify("a", {})`,
		"signing":     `providers.aws.sign_req({}, {}, 1)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, source("x := "+call+"\n"+allow+fine), Options{}, "main.rego:3", "undefined function", "input and data only")
		})
		target, _, _ := strings.Cut(call, "(")
		t.Run(name+" as a target", func(t *testing.T) {
			t.Parallel()
			refused(t, source("f(x) := x\n\ny := count([1]) with count as "+target+"\n"+allow+fine), Options{}, "main.rego:5")
		})
	}
	t.Run("not pure ones", func(t *testing.T) {
		t.Parallel()
		load(t, source(`x := time.parse_rfc3339_ns("2026-01-02T03:04:05Z")`+"\n"+allow+fine), Options{})
	})
}

func TestDataIsAMergePatch(t *testing.T) {
	t.Parallel()
	var patch map[string]any
	if err := json.Unmarshal([]byte(`{"config": {
		"environments": {"staging": null, "moon": "routine"},
		"defaults": {"channels": ["releases"]}, "new": null,
		"rules": {"deploy": {"production": {"quorum": 3}}}
	}}`), &patch); err != nil {
		t.Fatal(err)
	}
	e := load(t, policies.Bundle(), Options{Data: patch})
	d, err := e.Decide(t.Context(), deploy())
	if err != nil || d.Stages[0].Quorum != 3 || d.Channels[0] != "releases" || d.Stages[0].Approvers.Groups[0] != "release" {
		t.Errorf("%+v, %v", d, err)
	}
	for environment, want := range map[string]policies.Effect{"moon": policies.Allow, "staging": policies.Deny, "dev": policies.Allow} {
		in := deploy()
		in.Request.Context.Environment = environment
		in.Facts = map[string]string{"environment": environment}
		if d, err := e.Decide(t.Context(), in); err != nil || d.Effect != want {
			t.Errorf("%s: %+v, %v", environment, d, err)
		}
	}
	if plain := load(t, policies.Bundle(), Options{}); plain.Revision() == e.Revision() {
		t.Error("data does not change the revision")
	}
}

func TestFaultyDataIsRefused(t *testing.T) {
	t.Parallel()
	_, err := Load(t.Context(), policies.Bundle(), Options{Data: map[string]any{"config": map[string]any{
		"enviroments": map[string]any{}, "defaults": map[string]any{"max_ttl": "1h"},
	}}})
	for _, s := range []string{"config.enviroments is unknown", "config.rules.deploy.production: max_ttl"} {
		if err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("error does not say %q: %v", s, err)
		}
	}
	if _, err := Load(t.Context(), policies.Bundle(), Options{Data: map[string]any{"f": func() {}}}); err == nil {
		t.Error("data that is not JSON was loaded")
	}
}

func TestSamples(t *testing.T) {
	t.Parallel()
	in, err := json.Marshal(deploy())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		text string
		says string // empty: loads
	}{
		"effect":         {`{"name": "a", "input": INPUT, "want": {"effect": "review"}}`, ""},
		"duration":       {`{"name": "a", "input": INPUT, "want": {"effect": "review", "deadline": "60m"}}`, ""},
		"part of reason": {`{"name": "a", "input": INPUT, "want": {"effect": "review", "reasons": ["needs a review"]}}`, ""},
		"review":         {`{"name": "a", "entry": "review", "input": INPUT, "want": {"deny": false}}`, ""},
		"mismatch":       {`{"name": "a", "input": INPUT, "want": {"effect": "allow"}}`, `s.json: want effect "allow", the policy gives "review": deploy in production`},
		"other reason":   {`{"name": "a", "input": INPUT, "want": {"effect": "review", "reasons": ["moon"]}}`, `"moon"`},
		"other review":   {`{"name": "a", "entry": "review", "input": INPUT, "want": {"deny": true}}`, "want deny true"},
		"empty want":     {`{"name": "a", "input": INPUT, "want": {}}`, "want is empty"},
		"misspelt want":  {`{"name": "a", "input": INPUT, "want": {"efect": "allow"}}`, "efect"},
		"unknown entry":  {`{"name": "a", "entry": "judge", "input": INPUT, "want": {"effect": "review"}}`, "entry must be"},
		"unknown member": {`{"name": "a", "inputs": INPUT, "want": {"effect": "review"}}`, "inputs"},
		"no input":       {`{"name": "a", "want": {"effect": "review"}}`, "want effect"},
		"odd ttl":        {strings.Replace(`{"name": "a", "input": INPUT, "want": {"effect": "review"}}`, "INPUT", strings.Replace(string(in), "300", "301", 1), 1), "ttl_seconds"},
		"not JSON":       {`{`, "s.json"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(test.text, "INPUT", string(in), 1)
			_, err := Load(t.Context(), policies.Bundle(), Options{Samples: fstest.MapFS{"s.json": {Data: []byte(text)}, "README.md": {}}})
			if test.says == "" && err != nil {
				t.Error(err)
			}
			if test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("error does not say %q: %v", test.says, err)
			}
		})
	}
}
