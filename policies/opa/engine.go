// Package opa is the policy engine: it loads a bundle of Rego, tests it against
// samples, and evaluates it for one request at a time. It is the only importer
// of OPA.
//
// Its rule: absence denies. Whatever goes wrong with a policy, be it undefined,
// late, of the wrong shape or broader than what was asked, the answer is a
// denial together with an error that says why.
package opa

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/countersign/countersign/policies"
)

// Limit is how long one evaluation may take.
const Limit = 250 * time.Millisecond

// Why an evaluation denied. A context that ended first is reported by its own
// error, context.Canceled or context.DeadlineExceeded.
var (
	// ErrUndefined: the policy said nothing.
	ErrUndefined = errors.New("the policy is undefined for this input: give the entry point a default")
	// ErrTooSlow: the evaluation was cut at Limit. The limit is of wall-clock time,
	// so a machine that stalls can cut a quick policy too: the same question may
	// be asked again.
	ErrTooSlow = fmt.Errorf("%w: it took longer than %s: look up by key instead of scanning", policies.ErrUnanswered, Limit)
	// ErrEvaluation: the evaluation failed, for example in a builtin.
	ErrEvaluation = errors.New("the policy failed")
	// ErrResult: the policy's answer is not one that may be used.
	ErrResult = errors.New("the policy's answer cannot be used")
)

// Options are what a bundle is loaded with.
type Options struct {
	// Data is a JSON merge patch (RFC 7396) on the bundle's data.json: objects
	// merge, null removes, anything else replaces.
	Data map[string]any
	// Samples holds *.json files, each a request with the answer that it must
	// get. A bundle that answers otherwise does not load. Nil: no samples.
	Samples fs.FS
	// Log hears what was loaded. Nil: nobody does.
	Log *slog.Logger
}

// Engine evaluates one revision of a policy. It is safe for concurrent use, and
// never changes.
type Engine struct {
	decision, review rego.PreparedEvalQuery
	revision         string
	turns            chan struct{} // one element per evaluation in flight
	limit            time.Duration // Limit, but for tests that are not about time
}

// Load reads, compiles and prepares the bundle: every *.rego file but *_test.rego,
// and data.json at its root. It reports all faults at once, with file and line.
func Load(ctx context.Context, fsys fs.FS, o Options) (*Engine, error) {
	b, err := read(fsys, o.Data)
	if err != nil {
		return nil, err
	}
	compiler, err := b.compile(b.modules)
	if err != nil {
		return nil, err
	}
	if err := entryPoints(compiler); err != nil {
		return nil, err
	}
	db := inmem.NewFromASTObject(b.data)
	if err := configFaults(ctx, compiler, db); err != nil {
		return nil, err
	}
	e := &Engine{revision: b.revision(), turns: make(chan struct{}, runtime.GOMAXPROCS(0)), limit: Limit}
	if e.decision, err = prepare(ctx, compiler, db, decisionPoint); err != nil {
		return nil, err
	}
	if e.review, err = prepare(ctx, compiler, db, reviewPoint); err != nil {
		return nil, err
	}
	n, err := e.trySamples(ctx, o.Samples)
	if err != nil {
		return nil, err
	}
	if o.Log != nil {
		o.Log.InfoContext(ctx, "policy loaded", "revision", e.revision, "modules", len(b.modules), "samples", n)
	}
	return e, nil
}

func prepare(ctx context.Context, c *ast.Compiler, db storage.Store, query string) (rego.PreparedEvalQuery, error) {
	q, err := rego.New(rego.Query(query), rego.Compiler(c), rego.Store(db), rego.StrictBuiltinErrors(true)).PrepareForEval(ctx)
	if err != nil {
		return q, fmt.Errorf("prepare %s: %w", query, err)
	}
	return q, nil
}

// Revision names the policy that decides: the first 128 bits, in hex, of a
// SHA-256 over the bundle's modules and the data as merged. Equal contents have
// equal revisions on every machine.
func (e *Engine) Revision() string { return e.revision }

// Decide evaluates data.countersign.decision. With an error the decision is a
// denial that may be shown to the caller; the error is for the operator.
func (e *Engine) Decide(ctx context.Context, in policies.Input) (policies.Decision, error) {
	v, err := e.evaluate(ctx, &e.decision, in)
	if err != nil {
		return denied(), fmt.Errorf("%s: %w", decisionPoint, err)
	}
	d, err := decodeDecision(v)
	if err == nil {
		err = within(d, in)
	}
	if err != nil {
		return denied(), fmt.Errorf("%s: %w: %w", decisionPoint, ErrResult, err)
	}
	return d, nil
}

// Review evaluates data.countersign.review. With an error the verdict denies.
func (e *Engine) Review(ctx context.Context, in policies.Input) (policies.Verdict, error) {
	v, err := e.evaluate(ctx, &e.review, in)
	if err != nil {
		return objected(), fmt.Errorf("%s: %w", reviewPoint, err)
	}
	verdict, err := decodeVerdict(v)
	if err != nil {
		return objected(), fmt.Errorf("%s: %w: %w", reviewPoint, ErrResult, err)
	}
	return verdict, nil
}

const unusable = "the policy gave no usable answer, and so it denies"

func denied() policies.Decision {
	return policies.Decision{Effect: policies.Deny, Reasons: []string{unusable}}
}

func objected() policies.Verdict {
	return policies.Verdict{Deny: true, Reasons: []string{unusable}}
}

// evaluate waits for its turn, as many at once as there are processors: more
// would only grow stacks and garbage. Waiting ends with ctx; the limit counts
// from the turn on.
func (e *Engine) evaluate(ctx context.Context, q *rego.PreparedEvalQuery, in policies.Input) (ast.Value, error) {
	select {
	case e.turns <- struct{}{}:
		defer func() { <-e.turns }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// OPA would start a goroutine per evaluation to wait for the context's end.
	cut := topdown.NewCancel()
	limit := time.AfterFunc(e.limit, cut.Cancel)
	defer limit.Stop()
	defer context.AfterFunc(ctx, cut.Cancel)()
	rs, err := q.Eval(ctx, rego.EvalParsedInput(inputValue(in)), rego.EvalExternalCancel(cut),
		rego.EvalMetrics(metrics.NoOp()), rego.EvalGenerateJSON(asTerm))
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case topdown.IsCancel(err) || cut.Cancelled():
		return nil, ErrTooSlow
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrEvaluation, err)
	case len(rs) == 0:
		return nil, ErrUndefined
	case len(rs) > 1 || len(rs[0].Expressions) != 1:
		return nil, fmt.Errorf("%w: more than one", ErrResult)
	}
	term, ok := rs[0].Expressions[0].Value.(*ast.Term)
	if !ok {
		return nil, fmt.Errorf("%w: not a document", ErrResult)
	}
	return term.Value, nil
}

// asTerm keeps the result as OPA holds it; it is decoded from there.
func asTerm(t *ast.Term, _ *rego.EvalContext) (any, error) { return t, nil }
