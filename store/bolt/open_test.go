package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	sumnote "golang.org/x/mod/sumdb/note"

	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/audit"
	"github.com/countersign/countersign/store/storetest"
)

// filled makes a closed store with some requests.
func filled(t *testing.T, n int) (path string, k audit.Key) {
	t.Helper()
	path, k = statePath(t), testKey(t)
	s, err := Open(path, Options{Signer: k})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := s.Create(t.Context(), fmt.Sprintf("req_%06d", i), ask); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path, k
}

// spoil changes the database of a closed store.
func spoil(t *testing.T, path string, f func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(f), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func put(bucket, key, value []byte) func(tx *bbolt.Tx) error {
	return func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, value) }
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, one := range []struct {
		name  string
		spoil func(t *testing.T, path string, o *Options)
		want  error
	}{
		{"no key", func(_ *testing.T, _ string, o *Options) { o.Signer = nil }, nil},
		{"another origin", func(_ *testing.T, _ string, o *Options) { o.Origin = "another" }, nil},
		{"another key of the same name", func(t *testing.T, _ string, o *Options) { o.Signer = testKey(t) }, ErrDamaged},
		{"a key of another name", func(t *testing.T, _ string, o *Options) {
			k, err := audit.GenerateKey("another")
			if err != nil {
				t.Fatal(err)
			}
			o.Signer, o.Origin = k, ""
		}, ErrDamaged},
		{"a newer schema", func(t *testing.T, path string, _ *Options) {
			spoil(t, path, put(bucketMeta, keySchema, binary.BigEndian.AppendUint32(nil, schema+1)))
		}, ErrNewer},
		{"data without a schema", func(t *testing.T, path string, _ *Options) {
			spoil(t, path, func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Delete(keySchema) })
		}, ErrDamaged},
		{"a clock set back", func(_ *testing.T, _ string, o *Options) {
			o.Now = func() time.Time { return time.Now().Add(-maxSkew - time.Minute) }
		}, ErrClock},
		{"no checkpoint", func(t *testing.T, path string, _ *Options) {
			spoil(t, path, func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Delete(keyCheckpoint) })
		}, ErrDamaged},
		{"the newest entry changed", func(t *testing.T, path string, _ *Options) {
			spoil(t, path, put(bucketLeaf, seqKey(6), []byte("{}")))
		}, ErrDamaged},
		{"the newest entry gone", func(t *testing.T, path string, _ *Options) {
			spoil(t, path, func(tx *bbolt.Tx) error { return tx.Bucket(bucketLeaf).Delete(seqKey(6)) })
		}, ErrDamaged},
		{"an entry too many", func(t *testing.T, path string, _ *Options) {
			spoil(t, path, put(bucketLeaf, seqKey(7), []byte("{}")))
		}, ErrDamaged},
		{"a node of the right edge changed", func(t *testing.T, path string, _ *Options) {
			spoil(t, path, put(bucketNode, seqKey(3), make([]byte, 96)))
		}, ErrDamaged},
		{"a node of the right edge gone", func(t *testing.T, path string, _ *Options) {
			spoil(t, path, put(bucketNode, seqKey(3), make([]byte, 32)))
		}, ErrDamaged},
		{"no database", func(t *testing.T, path string, _ *Options) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("not a database "), 1000), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
		{"a file that was cut", func(t *testing.T, path string, _ *Options) {
			if err := os.Truncate(path, 3*4096); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
		{"a file that others can read", func(t *testing.T, path string, _ *Options) {
			if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // that is the point
				t.Fatal(err)
			}
		}, nil},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			path, k := filled(t, 7)
			o := Options{Signer: k, Origin: origin}
			s, err := Open(path, o)
			if err != nil {
				t.Fatalf("before it was spoiled: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			one.spoil(t, path, &o)
			s, err = Open(path, o)
			if err == nil {
				_ = s.Close()
				t.Fatal("it opens")
			}
			if one.want != nil && !errors.Is(err, one.want) {
				t.Errorf("%v, want %v", err, one.want)
			}
			// Nothing is left open: whoever mends it can open it.
			if one.want == ErrDamaged {
				if f, err := os.OpenFile(path, os.O_RDWR, 0); err != nil || f.Close() != nil {
					t.Errorf("the file cannot be opened: %v", err)
				}
			}
		})
	}
}

func TestClockMayLagALittle(t *testing.T) {
	t.Parallel()
	path, k := filled(t, 1)
	s := openTest(t, path, Options{Signer: k, Now: func() time.Time { return time.Now().Add(-maxSkew + time.Minute) }})
	if _, err := s.Create(t.Context(), "req_late", ask); err != nil {
		t.Fatal(err)
	}
	verifyStore(t, s, k, 2)
}

func TestChangeOfKeys(t *testing.T) {
	t.Parallel()
	path, former := filled(t, 3)
	k := testKey(t)
	s := openTest(t, path, Options{Signer: k, Former: []sumnote.Verifier{testKey(t).Verifier(), former.Verifier()}})
	if _, err := s.Create(t.Context(), "req_new", ask); err != nil {
		t.Fatal(err)
	}
	verifyStore(t, s, k, 4)
}

func TestOneOwner(t *testing.T) {
	t.Parallel()
	path, k := filled(t, 1)
	s := openTest(t, path, Options{Signer: k})
	if _, err := Open(path, Options{Signer: k, Timeout: time.Millisecond}); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v, want ErrLocked", err)
	}
	if _, err := OpenReadOnly(path); !errors.Is(err, ErrLocked) {
		t.Errorf("opened to read while it is written: %v, want ErrLocked", err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("the owner: %v", err)
	}
}

func TestOpenReadOnly(t *testing.T) {
	t.Parallel()
	path, k := filled(t, 5)
	before, err := os.ReadFile(path) //nolint:gosec // a temporary file
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	verifyStore(t, s, k, 5)
	if _, err := s.Get(t.Context(), "req_000003"); err != nil {
		t.Errorf("Get: %v", err)
	}
	for name, err := range map[string]error{
		"Ping":   s.Ping(t.Context()),
		"Create": func() error { _, err := s.Create(t.Context(), "req_9", ask); return err }(),
		"Update": func() error { _, err := s.Update(t.Context(), "req_000003", noted); return err }(),
		"UpdateDelivery": func() error {
			_, err := s.UpdateDelivery(t.Context(), "d", func(_ time.Time, d store.Delivery) store.Delivery { return d })
			return err
		}(),
	} {
		if !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("%s: %v, want ErrReadOnly", name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path) //nolint:gosec // a temporary file
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("reading changed the file: %v", err)
	}
	for version, want := range map[uint32]error{schema + 1: ErrNewer, 0: ErrDamaged} {
		spoil(t, path, put(bucketMeta, keySchema, binary.BigEndian.AppendUint32(nil, version)))
		if _, err := OpenReadOnly(path); !errors.Is(err, want) {
			t.Errorf("schema %d: %v, want %v", version, err, want)
		}
	}
	if _, err := OpenReadOnly(path + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// A step from an older schema runs once, in the transaction that notes it.
func TestMigration(t *testing.T) {
	t.Parallel()
	path, k := filled(t, 2)
	spoil(t, path, put(bucketMeta, keySchema, binary.BigEndian.AppendUint32(nil, schema-1)))
	if schema != 1 {
		t.Fatal("write this test for the newest step")
	}
	// Schema 0 stands for an empty file: with data in it, it is none of ours.
	if _, err := Open(path, Options{Signer: k}); !errors.Is(err, ErrDamaged) {
		t.Errorf("schema 0 with data: %v", err)
	}
	fresh := newStore(Options{Signer: k})
	db, err := bbolt.Open(statePath(t), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // a temporary file
	fresh.db = db
	failing := errors.New("step fails")
	err = fresh.migrate([schema]func(*Store, *bbolt.Tx) error{func(s *Store, tx *bbolt.Tx) error {
		return errors.Join(create(s, tx), failing)
	}})
	if !errors.Is(err, failing) {
		t.Errorf("a step that fails: %v", err)
	}
	ran := 0
	for range 2 {
		err := fresh.migrate([schema]func(*Store, *bbolt.Tx) error{func(s *Store, tx *bbolt.Tx) error {
			ran++
			if tx.Bucket(bucketMeta) != nil {
				t.Error("the step that failed left something")
			}
			return create(s, tx)
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if ran != 1 {
		t.Errorf("the step ran %d times", ran)
	}
}

// Whatever byte of an entry is changed in the file, verification notices.
func TestFlippedBytes(t *testing.T) {
	t.Parallel()
	const n = 20
	path, k := filled(t, n)
	pristine, err := os.ReadFile(path) //nolint:gosec // a temporary file
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	signed, _, err := s.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries, err := s.Log(t.Context(), 0, n, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		at := bytes.LastIndex(pristine, e.Leaf) // older pages hold older copies
		flipped := bytes.Clone(pristine)
		for j := 0; j < len(pristine); { // in every copy
			k := bytes.Index(pristine[j:], e.Leaf)
			if k < 0 {
				break
			}
			flipped[j+k+(i*7)%len(e.Leaf)] ^= 1 << (i % 8)
			j += k + 1
		}
		if at < 0 {
			t.Fatalf("entry %d is not in the file", i)
		}
		other := statePath(t)
		if err := os.WriteFile(other, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := verifyFile(t, other, signed, k, n); err == nil {
			t.Errorf("a flipped byte of entry %d is not noticed", i)
		}
	}
	if err := verifyFile(t, path, signed, k, n); err != nil {
		t.Errorf("the file itself: %v", err)
	}
}

func verifyFile(t *testing.T, path string, signed []byte, k audit.Key, n uint64) error {
	t.Helper()
	s, err := OpenReadOnly(path)
	if err != nil {
		return err
	}
	_, err = audit.Verification{Key: k.Verifier(), Newest: signed}.Run(t.Context(), s.Entries(t.Context(), 0, n))
	return errors.Join(err, s.Close())
}

// What is written under a failing store is what the fault matrix of others
// relies upon.
func TestFaulty(t *testing.T) {
	t.Parallel()
	for _, apply := range []bool{false, true} {
		s := openTest(t, statePath(t), Options{})
		f := &storetest.Faulty{Store: s, Hook: storetest.FailNth(1, apply)}
		if _, err := f.Create(t.Context(), "req_1", ask); err != nil {
			t.Fatal(err)
		}
		r, err := f.Update(t.Context(), "req_1", noted)
		if !errors.Is(err, store.ErrUnknown) || r.ID != "" {
			t.Errorf("apply %t: %+v, %v; want no record and ErrUnknown", apply, r, err)
		}
		got, err := f.Get(t.Context(), "req_1")
		if want := map[bool]uint64{false: 1, true: 2}[apply]; err != nil || got.Version != want {
			t.Errorf("apply %t: version %d, want %d; %v", apply, got.Version, want, err)
		}
		if _, err := f.Update(t.Context(), "req_1", noted); err != nil {
			t.Errorf("the write after: %v", err)
		}
		_, err = f.UpdateDelivery(t.Context(), "none", func(_ time.Time, d store.Delivery) store.Delivery { return d })
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a write that passes through: %v", err)
		}
	}
}
