package storetest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/countersign/countersign/store"
)

func hexSum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// together runs f n times at once and waits for all.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

func racingUpdates(t *testing.T, h Harness) {
	const writers, each = 16, 8
	create(t, h.Store, "req_1", nil)
	together(writers, func(i int) {
		for j := range each {
			var saw uint64
			r, err := h.Store.Update(t.Context(), "req_1", func(now time.Time, r store.Request) (store.Write, error) {
				saw = r.Version
				if got := uint64(len(r.Progress)) + 1; got != r.Version {
					return store.Write{}, fmt.Errorf("version %d after %d changes", r.Version, got)
				}
				return updating(func(w *store.Write) {
					w.Request.Progress = append(w.Request.Progress, store.Progress{Kind: fmt.Sprint(i, ".", j)})
				})(now, r)
			})
			if err != nil || r.Version != saw+1 {
				t.Errorf("writer %d: version %d after %d, %v", i, r.Version, saw, err)
			}
		}
	})
	r, err := h.Store.Get(t.Context(), "req_1")
	if err != nil || r.Version != 1+writers*each {
		t.Fatalf("version %d, %v; want %d", r.Version, err, 1+writers*each)
	}
	kinds := map[string]bool{}
	for _, p := range r.Progress {
		kinds[p.Kind] = true
	}
	if len(kinds) != writers*each {
		t.Errorf("%d of %d changes are in the record", len(kinds), writers*each)
	}
}

// The linearizability check sees a request as a register that holds the tag of
// its newest writer. A write that expects another tag than it finds is refused.
type registerInput struct {
	write bool
	from  string // what the writer has read before
	tag   string
}

type registerOutput struct {
	tag     string // what stands there afterwards
	refused bool
}

var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		in, out, tag := input.(registerInput), output.(registerOutput), state.(string)
		if !in.write {
			return out.tag == tag, tag
		}
		if in.from != tag {
			return out.refused && out.tag == tag, tag
		}
		return !out.refused && out.tag == in.tag, in.tag
	},
}

func linearizable(t *testing.T, h Harness) {
	const clients, each = 8, 12
	create(t, h.Store, "req_1", func(w *store.Write) { w.Request.Digest = "" })
	var mu sync.Mutex
	var history []porcupine.Operation
	begin := time.Now()
	record := func(client int, in registerInput, do func() registerOutput) registerOutput {
		call := time.Since(begin)
		out := do()
		end := time.Since(begin)
		mu.Lock()
		defer mu.Unlock()
		history = append(history, porcupine.Operation{
			ClientId: client, Input: in, Output: out, Call: int64(call), Return: int64(end),
		})
		return out
	}
	together(clients, func(i int) {
		for j := range each {
			read := record(i, registerInput{}, func() registerOutput {
				r, err := h.Store.Get(t.Context(), "req_1")
				if err != nil {
					t.Error(err)
				}
				return registerOutput{tag: r.Digest}
			})
			in := registerInput{write: true, from: read.tag, tag: fmt.Sprint(i, ".", j)}
			record(i, in, func() registerOutput {
				r, err := h.Store.Update(t.Context(), "req_1", func(now time.Time, r store.Request) (store.Write, error) {
					if r.Digest != in.from {
						return store.Write{}, errMine
					}
					return updating(func(w *store.Write) { w.Request.Digest = in.tag })(now, r)
				})
				if err != nil && !errors.Is(err, errMine) {
					t.Error(err)
				}
				return registerOutput{tag: r.Digest, refused: err != nil}
			})
		}
	})
	if got := porcupine.CheckOperationsTimeout(register, history, 20*time.Second); got != porcupine.Ok {
		t.Errorf("the history of %d operations is not linearizable: %s", len(history), got)
	}
}

// winners creates n requests at once, each varied alike, and returns the errors
// of those that lost.
func winners(t *testing.T, h Harness, n int, id func(i int) string, vary func(w *store.Write)) (won []string, lost []error) {
	t.Helper()
	var mu sync.Mutex
	together(n, func(i int) {
		_, err := h.Store.Create(t.Context(), id(i), creating(vary))
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			lost = append(lost, err)
			return
		}
		won = append(won, id(i))
	})
	if len(won) != 1 {
		t.Errorf("%d winners, want 1: %v", len(won), won)
	}
	if n := len(all(t, h.Store)); n != len(won) {
		t.Errorf("%d entries of %d winners: a loser left something", n, len(won))
	}
	return won, lost
}

func allAre(t *testing.T, errs []error, want error) {
	t.Helper()
	for _, err := range errs {
		if !errors.Is(err, want) {
			t.Errorf("a loser got %v, want %v", err, want)
		}
	}
}

func racingCreates(t *testing.T, h Harness) {
	_, lost := winners(t, h, 32, func(int) string { return "req_1" }, nil)
	allAre(t, lost, store.ErrExists)
}

func racingTokens(t *testing.T, h Harness) {
	_, lost := winners(t, h, 64, requestID, func(w *store.Write) {
		w.Tokens = []store.Token{{Issuer: "i", ID: "j", Expires: h.Clock.Now().Add(time.Minute)}}
	})
	allAre(t, lost, store.ErrReplayed)
}

func racingKeys(t *testing.T, h Harness) {
	won, lost := winners(t, h, 64, requestID, func(w *store.Write) {
		w.Key = &store.Key{Name: "k", Fingerprint: "f", Expires: h.Clock.Now().Add(time.Minute)}
	})
	allAre(t, lost, store.ErrKeyUsed)
	if k, err := h.Store.Keyed(t.Context(), "k"); err != nil || len(won) == 1 && k.Request != won[0] {
		t.Errorf("the key stands for %q, the winner is %v; %v", k.Request, won, err)
	}
}

func tokenOnce(t *testing.T, h Harness) {
	until := h.Clock.Now().Add(time.Minute)
	with := func(tokens ...store.Token) func(w *store.Write) {
		return func(w *store.Write) { w.Tokens = tokens }
	}
	one := store.Token{Issuer: "https://a", ID: "b", Expires: until}
	create(t, h.Store, "req_1", with(one))
	for i, same := range []store.Token{one, {Issuer: "https://a", ID: "b", Expires: until.Add(time.Hour)}} {
		if _, err := h.Store.Create(t.Context(), requestID(i), creating(with(same))); !errors.Is(err, store.ErrReplayed) {
			t.Errorf("token %d again: %v, want ErrReplayed", i, err)
		}
	}
	r, err := h.Store.Update(t.Context(), "req_1", updating(with(one)))
	if !errors.Is(err, store.ErrReplayed) || r.Version != 1 {
		t.Errorf("the token again in an update: version %d, %v", r.Version, err)
	}
	twice := store.Token{Issuer: "https://a", ID: "twice", Expires: until}
	if _, err := h.Store.Create(t.Context(), "req_2", creating(with(twice, twice))); !errors.Is(err, store.ErrReplayed) {
		t.Errorf("the same token twice in one write: %v", err)
	}
	// Other issuers' ids are other tokens, also where the texts run together.
	for i, other := range []store.Token{{Issuer: "https://a2", ID: "b"}, {Issuer: "https:", ID: "//ab"}, {Issuer: "https://ab", ID: "b"}} {
		other.Expires = until
		create(t, h.Store, requestID(10+i), with(other))
	}
}

func tokenExpires(t *testing.T, h Harness) {
	until := h.Clock.Now().Add(time.Minute)
	with := func(w *store.Write) { w.Tokens = []store.Token{{Issuer: "i", ID: "j", Expires: until}} }
	create(t, h.Store, "req_1", with)
	h.Clock.Advance(time.Minute - time.Millisecond)
	create(t, h.Store, "req_2", nil) // a chance to forget too early
	if _, err := h.Store.Create(t.Context(), "req_3", creating(with)); !errors.Is(err, store.ErrReplayed) {
		t.Errorf("just before it expires: %v, want ErrReplayed", err)
	}
	h.Clock.Advance(time.Millisecond)
	if _, err := h.Store.Create(t.Context(), "req_3", creating(with)); !errors.Is(err, store.ErrReplayed) {
		t.Errorf("once it has expired, nobody can tell: %v, want ErrReplayed", err)
	}
	until = until.Add(time.Minute)
	create(t, h.Store, "req_4", with)
	create(t, h.Store, "req_5", nil) // forgetting the old one must not forget the new
	if _, err := h.Store.Create(t.Context(), "req_6", creating(with)); !errors.Is(err, store.ErrReplayed) {
		t.Errorf("consumed anew: %v, want ErrReplayed", err)
	}
}

func keyOnce(t *testing.T, h Harness) {
	until := h.Clock.Now().Add(time.Minute)
	with := func(w *store.Write) {
		w.Key = &store.Key{Name: "caller\x00key", Request: "another", Fingerprint: "f", Expires: until}
	}
	if _, err := h.Store.Keyed(t.Context(), "caller\x00key"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Keyed before: %v", err)
	}
	create(t, h.Store, "req_1", with)
	k, err := h.Store.Keyed(t.Context(), "caller\x00key")
	want := store.Key{Name: "caller\x00key", Request: "req_1", Fingerprint: "f", Expires: until}
	if err != nil || !k.Expires.Equal(want.Expires) || k.Request != want.Request || k.Fingerprint != want.Fingerprint || k.Name != want.Name {
		t.Errorf("Keyed: %+v, %v; want %+v", k, err, want)
	}
	if _, err := h.Store.Create(t.Context(), "req_2", creating(with)); !errors.Is(err, store.ErrKeyUsed) {
		t.Errorf("the key again: %v, want ErrKeyUsed", err)
	}
}

func keyExpires(t *testing.T, h Harness) {
	with := func(w *store.Write) { w.Key = &store.Key{Name: "k", Expires: w.Request.Created.Add(time.Minute)} }
	create(t, h.Store, "req_1", with)
	h.Clock.Advance(time.Minute - time.Millisecond)
	create(t, h.Store, "req_2", nil)
	if k, err := h.Store.Keyed(t.Context(), "k"); err != nil || k.Request != "req_1" {
		t.Errorf("just before it expires: %+v, %v", k, err)
	}
	h.Clock.Advance(time.Millisecond)
	if _, err := h.Store.Keyed(t.Context(), "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("once expired: %v, want ErrNotFound", err)
	}
	create(t, h.Store, "req_3", with)
	create(t, h.Store, "req_4", nil)
	if k, err := h.Store.Keyed(t.Context(), "k"); err != nil || k.Request != "req_3" {
		t.Errorf("claimed anew: %+v, %v", k, err)
	}
}
