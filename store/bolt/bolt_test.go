package bolt

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/audit"
)

func testKey(t testing.TB) audit.Key {
	t.Helper()
	k, err := audit.GenerateKey("countersign.example/audit/1")
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

// ask is a small first write.
func ask(now time.Time, _ store.Request) (store.Write, error) {
	return store.Write{
		Request: store.Request{State: store.Pending, Canonical: []byte(`{"action":"deploy"}`), Code: "ABC-DEF", Created: now},
		Entries: []store.Entry{{Type: "asked", Actor: store.Actor{Kind: "machine", ID: "ci"}, Private: map[string]string{"reason": "a release"}}},
	}, nil
}

func TestSmoke(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	k := testKey(t)
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := Open(path, Options{Signer: k})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Create(ctx, "req_1", ask)
	if err != nil || r.Version != 1 {
		t.Fatal(r, err)
	}
	got, err := s.Get(ctx, "req_1")
	if err != nil || string(got.Canonical) != `{"action":"deploy"}` {
		t.Fatal(got, err)
	}
	rc, err := s.Receipt(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	l, c, err := audit.VerifyReceipt(audit.Receipt(rc), k.Verifier())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %+v", rc.Leaf, c)
	_ = l
	if err := s.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open(path, Options{Signer: k})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(ctx, "req_1", ask); err != nil {
		t.Fatal(err)
	}
	s.Close()
}
