package opa

import (
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/countersign/countersign/policies"
)

// inputValue builds what OPA evaluates, without a detour through JSON: it was
// the larger half of a decision's time. It must give what the JSON of the input
// parses to, with nil lists and maps as empty ones; a test compares the two.
func inputValue(in policies.Input) ast.Value {
	fields := [][2]*ast.Term{
		member("subject", object(
			text("issuer", in.Subject.Issuer),
			text("name", in.Subject.Name),
		)),
		member("service_account", accountTerm(in.ServiceAccount)),
		member("trigger", triggerTerm(in.Trigger)),
		member("request", requestTerm(in.Request)),
		labels("facts", in.Facts),
		text("now", in.Now),
	}
	if len(in.Reviews) > 0 {
		reviews := make([]*ast.Term, len(in.Reviews))
		for i, r := range in.Reviews {
			reviews[i] = object(text("person", r.Person), text("verdict", r.Verdict), number("stage", r.Stage))
		}
		fields = append(fields, member("reviews", ast.ArrayTerm(reviews...)))
	}
	if in.Person != nil {
		fields = append(fields, member("person", object(
			text("id", in.Person.ID),
			list("groups", in.Person.Groups),
		)))
	}
	return ast.NewObject(fields...)
}

func accountTerm(a policies.ServiceAccount) *ast.Term {
	return object(
		text("name", a.Name),
		list("owners", a.Owners),
		list("actions", a.Actions),
		list("audiences", a.Audiences),
		list("scopes", a.Scopes),
		labels("labels", a.Labels),
	)
}

func triggerTerm(t policies.Trigger) *ast.Term {
	fields := [][2]*ast.Term{text("kind", t.Kind)}
	if t.Person != "" {
		fields = append(fields, text("person", t.Person))
	}
	if t.Name != "" {
		fields = append(fields, text("name", t.Name))
	}
	return object(fields...)
}

func requestTerm(r policies.Request) *ast.Term {
	return object(
		text("action", r.Action),
		text("resource", r.Resource),
		text("audience", r.Audience),
		list("scopes", r.Scopes),
		text("ttl", time.Duration(r.TTL).String()),
		number("ttl_seconds", r.TTLSeconds),
		text("reason", r.Reason),
		member("context", contextTerm(r.Context)),
	)
}

func contextTerm(c policies.Context) *ast.Term {
	checks := make([]*ast.Term, len(c.Checks))
	for i, k := range c.Checks {
		fields := [][2]*ast.Term{text("name", k.Name), text("status", k.Status)}
		if k.Value != "" {
			fields = append(fields, text("value", k.Value))
		}
		checks[i] = object(fields...)
	}
	return object(
		text("environment", c.Environment),
		text("risk", c.Risk),
		member("diff", object(
			number("files", c.Diff.Files),
			number("added", c.Diff.Added),
			number("removed", c.Diff.Removed),
			list("paths", c.Diff.Paths),
		)),
		member("checks", ast.ArrayTerm(checks...)),
		list("tickets", c.Tickets),
		labels("labels", c.Labels),
	)
}

func object(fields ...[2]*ast.Term) *ast.Term { return ast.ObjectTerm(fields...) }

func member(key string, v *ast.Term) [2]*ast.Term { return [2]*ast.Term{ast.InternedTerm(key), v} }

func text(key, s string) [2]*ast.Term { return member(key, ast.StringTerm(s)) }

func number[N int | int64](key string, n N) [2]*ast.Term {
	return member(key, ast.InternedTerm(int64(n)))
}

func list(key string, values []string) [2]*ast.Term {
	terms := make([]*ast.Term, len(values))
	for i, s := range values {
		terms[i] = ast.StringTerm(s)
	}
	return member(key, ast.ArrayTerm(terms...))
}

func labels(key string, m map[string]string) [2]*ast.Term {
	fields := make([][2]*ast.Term, 0, len(m))
	for k, v := range m {
		fields = append(fields, [2]*ast.Term{ast.StringTerm(k), ast.StringTerm(v)})
	}
	return member(key, ast.ObjectTerm(fields...))
}
