package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/store"
)

// due asks what is due, or fails the test.
func due(t *testing.T, s store.Store, limit int) store.Due {
	t.Helper()
	d, err := s.Due(t.Context(), limit)
	if err != nil {
		t.Fatalf("Due: %v", err)
	}
	return d
}

// dueIDs are the ids of the deliveries that are due.
func dueIDs(t *testing.T, s store.Store) []string {
	t.Helper()
	var found []string
	for _, d := range due(t, s, 100).Deliveries {
		found = append(found, d.ID)
	}
	slices.Sort(found)
	return found
}

// deliver is UpdateDelivery, or fails the test.
func deliver(t *testing.T, s store.Store, id string, change func(d *store.Delivery)) store.Delivery {
	t.Helper()
	d, err := s.UpdateDelivery(t.Context(), id, func(_ time.Time, d store.Delivery) store.Delivery {
		change(&d)
		return d
	})
	if err != nil {
		t.Fatalf("UpdateDelivery(%s): %v", id, err)
	}
	return d
}

// shown is the change of a delivery that has caught up.
func shown(version uint64) func(d *store.Delivery) {
	return func(d *store.Delivery) {
		d.Shown, d.NextTry, d.Refs = version, time.Time{}, append(d.Refs, "ref")
	}
}

func with(ids ...string) func(w *store.Write) {
	return func(w *store.Write) {
		for _, id := range ids {
			w.Deliveries = append(w.Deliveries, store.Delivery{ID: id, Request: "another", Platform: "slack", Channel: "C1", Asks: true})
		}
	}
}

func deliveriesCreated(t *testing.T, h Harness) {
	s := h.Store
	create(t, s, "req_1", with("d9", "d1", "d5"))
	create(t, s, "req_11", with("d2"))
	update(t, s, "req_1", with("d0"))
	ds, err := s.Deliveries(t.Context(), "req_1")
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, d := range ds {
		order = append(order, d.ID)
		if d.Request != "req_1" || !d.NextTry.Equal(h.Clock.Now()) || d.Platform != "slack" || !d.Asks {
			t.Errorf("as created: %+v", d)
		}
		one, err := s.Delivery(t.Context(), d.ID)
		if err != nil || !cmp.Equal(one, d) {
			t.Errorf("Delivery(%s): %v\n%s", d.ID, err, cmp.Diff(d, one))
		}
	}
	if want := []string{"d9", "d1", "d5", "d0"}; !slices.Equal(order, want) {
		t.Errorf("in the order %v, want %v", order, want)
	}
	if got, want := dueIDs(t, s), []string{"d0", "d1", "d2", "d5", "d9"}; !slices.Equal(got, want) {
		t.Errorf("due: %v, want %v", got, want)
	}
	if ds, err := s.Deliveries(t.Context(), "req_2"); err != nil || len(ds) != 0 {
		t.Errorf("of an unknown request: %v, %v", ds, err)
	}
	if _, err := s.Delivery(t.Context(), "d4"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an unknown delivery: %v, want ErrNotFound", err)
	}
	if _, err := s.Create(t.Context(), "req_3", creating(with("d9"))); err == nil {
		t.Error("a delivery's id was taken twice")
	}
}

func deliveryBehind(t *testing.T, h Harness) {
	s := h.Store
	create(t, s, "req_1", with("d1"))
	update(t, s, "req_1", nil)
	// It shows version 1 and says that nothing is to do: it is behind.
	if d := deliver(t, s, "d1", shown(1)); d.NextTry.IsZero() {
		t.Error("a delivery that is behind is not due")
	}
	if got := dueIDs(t, s); len(got) != 1 {
		t.Errorf("due: %v, want d1", got)
	}
	if d := deliver(t, s, "d1", shown(2)); !d.NextTry.IsZero() || len(d.Refs) != 2 {
		t.Errorf("after it has caught up: %+v", d)
	}
	if got := dueIDs(t, s); len(got) != 0 {
		t.Errorf("due: %v, want none", got)
	}
	// A rate limit is only a later next try.
	later := h.Clock.Now().Add(time.Minute)
	deliver(t, s, "d1", func(d *store.Delivery) { d.Shown, d.NextTry, d.Attempts = 1, later, 3 })
	if got := due(t, s, 10); len(got.Deliveries) != 0 || !got.Next.Equal(later) {
		t.Errorf("before the next try: %+v", got)
	}
	h.Clock.Advance(time.Minute)
	if got := dueIDs(t, s); len(got) != 1 {
		t.Errorf("at the next try: %v", got)
	}
	// What is gone is never tried again, though it is behind.
	if d := deliver(t, s, "d1", func(d *store.Delivery) { d.Gone = true }); !d.NextTry.IsZero() {
		t.Errorf("gone and due at %v", d.NextTry)
	}
	update(t, s, "req_1", nil)
	if got := dueIDs(t, s); len(got) != 0 {
		t.Errorf("due although gone: %v", got)
	}
}

func deliveryVersion(t *testing.T, h Harness) {
	s := h.Store
	create(t, s, "req_1", with("d1", "d2", "d3"))
	create(t, s, "req_2", with("other"))
	later := h.Clock.Now().Add(time.Hour)
	deliver(t, s, "d1", shown(1))
	deliver(t, s, "d2", func(d *store.Delivery) { d.Shown, d.NextTry = 1, later })
	deliver(t, s, "d3", func(d *store.Delivery) { d.Gone = true })
	deliver(t, s, "other", shown(1))
	if got := dueIDs(t, s); len(got) != 0 {
		t.Fatalf("due before the update: %v", got)
	}
	h.Clock.Advance(time.Second)
	update(t, s, "req_1", nil)
	if got := dueIDs(t, s); !slices.Equal(got, []string{"d1"}) {
		t.Errorf("due after the update: %v, want d1 only", got)
	}
	if d, err := s.Delivery(t.Context(), "d2"); err != nil || !d.NextTry.Equal(later) {
		t.Errorf("a later next try was changed: %+v, %v", d, err)
	}
}

func deliveryIdentity(t *testing.T, h Harness) {
	s := h.Store
	made := create(t, s, "req_1", with("d1"))
	create(t, s, "req_2", nil)
	d := deliver(t, s, "d1", func(d *store.Delivery) { d.ID, d.Request, d.Noted = "d2", "req_2", 7 })
	if d.ID != "d1" || d.Request != "req_1" || d.Noted != 7 {
		t.Errorf("after the change: %+v", d)
	}
	if got, err := s.Get(t.Context(), "req_1"); err != nil || !cmp.Equal(made, got) || size(t, s) != 2 {
		t.Errorf("a delivery's progress changed its request or the log: %v\n%s", err, cmp.Diff(made, got))
	}
	_, err := s.UpdateDelivery(t.Context(), "d2", func(_ time.Time, d store.Delivery) store.Delivery { return d })
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an unknown delivery: %v, want ErrNotFound", err)
	}
}

func dueRequests(t *testing.T, h Harness) {
	s := h.Store
	wake := h.Clock.Now().Add(time.Minute)
	at := func(w time.Time) func(w *store.Write) { return func(x *store.Write) { x.Request.Wake = w } }
	create(t, s, "req_1", at(wake))
	create(t, s, "req_2", nil) // never
	if got := due(t, s, 10); len(got.Requests) != 0 || !got.Next.Equal(wake) {
		t.Errorf("before: %+v, want next %v", got, wake)
	}
	h.Clock.Advance(time.Minute - time.Millisecond)
	if got := due(t, s, 10); len(got.Requests) != 0 {
		t.Errorf("a millisecond before: %+v", got)
	}
	h.Clock.Advance(time.Millisecond)
	if got := due(t, s, 10); !slices.Equal(got.Requests, []string{"req_1"}) || !got.Next.IsZero() {
		t.Errorf("at its time: %+v", got)
	}
	update(t, s, "req_1", nil) // the same wake
	if got := due(t, s, 10); !slices.Equal(got.Requests, []string{"req_1"}) {
		t.Errorf("after an update that keeps it: %+v", got)
	}
	update(t, s, "req_1", at(wake.Add(time.Hour)))
	if got := due(t, s, 10); len(got.Requests) != 0 || !got.Next.Equal(wake.Add(time.Hour)) {
		t.Errorf("after it was put off: %+v", got)
	}
	update(t, s, "req_1", at(time.Time{}))
	if got := due(t, s, 10); len(got.Requests) != 0 || !got.Next.IsZero() {
		t.Errorf("after it was taken away: %+v", got)
	}
}

func dueOrder(t *testing.T, h Harness) {
	s := h.Store
	begin := h.Clock.Now()
	for i, minute := range []int{5, 1, 3, 2, 4, 9} {
		create(t, s, requestID(i), func(w *store.Write) {
			w.Request.Wake = begin.Add(time.Duration(minute) * time.Minute)
			w.Deliveries = []store.Delivery{{ID: requestID(i)}}
		})
		deliver(t, s, requestID(i), func(d *store.Delivery) { d.NextTry = begin.Add(time.Duration(minute) * time.Minute) })
	}
	h.Clock.Advance(6 * time.Minute)
	want := []string{requestID(1), requestID(3), requestID(2), requestID(4), requestID(0)}
	for limit := range 7 {
		got := due(t, s, limit)
		n := min(limit, len(want))
		if !slices.Equal(got.Requests, want[:n]) {
			t.Errorf("limit %d: requests %v", limit, got.Requests)
		}
		var found []string
		for _, d := range got.Deliveries {
			found = append(found, d.ID)
		}
		if !slices.Equal(found, want[:n]) {
			t.Errorf("limit %d: deliveries %v", limit, found)
		}
		if next := begin.Add(9 * time.Minute); !got.Next.Equal(next) {
			t.Errorf("limit %d: next %v, want %v", limit, got.Next, next)
		}
	}
}
