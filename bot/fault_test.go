package bot

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/storetest"
)

// TestFaultMatrix walks a request's whole route once for every write that it
// makes, and lets just that write fail: once without having happened, once
// having happened. Everybody does what a person or a client does after an
// unclear answer, and tries again. The request always arrives, once.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	for _, route := range []struct {
		name string
		end  string
		want store.State
	}{
		{"approved, redeemed, revoked", "revoke", store.Revoked},
		{"approved, redeemed, ended by the clock", "clock", store.Ended},
		{"denied", "deny", store.Denied},
		{"cancelled", "cancel", store.Cancelled},
		{"expired", "expire", store.Expired},
	} {
		writes := walk(t, route.end, route.want, -1, false)
		if writes < 4 {
			t.Fatalf("%s: %d writes: the walk does nothing", route.name, writes)
		}
		for n := range writes {
			for _, apply := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/write %d of %d/happened %v", route.name, n+1, writes, apply), func(t *testing.T) {
					t.Parallel()
					walk(t, route.end, route.want, n, apply)
				})
			}
		}
	}
}

// walk goes one route with the n-th write failing, none if n is negative, and
// returns how many writes there were.
func walk(t *testing.T, end string, want store.State, n int64, apply bool) int64 {
	t.Helper()
	w := newWorld(t)
	var writes atomic.Int64
	fail := storetest.FailNth(n, apply)
	w.Broker = w.newBroker(&storetest.Faulty{Store: w.bolt, Hook: func(op string) (bool, error) {
		writes.Add(1)
		return fail(op)
	}})
	w.fake.Listen(w.Broker)
	d := w.reviewBy
	d.Stages = []policies.Stage{{Name: "release", Quorum: 2, Approvers: policies.Approvers{Groups: []string{"release"}}}}
	w.rules.set(d)

	ev := w.evidence("run:1")
	r := retried(t, "submit", func() (store.Request, error) { return w.Submit(t.Context(), ev, "key", deployAsk()) })
	w.settle()
	switch end {
	case "deny":
		w.insist(ada, chat.Approve)
		w.insist(grace, chat.Deny)
	case "cancel":
		retried(t, "cancel", func() (store.Request, error) {
			got, err := w.Cancel(t.Context(), caller("run:1"), r.ID)
			if errors.Is(err, ErrState) && got.State == store.Cancelled {
				return got, nil // the try before had happened
			}
			return got, err
		})
	case "expire":
		w.clock.Add(time.Duration(w.reviewBy.Deadline))
	default:
		w.insist(ada, chat.Approve)
		w.insist(grace, chat.Approve)
		cred := retried(t, "redeem", func() (identity.Credential, error) {
			c, _, err := w.Redeem(t.Context(), caller("run:1"), r.ID)
			return c, err
		})
		if active, err := w.Active(t.Context(), cred.Grant); !active || err != nil {
			t.Errorf("the credential that was released is not active: %v", err)
		}
		if end == "revoke" {
			w.insist(ada, chat.Revoke)
		} else {
			w.clock.Add(2 * redeemWindow)
		}
	}
	w.settle()
	got := w.get(r.ID)
	if got.State != want {
		t.Errorf("ended %s, want %s", got.State, want)
	}
	if err := tells(got, w.types(r.ID)); err != nil {
		t.Error(err)
	}
	if posts := w.fake.Posts("C1"); len(posts) != 1 || posts[0].Card.Version != got.Version {
		t.Errorf("%d cards; want one that shows version %d", len(posts), got.Version)
	}
	all, err := w.bolt.Find(t.Context(), store.Query{Person: ada, Limit: 10})
	if err != nil || len(all.Requests) > 1 {
		t.Errorf("%d requests, %v: one was asked for", len(all.Requests), err)
	}
	return writes.Load()
}

// retried calls until it succeeds, as a client does after an unclear answer.
func retried[T any](t *testing.T, what string, call func() (T, error)) T {
	t.Helper()
	var err error
	for range 4 {
		var got T
		if got, err = call(); err == nil {
			return got
		}
		if !errors.Is(err, store.ErrUnknown) {
			break
		}
	}
	t.Fatalf("%s: %v", what, err)
	panic("unreachable")
}

// insist presses a button until the record shows it, as a person does who was
// told that nothing is confirmed.
func (w *world) insist(who string, v chat.Verb) {
	w.t.Helper()
	for range 4 {
		posts := w.fake.Posts("C1")
		reply := w.click(who, posts[len(posts)-1].Ref, v, "because")
		r := w.get(posts[len(posts)-1].Card.Request)
		if v == chat.Revoke && r.State == store.Revoked {
			return
		}
		if slices.ContainsFunc(r.Reviews, func(x store.Review) bool { return x.Person == who && x.Verdict == string(v) }) {
			return
		}
		if !reply.Refused {
			w.t.Fatalf("%s was told %q, and nothing is on record", who, reply.Text)
		}
	}
	w.t.Fatalf("%s could not %s", who, v)
}
