package bolt

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/countersign/countersign/store"
)

// realistic is the first write of a request that is approved at once: three
// entries, a one-time token, a record of about two kilobytes.
func realistic() store.Change {
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
			Tokens: []store.Token{{Issuer: "https://token.example.com", ID: text[:32], Expires: now.Add(5 * time.Minute)}},
		}, nil
	}
}

// bare is the time of one write of n bytes under a sequential key in bare bbolt
// transactions of the given number of writes: with one, what each write would
// cost without group commit; with as many as there are writers, the ceiling.
func bare(b *testing.B, n, writes int) time.Duration {
	b.Helper()
	db, err := bbolt.Open(filepath.Join(b.TempDir(), fmt.Sprint("bare", writes, ".db")), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // a benchmark's temporary file
	begin, done := time.Now(), 0
	for time.Since(begin) < 300*time.Millisecond {
		err := db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			for range writes {
				done++
				if err := bucket.Put(seqKey(uint64(done)), make([]byte, n)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(begin) / time.Duration(done)
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
				if _, err := s.Create(b.Context(), fmt.Sprintf("%s%012d", prefix, i), realistic()); err != nil {
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
// that of bare bbolt transactions, one for each write, x_ceiling that over bare
// transactions of as many writes as there are writers, all in the same run.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 2, 16, 64, 256} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			const size = 4096 // about what a write puts into all buckets
			single, ceiling := bare(b, size, 1), bare(b, size, writers)
			path := filepath.Join(b.TempDir(), "state.db")
			s := openTest(b, path, Options{})
			b.ReportAllocs()
			b.ResetTimer()
			perWrite := creates(b, s, "req_", writers, b.N)
			b.StopTimer()
			b.ReportMetric(float64(time.Second)/float64(perWrite), "writes/s")
			b.ReportMetric(float64(single)/float64(perWrite), "x_one_by_one")
			b.ReportMetric(float64(ceiling)/float64(perWrite), "x_ceiling")
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
		if _, err := s.Create(b.Context(), id(n), realistic()); err != nil {
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
			w, err := realistic()(now, r)
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
	var ratios []float64
	for round := range 5 { // in turn, so that both see the same machine
		prefix := fmt.Sprint("round", round, "_")
		without := creates(b, empty, prefix, 64, writes)
		ratios = append(ratios, float64(without)/float64(creates(b, s, prefix, 64, writes)))
	}
	seq := uint64(0)
	for b.Loop() {
		seq = (seq + 7919) % (requests * entries)
		if _, err := s.Receipt(b.Context(), seq); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x_empty")
	b.ReportMetric(float64(opened.Microseconds())/1000, "ms_open")
	if info, err := os.Stat(path); err == nil {
		b.ReportMetric(float64(info.Size())/(1<<20), "MB")
	}
}
