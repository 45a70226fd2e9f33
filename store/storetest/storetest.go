// Package storetest owns the contract of store.Store as tests, and a wrapper
// that lets each write fail in both ways in which a write can fail.
//
// Its rule: an engine passes every test or names, as a declared value with a
// reason, the test that it does not pass; the suite prints it. Run is called
// from the engine's own tests.
package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/audit"
)

// Harness is an empty engine under test.
type Harness struct {
	Store store.Store
	// Clock is the clock that the engine reads.
	Clock *Clock
	// Verifier verifies the engine's checkpoints.
	Verifier note.Verifier
	// Reopen closes the engine and opens the same state again.
	Reopen func(t *testing.T) store.Store
}

// Exception is a test that an engine does not pass.
type Exception struct {
	Test string // its name in the list below
	Why  string
}

// Clock is a clock that tests set. It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock starts at a fixed time.
func NewClock() *Clock {
	return &Clock{now: time.Date(2026, 11, 20, 12, 0, 0, 123e6, time.UTC)}
}

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock, backwards if d is negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// tests is the contract, each test with the part of it that the test is about.
var tests = []struct {
	name string
	run  func(t *testing.T, h Harness)
}{
	{"create and get", createAndGet},
	{"an id is created once", createOnce},
	{"an update follows the record", updateFollows},
	{"a refused change writes nothing", refusedWritesNothing},
	{"a write without entries is refused", entriesRequired},
	{"the canonical form never changes", canonicalFixed},
	{"a panicking change rejects only itself", panicking},
	{"the clock is the engine's", engineClock},
	{"a cancelled write did not happen", cancelledWrite},
	{"racing updates run one after another", racingUpdates},
	{"racing updates are linearizable", linearizable},
	{"racing creates have one winner", racingCreates},
	{"a one-time token is consumed once", tokenOnce},
	{"racing tokens have one winner", racingTokens},
	{"a one-time token is forgotten once expired", tokenExpires},
	{"an idempotency key stands for one request", keyOnce},
	{"racing keys have one winner", racingKeys},
	{"an idempotency key is forgotten once expired", keyExpires},
	{"find pages newest first", findPages},
	{"find by state, person and code", findBy},
	{"find refuses what is not indexed", findRefuses},
	{"watch returns what is there", watchAtOnce},
	{"watch ends without a decision", watchTimeout},
	{"watch loses no wake-up", watchWakes},
	{"blobs are kept by their hash", blobs},
	{"deliveries are due at once and in order", deliveriesCreated},
	{"a delivery that is behind stays due", deliveryBehind},
	{"a new version makes deliveries due", deliveryVersion},
	{"a delivery cannot change whose it is", deliveryIdentity},
	{"requests are due by their wake", dueRequests},
	{"due is earliest first and bounded", dueOrder},
	{"the log pages both ways", logPages},
	{"the log tells what was written", logTells},
	{"the log's time never goes back", logTime},
	{"every entry is under the newest checkpoint", checkpointCovers},
	{"the log verifies as a whole", logVerifies},
	{"receipts verify", receipts},
	{"ping commits and leaves no entry", ping},
	{"all is there after reopening", reopened},
}

// Run runs the contract against engines that open makes, each test with a new
// one.
func Run(t *testing.T, open func(t *testing.T) Harness, exceptions ...Exception) {
	t.Helper()
	for _, e := range exceptions {
		if !slices.ContainsFunc(tests, func(one struct {
			name string
			run  func(t *testing.T, h Harness)
		}) bool {
			return one.name == e.Test
		}) {
			t.Errorf("the exception %q names no test", e.Test)
		}
	}
	for _, one := range tests {
		if i := slices.IndexFunc(exceptions, func(e Exception) bool { return e.Test == one.name }); i >= 0 {
			t.Logf("exception: %s: %s", one.name, exceptions[i].Why)
			continue
		}
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			one.run(t, open(t))
		})
	}
}

// machine is who asks in these tests.
var machine = store.Actor{Kind: "machine", ID: "ci"}

// write is a pending request with one entry, to be varied.
func write(now time.Time) store.Write {
	return store.Write{
		Request: store.Request{
			State: store.Pending, Canonical: []byte(`{"action":"deploy","reason":"ü <&>"}`), Digest: "d1", Code: "KQX-7F2",
			ServiceAccount: "ci", Issuer: "https://issuer.example", Subject: "repo", Binding: "run:1",
			Created: now, Deadline: now.Add(time.Hour),
		},
		Entries: []store.Entry{{Type: "asked", Actor: machine, Data: map[string]any{"action": "deploy"}, Private: map[string]string{"reason": "a release"}}},
	}
}

// creating is the change that writes what vary makes of write.
func creating(vary func(w *store.Write)) store.Change {
	return func(now time.Time, _ store.Request) (store.Write, error) {
		w := write(now)
		if vary != nil {
			vary(&w)
		}
		return w, nil
	}
}

// updating is the change that keeps the record but for what vary does.
func updating(vary func(w *store.Write)) store.Change {
	return func(_ time.Time, r store.Request) (store.Write, error) {
		w := store.Write{Request: r, Entries: []store.Entry{{Type: "reviewed", Actor: store.Actor{Kind: "person", ID: "p_00000001"}}}}
		if vary != nil {
			vary(&w)
		}
		return w, nil
	}
}

// create writes a request or fails the test.
func create(t *testing.T, s store.Store, id string, vary func(w *store.Write)) store.Request {
	t.Helper()
	r, err := s.Create(t.Context(), id, creating(vary))
	if err != nil {
		t.Fatalf("Create(%s): %v", id, err)
	}
	return r
}

// update changes a request or fails the test.
func update(t *testing.T, s store.Store, id string, vary func(w *store.Write)) store.Request {
	t.Helper()
	r, err := s.Update(t.Context(), id, updating(vary))
	if err != nil {
		t.Fatalf("Update(%s): %v", id, err)
	}
	return r
}

// requestID is the n-th id in order of time.
func requestID(n int) string { return fmt.Sprintf("req_%08d", n) }

// all reads the whole log.
func all(t *testing.T, s store.Store) []store.Logged {
	t.Helper()
	var entries []store.Logged
	for {
		page, err := s.Log(t.Context(), uint64(len(entries)), 100, false)
		if err != nil {
			t.Fatalf("Log: %v", err)
		}
		if len(page) == 0 {
			return entries
		}
		entries = append(entries, page...)
	}
}

// size is the number of entries under the newest checkpoint.
func size(t *testing.T, s store.Store) uint64 {
	t.Helper()
	_, n, err := s.Checkpoint(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatalf("Checkpoint: %v", err)
	}
	return n
}

// verified opens the newest checkpoint.
func verified(t *testing.T, h Harness) audit.Checkpoint {
	t.Helper()
	signed, n, err := h.Store.Checkpoint(t.Context())
	if err != nil {
		t.Fatalf("Checkpoint: %v", err)
	}
	c, err := audit.OpenCheckpoint(signed, h.Verifier)
	if err != nil {
		t.Fatalf("the checkpoint does not open: %v", err)
	}
	if c.Size != n {
		t.Fatalf("Checkpoint says %d entries, its note %d", n, c.Size)
	}
	return c
}
