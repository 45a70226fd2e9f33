package bolt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/audit"
	"github.com/countersign/countersign/store/storetest"
)

const origin = "countersign.example/audit/1"

func testKey(t testing.TB) audit.Key {
	t.Helper()
	k, err := audit.GenerateKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func openTest(t testing.TB, path string, o Options) *Store {
	t.Helper()
	if o.Signer == nil {
		o.Signer = testKey(t)
	}
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func statePath(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "state.db")
}

// ask is a small first write.
func ask(now time.Time, _ store.Request) (store.Write, error) {
	return store.Write{
		Request: store.Request{State: store.Pending, Canonical: []byte(`{"action":"deploy"}`), Code: "ABC-DEF", Created: now},
		Entries: []store.Entry{{Type: "asked", Actor: store.Actor{Kind: "machine", ID: "ci"}, Private: map[string]string{"reason": "a release"}}},
	}, nil
}

// noted is a small later write.
func noted(_ time.Time, r store.Request) (store.Write, error) {
	return store.Write{Request: r, Entries: []store.Entry{{Type: "noted", Actor: store.Actor{Kind: "clock"}}}}, nil
}

// stall holds the committing goroutine inside a change until release is called.
func stall(t *testing.T, s *Store) (release func()) {
	t.Helper()
	entered, leave, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once sync.Once
	go func() {
		defer close(done)
		_, _ = s.Create(context.WithoutCancel(t.Context()), "stall", func(now time.Time, r store.Request) (store.Write, error) {
			once.Do(func() { close(entered) })
			<-leave
			return ask(now, r)
		})
	}()
	<-entered
	return func() {
		close(leave)
		<-done
	}
}

// waitQueued waits until n writes stand in the queue.
func waitQueued(t *testing.T, s *Store, n int) {
	t.Helper()
	for begin := time.Now(); len(s.queue) < n; time.Sleep(time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("%d of %d writes are queued", len(s.queue), n)
		}
	}
}

var errBroke = errors.New("broke")

// breaks is a write that fails after it has put something.
type breaks struct{}

func (breaks) run(a *attempt) error {
	a.dirty = true
	if err := a.tx.Bucket(bucketRequest).Put([]byte("half"), []byte("{}")); err != nil {
		return err
	}
	return &errHalf{errBroke}
}

// One commit holds many writes: those that are refused, that panic or that
// break half-way leave the others alone.
func TestOneCommitManyOutcomes(t *testing.T) {
	t.Parallel()
	k := testKey(t)
	s := openTest(t, statePath(t), Options{Signer: k})
	release := stall(t, s)
	errMine := errors.New("mine")
	changes := map[string]store.Change{
		"good_1": ask, "good_2": ask, "good_3": ask,
		"refused":  func(time.Time, store.Request) (store.Write, error) { return store.Write{}, errMine },
		"panics":   func(time.Time, store.Request) (store.Write, error) { panic("oh") },
		"no_entry": func(time.Time, store.Request) (store.Write, error) { return store.Write{}, nil },
	}
	outcomes := make(map[string]error)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for id, change := range changes {
		wg.Go(func() {
			_, err := s.Create(t.Context(), id, change)
			mu.Lock()
			defer mu.Unlock()
			outcomes[id] = err
		})
	}
	wg.Go(func() {
		if err := s.submit(t.Context(), breaks{}); !errors.Is(err, errBroke) || errors.Is(err, store.ErrUnknown) {
			t.Errorf("a write that breaks half-way: %v", err)
		}
	})
	waitQueued(t, s, len(changes)+1)
	release()
	wg.Wait()
	for id, err := range outcomes {
		_, got := s.Get(t.Context(), id)
		good := len(id) > 4 && id[:4] == "good"
		if good != (err == nil) || good != (got == nil) || errors.Is(err, store.ErrUnknown) {
			t.Errorf("%s: %v; then Get: %v", id, err, got)
		}
	}
	if !errors.Is(outcomes["refused"], errMine) {
		t.Errorf("the refusal: %v", outcomes["refused"])
	}
	if _, err := s.Get(t.Context(), "half"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("half a write is there: %v", err)
	}
	verifyStore(t, s, k, 4)
}

// verifyStore reads the whole log against its checkpoint.
func verifyStore(t *testing.T, s *Store, k audit.Key, want uint64) audit.Report {
	t.Helper()
	signed, size, err := s.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.Verification{Key: k.Verifier(), Newest: signed}.Run(t.Context(), s.Entries(t.Context(), 0, size))
	if err != nil || r.Size != want {
		t.Fatalf("the log does not verify: %d entries, want %d; %v", r.Size, want, err)
	}
	return r
}

func TestCancelledWhileQueued(t *testing.T) {
	t.Parallel()
	s := openTest(t, statePath(t), Options{})
	release := stall(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	queued := make(chan error)
	go func() {
		_, err := s.Create(ctx, "queued", ask)
		queued <- err
	}()
	waitQueued(t, s, 1)
	cancel()
	if err := <-queued; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while queued: %v", err)
	}
	release()
	if err := s.Ping(t.Context()); err != nil { // behind it in the queue
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "queued"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("it said that it did not happen: %v", err)
	}
}

func TestCancelledWhileCommitting(t *testing.T) {
	t.Parallel()
	s := openTest(t, statePath(t), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := s.Create(ctx, "req_1", func(now time.Time, r store.Request) (store.Write, error) {
		cancel()
		return ask(now, r)
	})
	if err != nil || r.Version != 1 {
		t.Errorf("cancelled while it was committed, the outcome is returned all the same: %+v, %v", r, err)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	s := openTest(t, statePath(t), Options{})
	if _, err := s.Create(t.Context(), "req_1", ask); err != nil {
		t.Fatal(err)
	}
	watch := make(chan error)
	go func() {
		_, err := s.Watch(t.Context(), "req_1", 1)
		watch <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-watch; !errors.Is(err, ErrClosed) {
		t.Errorf("Watch: %v, want ErrClosed", err)
	}
	if _, err := s.Update(t.Context(), "req_1", noted); !errors.Is(err, ErrClosed) {
		t.Errorf("Update: %v, want ErrClosed", err)
	}
	if _, err := s.Get(t.Context(), "req_1"); !errors.Is(err, ErrClosed) {
		t.Errorf("Get: %v, want ErrClosed", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

// Whatever expires is forgotten little by little, in bounded steps.
func TestForgetting(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	s := openTest(t, statePath(t), Options{Now: clock.Now})
	const n = 10 * sweep
	_, err := s.Create(t.Context(), "req_1", func(now time.Time, r store.Request) (store.Write, error) {
		w, err := ask(now, r)
		for i := range n {
			w.Tokens = append(w.Tokens, store.Token{Issuer: "i", ID: fmt.Sprint(i), Expires: now.Add(time.Minute)})
		}
		return w, err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		id := fmt.Sprint("key_", i)
		_, err := s.Create(t.Context(), id, func(now time.Time, r store.Request) (store.Write, error) {
			w, err := ask(now, r)
			w.Key = &store.Key{Name: id, Expires: now.Add(time.Minute)}
			return w, err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := rows(t, s); got != [3]int{n, n, n} {
		t.Fatalf("%v rows of tokens, keys and expiries", got)
	}
	clock.Advance(time.Hour)
	for before := rows(t, s); before != [3]int{}; {
		if err := s.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		now := rows(t, s)
		for i := range now {
			if less := before[i] - now[i]; before[i] > 0 && less <= 0 || less > sweep {
				t.Fatalf("from %v to %v rows in one commit", before, now)
			}
		}
		before = now
	}
	if len(s.tokens) != 0 {
		t.Errorf("%d tokens are in memory", len(s.tokens))
	}
}

func rows(t *testing.T, s *Store) (n [3]int) {
	t.Helper()
	err := s.db.View(func(tx *bbolt.Tx) error {
		for i, name := range [][]byte{bucketToken, bucketKey, bucketKeyExpiry} {
			n[i] = tx.Bucket(name).Inspect().KeyN
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Erasing one private text of an entry leaves the others and every proof.
func TestSideRecords(t *testing.T) {
	t.Parallel()
	_, a := audit.Commit("first")
	_, b := audit.Commit("")
	side := map[string]audit.Opening{"reason": a, "account": b}
	got, err := decodeSide(encodeSide(side))
	if err != nil || len(got) != 2 || got["reason"].Text != "first" || string(got["account"].Salt) != string(b.Salt) {
		t.Errorf("read back: %v, %v", got, err)
	}
	delete(side, "reason")
	if got, err := decodeSide(encodeSide(side)); err != nil || len(got) != 1 {
		t.Errorf("after erasing one: %v, %v", got, err)
	}
	if got, err := decodeSide(encodeSide(nil)); err != nil || len(got) != 0 {
		t.Errorf("after erasing all: %v, %v", got, err)
	}
}

func FuzzDecodeSide(f *testing.F) {
	_, o := audit.Commit("text")
	f.Add(encodeSide(map[string]audit.Opening{"reason": o}))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if side, err := decodeSide(b); err == nil {
			if again, err := decodeSide(encodeSide(side)); err != nil || len(again) != len(side) {
				t.Errorf("%q reads as %v, then as %v, %v", b, side, again, err)
			}
		}
	})
}

func TestMoments(t *testing.T) {
	t.Parallel()
	var before moment
	for i, at := range []time.Time{{}, time.Unix(-1, 999), time.Unix(0, 0), time.Unix(0, 1), time.Unix(1<<33, 0), time.Unix(1<<40, 5)} {
		m := momentOf(at)
		if !m.time().Equal(at) {
			t.Errorf("%v is read back as %v", at, m.time())
		}
		if i > 0 && string(m[:]) <= string(before[:]) {
			t.Errorf("%v does not sort behind the one before", at)
		}
		before = m
	}
	if string(pair("a", "bc")) == string(pair("ab", "c")) {
		t.Error("two pairs make one key")
	}
}
