package opa

import (
	"bytes"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/countersign/countersign/policies"
)

const whole1 = `{"effect":"review","reasons":["a"],"stages":[{"name":"s","approvers":{"groups":["g"],"people":["p"]},"quorum":2,"distinct":true}],` +
	`"scopes":["x"],"audience":"y","max_ttl":"5m0s","channels":["c"],"notify":["n"],"deadline":"1h0m0s","risk":"low"}`

func value(t testing.TB, s string) ast.Value {
	t.Helper()
	v, err := ast.ValueFromReader(bytes.NewReader([]byte(s)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestDecodeDecision(t *testing.T) {
	t.Parallel()
	got, err := decodeDecision(value(t, whole1))
	if err != nil {
		t.Fatal(err)
	}
	var want policies.Decision
	if err := json.Unmarshal([]byte(whole1), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A set of reasons is a list in order.
func TestDecodeSet(t *testing.T) {
	t.Parallel()
	v := ast.MustParseTerm(`{"deny": true, "reasons": {"b", "a"}}`).Value
	got, err := decodeVerdict(v)
	if err != nil || !cmp.Equal(got, policies.Verdict{Deny: true, Reasons: []string{"a", "b"}}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Whatever the decoder accepts, a strict JSON decoder accepts as the same
// decision, and it passes the check of the contract.
func FuzzDecodeDecision(f *testing.F) {
	for _, s := range []string{
		whole1, `{}`, `[]`, `null`, `"allow"`, `{"effect":"allow","reasons":["a"],"max_ttl":"5m"}`,
		`{"effect":"deny","reasons":["a"]}`, `{"effect":"allow","reasons":["a"],"max_ttl":300}`,
		`{"effect":"allow","Effect":"deny","reasons":["a"],"max_ttl":"5m"}`, `{"effect":null}`,
		`{"effect":"review","reasons":["a"],"stages":[{"quorum":1e0}],"max_ttl":"5m","channels":["c"],"deadline":"1h"}`,
		`{"deny":true,"reasons":["a"]}`, `{"deny":false,"reasons":[]}`, `{"deny":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !jsontext.Value(raw).IsValid() {
			return
		}
		v, err := ast.ValueFromReader(bytes.NewReader(raw))
		if err != nil {
			return
		}
		strict := json.RejectUnknownMembers(true)
		if got, err := decodeDecision(v); err == nil {
			var want policies.Decision
			if err := json.Unmarshal(raw, &want, strict); err != nil {
				t.Fatalf("accepted %s: %v", raw, err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: %s", raw, diff)
			}
			if err := got.Check(); err != nil {
				t.Errorf("accepted %s: %v", raw, err)
			}
		}
		if got, err := decodeVerdict(v); err == nil {
			var want policies.Verdict
			if err := json.Unmarshal(raw, &want, strict); err != nil {
				t.Fatalf("accepted %s: %v", raw, err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: %s", raw, diff)
			}
			if got.Deny && len(got.Reasons) == 0 {
				t.Errorf("accepted %s without a reason", raw)
			}
		}
	})
}
