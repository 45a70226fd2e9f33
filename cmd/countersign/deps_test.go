package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/countersign/countersign"

// mayImport is the house: what each package may import of ours, and why no more.
// A package that is not in it has no place yet.
var mayImport = map[string]struct {
	ours []string
	why  string
}{
	"cmd/countersign": {[]string{"adapters/rest", "adapters/rest/client", "adapters/slack", "adapters/emulator", "bot", "bot/chat", "identity", "identity/token",
		"policies", "policies/opa", "store", "store/audit", "store/bolt"}, "it is the object graph, and may know everything but tests"},
	"cmd/countersign-verify":       {[]string{"store/audit"}, "an auditor's program must not share the server's idea of what is legal"},
	"cmd/countersign/e2e/emulator": {[]string{"adapters/emulator"}, "it runs the emulator by itself, for browser tests"},
	"bot":                          {[]string{"bot/chat", "identity", "policies", "store"}, "the heart knows words and contracts, no platform and no engine"},
	"bot/chat":                     {nil, "the words that heart and platforms share belong to neither"},
	"bot/chat/chattest":            {[]string{"bot/chat"}, "a platform's contract must not know the heart"},
	"adapters/slack":               {[]string{"bot/chat"}, "an adapter translates; what it cannot import it cannot decide"},
	"adapters/teams":               {[]string{"bot/chat"}, "an adapter translates; what it cannot import it cannot decide"},
	"adapters/rest":                {[]string{"bot", "identity", "policies", "store"}, "a door passes on evidence and answers; it verifies no token and runs no policy itself"},
	"adapters/rest/client":         {nil, "machines of strangers import it"},
	"adapters/emulator":            {nil, "a stand-in that shared our code would share our mistakes"},
	"identity":                     {nil, "the words for who takes part depend on nothing"},
	"identity/token":               {[]string{"identity"}, "a token becomes evidence without knowing what it is used for"},
	"policies":                     {nil, "the contract with Rego depends on nothing"},
	"policies/opa":                 {[]string{"policies"}, "the engine answers the contract and nothing else"},
	"store":                        {nil, "the contract of engines depends on nothing"},
	"store/audit":                  {nil, "auditors verify with it, away from any store"},
	"store/storetest":              {[]string{"store", "store/audit"}, "the contract of engines must not know one"},
	"store/bolt":                   {[]string{"store", "store/audit"}, "an engine keeps records and does not understand them"},
	"store/postgres":               {[]string{"store", "store/audit"}, "an engine keeps records and does not understand them"},
}

// testSuites are test code that is not in _test files: contracts that others
// run, and the small app by which browser tests try the emulator. No program of
// ours imports them.
var testSuites = []string{"bot/chat/chattest", "store/storetest", "cmd/countersign/e2e/emulator"}

// onlyImporter names the one package that may import a library (by its import
// path or what begins with it), beside tests if also says so. A second importer
// would be a second opinion.
var onlyImporter = map[string]struct {
	importer string
	also     []string
	why      string
}{
	"github.com/golang-jwt/jwt":         {"identity/token", nil, "tokens are judged in one place"},
	"github.com/MicahParks/":            {"identity/token", nil, "key sets are judged in one place"},
	"github.com/open-policy-agent/opa":  {"policies/opa", nil, "policy answers are made strict in one place"},
	"go.etcd.io/bbolt":                  {"store/bolt", nil, "the file has one owner"},
	"github.com/slack-go/slack":         {"adapters/slack", []string{"cmd/countersign/e2e/emulator"}, "Slack has one translator, and the emulator must not share its reading of the protocol"},
	"github.com/rogpeppe/go-internal":   {"", testSuites, "it is for tests only"},
	"github.com/google/go-cmp":          {"", testSuites, "it is for tests only"},
	"github.com/getkin/kin-openapi":     {"", testSuites, "it is for tests only"},
	"github.com/anishathalye/porcupine": {"", testSuites, "it is for tests only"},
}

// mustNotReach lists what must not come in even through others.
var mustNotReach = []struct {
	from, what, why string
}{
	{"bot", "net/http", "the heart is called by doors; it calls nobody by HTTP"},
	{"bot/chat", "net/http", "the words are no protocol"},
	{"store", "net/http", "the contract of engines is the standard library's basics"},
	{"store/audit", "net/http", "verification works without a network"},
	{"cmd/countersign-verify", "net/http", "an auditor's program has no reason to reach a network"},
	{"identity", "net/http", "the words are no protocol"},
	{"policies", "net/http", "the contract with Rego is no protocol"},
	{"adapters/rest", "github.com/slack-go/slack", "doors do not know each other"},
	{"adapters/rest", "github.com/open-policy-agent/opa", "a door runs no policy"},
	{"adapters/rest", "go.etcd.io/bbolt", "a door keeps no records"},
	{"adapters/slack", "go.etcd.io/bbolt", "an adapter keeps no records"},
	{"adapters/slack", "github.com/open-policy-agent/opa", "an adapter decides nothing"},
}

// vague are names that say nothing of what a package owns, or that mean
// something else in this project's vocabulary.
var vague = []string{"util", "utils", "common", "helper", "helpers", "manager", "service", "handler", "handlers", "session", "ticket", "shared", "misc", "base", "core", "lib"}

// listed is what go list tells of a package, tests left out.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// TestImports holds the tree to the house. It asks the go command, whose
// answer Go's test cache does not see: run it with -count=1.
func TestImports(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", "./adapters/...", "./bot/...", "./cmd/...", "./identity/...", "./policies/...", "./store/...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 15 {
		t.Fatalf("go list names %d packages: too few to be the tree", len(all))
	}
	for _, fault := range importFaults(all) {
		t.Error(fault)
	}
}

// importFaults reports every breach of the rules above.
func importFaults(all []listed) []string {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for _, p := range all {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if slices.Contains(vague, path.Base(name)) {
			fault("%s: the name does not say what the package owns", name)
		}
		rule, ok := mayImport[name]
		if !ok {
			fault("%s: has no place in mayImport: say what it may import, and why", name)
			continue
		}
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module+"/"); ok && !slices.Contains(rule.ours, ours) {
				fault("%s must not import %s: %s", name, ours, rule.why)
			}
			for _, library := range slices.Sorted(maps.Keys(onlyImporter)) {
				if only := onlyImporter[library]; within(i, library) && name != only.importer && !slices.Contains(only.also, name) {
					fault("%s must not import %s: %s", name, i, only.why)
				}
			}
		}
		for _, r := range mustNotReach {
			if name == r.from && slices.ContainsFunc(p.Deps, func(d string) bool { return within(d, r.what) }) {
				fault("%s must not depend on %s, not even through others: %s (go list -deps tells by which way)", name, r.what, r.why)
			}
		}
	}
	return faults
}

// within reports whether an import path is the library or a package of it, in
// whatever major version.
func within(importPath, library string) bool {
	return importPath == library || strings.HasPrefix(importPath, strings.TrimSuffix(library, "/")+"/")
}

func TestImportFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		p    listed
		want string // part of the one fault; empty is none
	}{
		"allowed":           {listed{ImportPath: module + "/bot", Imports: []string{"context", module + "/store"}}, ""},
		"not its direction": {listed{ImportPath: module + "/adapters/slack", Imports: []string{module + "/bot"}}, "must not import bot:"},
		"nothing of ours":   {listed{ImportPath: module + "/adapters/emulator", Imports: []string{module + "/bot/chat"}}, "must not import bot/chat"},
		"one importer":      {listed{ImportPath: module + "/identity/token", Imports: []string{"github.com/golang-jwt/jwt/v5"}}, ""},
		"second importer":   {listed{ImportPath: module + "/adapters/rest", Imports: []string{"github.com/golang-jwt/jwt/v5"}}, "tokens are judged in one place"},
		"emulator with SDK": {listed{ImportPath: module + "/adapters/emulator", Imports: []string{"github.com/slack-go/slack/socketmode"}}, "must not share its reading"},
		"test library":      {listed{ImportPath: module + "/store", Imports: []string{"github.com/google/go-cmp/cmp"}}, "for tests only"},
		"suite of tests":    {listed{ImportPath: module + "/store/storetest", Imports: []string{"github.com/google/go-cmp/cmp"}}, ""},
		"suite with engine": {listed{ImportPath: module + "/store/storetest", Imports: []string{"go.etcd.io/bbolt"}}, "one owner"},
		"through others":    {listed{ImportPath: module + "/bot", Deps: []string{"io", "net/http"}}, "not even through others"},
		"no place":          {listed{ImportPath: module + "/adapters/fax"}, "no place"},
		"vague":             {listed{ImportPath: module + "/adapters/rest/util"}, "does not say"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faults := importFaults([]listed{test.p})
			if test.want == "" && len(faults) > 0 || test.want != "" && !strings.Contains(strings.Join(faults, "\n"), test.want) {
				t.Errorf("faults %q, want %q", faults, test.want)
			}
		})
	}
}
