package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func (b *book) stream() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, e := range b.entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// twelve is a log of twelve entries, three of one request, with the checkpoints
// of sizes 0, 4, 8 and 12.
func twelve(t testing.TB) (b *book, older [][]byte) {
	t.Helper()
	b = newBook(t, 0)
	older = append(older, b.checkpoint(t))
	prev := []*uint64{nil, nil, nil, nil}
	for i := range 12 {
		r := i % 4
		c, o := Commit(fmt.Sprint("text ", i))
		b.append(t, Leaf{Type: "noted", Request: fmt.Sprint("req_", r), Prev: prev[r], Actor: Actor{Kind: "clock"},
			Commit: map[string]Commitment{"text": c}}, map[string]Opening{"text": o})
		prev[r] = ptr(uint64(i))
		if i == 3 || i == 7 {
			older = append(older, b.checkpoint(t))
		}
	}
	return b, older
}

func TestVerification(t *testing.T) {
	t.Parallel()
	b, older := twelve(t)
	b.entries[5].Side = nil // erased
	seen := 0
	v := Verification{Key: b.key.Verifier(), Newest: b.checkpoint(t), Older: append(older, b.checkpoint(t)), Each: func(l Leaf) error {
		seen++
		return nil
	}}
	r, err := v.Run(t.Context(), b.stream())
	if err != nil {
		t.Fatal(err)
	}
	if r.Size != 12 || r.Older != 4 || r.Opened != 11 || r.Erased != 1 || seen != 12 || r.Last.Sub(r.First) != 11*time.Second || r.Checkpoint.Root != b.edge.Root() {
		t.Errorf("the report: %+v", r)
	}
	empty := newBook(t, 0)
	if r, err := (Verification{Key: empty.key.Verifier(), Newest: empty.checkpoint(t)}).Run(t.Context(), empty.stream()); err != nil || r.Size != 0 {
		t.Errorf("an empty log: %+v, %v", r, err)
	}
}

// rewritten is the log with one leaf written anew, with or without the hashes
// and checkpoint following suit.
func rewritten(t *testing.T, b *book, seq int, change func(l *Leaf)) {
	t.Helper()
	l, err := DecodeLeaf(b.entries[seq].Leaf)
	if err != nil {
		t.Fatal(err)
	}
	change(&l)
	if b.entries[seq].Leaf, err = l.Encode(nil); err != nil {
		t.Fatal(err)
	}
}

// resign computes the tree over the entries as they are.
func (b *book) resign() {
	b.edge, b.nodes = Frontier{}, nil
	for _, e := range b.entries {
		b.nodes = append(b.nodes, b.edge.Append(LeafHash(e.Leaf), nil))
	}
}

func TestVerificationFaults(t *testing.T) {
	t.Parallel()
	errEach := errors.New("not to my taste")
	for _, one := range []struct {
		name  string
		spoil func(t *testing.T, b *book, v *Verification)
		seq   uint64
		want  error
	}{
		{"an entry is missing", func(t *testing.T, b *book, v *Verification) { b.entries = slices.Delete(b.entries, 5, 6) }, 5, ErrSequence},
		{"an entry stands twice", func(t *testing.T, b *book, v *Verification) {
			b.entries = slices.Insert(b.entries, 5, b.entries[4])
		}, 5, ErrSequence},
		{"a line lies about its place", func(t *testing.T, b *book, v *Verification) {
			b.entries[5].Leaf, b.entries[6].Leaf = b.entries[6].Leaf, b.entries[5].Leaf
		}, 5, ErrSequence},
		{"the end is missing", func(t *testing.T, b *book, v *Verification) { b.entries = b.entries[:9] }, 9, ErrCut},
		{"everything is missing", func(t *testing.T, b *book, v *Verification) { b.entries = nil }, 0, ErrCut},
		{"an entry too many", func(t *testing.T, b *book, v *Verification) {
			b.append(t, Leaf{Type: "noted", Actor: Actor{Kind: "clock"}}, nil)
		}, 12, ErrSequence},
		{"a leaf is changed", func(t *testing.T, b *book, v *Verification) {
			rewritten(t, b, 5, func(l *Leaf) { l.Actor.ID = "x" })
		}, 4, ErrRoot}, // one of 4 to 7
		{"a leaf is changed, and no older checkpoint tells where", func(t *testing.T, b *book, v *Verification) {
			v.Older = nil
			rewritten(t, b, 5, func(l *Leaf) { l.Actor.ID = "x" })
		}, 0, ErrRoot},
		{"the log is rewritten and signed anew", func(t *testing.T, b *book, v *Verification) {
			rewritten(t, b, 5, func(l *Leaf) { l.Actor.ID = "x" })
			b.resign()
			v.Newest = b.checkpoint(t)
		}, 4, ErrRoot},
		{"the log is rolled back and signed anew", func(t *testing.T, b *book, v *Verification) {
			v.Older = append(v.Older, b.checkpoint(t))
			b.entries = b.entries[:9]
			b.resign()
			v.Newest = b.checkpoint(t)
		}, 9, ErrCut},
		{"a leaf is malformed", func(t *testing.T, b *book, v *Verification) {
			b.entries[5].Leaf = append(b.entries[5].Leaf, ' ')
		}, 5, ErrLeaf},
		{"time goes backwards", func(t *testing.T, b *book, v *Verification) {
			rewritten(t, b, 5, func(l *Leaf) { l.Time = l.Time.Add(-1001 * time.Millisecond) })
		}, 5, ErrTime},
		{"a predecessor is skipped", func(t *testing.T, b *book, v *Verification) {
			rewritten(t, b, 10, func(l *Leaf) { l.Prev = ptr(2) })
		}, 10, ErrChain},
		{"a predecessor of another request", func(t *testing.T, b *book, v *Verification) {
			rewritten(t, b, 10, func(l *Leaf) { l.Prev = ptr(5) })
		}, 10, ErrChain},
		{"a request begins twice", func(t *testing.T, b *book, v *Verification) {
			rewritten(t, b, 10, func(l *Leaf) { l.Prev = nil })
		}, 10, ErrChain},
		{"a request begins in the middle", func(t *testing.T, b *book, v *Verification) {
			rewritten(t, b, 10, func(l *Leaf) { l.Request = "req_new" })
		}, 10, ErrChain},
		{"a text is changed", func(t *testing.T, b *book, v *Verification) {
			b.entries[5].Side = map[string]Opening{"text": {Salt: b.entries[5].Side["text"].Salt, Text: "other"}}
		}, 5, ErrCommitment},
		{"a text that nothing commits to", func(t *testing.T, b *book, v *Verification) {
			b.entries[5].Side = map[string]Opening{"more": b.entries[5].Side["text"]}
		}, 5, ErrCommitment},
		{"what the caller refuses", func(t *testing.T, b *book, v *Verification) {
			v.Each = func(l Leaf) error {
				if l.Seq == 6 {
					return errEach
				}
				return nil
			}
		}, 6, errEach},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			b, older := twelve(t)
			v := Verification{Key: b.key.Verifier(), Newest: b.checkpoint(t), Older: older}
			if _, err := v.Run(t.Context(), b.stream()); err != nil {
				t.Fatalf("before it was spoiled: %v", err)
			}
			one.spoil(t, b, &v)
			_, err := v.Run(t.Context(), b.stream())
			var f *Fault
			if !errors.Is(err, one.want) || !errors.As(err, &f) || f.Seq != one.seq {
				t.Errorf("%v; want entry %d: %v", err, one.seq, one.want)
			}
		})
	}
}

func TestVerificationForeignCheckpoints(t *testing.T) {
	t.Parallel()
	b, older := twelve(t)
	foreign := signed(t, newKey(t, origin), Checkpoint{Origin: origin, Size: 12, Root: b.edge.Root()})
	good := Verification{Key: b.key.Verifier(), Newest: b.checkpoint(t), Older: older}
	for name, v := range map[string]Verification{
		"newest": {Key: good.Key, Newest: foreign}, "older": {Key: good.Key, Newest: good.Newest, Older: [][]byte{foreign}},
		"none": {Key: good.Key},
	} {
		if _, err := v.Run(t.Context(), b.stream()); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: %v, want ErrCheckpoint", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := good.Run(ctx, b.stream()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Whatever single byte of the entries is changed, it is noticed.
func TestVerificationByteByByte(t *testing.T) {
	t.Parallel()
	b, _ := twelve(t)
	v := Verification{Key: b.key.Verifier(), Newest: b.checkpoint(t)}
	for i, e := range b.entries[:3] {
		for at := range e.Leaf {
			b.entries[i].Leaf = bytes.Clone(e.Leaf)
			b.entries[i].Leaf[at] ^= 1 << (at % 7)
			if _, err := v.Run(t.Context(), b.stream()); err == nil {
				t.Errorf("byte %d of entry %d does not matter", at, i)
			}
		}
		b.entries[i] = e
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	b, older := twelve(t)
	b.entries[3].Side = nil
	newest := b.checkpoint(t)
	b.append(t, Leaf{Type: "noted", Actor: Actor{Kind: "clock"}}, nil) // after the checkpoint
	folder := filepath.Join(t.TempDir(), "export")
	if err := WriteExport(t.Context(), folder, b.stream(), newest, older); err != nil {
		t.Fatal(err)
	}
	x, err := OpenExport(folder)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Verification{Key: b.key.Verifier(), Newest: x.Newest, Older: x.Older}.Run(t.Context(), x.Entries())
	if err != nil || r.Size != 12 || r.Older != 3 || r.Opened != 11 || r.Erased != 1 {
		t.Errorf("the report: %+v, %v", r, err)
	}
	for _, name := range []string{"", fileEntries, fileCheckpoint, dirOlder} {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q can be read by others: %v, %v", name, info.Mode(), err)
		}
	}
	if err := WriteExport(t.Context(), folder, b.stream(), newest, nil); err == nil {
		t.Error("an export was written over another")
	}
	b.entries = b.entries[:5]
	if err := WriteExport(t.Context(), filepath.Join(t.TempDir(), "short"), b.stream(), newest, nil); err == nil {
		t.Error("an export with less than its checkpoint")
	}
	if _, err := OpenExport(t.TempDir()); !errors.Is(err, ErrExport) {
		t.Errorf("an empty folder: %v, want ErrExport", err)
	}
}

func TestReadEntriesIsStrict(t *testing.T) {
	t.Parallel()
	read := func(text string) (n int, err error) {
		for _, err := range ReadEntries(strings.NewReader(text)) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}
	for _, good := range []string{"", "{\"seq\":0,\"leaf\":\"x\"}\n", "{\"seq\":0,\"leaf\":\"x\",\"side\":{\"a\":{\"salt\":\"\",\"text\":\"\"}}}\n{\"seq\":1,\"leaf\":\"x\"}\n"} {
		if n, err := read(good); err != nil || n != strings.Count(good, "\n") {
			t.Errorf("%q: %d entries, %v", good, n, err)
		}
	}
	for _, bad := range []string{
		"x\n", "\n", "{\"seq\":0,\"leaf\":\"x\"}", "{\"seq\":0,\"leaf\":\"x\"}\n{", "{\"seq\":0,\"leaf\":\"x\",\"more\":1}\n",
		"{\"seq\":0,\"seq\":0}\n", "{\"seq\":-1}\n", "{\"seq\":0,\"leaf\":\"\xff\"}\n",
		"{\"seq\":0,\"side\":{\"a\":{\"salt\":\"!\"}}}\n", "{\"seq\":0,\"side\":{\"a\":{\"salt\":\"\",\"more\":1}}}\n",
	} {
		if _, err := read(bad); !errors.Is(err, ErrExport) {
			t.Errorf("%q: %v, want ErrExport", bad, err)
		}
	}
}

func FuzzReadEntries(f *testing.F) {
	f.Add([]byte("{\"seq\":0,\"leaf\":\"x\",\"side\":{\"a\":{\"salt\":\"AA==\",\"text\":\"t\"}}}\n"))
	f.Add([]byte("{\"seq\":0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for _, err := range ReadEntries(bytes.NewReader(b)) {
			if n++; err != nil && !errors.Is(err, ErrExport) {
				t.Errorf("%v, want ErrExport", err)
			}
		}
		if n > bytes.Count(b, []byte("\n"))+1 {
			t.Errorf("%d entries in %q", n, b)
		}
	})
}

// BenchmarkVerification reports how long an auditor waits for an entry.
func BenchmarkVerification(b *testing.B) {
	log := newBook(b, 10_000)
	v := Verification{Key: log.key.Verifier(), Newest: log.checkpoint(b)}
	for b.Loop() {
		if _, err := v.Run(b.Context(), log.stream()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/entry")
}
