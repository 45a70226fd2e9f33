package opa

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/go-json-experiment/json"

	"github.com/countersign/countersign/policies"
)

// accounts is data with n service accounts beside the policy's own.
func accounts(n int) map[string]any {
	m := make(map[string]any, n)
	for i := range n {
		m[fmt.Sprintf("account-%d", i)] = map[string]any{"team": fmt.Sprintf("team-%d", i%50), "tier": "gold"}
	}
	return map[string]any{"accounts": m}
}

// perDecision is the time of a decision in the best of ten rounds.
func perDecision(b *testing.B, e *Engine, in policies.Input) time.Duration {
	b.Helper()
	const decisions = 200
	best := time.Hour
	for range 10 {
		start := time.Now()
		for range decisions {
			if _, err := e.Decide(b.Context(), in); err != nil {
				b.Fatal(err)
			}
		}
		best = min(best, time.Since(start)/decisions)
	}
	return best
}

// A decision takes the same time however many service accounts data holds: the
// metric is the ratio to ten of them.
func BenchmarkDecide(b *testing.B) {
	in := deploy()
	small := load(b, policies.Bundle(), Options{Data: accounts(10)})
	for _, n := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprintf("accounts=%d", n), func(b *testing.B) {
			e := load(b, policies.Bundle(), Options{Data: accounts(n)})
			ratio := float64(perDecision(b, e, in)) / float64(perDecision(b, small, in))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Decide(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(ratio, "x-of-10")
		})
	}
}

// The routine case: pre-approved, and redeemed without anybody's review.
func BenchmarkPreApproved(b *testing.B) {
	e := load(b, policies.Bundle(), Options{})
	in := deploy()
	in.Request.Context.Environment = "staging"
	in.Facts = map[string]string{"environment": "staging", "event_name": "push"}
	b.Run("decide", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if d, err := e.Decide(b.Context(), in); err != nil || d.Effect != policies.Allow {
				b.Fatal(d, err)
			}
		}
	})
	b.Run("redeem", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if v, err := e.Review(b.Context(), in); err != nil || v.Deny {
				b.Fatal(v, err)
			}
		}
	})
}

func BenchmarkReview(b *testing.B) {
	e := load(b, policies.Bundle(), Options{})
	in := deploy()
	in.Person = &policies.Person{ID: "ada", Groups: []string{"release"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Review(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecideParallel(b *testing.B) {
	e := load(b, policies.Bundle(), Options{})
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := e.Decide(b.Context(), deploy()); err != nil {
				b.Error(err)
			}
		}
	})
}

// The input built as terms, beside the same by way of JSON.
func BenchmarkInput(b *testing.B) {
	in := deploy()
	b.Run("terms", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			inputValue(in)
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			raw, err := json.Marshal(in)
			if err != nil {
				b.Fatal(err)
			}
			var doc any
			if err := json.Unmarshal(raw, &doc); err != nil {
				b.Fatal(err)
			}
			if _, err := ast.InterfaceToValue(doc); err != nil {
				b.Fatal(err)
			}
		}
	})
}
