package storetest

import (
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/audit"
)

func logPages(t *testing.T, h Harness) {
	const n = 23
	for i := range n {
		create(t, h.Store, requestID(i), nil)
	}
	for _, limit := range []int{1, 7, n, n + 1, 1000} {
		var up []uint64
		for from := uint64(0); ; {
			page := logPage(t, h.Store, from, limit, false)
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				up = append(up, e.Seq)
			}
			from += uint64(len(page))
		}
		for i, seq := range up {
			if seq != uint64(i) {
				t.Fatalf("going up by %d: entry %d at place %d", limit, seq, i)
			}
		}
		if len(up) != n {
			t.Errorf("going up by %d: %d entries", limit, len(up))
		}
	}
	down := logPage(t, h.Store, 5, 4, true)
	if len(down) != 4 || down[0].Seq != 5 || down[3].Seq != 2 {
		t.Errorf("four going down from 5: %d entries", len(down))
	}
	if down = logPage(t, h.Store, 2, 10, true); len(down) != 3 || down[2].Seq != 0 {
		t.Errorf("ten going down from 2: %d entries", len(down))
	}
	for _, past := range []uint64{n, n + 1, 1 << 62, 1<<64 - 1} {
		for _, backwards := range []bool{false, true} {
			if page := logPage(t, h.Store, past, 10, backwards); len(page) != 0 {
				t.Errorf("past the end, at %d, backwards %t: %d entries", past, backwards, len(page))
			}
		}
	}
	if page := logPage(t, h.Store, 0, 0, false); len(page) != 0 {
		t.Errorf("limit 0: %d entries", len(page))
	}
}

func logPage(t *testing.T, s store.Store, from uint64, limit int, backwards bool) []store.Logged {
	t.Helper()
	page, err := s.Log(t.Context(), from, limit, backwards)
	if err != nil {
		t.Fatalf("Log(%d, %d, %t): %v", from, limit, backwards, err)
	}
	if len(page) > limit {
		t.Fatalf("Log(%d, %d, %t): %d entries", from, limit, backwards, len(page))
	}
	return page
}

func logTells(t *testing.T, h Harness) {
	private := map[string]string{"reason": "weil ü", "account": ""}
	create(t, h.Store, "req_1", func(w *store.Write) {
		w.Entries = []store.Entry{
			{Type: "asked", Actor: machine, Data: map[string]any{"z": 1, "a": []string{"x"}}, Private: private},
			{Type: "decided", Actor: store.Actor{Kind: "policy", ID: "rev"}},
		}
	})
	create(t, h.Store, "req_2", nil)
	h.Clock.Advance(time.Second)
	update(t, h.Store, "req_1", func(w *store.Write) {
		w.Entries = []store.Entry{{Type: "expired", Actor: store.Actor{Kind: "clock"}, Data: struct {
			Cause string `json:"cause"`
		}{"deadline"}}}
	})
	entries := all(t, h.Store)
	if len(entries) != 4 {
		t.Fatalf("%d entries, want 4", len(entries))
	}
	first, last := entries[0], entries[3]
	if first.Type != "asked" || first.Request != "req_1" || first.Actor != machine || string(first.Data) != `{"a":["x"],"z":1}` {
		t.Errorf("the first entry: %+v", first)
	}
	if diff := cmp.Diff(private, first.Private); diff != "" {
		t.Errorf("private texts (-want +got):\n%s", diff)
	}
	if last.Type != "expired" || string(last.Data) != `{"cause":"deadline"}` || last.Private != nil || !last.Time.Equal(h.Clock.Now()) {
		t.Errorf("the last entry: %+v", last)
	}
	for i, prev := range []int{-1, 0, -1, 1} {
		leaf, err := audit.DecodeLeaf(entries[i].Leaf)
		if err != nil {
			t.Fatalf("leaf %d: %v", i, err)
		}
		if (leaf.Prev == nil) != (prev < 0) || leaf.Prev != nil && *leaf.Prev != uint64(prev) {
			t.Errorf("leaf %d has the wrong predecessor: %s", i, entries[i].Leaf)
		}
		for name, c := range leaf.Commit {
			if !(audit.Opening{Salt: entries[i].Salts[name], Text: entries[i].Private[name]}).Opens(c) {
				t.Errorf("leaf %d: salt and text of %q do not open the commitment", i, name)
			}
		}
		if len(leaf.Commit) != len(entries[i].Private) {
			t.Errorf("leaf %d commits to %d texts, %d are there", i, len(leaf.Commit), len(entries[i].Private))
		}
	}
}

func logTime(t *testing.T, h Harness) {
	for i, d := range []time.Duration{0, time.Hour, -2 * time.Hour, time.Minute, 3 * time.Hour} {
		h.Clock.Advance(d)
		create(t, h.Store, requestID(i), nil)
	}
	var before time.Time
	for _, e := range all(t, h.Store) {
		if e.Time.Before(before) {
			t.Errorf("entry %d is of %v, the one before of %v", e.Seq, e.Time, before)
		}
		before = e.Time
	}
	if !before.Equal(h.Clock.Now()) {
		t.Errorf("the clock has caught up, the log says %v, the clock %v", before, h.Clock.Now())
	}
}

func checkpointCovers(t *testing.T, h Harness) {
	if c := verified(t, h); c.Size != 0 {
		t.Errorf("an empty store has a checkpoint of %d entries", c.Size)
	}
	together(8, func(i int) {
		id := requestID(i)
		last := create(t, h.Store, id, nil).LastSeq
		for range 10 {
			if _, n, err := h.Store.Checkpoint(t.Context()); err != nil || n <= last {
				t.Errorf("entry %d was answered and is not under the checkpoint of %d entries: %v", last, n, err)
			}
			last = update(t, h.Store, id, nil).LastSeq
		}
	})
	if c := verified(t, h); c.Size != 8*11 {
		t.Errorf("%d entries under the checkpoint, want %d", c.Size, 8*11)
	}
}

// entries is the whole log as audit.Verify reads it.
func entries(t *testing.T, s store.Store) iter.Seq2[audit.Entry, error] {
	return func(yield func(audit.Entry, error) bool) {
		for _, e := range all(t, s) {
			one := audit.Entry{Seq: e.Seq, Leaf: e.Leaf, Side: map[string]audit.Opening{}}
			for name, text := range e.Private {
				one.Side[name] = audit.Opening{Salt: e.Salts[name], Text: text}
			}
			if !yield(one, nil) {
				return
			}
		}
	}
}

func logVerifies(t *testing.T, h Harness) {
	var older [][]byte
	for i := range 20 {
		create(t, h.Store, requestID(i), nil)
		update(t, h.Store, requestID(i/2), nil)
		signed, _, err := h.Store.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		older = append(older, signed)
	}
	v := audit.Verification{Key: h.Verifier, Newest: older[len(older)-1], Older: older}
	report, err := v.Run(t.Context(), entries(t, h.Store))
	if err != nil {
		t.Fatal(err)
	}
	if report.Size != 40 || report.Opened != 20 || report.Erased != 0 {
		t.Errorf("the report: %+v", report)
	}
}

func receipts(t *testing.T, h Harness) {
	if _, err := h.Store.Receipt(t.Context(), 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Receipt of an empty log: %v, want ErrNotFound", err)
	}
	const n = 9
	for i := range n {
		create(t, h.Store, requestID(i), nil)
		for seq := range uint64(i + 1) {
			r, err := h.Store.Receipt(t.Context(), seq)
			if err != nil {
				t.Fatal(err)
			}
			leaf, c, err := audit.VerifyReceipt(audit.Receipt(r), h.Verifier)
			if err != nil || leaf.Seq != seq || leaf.Request != requestID(int(seq)) || c.Size != uint64(i+1) {
				t.Errorf("receipt %d of %d: %+v, %v", seq, i+1, leaf, err)
			}
		}
	}
	for _, seq := range []uint64{n, n + 1, 1 << 63, 1<<64 - 1} {
		if _, err := h.Store.Receipt(t.Context(), seq); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Receipt(%d): %v, want ErrNotFound", seq, err)
		}
	}
}

func reopened(t *testing.T, h Harness) {
	full := func(w *store.Write) {
		w.Tokens = []store.Token{{Issuer: "i", ID: "j", Expires: h.Clock.Now().Add(time.Minute)}}
		w.Key = &store.Key{Name: "k", Expires: h.Clock.Now().Add(time.Minute)}
		w.Deliveries = []store.Delivery{{ID: "d1"}}
		w.Request.People, w.Request.Wake = []string{"p_a"}, h.Clock.Now()
		w.Blobs = map[string][]byte{hexSum("x"): []byte("x")}
	}
	create(t, h.Store, "req_1", full)
	made := update(t, h.Store, "req_1", nil)
	before := verified(t, h)
	h.Store = h.Reopen(t)
	if got := verified(t, h); got != before {
		t.Errorf("the checkpoint is %+v, was %+v", got, before)
	}
	if got, err := h.Store.Get(t.Context(), "req_1"); err != nil || !cmp.Equal(made, got) {
		t.Errorf("the record: %v\n%s", err, cmp.Diff(made, got))
	}
	for name, q := range map[string]store.Query{"pending": {State: store.Pending}, "person": {Person: "p_a"}, "code": {Code: "KQX-7F2"}} {
		q.Limit = 10
		if got := ids(t, h.Store, q); len(got) != 1 {
			t.Errorf("found by %s: %v", name, got)
		}
	}
	if got := due(t, h.Store, 10); len(got.Requests) != 1 || len(got.Deliveries) != 1 {
		t.Errorf("due: %+v", got)
	}
	if _, err := h.Store.Blob(t.Context(), hexSum("x")); err != nil {
		t.Errorf("the blob: %v", err)
	}
	bad := creating(func(w *store.Write) { full(w); w.Key, w.Deliveries = nil, nil })
	if _, err := h.Store.Create(t.Context(), "req_2", bad); !errors.Is(err, store.ErrReplayed) {
		t.Errorf("the token: %v, want ErrReplayed", err)
	}
	bad = creating(func(w *store.Write) { full(w); w.Tokens, w.Deliveries = nil, nil })
	if _, err := h.Store.Create(t.Context(), "req_2", bad); !errors.Is(err, store.ErrKeyUsed) {
		t.Errorf("the key: %v, want ErrKeyUsed", err)
	}
	if r := update(t, h.Store, "req_1", nil); r.LastSeq != 2 {
		t.Errorf("the log goes on at %d, want 2", r.LastSeq)
	}
}
