package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/store"
)

func createAndGet(t *testing.T, h Harness) {
	full := func(w *store.Write) {
		r := &w.Request
		r.ID, r.Version, r.LastSeq = "mine", 99, 99 // the engine's to set
		r.Stage, r.People = 1, []string{"p_00000001"}
		r.Reviews = []store.Review{{Person: "p_00000001", Verdict: "approve", Digest: "d1", Reason: "gut", At: r.Created}}
		r.Outcome = store.Outcome{Kind: "approved", By: "policy", At: r.Created}
		r.Grant = &store.Grant{Digest: "g", Scopes: []string{"a"}, TTL: 90 * time.Second, At: r.Created}
		r.Issues = []store.Issue{{ID: "j", SHA256: "s", At: r.Created, Expires: r.Deadline}}
		r.Progress = []store.Progress{{Kind: "approved", At: r.Created}}
		r.Wake = r.Deadline
		w.Entries = append(w.Entries, store.Entry{Type: "decided", Actor: store.Actor{Kind: "policy", ID: "1"}})
	}
	made := create(t, h.Store, "req_1", full)
	if made.ID != "req_1" || made.Version != 1 || made.LastSeq != 1 {
		t.Errorf("id %q, version %d, last entry %d; want req_1, 1, 1", made.ID, made.Version, made.LastSeq)
	}
	got, err := h.Store.Get(t.Context(), "req_1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made, got); diff != "" {
		t.Errorf("Get differs from Create (-made +got):\n%s", diff)
	}
	if got.Grant.TTL != 90*time.Second || string(got.Canonical) != string(write(time.Time{}).Request.Canonical) {
		t.Errorf("the record does not hold what was written: %+v", got)
	}
	if _, err := h.Store.Get(t.Context(), "req_2"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get of an unknown id: %v, want ErrNotFound", err)
	}
	if _, err := h.Store.Get(t.Context(), ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get of no id: %v, want ErrNotFound", err)
	}
}

func createOnce(t *testing.T, h Harness) {
	made := create(t, h.Store, "req_1", nil)
	_, err := h.Store.Create(t.Context(), "req_1", creating(func(w *store.Write) { w.Request.Code = "OTHER" }))
	if !errors.Is(err, store.ErrExists) {
		t.Fatalf("second Create: %v, want ErrExists", err)
	}
	got, err := h.Store.Get(t.Context(), "req_1")
	if err != nil || !cmp.Equal(made, got) || size(t, h.Store) != 1 {
		t.Errorf("the second Create left something: %+v, %v, %d entries", got, err, size(t, h.Store))
	}
	create(t, h.Store, "req_2", nil)
}

func updateFollows(t *testing.T, h Harness) {
	made := create(t, h.Store, "req_1", nil)
	var seen store.Request
	after, err := h.Store.Update(t.Context(), "req_1", func(_ time.Time, r store.Request) (store.Write, error) {
		seen = r
		r.State = store.Denied
		return store.Write{Request: r, Entries: []store.Entry{{Type: "denied", Actor: machine}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made, seen); diff != "" {
		t.Errorf("the change saw another record (-made +seen):\n%s", diff)
	}
	if after.Version != 2 || after.State != store.Denied || after.LastSeq != 1 {
		t.Errorf("after the update: %+v", after)
	}
	got, err := h.Store.Get(t.Context(), "req_1")
	if err != nil || !cmp.Equal(got, after) {
		t.Errorf("Get after Update: %v\n%s", err, cmp.Diff(after, got))
	}
	ran := false
	_, err = h.Store.Update(t.Context(), "req_none", func(time.Time, store.Request) (store.Write, error) {
		ran = true
		return store.Write{}, nil
	})
	if !errors.Is(err, store.ErrNotFound) || ran {
		t.Errorf("Update of an unknown id: %v, change ran: %t", err, ran)
	}
}

// errMine is a change's own refusal.
var errMine = errors.New("refused by the change")

func refusedWritesNothing(t *testing.T, h Harness) {
	s := h.Store
	made := create(t, s, "req_1", nil)
	loaded := func(w *store.Write) {
		w.Tokens = []store.Token{{Issuer: "i", ID: "j", Expires: h.Clock.Now().Add(time.Minute)}}
		w.Key = &store.Key{Name: "k", Expires: h.Clock.Now().Add(time.Minute)}
		w.Deliveries = []store.Delivery{{ID: "d1"}}
		w.Request.People = []string{"p_00000009"}
	}
	refuse := func(now time.Time, r store.Request) (store.Write, error) {
		w, _ := creating(loaded)(now, r)
		return w, errMine
	}
	got, err := s.Update(t.Context(), "req_1", refuse)
	if err != errMine { //nolint:errorlint // handed back unwrapped
		t.Errorf("a refused Update returned %v, want the change's own error, unwrapped", err)
	}
	if diff := cmp.Diff(made, got); diff != "" {
		t.Errorf("a refused Update must return the record as it stands:\n%s", diff)
	}
	if _, err := s.Create(t.Context(), "req_2", refuse); err != errMine { //nolint:errorlint // handed back unwrapped
		t.Errorf("a refused Create returned %v", err)
	}
	untouched(t, s, "req_2")
	// A write that the engine refuses for its token leaves nothing either.
	create(t, s, "req_3", func(w *store.Write) {
		w.Tokens = []store.Token{{Issuer: "i", ID: "used", Expires: h.Clock.Now().Add(time.Minute)}}
	})
	_, err = s.Create(t.Context(), "req_2", creating(func(w *store.Write) {
		loaded(w)
		w.Tokens = append(w.Tokens, store.Token{Issuer: "i", ID: "used", Expires: h.Clock.Now().Add(time.Minute)})
	}))
	if !errors.Is(err, store.ErrReplayed) {
		t.Errorf("Create with a used token: %v", err)
	}
	untouched(t, s, "req_2")
	// What the refused writes wanted to take is still free.
	create(t, s, "req_4", loaded)
}

// untouched checks that nothing of the write "loaded" is there.
func untouched(t *testing.T, s store.Store, id string) {
	t.Helper()
	ctx := t.Context()
	if _, err := s.Get(ctx, id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the record is there: %v", err)
	}
	if _, err := s.Keyed(ctx, "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the key is there: %v", err)
	}
	if _, err := s.Delivery(ctx, "d1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the delivery is there: %v", err)
	}
	if page, err := s.Find(ctx, store.Query{Person: "p_00000009", Limit: 10}); err != nil || len(page.Requests) != 0 {
		t.Errorf("the index knows it: %v, %v", page.Requests, err)
	}
	for _, e := range all(t, s) {
		if e.Request == id {
			t.Errorf("the log knows it: %s", e.Leaf)
		}
	}
}

func entriesRequired(t *testing.T, h Harness) {
	bare := func(w *store.Write) { w.Entries = nil }
	if _, err := h.Store.Create(t.Context(), "req_1", creating(bare)); err == nil {
		t.Error("a Create without entries was taken")
	}
	create(t, h.Store, "req_1", nil)
	if r, err := h.Store.Update(t.Context(), "req_1", updating(bare)); err == nil || r.Version != 1 {
		t.Errorf("an Update without entries was taken: version %d, %v", r.Version, err)
	}
}

func canonicalFixed(t *testing.T, h Harness) {
	create(t, h.Store, "req_1", nil)
	for _, other := range []string{`{"action":"delete"}`, ``} {
		r, err := h.Store.Update(t.Context(), "req_1", updating(func(w *store.Write) { w.Request.Canonical = []byte(other) }))
		if err == nil || r.Version != 1 {
			t.Errorf("the canonical form was replaced by %q: version %d, %v", other, r.Version, err)
		}
	}
	update(t, h.Store, "req_1", nil)
}

func panicking(t *testing.T, h Harness) {
	create(t, h.Store, "req_1", nil)
	r, err := h.Store.Update(t.Context(), "req_1", func(time.Time, store.Request) (store.Write, error) { panic("oh") })
	if err == nil || errors.Is(err, store.ErrUnknown) || r.Version != 1 {
		t.Errorf("a panicking change: version %d, %v", r.Version, err)
	}
	if r := update(t, h.Store, "req_1", nil); r.Version != 2 {
		t.Errorf("after the panic: version %d", r.Version)
	}
}

func engineClock(t *testing.T, h Harness) {
	for range 3 {
		h.Clock.Advance(time.Hour)
		var now time.Time
		_, err := h.Store.Create(t.Context(), requestID(h.Clock.Now().Hour()), func(at time.Time, r store.Request) (store.Write, error) {
			now = at
			return creating(nil)(at, r)
		})
		if err != nil {
			t.Fatal(err)
		}
		if !now.Equal(h.Clock.Now()) || now.Location() != time.UTC {
			t.Errorf("the change was told %v, the clock says %v", now, h.Clock.Now())
		}
	}
}

func cancelledWrite(t *testing.T, h Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ran := false
	_, err := h.Store.Create(ctx, "req_1", func(now time.Time, r store.Request) (store.Write, error) {
		ran = true
		return creating(nil)(now, r)
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Create with a cancelled context: %v", err)
	}
	create(t, h.Store, "req_2", nil) // runs after whatever was queued before
	if _, err := h.Store.Get(t.Context(), "req_1"); !errors.Is(err, store.ErrNotFound) || ran {
		t.Errorf("a write that was cancelled happened: %v, ran %t", err, ran)
	}
}

func blobs(t *testing.T, h Harness) {
	const text, sum = "diff --git", "a3f0e6a2e1b4"
	name := hexSum(text)
	keep := func(w *store.Write) { w.Blobs = map[string][]byte{name: []byte(text)} }
	create(t, h.Store, "req_1", keep)
	create(t, h.Store, "req_2", keep)
	if b, err := h.Store.Blob(t.Context(), name); err != nil || string(b) != text {
		t.Errorf("Blob: %q, %v", b, err)
	}
	for _, unknown := range []string{hexSum("other"), sum, "", "zz"} {
		if _, err := h.Store.Blob(t.Context(), unknown); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Blob(%q): %v, want ErrNotFound", unknown, err)
		}
	}
	_, err := h.Store.Create(t.Context(), "req_3", creating(func(w *store.Write) {
		w.Blobs = map[string][]byte{hexSum("other"): []byte(text)}
	}))
	if err == nil {
		t.Error("a blob under another hash was taken")
	}
}

func ping(t *testing.T, h Harness) {
	create(t, h.Store, "req_1", nil)
	if err := h.Store.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := size(t, h.Store); n != 1 {
		t.Errorf("%d entries after Ping, want 1", n)
	}
}
