package audit

import (
	"bytes"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

const origin = "countersign.example/audit/1"

func newKey(t testing.TB, name string) Key {
	t.Helper()
	k, err := GenerateKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// book is a small log of one-entry requests, with everything about it.
type book struct {
	key     Key
	entries []Entry
	nodes   memory
	edge    Frontier
}

func newBook(t testing.TB, n int) *book {
	t.Helper()
	b := &book{key: newKey(t, origin)}
	for i := range n {
		c, o := Commit(fmt.Sprint("reason ", i))
		b.append(t, Leaf{Type: "asked", Request: fmt.Sprint("req_", i), Actor: Actor{Kind: "machine", ID: "ci"}, Commit: map[string]Commitment{"reason": c}},
			map[string]Opening{"reason": o})
	}
	return b
}

// append adds a leaf, giving it its place and a time.
func (b *book) append(t testing.TB, l Leaf, side map[string]Opening) {
	t.Helper()
	l.Seq = b.edge.Size()
	if l.Time.IsZero() {
		l.Time = time.Date(2026, 11, 20, 12, 0, int(l.Seq), 0, time.UTC)
	}
	encoded, err := l.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	b.entries = append(b.entries, Entry{Seq: l.Seq, Leaf: encoded, Side: side})
	b.nodes = append(b.nodes, b.edge.Append(LeafHash(encoded), nil))
}

func (b *book) checkpoint(t testing.TB) []byte {
	t.Helper()
	return signed(t, b.key, Checkpoint{Origin: origin, Size: b.edge.Size(), Root: b.edge.Root()})
}

func signed(t testing.TB, k Key, c Checkpoint) []byte {
	t.Helper()
	s, err := c.Sign(k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *book) receipt(t testing.TB, seq uint64) Receipt {
	t.Helper()
	r, err := NewReceipt(b.entries[seq].Leaf, seq, b.checkpoint(t), b.edge.Size(), b.nodes)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	for _, n := range sizes()[1:20] {
		b := newBook(t, n)
		for seq := range uint64(n) {
			leaf, c, err := VerifyReceipt(b.receipt(t, seq), b.key.Verifier())
			if err != nil || leaf.Seq != seq || c.Size != uint64(n) || c.Root != b.edge.Root() {
				t.Fatalf("entry %d of %d: %+v, %+v, %v", seq, n, leaf, c, err)
			}
		}
	}
}

// edit changes lines of a proof: header, index, path, empty line, checkpoint.
func edit(r Receipt, f func(lines []string) []string) Receipt {
	return Receipt{Leaf: r.Leaf, Proof: []byte(strings.Join(f(strings.Split(string(r.Proof), "\n")), "\n"))}
}

func TestReceiptRefusals(t *testing.T) {
	t.Parallel()
	b := newBook(t, 7)
	good := b.receipt(t, 2)
	hash := base64.StdEncoding.EncodeToString(make([]byte, 32))
	other := newKey(t, origin)
	forged, err := NewReceipt(b.entries[2].Leaf, 2, signed(t, other, Checkpoint{Origin: origin, Size: 7, Root: b.edge.Root()}), 7, b.nodes)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]Receipt{
		"nothing":            {},
		"no proof":           {Leaf: good.Leaf},
		"another leaf":       {Leaf: b.entries[3].Leaf, Proof: good.Proof},
		"a changed leaf":     {Leaf: bytes.Replace(good.Leaf, []byte("ci"), []byte("cd"), 1), Proof: good.Proof},
		"another key":        forged,
		"one hash too many":  edit(good, func(l []string) []string { return slices.Insert(l, 2, hash) }),
		"one hash too few":   edit(good, func(l []string) []string { return slices.Delete(l, 2, 3) }),
		"two hashes swapped": edit(good, func(l []string) []string { l[2], l[3] = l[3], l[2]; return l }),
		"a hash replaced":    edit(good, func(l []string) []string { l[2] = hash; return l }),
		"a short hash":       edit(good, func(l []string) []string { l[2] = hash[:40]; return l }),
		"another index":      edit(good, func(l []string) []string { l[1] = "index 3"; return l }),
		"an index with a 0":  edit(good, func(l []string) []string { l[1] = "index 02"; return l }),
		"an index beyond":    edit(good, func(l []string) []string { l[1] = "index 7"; return l }),
		"a negative index":   edit(good, func(l []string) []string { l[1] = "index -2"; return l }),
		"another size":       edit(good, func(l []string) []string { l[7] = "8"; return l }),
		"extra data":         edit(good, func(l []string) []string { return slices.Insert(l, 1, "extra eA==") }),
		"empty extra data":   edit(good, func(l []string) []string { return slices.Insert(l, 1, "extra ") }),
		"another header":     edit(good, func(l []string) []string { l[0] = "c2sp.org/tlog-proof@v2"; return l }),
		"carriage returns":   {Leaf: good.Leaf, Proof: bytes.ReplaceAll(good.Proof, []byte("\n"), []byte("\r\n"))},
		"something after it": {Leaf: good.Leaf, Proof: append(bytes.Clone(good.Proof), "x\n"...)},
		"no newline":         {Leaf: good.Leaf, Proof: good.Proof[:len(good.Proof)-1]},
		"a leaf not in form": {Leaf: append(bytes.Clone(good.Leaf), ' '), Proof: good.Proof},
		"a thousand hashes":  edit(good, func(l []string) []string { return slices.Insert(l, 2, slices.Repeat([]string{hash}, 1000)...) }),
		"far too long":       {Leaf: good.Leaf, Proof: make([]byte, 1<<20)},
	} {
		if _, _, err := VerifyReceipt(bad, b.key.Verifier()); err == nil {
			t.Errorf("%s: the receipt holds", name)
		}
	}
	if _, _, err := VerifyReceipt(edit(good, func(l []string) []string { return l }), b.key.Verifier()); err != nil {
		t.Errorf("the receipt itself: %v", err)
	}
}

// Every byte of a receipt matters.
func TestReceiptByteByByte(t *testing.T) {
	t.Parallel()
	b := newBook(t, 5)
	good := b.receipt(t, 1)
	for i := range good.Leaf {
		bad := Receipt{Leaf: bytes.Clone(good.Leaf), Proof: good.Proof}
		bad.Leaf[i] ^= 1
		if _, _, err := VerifyReceipt(bad, b.key.Verifier()); err == nil {
			t.Errorf("byte %d of the leaf does not matter", i)
		}
	}
	for i := range good.Proof {
		bad := Receipt{Leaf: good.Leaf, Proof: bytes.Clone(good.Proof)}
		bad.Proof[i] ^= 1
		if _, _, err := VerifyReceipt(bad, b.key.Verifier()); err == nil {
			t.Errorf("byte %d of the proof does not matter", i)
		}
	}
}

func TestReceiptJSON(t *testing.T) {
	t.Parallel()
	b := newBook(t, 3)
	good := b.receipt(t, 1)
	text, err := stdjson.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	var back Receipt
	if err := stdjson.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.Leaf, good.Leaf) || !bytes.Equal(back.Proof, good.Proof) {
		t.Errorf("read back: %s", text)
	}
	for _, bad := range []string{`{"leaf":"a","proof":"b","more":1}`, `{"leaf":1}`, `[]`} {
		if err := back.UnmarshalJSON([]byte(bad)); !errors.Is(err, ErrReceipt) {
			t.Errorf("%s: %v, want ErrReceipt", bad, err)
		}
	}
}

func TestCheckpoint(t *testing.T) {
	t.Parallel()
	k := newKey(t, origin)
	v := k.Verifier()
	c := Checkpoint{Origin: origin, Size: 10, Root: Hash{1, 2}}
	good := signed(t, k, c)
	if got, err := OpenCheckpoint(good, v); err != nil || got != c {
		t.Fatalf("opened: %+v, %v", got, err)
	}
	if got, err := PeekCheckpoint(good); err != nil || got != c {
		t.Errorf("peeked: %+v, %v", got, err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := OpenCheckpoint(bad, v); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("byte %d does not matter: %v", i, err)
		}
	}
	// The last character before the padding has two bits that mean nothing.
	at := bytes.LastIndexByte(good, '=') - 1
	for _, other := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		bad := bytes.Clone(good)
		if bad[at] = other; bytes.Equal(bad, good) {
			continue
		}
		if _, err := OpenCheckpoint(bad, v); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("a signature that ends in %c= is as good: %v", other, err)
		}
	}
	if _, err := (Checkpoint{Origin: "another"}).Sign(k); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("signed for another origin: %v", err)
	}
	if _, err := OpenCheckpoint(good, newKey(t, origin).Verifier()); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("opened with another key: %v", err)
	}
}

// A body that is signed but not in our form is refused all the same.
func TestCheckpointBody(t *testing.T) {
	t.Parallel()
	k := newKey(t, origin)
	root := base64.StdEncoding.EncodeToString(make([]byte, 32))
	sign := func(text string) []byte {
		b, err := note.Sign(&note.Note{Text: text}, k)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, text := range map[string]string{
		"another origin":    "countersign.example/audit/2\n5\n" + root + "\n",
		"no origin":         "\n5\n" + root + "\n",
		"leading zero":      origin + "\n05\n" + root + "\n",
		"plus":              origin + "\n+5\n" + root + "\n",
		"negative":          origin + "\n-5\n" + root + "\n",
		"beyond 2^53":       origin + "\n9007199254740993\n" + root + "\n",
		"beyond 2^64":       origin + "\n18446744073709551616\n" + root + "\n",
		"short root":        origin + "\n5\n" + root[:40] + "\n",
		"long root":         origin + "\n5\n" + base64.StdEncoding.EncodeToString(make([]byte, 33)) + "\n",
		"base64 not strict": origin + "\n5\n" + root[:42] + "B=\n",
		"no root":           origin + "\n5\n",
		"extension":         origin + "\n5\n" + root + "\nmore\n",
	} {
		if c, err := OpenCheckpoint(sign(text), k.Verifier()); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: %+v, %v; want ErrCheckpoint", name, c, err)
		}
	}
	if _, err := OpenCheckpoint(sign(origin+"\n5\n"+root+"\n"), k.Verifier()); err != nil {
		t.Errorf("the right form: %v", err)
	}
	if _, err := OpenCheckpoint(make([]byte, MaxNote+1), k.Verifier()); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("too long: %v", err)
	}
}

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	k := newKey(t, origin)
	path := filepath.Join(t.TempDir(), "audit.key")
	if err := k.Save(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info.Mode(), err)
	}
	got, err := LoadKey(path)
	if err != nil || got.Public() != k.Public() || got.Name() != origin {
		t.Fatalf("loaded: %v, %v", got, err)
	}
	c := Checkpoint{Origin: origin, Root: Hash{9}}
	if _, err := OpenCheckpoint(signed(t, got, c), k.Verifier()); err != nil {
		t.Errorf("signed by the loaded key: %v", err)
	}
	if err := k.Save(path); err == nil {
		t.Error("Save replaced a key")
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path); !errors.Is(err, ErrKey) {
		t.Errorf("a key that others can read: %v", err)
	}
	public := filepath.Join(t.TempDir(), "audit.pub")
	if err := os.WriteFile(public, []byte(k.Public()+"\n"), 0o644); err != nil { //nolint:gosec // a public key
		t.Fatal(err)
	}
	if v, err := LoadVerifier(public); err != nil || v.KeyHash() != k.KeyHash() {
		t.Errorf("the verifier's key: %v", err)
	}
	for _, text := range []string{"", "x", k.Public(), "PRIVATE+KEY+a+00000000+AAAA", strings.Replace(k.secret, "PRIVATE", "SECRET", 1)} {
		if _, err := ParseKey(text); !errors.Is(err, ErrKey) || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("ParseKey(%q): %v", text, err)
		}
	}
	for _, printed := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s", k, k, k, k)} {
		if strings.Contains(printed, "PRIVATE") {
			t.Error("the key prints its secret")
		}
	}
	if _, err := GenerateKey("has space"); !errors.Is(err, ErrKey) {
		t.Errorf("a name with a space: %v", err)
	}
}

func FuzzOpenCheckpoint(f *testing.F) {
	k := newKey(f, origin)
	f.Add(signed(f, k, Checkpoint{Origin: origin, Size: 3, Root: Hash{1}}))
	f.Add([]byte(origin + "\n1\nAAAA\n\n— x AAAA\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := PeekCheckpoint(b)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(b, []byte(c.body()+"\n")) {
			t.Errorf("%q was read as %+v", b, c)
		}
		if _, err := OpenCheckpoint(b, k.Verifier()); err == nil && !bytes.Contains(b, []byte("— "+origin+" ")) {
			t.Errorf("%q opened without our signature", b)
		}
	})
}

func FuzzReceipt(f *testing.F) {
	b := newBook(f, 5)
	good := b.receipt(f, 3)
	f.Add(good.Leaf, good.Proof)
	f.Add([]byte("{}"), []byte("c2sp.org/tlog-proof@v1\nindex 0\n\n"))
	v := b.key.Verifier()
	f.Fuzz(func(t *testing.T, leaf, proof []byte) {
		if p, err := parseProof(proof); err == nil && !bytes.Equal(p.Marshal(), proof) {
			t.Errorf("%q is accepted in another form", proof)
		}
		l, _, err := VerifyReceipt(Receipt{Leaf: leaf, Proof: proof}, v)
		if err == nil && (l.Seq >= 5 || !bytes.Equal(leaf, b.entries[l.Seq].Leaf)) {
			t.Errorf("%q was proved to stand in a log in which it does not", leaf)
		}
	})
}
