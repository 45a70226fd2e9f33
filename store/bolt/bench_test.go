package bolt

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/countersign/countersign/store"
)

// realistic is the first write of a request that is approved at once: three
// entries, a one-time token, a record of about two kilobytes.
func realistic(n int64) store.Change {
	canonical := make([]byte, 700)
	_, _ = rand.Read(canonical)
	text := hex.EncodeToString(canonical)
	policy := store.Actor{Kind: "policy", ID: "3f9a2c"}
	return func(now time.Time, _ store.Request) (store.Write, error) {
		return store.Write{
			Request: store.Request{
				State: store.Approved, Canonical: []byte(`{"text":"` + text + `"}`), Digest: text[:64], Code: "KQX-7F2",
				ServiceAccount: "ci-deploy", Issuer: "https://token.example.com", Subject: "repo:org/app:ref:main", Binding: "run:9127/attempt:2",
				Created: now, Wake: now.Add(15 * time.Minute),
				Outcome: store.Outcome{Kind: "approved", By: "policy", At: now},
				Grant:   &store.Grant{Digest: text[:64], Scopes: []string{"deploy:web"}, TTL: 15 * time.Minute, At: now},
			},
			Entries: []store.Entry{
				{Type: "asked", Actor: store.Actor{Kind: "machine", ID: "ci-deploy"}, Data: struct {
					Account string   `json:"account"`
					Action  string   `json:"action"`
					Digest  string   `json:"digest"`
					Scopes  []string `json:"scopes"`
				}{"ci-deploy", "deploy", text[:64], []string{"deploy:web"}},
					Private: map[string]string{"resource": "web", "subject": "repo:org/app:ref:main", "reason": "release 1.2"}},
				{Type: "decided", Actor: policy, Private: map[string]string{"reasons": "low risk", "input": text[:800]}},
				{Type: "approved", Actor: policy, Data: map[string]string{"grant": text[:64]}},
			},
			Tokens: []store.Token{{Issuer: "https://token.example.com", ID: fmt.Sprint("jti", n), Expires: now.Add(5 * time.Minute)}},
		}, nil
	}
}

// oneByOne is the time of one bare bbolt transaction that puts n bytes under a
// sequential key: what each write would cost without group commit.
func oneByOne(b *testing.B, n int) time.Duration {
	b.Helper()
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // a benchmark's temporary file
	value := make([]byte, n)
	begin, commits := time.Now(), 0
	for ; time.Since(begin) < 300*time.Millisecond; commits++ {
		err := db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			return bucket.Put(seqKey(uint64(commits)), value)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(begin) / time.Duration(commits)
}

// creates writes n requests from several writers and returns the time of one.
func creates(b *testing.B, s *Store, prefix string, writers, n int) time.Duration {
	b.Helper()
	var next atomic.Int64
	done := make(chan error, writers)
	begin := time.Now()
	for range writers {
		go func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if _, err := s.Create(b.Context(), fmt.Sprintf("%s%012d", prefix, i), realistic(i)); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(begin) / time.Duration(n)
}

// BenchmarkCommit measures durable writes. x_one_by_one is the throughput over
// that of bare bbolt transactions, one for each write, measured in the same run.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			bare := oneByOne(b, 2048)
			path := filepath.Join(b.TempDir(), "state.db")
			s := openTest(b, path, Options{})
			b.ReportAllocs()
			b.ResetTimer()
			perWrite := creates(b, s, "req_", writers, b.N)
			b.StopTimer()
			b.ReportMetric(float64(time.Second)/float64(perWrite), "writes/s")
			b.ReportMetric(float64(bare)/float64(perWrite), "x_one_by_one")
			if info, err := os.Stat(path); err == nil {
				b.ReportMetric(float64(info.Size())/float64(3*b.N), "B/entry")
			}
		})
	}
}

// BenchmarkUpdate measures a later write of a request: read, decode, change,
// encode, one entry.
func BenchmarkUpdate(b *testing.B) {
	const requests = 256
	s := openTest(b, filepath.Join(b.TempDir(), "state.db"), Options{})
	id := func(n int64) string { return fmt.Sprintf("req_%012d", n%requests) }
	for n := range int64(requests) {
		if _, err := s.Create(b.Context(), id(n), realistic(n)); err != nil {
			b.Fatal(err)
		}
	}
	var next atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, err := s.Update(b.Context(), id(next.Add(1)), func(now time.Time, r store.Request) (store.Write, error) {
				r.Issues = []store.Issue{{ID: "j", SHA256: r.Digest, At: now, Expires: now}}
				return store.Write{Request: r, Entries: []store.Entry{{Type: "issued", Actor: store.Actor{Kind: "machine", ID: "ci-deploy"}}}}, nil
			})
			if err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkLargeLog measures what a long log costs: opening it, a receipt, and
// writes as a ratio to those of an empty one in the same run (x_empty).
func BenchmarkLargeLog(b *testing.B) {
	const requests, entries, writes = 400, 1000, 4000
	k, path := testKey(b), filepath.Join(b.TempDir(), "large.db")
	s, err := Open(path, Options{Signer: k})
	if err != nil {
		b.Fatal(err)
	}
	for i := range requests {
		_, err := s.Create(b.Context(), fmt.Sprintf("req_%06d", i), func(now time.Time, r store.Request) (store.Write, error) {
			w, err := realistic(0)(now, r)
			w.Tokens = nil
			for len(w.Entries) < entries {
				w.Entries = append(w.Entries, w.Entries[len(w.Entries)%3])
			}
			return w, err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	s = openTest(b, path, Options{Signer: k})
	opened := time.Since(begin)
	empty := openTest(b, filepath.Join(b.TempDir(), "empty.db"), Options{})
	var ratio float64
	for range 3 { // in turn, so that both see the same machine
		ratio = max(ratio, float64(creates(b, empty, fmt.Sprint("w", ratio), 64, writes))/float64(creates(b, s, fmt.Sprint("w", ratio), 64, writes)))
	}
	seq := uint64(0)
	for b.Loop() {
		seq = (seq + 7919) % (requests * entries)
		if _, err := s.Receipt(b.Context(), seq); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(ratio, "x_empty")
	b.ReportMetric(float64(opened.Microseconds())/1000, "ms_open")
	if info, err := os.Stat(path); err == nil {
		b.ReportMetric(float64(info.Size())/(1<<20), "MB")
	}
}
