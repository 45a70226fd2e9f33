package storetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/countersign/countersign/store"
)

// ids are the ids of everything that a query finds, page by page.
func ids(t *testing.T, s store.Store, q store.Query) []string {
	t.Helper()
	var found []string
	for {
		page, err := s.Find(t.Context(), q)
		if err != nil {
			t.Fatalf("Find(%+v): %v", q, err)
		}
		if len(page.Requests) > q.Limit {
			t.Fatalf("Find(%+v): %d requests", q, len(page.Requests))
		}
		for _, r := range page.Requests {
			found = append(found, r.ID)
		}
		if page.Next == "" {
			return found
		}
		q.Before = page.Next
	}
}

func findPages(t *testing.T, h Harness) {
	if got := ids(t, h.Store, store.Query{Limit: 10}); len(got) != 0 {
		t.Errorf("an empty store finds %v", got)
	}
	var want []string
	for i := range 25 {
		create(t, h.Store, requestID(i), func(w *store.Write) { w.Request.People = []string{"p_00000001"} })
		want = append([]string{requestID(i)}, want...)
	}
	for _, limit := range []int{1, 2, 5, 24, 25, 26, 200} {
		for name, q := range map[string]store.Query{
			"all": {Limit: limit}, "pending": {State: store.Pending, Limit: limit},
			"person": {Person: "p_00000001", Limit: limit}, "code": {Code: "KQX-7F2", Limit: limit},
		} {
			if got := ids(t, h.Store, q); !slices.Equal(got, want) {
				t.Errorf("%s, %d at a time: %v", name, limit, got)
			}
		}
	}
	page, err := h.Store.Find(t.Context(), store.Query{Limit: 25})
	if err != nil || page.Next != "" {
		t.Errorf("a full last page has the cursor %q, %v", page.Next, err)
	}
	for before, n := range map[string]int{requestID(0): 0, requestID(1): 1, requestID(99): 25, "a": 0, "z": 25} {
		if got := ids(t, h.Store, store.Query{State: store.Pending, Before: before, Limit: 200}); len(got) != n {
			t.Errorf("before %q: %d requests, want %d", before, len(got), n)
		}
	}
}

func findBy(t *testing.T, h Harness) {
	s := h.Store
	create(t, s, "req_1", func(w *store.Write) { w.Request.People, w.Request.Code = []string{"p_a"}, "AAA" })
	create(t, s, "req_2", func(w *store.Write) { w.Request.People, w.Request.Code = []string{"p_ab"}, "AAAB" })
	create(t, s, "req_3", func(w *store.Write) {
		w.Request.State, w.Request.People, w.Request.Code = store.Approved, []string{"p_a"}, "AAA"
	})
	create(t, s, "req_4", func(w *store.Write) { w.Request.Code = "AAA" })
	update(t, s, "req_4", func(w *store.Write) {
		w.Request.State, w.Request.People = store.Denied, []string{"p_ab", "p_c"}
	})
	update(t, s, "req_2", func(w *store.Write) { w.Request.People = append(w.Request.People, "p_c") })
	for _, one := range []struct {
		name string
		q    store.Query
		want []string
	}{
		{"everything", store.Query{}, []string{"req_4", "req_3", "req_2", "req_1"}},
		{"pending", store.Query{State: store.Pending}, []string{"req_2", "req_1"}},
		{"person", store.Query{Person: "p_a"}, []string{"req_3", "req_1"}},
		{"longer person", store.Query{Person: "p_ab"}, []string{"req_4", "req_2"}},
		{"added person", store.Query{Person: "p_c"}, []string{"req_4", "req_2"}},
		{"beginning of a person", store.Query{Person: "p_"}, nil},
		{"code of what was not denied at once", store.Query{Code: "AAA"}, []string{"req_4", "req_3", "req_1"}},
		{"longer code", store.Query{Code: "AAAB"}, []string{"req_2"}},
		{"unknown code", store.Query{Code: "B"}, nil},
		{"pending of a person", store.Query{State: store.Pending, Person: "p_c"}, []string{"req_2"}},
		{"code and pending", store.Query{State: store.Pending, Code: "AAA"}, []string{"req_1"}},
		{"all three", store.Query{State: store.Pending, Code: "AAA", Person: "p_a"}, []string{"req_1"}},
		{"all three, nobody", store.Query{State: store.Pending, Code: "AAA", Person: "p_c"}, nil},
	} {
		one.q.Limit = 1
		if got := ids(t, s, one.q); !slices.Equal(got, one.want) {
			t.Errorf("%s: %v, want %v", one.name, got, one.want)
		}
	}
}

func findRefuses(t *testing.T, h Harness) {
	create(t, h.Store, "req_1", nil)
	for _, q := range []store.Query{{}, {Limit: -1}, {Limit: 201}, {State: store.Approved, Limit: 10}} {
		if page, err := h.Store.Find(t.Context(), q); err == nil {
			t.Errorf("Find(%+v) returned %d requests and no error", q, len(page.Requests))
		}
	}
	if _, err := h.Store.Find(t.Context(), store.Query{Limit: 200}); err != nil {
		t.Errorf("the largest page: %v", err)
	}
}

func watchAtOnce(t *testing.T, h Harness) {
	create(t, h.Store, "req_1", nil)
	if r, err := h.Store.Watch(t.Context(), "req_1", 0); err != nil || r.Version != 1 {
		t.Errorf("Watch after 0: version %d, %v", r.Version, err)
	}
	if _, err := h.Store.Watch(t.Context(), "req_2", 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Watch of an unknown id: %v, want ErrNotFound", err)
	}
}

func watchTimeout(t *testing.T, h Harness) {
	made := create(t, h.Store, "req_1", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := h.Store.Watch(ctx, "req_1", 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Watch beyond its time: %v, want the context's error", err)
	}
	got, err := h.Store.Get(t.Context(), "req_1")
	if err != nil || got.Version != made.Version || got.State != store.Pending {
		t.Errorf("the time-out changed the record: %+v, %v", got, err)
	}
}

// watchWakes lets watchers follow a record that writers change as quickly as
// they can. A lost wake-up leaves a watcher behind until its time is over.
func watchWakes(t *testing.T, h Harness) {
	const watchers, versions = 20, 60
	create(t, h.Store, "req_1", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	together(watchers+1, func(i int) {
		if i == watchers {
			for range versions - 1 {
				update(t, h.Store, "req_1", nil)
			}
			return
		}
		for seen := uint64(0); seen < versions; {
			r, err := h.Store.Watch(ctx, "req_1", seen)
			if err != nil || r.Version <= seen {
				t.Errorf("watcher %d after version %d: version %d, %v", i, seen, r.Version, err)
				return
			}
			seen = r.Version
		}
	})
}
