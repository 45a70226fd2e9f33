package opa

import (
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/countersign/countersign/policies"
)

// inputValue builds what OPA evaluates, without a detour through JSON, which takes
// three times as long. It must give what the JSON of the input parses to, with nil
// lists and maps as empty ones; a test compares the two.
func inputValue(in policies.Input) ast.Value {
	b := make(builder, 0, usualTerms)
	fields := [][2]*ast.Term{
		member("subject", b.object(
			b.text("issuer", in.Subject.Issuer),
			b.text("name", in.Subject.Name),
		)),
		member("service_account", b.accountTerm(in.ServiceAccount)),
		member("trigger", b.triggerTerm(in.Trigger)),
		member("request", b.requestTerm(in.Request)),
		b.labels("facts", in.Facts),
		b.text("now", in.Now),
	}
	if len(in.Reviews) > 0 {
		reviews := make([]*ast.Term, len(in.Reviews))
		for i, r := range in.Reviews {
			reviews[i] = b.object(b.text("person", r.Person), b.text("verdict", r.Verdict), number("stage", int64(r.Stage)))
		}
		fields = append(fields, member("reviews", b.term(ast.NewArray(reviews...))))
	}
	if in.Person != nil {
		fields = append(fields, member("person", b.object(
			b.text("id", in.Person.ID),
			b.list("groups", in.Person.Groups),
		)))
	}
	return ast.NewObject(fields...)
}

func (b *builder) accountTerm(a policies.ServiceAccount) *ast.Term {
	return b.object(
		b.text("name", a.Name),
		b.list("owners", a.Owners),
		b.list("actions", a.Actions),
		b.list("audiences", a.Audiences),
		b.list("scopes", a.Scopes),
		b.labels("labels", a.Labels),
	)
}

func (b *builder) triggerTerm(t policies.Trigger) *ast.Term {
	fields := [][2]*ast.Term{b.text("kind", t.Kind)}
	if t.Person != "" {
		fields = append(fields, b.text("person", t.Person))
	}
	if t.Name != "" {
		fields = append(fields, b.text("name", t.Name))
	}
	return b.object(fields...)
}

func (b *builder) requestTerm(r policies.Request) *ast.Term {
	return b.object(
		b.text("action", r.Action),
		b.text("resource", r.Resource),
		b.text("audience", r.Audience),
		b.list("scopes", r.Scopes),
		b.text("ttl", time.Duration(r.TTL).String()),
		number("ttl_seconds", r.TTLSeconds),
		b.text("reason", r.Reason),
		member("context", b.contextTerm(r.Context)),
	)
}

func (b *builder) contextTerm(c policies.Context) *ast.Term {
	checks := make([]*ast.Term, len(c.Checks))
	for i, k := range c.Checks {
		fields := [][2]*ast.Term{b.text("name", k.Name), b.text("status", k.Status)}
		if k.Value != "" {
			fields = append(fields, b.text("value", k.Value))
		}
		checks[i] = b.object(fields...)
	}
	return b.object(
		b.text("environment", c.Environment),
		b.text("risk", c.Risk),
		member("diff", b.object(
			number("files", int64(c.Diff.Files)),
			number("added", int64(c.Diff.Added)),
			number("removed", int64(c.Diff.Removed)),
			b.list("paths", c.Diff.Paths),
		)),
		member("checks", b.term(ast.NewArray(checks...))),
		b.list("tickets", c.Tickets),
		b.labels("labels", c.Labels),
	)
}

// builder makes terms out of one piece of memory, for there are many and they
// live and die together.
type builder []ast.Term

// usualTerms is how many terms an input usually has, beside those that are shared.
const usualTerms = 80

func (b *builder) term(v ast.Value) *ast.Term {
	if len(*b) == cap(*b) { // a new piece: terms do not move
		*b = make(builder, 0, usualTerms)
	}
	*b = append(*b, ast.Term{Value: v})
	return &(*b)[len(*b)-1]
}

func (b *builder) object(fields ...[2]*ast.Term) *ast.Term { return b.term(ast.NewObject(fields...)) }

// keys are the members' names as terms, which nobody changes: made once, for each
// would cost two allocations in each input.
var keys = func() map[string]*ast.Term {
	m := map[string]*ast.Term{}
	for _, name := range []string{
		"subject", "service_account", "trigger", "request", "facts", "now", "reviews", "person",
		"issuer", "name", "owners", "actions", "audiences", "scopes", "labels", "kind",
		"action", "resource", "audience", "ttl", "ttl_seconds", "reason", "context",
		"environment", "risk", "diff", "checks", "tickets", "files", "added", "removed", "paths",
		"status", "value", "verdict", "stage", "id", "groups",
	} {
		m[name] = ast.StringTerm(name)
	}
	return m
}()

func member(key string, v *ast.Term) [2]*ast.Term { return [2]*ast.Term{keys[key], v} }

func (b *builder) text(key, s string) [2]*ast.Term { return member(key, b.textTerm(s)) }

func (b *builder) textTerm(s string) *ast.Term {
	if s == "" {
		return ast.InternedEmptyString
	}
	return b.term(ast.String(s))
}

func number(key string, n int64) [2]*ast.Term { return member(key, ast.InternedTerm(n)) }

func (b *builder) list(key string, values []string) [2]*ast.Term {
	if len(values) == 0 {
		return member(key, ast.InternedEmptyArray)
	}
	terms := make([]*ast.Term, len(values))
	for i, s := range values {
		terms[i] = b.textTerm(s)
	}
	return member(key, b.term(ast.NewArray(terms...)))
}

func (b *builder) labels(key string, m map[string]string) [2]*ast.Term {
	if len(m) == 0 {
		return member(key, ast.InternedEmptyObject)
	}
	fields := make([][2]*ast.Term, 0, len(m))
	for k, v := range m {
		fields = append(fields, [2]*ast.Term{b.textTerm(k), b.textTerm(v)})
	}
	return member(key, b.object(fields...))
}
