package opa

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/countersign/countersign/policies"
)

// testLimit is how long one test_ rule may take: long enough for a busy machine,
// since each runs three times for its coverage.
const testLimit = 30 * time.Second

// ErrNoTests: the bundle has no test_ rule in a *_test.rego file.
var ErrNoTests = errors.New("the policy bundle has no tests: write rules named test_… in files named *_test.rego")

// Report is the outcome of a bundle's own tests.
type Report struct {
	Tests []TestResult `json:"tests"` // by package and name
	// Coverage is the share of the modules' lines that the tests reached, in
	// percent; Uncovered are the others, as file:line or file:line-line.
	Coverage  float64  `json:"coverage"`
	Uncovered []string `json:"uncovered,omitempty"`
}

// TestResult is one test_ rule. Detail is why it failed or what it printed.
type TestResult struct {
	Name     string            `json:"name"`
	Location string            `json:"location"`
	Pass     bool              `json:"pass"`
	Detail   string            `json:"detail,omitempty"`
	Duration policies.Duration `json:"duration"`
}

// Pass reports whether there are tests and none failed.
func (r Report) Pass() bool {
	return len(r.Tests) > 0 && !slices.ContainsFunc(r.Tests, func(t TestResult) bool { return !t.Pass })
}

// Test runs the bundle's *_test.rego files by OPA's own runner, over the
// bundle's data.json and with what Load lets a policy use. A failed test is in
// the report; the error is for tests that could not be run.
func Test(ctx context.Context, fsys fs.FS) (Report, error) {
	b, err := read(fsys, nil)
	if err != nil {
		return Report{}, err
	}
	if len(b.tests) == 0 {
		return Report{}, ErrNoTests
	}
	sources := maps.Clone(b.modules)
	maps.Copy(sources, b.tests)
	if _, err := b.compile(sources); err != nil { // for its messages
		return Report{}, err
	}
	results, coverage, err := b.run(ctx, sources)
	if err != nil {
		return Report{}, fmt.Errorf("run the policy's tests: %w", err)
	}
	r := Report{Tests: results}
	b.cover(&r, coverage)
	if len(r.Tests) == 0 {
		return r, ErrNoTests
	}
	return r, nil
}

func (b *files) run(ctx context.Context, sources map[string]string) ([]TestResult, cover.Report, error) {
	modules := map[string]*ast.Module{}
	for name, source := range sources {
		m, err := ast.ParseModuleWithOpts(name, source, ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1})
		if err != nil {
			return nil, cover.Report{}, err
		}
		modules[name] = m
	}
	compiler, err := b.compiler()
	if err != nil {
		return nil, cover.Report{}, err
	}
	db := inmem.NewFromASTObject(b.data)
	lines := cover.New()
	var results []TestResult
	err = storage.Txn(ctx, db, storage.TransactionParams{}, func(txn storage.Transaction) error {
		ch, err := tester.NewRunner().
			SetCompiler(compiler.WithEnablePrintStatements(true)).
			SetStore(db).
			SetModules(modules).
			CapturePrintOutput(true).
			RaiseBuiltinErrors(true).
			SetCoverageQueryTracer(lines).
			SetTimeout(testLimit).
			RunTests(ctx, txn)
		if err != nil {
			return err
		}
		for t := range ch {
			results = append(results, testResult(t))
		}
		return ctx.Err()
	})
	slices.SortFunc(results, func(a, b TestResult) int { return cmp.Compare(a.Name, b.Name) })
	return results, lines.Report(modules), err
}

func testResult(t *tester.Result) TestResult {
	r := TestResult{Name: t.Package + "." + t.Name, Pass: t.Pass(), Duration: policies.Duration(t.Duration)}
	if t.Location != nil {
		r.Location = fmt.Sprintf("%s:%d", t.Location.File, t.Location.Row)
	}
	var detail []string
	if t.Error != nil {
		detail = append(detail, t.Error.Error())
	}
	if t.Skip {
		detail = append(detail, "is named todo_: a test that does not run is a failed one")
	}
	if out := strings.TrimSpace(string(t.Output)); out != "" {
		detail = append(detail, out)
	}
	r.Detail = strings.Join(detail, "\n")
	return r
}

// cover counts the lines of the modules; tests cover themselves.
func (b *files) cover(r *Report, c cover.Report) {
	reached, all := 0, 0
	for _, name := range slices.Sorted(maps.Keys(b.modules)) {
		f := c.Files[name]
		if f == nil {
			continue
		}
		reached += f.CoveredLines
		all += f.CoveredLines + f.NotCoveredLines
		for _, n := range f.NotCovered {
			at := fmt.Sprintf("%s:%d", name, n.Start.Row)
			if n.End.Row != n.Start.Row {
				at += fmt.Sprintf("-%d", n.End.Row)
			}
			r.Uncovered = append(r.Uncovered, at)
		}
	}
	if all > 0 {
		r.Coverage = 100 * float64(reached) / float64(all)
	}
}
