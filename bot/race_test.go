package bot

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
)

// tells checks the log of one request against its record: one story, in a legal
// order, with nothing doubled. It returns what is wrong.
func tells(r store.Request, types []string) error {
	count := func(want ...string) int {
		n := 0
		for _, typ := range types {
			if slices.Contains(want, typ) {
				n++
			}
		}
		return n
	}
	if len(types) < 2 || types[0] != "asked" || types[1] != "decided" {
		return fmt.Errorf("begins with %v", types)
	}
	if n := count("approved", "denied", "expired", "cancelled"); n != 1 && r.State != store.Pending {
		return fmt.Errorf("%d decisions in %v", n, types)
	}
	if n := count("reviewed"); n != len(r.Reviews) {
		return fmt.Errorf("%d reviews in the log, %d in the record", n, len(r.Reviews))
	}
	if n := count("issued"); n != len(r.Issues) || n > maxIssues || (n > 0 && count("approved") == 0) {
		return fmt.Errorf("%d issues in the log, %d in the record", n, len(r.Issues))
	}
	over := []string{"denied", "expired", "cancelled", "ended", "revoked"}
	if i := slices.IndexFunc(types, func(s string) bool { return slices.Contains(over, s) }); i >= 0 && i != len(types)-1 {
		return fmt.Errorf("something follows the end: %v", types)
	}
	seen := map[string]bool{}
	for _, v := range r.Reviews {
		key := fmt.Sprint(v.Stage, v.Person)
		if seen[key] {
			return fmt.Errorf("%s counts twice", key)
		}
		seen[key] = true
	}
	return nil
}

// TestRacesOverEachTransition lets everybody act at once on one request, from
// each state in which two of them can collide. Whatever the order, the log and
// the record tell one and the same legal story, and each person was told the
// truth about their own review.
func TestRacesOverEachTransition(t *testing.T) {
	t.Parallel()
	const rounds, racers = 12, 64
	cases := []struct {
		name   string
		quorum int
		before func(w *world, r store.Request)
		acts   []string
	}{
		{"two approvers of one", 1, nil, []string{"approve ada", "approve grace"}},
		{"two approvers of two", 2, nil, []string{"approve ada", "approve grace"}},
		{"approve against deny", 1, nil, []string{"approve ada", "deny grace"}},
		{"one person on two sides", 2, nil, []string{"approve ada", "deny ada"}},
		{"approve against cancel", 1, nil, []string{"approve ada", "cancel"}},
		{"approve against the deadline", 1, nil, []string{"approve ada", "tick"}},
		{"approve against redeem", 1, nil, []string{"approve ada", "redeem"}},
		{"redeem against revoke", 1, approveFirst, []string{"redeem", "revoke ada"}},
		{"redeem against cancel", 1, approveFirst, []string{"redeem", "cancel"}},
		{"redeem against redeem", 1, approveFirst, []string{"redeem"}},
		{"all at once", 2, nil, []string{"approve ada", "approve grace", "deny tim", "cancel", "redeem", "revoke ada", "tick"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			d := w.reviewBy
			d.Stages = []policies.Stage{{Name: "release", Quorum: c.quorum, Approvers: policies.Approvers{Groups: []string{"release"}}}}
			w.rules.set(d)
			outcomes := map[string]int{}
			for range rounds {
				r := w.submit(deployAsk())
				w.settle()
				if c.before != nil {
					c.before(w, r)
				}
				recorded := w.race(r, c.acts, racers)
				got := w.get(r.ID)
				if err := tells(got, w.types(r.ID)); err != nil {
					t.Fatal(err)
				}
				reviews := len(got.Reviews)
				if c.before != nil {
					reviews-- // made beforehand
				}
				if recorded != reviews {
					t.Fatalf("%d people were told that their review is recorded, %d are", recorded, reviews)
				}
				outcomes[string(got.State)]++
			}
			t.Logf("%d rounds of %d racers: %v", rounds, racers, outcomes)
		})
	}
}

func approveFirst(w *world, r store.Request) { w.act1("approve ada", r) }

// race lets n goroutines act at once, and returns how many were told that their
// review is recorded.
func (w *world) race(r store.Request, acts []string, n int) int {
	var wg sync.WaitGroup
	var recorded atomic.Int64
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			if w.act1(acts[i%len(acts)], r) {
				recorded.Add(1)
			}
		})
	}
	close(begin)
	wg.Wait()
	return int(recorded.Load())
}

// act1 does one thing to a request, and reports whether a review was confirmed.
func (w *world) act1(what string, r store.Request) bool {
	people := map[string]string{"ada": ada, "grace": grace, "tim": tim}
	var verb, who string
	_, _ = fmt.Sscan(what, &verb, &who)
	switch verb {
	case "approve", "deny", "revoke":
		p, _ := w.Directory.Person(people[who])
		actor := reviewer{Person: p, account: p.Accounts[0]}
		now, err := w.Store.Get(w.t.Context(), r.ID)
		if err != nil {
			return false
		}
		reply := w.act(w.t.Context(), actor, now, chat.Click{Verb: chat.Verb(verb), Reason: "because"})
		return verb != "revoke" && !reply.Refused
	case "cancel":
		_, _ = w.Cancel(w.t.Context(), caller("run:1"), r.ID)
	case "redeem":
		_, _, _ = w.Redeem(w.t.Context(), caller("run:1"), r.ID)
	case "tick":
		w.clock.Add(2 * time.Minute)
		_ = w.wake(w.t.Context(), r.ID)
	}
	return false
}
