package opa

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/countersign/countersign/policies"
)

// A result is decoded from OPA's own terms, strictly: each member is known, of
// its type, and stands where it belongs. Sets count as lists, in order, because
// Rego gathers reasons into sets.

func decodeDecision(v ast.Value) (policies.Decision, error) {
	var d policies.Decision
	err := members("decision", v, func(key, at string, v ast.Value) (err error) {
		switch key {
		case "effect":
			var s string
			s, err = word(at, v)
			d.Effect = policies.Effect(s)
		case "reasons":
			d.Reasons, err = texts(at, v)
		case "stages":
			d.Stages, err = stages(at, v)
		case "scopes":
			d.Scopes, err = texts(at, v)
		case "audience":
			d.Audience, err = plain(at, v)
		case "max_ttl":
			d.MaxTTL, err = duration(at, v)
		case "channels":
			d.Channels, err = texts(at, v)
		case "notify":
			d.Notify, err = texts(at, v)
		case "deadline":
			d.Deadline, err = duration(at, v)
		case "risk":
			d.Risk, err = plain(at, v)
		default:
			err = unknown(at, "effect, reasons, stages, scopes, audience, max_ttl, channels, notify, deadline, risk")
		}
		return err
	})
	if err != nil {
		return policies.Decision{}, err
	}
	return d, d.Check()
}

func decodeVerdict(v ast.Value) (policies.Verdict, error) {
	var r policies.Verdict
	said := false
	err := members("review", v, func(key, at string, v ast.Value) (err error) {
		switch key {
		case "deny":
			said = true
			r.Deny, err = boolean(at, v)
		case "reasons":
			r.Reasons, err = texts(at, v)
		default:
			err = unknown(at, "deny, reasons")
		}
		return err
	})
	if err != nil {
		return policies.Verdict{}, err
	}
	if !said {
		return policies.Verdict{}, errors.New("review.deny is missing: it must be true or false")
	}
	if r.Deny && len(r.Reasons) == 0 {
		return policies.Verdict{}, errors.New("review.reasons must say why")
	}
	return r, nil
}

// within reports where a decision gives more than was asked.
func within(d policies.Decision, in policies.Input) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !slices.Contains([]string{"", "low", "medium", "high", "critical"}, d.Risk) {
		fault("decision.risk must be low, medium, high or critical, not %q", d.Risk)
	}
	if d.Effect == policies.Deny {
		return errors.Join(faults...)
	}
	for _, s := range d.Scopes {
		if !slices.Contains(in.Request.Scopes, s) {
			fault("decision.scopes has %q, which was not asked for", s)
		}
	}
	switch asked := in.Request.Audience; {
	case d.Audience == "" && len(d.Scopes) > 0:
		fault("decision.audience must say whom the scopes are for")
	case d.Audience != "" && !slices.Contains(in.ServiceAccount.Audiences, d.Audience):
		fault("decision.audience is %q, which is not one of the service account", d.Audience)
	case d.Audience != "" && asked != "" && d.Audience != asked:
		fault("decision.audience is %q, and %q was asked for", d.Audience, asked)
	}
	return errors.Join(faults...)
}

func stages(at string, v ast.Value) ([]policies.Stage, error) {
	array, ok := v.(*ast.Array)
	if !ok {
		return nil, wrong(at, "a list", v) // the order of stages matters: no set
	}
	out := make([]policies.Stage, array.Len())
	for i := range out {
		var err error
		if out[i], err = stage(fmt.Sprintf("%s[%d]", at, i), array.Elem(i).Value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func stage(at string, v ast.Value) (policies.Stage, error) {
	var s policies.Stage
	err := members(at, v, func(key, at string, v ast.Value) (err error) {
		switch key {
		case "name":
			s.Name, err = word(at, v)
		case "approvers":
			s.Approvers, err = approvers(at, v)
		case "quorum":
			s.Quorum, err = whole(at, v)
		case "distinct":
			s.Distinct, err = boolean(at, v)
		default:
			err = unknown(at, "name, approvers, quorum, distinct")
		}
		return err
	})
	return s, err
}

func approvers(at string, v ast.Value) (policies.Approvers, error) {
	var a policies.Approvers
	err := members(at, v, func(key, at string, v ast.Value) (err error) {
		switch key {
		case "groups":
			a.Groups, err = texts(at, v)
		case "people":
			a.People, err = texts(at, v)
		default:
			err = unknown(at, "groups, people")
		}
		return err
	})
	return a, err
}

// members calls f for each member of an object, with the member's own path.
func members(at string, v ast.Value, f func(key, at string, v ast.Value) error) error {
	o, ok := v.(ast.Object)
	if !ok {
		return wrong(at, "an object", v)
	}
	return o.Iter(func(k, v *ast.Term) error {
		key, ok := k.Value.(ast.String)
		if !ok {
			return fmt.Errorf("%s has a key that is not a text", at)
		}
		return f(string(key), at+"."+string(key), v.Value)
	})
}

// texts is a list or set of non-empty texts.
func texts(at string, v ast.Value) ([]string, error) {
	array, ok := v.(*ast.Array)
	if !ok {
		set, ok := v.(ast.Set)
		if !ok {
			return nil, wrong(at, "a list of texts", v)
		}
		array = set.Sorted()
	}
	out := make([]string, array.Len())
	for i := range out {
		var err error
		if out[i], err = word(fmt.Sprintf("%s[%d]", at, i), array.Elem(i).Value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func plain(at string, v ast.Value) (string, error) {
	s, ok := v.(ast.String)
	if !ok {
		return "", wrong(at, "a text", v)
	}
	return string(s), nil
}

func word(at string, v ast.Value) (string, error) {
	s, err := plain(at, v)
	if err == nil && strings.TrimSpace(s) == "" {
		err = fmt.Errorf("%s must not be empty", at)
	}
	return s, err
}

func boolean(at string, v ast.Value) (bool, error) {
	b, ok := v.(ast.Boolean)
	if !ok {
		return false, wrong(at, "true or false", v)
	}
	return bool(b), nil
}

func whole(at string, v ast.Value) (int, error) {
	n, ok := v.(ast.Number)
	if !ok {
		return 0, wrong(at, "a whole number", v)
	}
	i, ok := n.Int()
	if !ok {
		return 0, fmt.Errorf("%s must be a whole number, not %s", at, n)
	}
	return i, nil
}

func duration(at string, v ast.Value) (policies.Duration, error) {
	s, err := plain(at, v)
	if err != nil {
		return 0, err
	}
	var d policies.Duration
	if err := d.UnmarshalText([]byte(s)); err != nil {
		return 0, fmt.Errorf("%s: %w", at, err)
	}
	return d, nil
}

func wrong(at, want string, v ast.Value) error {
	return fmt.Errorf("%s must be %s, not a value of type %s", at, want, ast.ValueName(v))
}

func unknown(at, known string) error {
	return fmt.Errorf("%s is unknown: use one of %s", at, known)
}
