package audit

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func ptr(n uint64) *uint64 { return &n }

func fullLeaf() Leaf {
	return Leaf{
		Seq: 7, Time: time.Date(2026, 11, 20, 12, 0, 0, 123e6, time.UTC), Type: "reviewed", Request: "req_ü<&>\u2028", Prev: ptr(3),
		Actor: Actor{Kind: "person", ID: "p_00000001"}, Data: []byte(`{"verdict":"approve","stage":0,"at":1e2}`),
		Commit: map[string]Commitment{"reason": {1}, "account": {2}},
	}
}

func TestLeafEncoding(t *testing.T) {
	t.Parallel()
	zeros := strings.Repeat("00", 31)
	for _, one := range []struct {
		name string
		leaf Leaf
		want string
	}{
		{"least", Leaf{Time: time.Unix(0, 0).UTC(), Type: "noted", Actor: Actor{Kind: "clock"}},
			`{"actor":{"kind":"clock"},"seq":0,"time":"1970-01-01T00:00:00.000Z","type":"noted","v":1}`},
		{"full", fullLeaf(),
			`{"actor":{"id":"p_00000001","kind":"person"},"commit":{"account":"02` + zeros + `","reason":"01` + zeros + `"},` +
				`"data":{"at":100,"stage":0,"verdict":"approve"},"prev":3,"request":"req_ü<&>` + "\u2028" + `","seq":7,` +
				`"time":"2026-11-20T12:00:00.123Z","type":"reviewed","v":1}`},
		{"empty data is none", Leaf{Time: time.Unix(0, 0).UTC(), Type: "noted", Actor: Actor{Kind: "clock"}, Data: []byte(" {} ")},
			`{"actor":{"kind":"clock"},"seq":0,"time":"1970-01-01T00:00:00.000Z","type":"noted","v":1}`},
	} {
		got, err := one.leaf.Encode([]byte("before"))
		if err != nil || string(got) != "before"+one.want {
			t.Errorf("%s: %v\ngot  %s\nwant %s", one.name, err, got, one.want)
			continue
		}
		back, err := DecodeLeaf(got[len("before"):])
		if err != nil {
			t.Errorf("%s: %v", one.name, err)
			continue
		}
		again, err := back.Encode(nil)
		if err != nil || string(again) != one.want {
			t.Errorf("%s: read back and written again: %s, %v", one.name, again, err)
		}
	}
	want := fullLeaf()
	want.Data = []byte(`{"at":100,"stage":0,"verdict":"approve"}`)
	b, err := want.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeLeaf(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestLeafRefusesToEncode(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(l *Leaf){
		"seq beyond 2^53":         func(l *Leaf) { l.Seq = MaxSeq + 1 },
		"prev not before":         func(l *Leaf) { l.Prev = ptr(7) },
		"prev without request":    func(l *Leaf) { l.Request = "" },
		"no type":                 func(l *Leaf) { l.Type = "" },
		"type in capitals":        func(l *Leaf) { l.Type = "Asked" },
		"long type":               func(l *Leaf) { l.Type = strings.Repeat("a", 65) },
		"no actor":                func(l *Leaf) { l.Actor = Actor{} },
		"actor not UTF-8":         func(l *Leaf) { l.Actor.ID = "\xff" },
		"long request":            func(l *Leaf) { l.Request = strings.Repeat("a", 513) },
		"local time":              func(l *Leaf) { l.Time = l.Time.In(time.FixedZone("x", 3600)) },
		"microseconds":            func(l *Leaf) { l.Time = l.Time.Add(time.Microsecond) },
		"year 10000":              func(l *Leaf) { l.Time = l.Time.AddDate(9000, 0, 0) },
		"no time":                 func(l *Leaf) { l.Time = time.Time{} },
		"data is a list":          func(l *Leaf) { l.Data = []byte(`[1]`) },
		"data is no JSON":         func(l *Leaf) { l.Data = []byte(`{"a":`) },
		"data says a thing twice": func(l *Leaf) { l.Data = []byte(`{"a":1,"a":2}`) },
		"data not UTF-8":          func(l *Leaf) { l.Data = []byte("{\"a\":\"\xff\"}") },
		"name of a text":          func(l *Leaf) { l.Commit = map[string]Commitment{"ü": {}} },
		"too long":                func(l *Leaf) { l.Data = []byte(`{"a":"` + strings.Repeat("a", MaxLeaf) + `"}`) },
	} {
		l := fullLeaf()
		spoil(&l)
		if b, err := l.Encode(nil); !errors.Is(err, ErrLeaf) {
			t.Errorf("%s: %s, %v; want ErrLeaf", name, b, err)
		}
	}
}

func TestDecodeLeafIsStrict(t *testing.T) {
	t.Parallel()
	good, err := fullLeaf().Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string][2]string{
		"white space":         {`"seq":7`, `"seq": 7`},
		"another order":       {`"seq":7,"time":"2026-11-20T12:00:00.123Z"`, `"time":"2026-11-20T12:00:00.123Z","seq":7`},
		"an unknown member":   {`"v":1`, `"v":1,"w":1`},
		"a member twice":      {`"v":1`, `"v":1,"v":1`},
		"another case":        {`"seq"`, `"Seq"`},
		"another version":     {`"v":1`, `"v":2`},
		"no version":          {`,"v":1`, ``},
		"a number's form":     {`"seq":7`, `"seq":7.0`},
		"a null":              {`"prev":3`, `"prev":null`},
		"data null":           {`{"at":100,"stage":0,"verdict":"approve"}`, `null`},
		"data empty":          {`{"at":100,"stage":0,"verdict":"approve"}`, `{}`},
		"an empty id":         {`"id":"p_00000001"`, `"id":""`},
		"an escape":           {`<&>`, `\u003c&>`},
		"a time without ms":   {`.123Z`, `Z`},
		"a time with µs":      {`.123Z`, `.123000Z`},
		"a time with offset":  {`.123Z`, `.123+00:00`},
		"hex in capitals":     {`"02000`, `"0A000`},
		"a short commitment":  {`"0200`, `"02`},
		"a long commitment":   {`"0200`, `"020000`},
		"data out of order":   {`{"at":100,"stage":0,`, `{"stage":0,"at":100,`},
		"data's number":       {`"at":100`, `"at":1e2`},
		"something after it":  {`"v":1}`, `"v":1}{}`},
		"a newline after it":  {`"v":1}`, "\"v\":1}\n"},
		"prev not before seq": {`"prev":3`, `"prev":8`},
	} {
		bad := strings.Replace(string(good), edit[0], edit[1], 1)
		if bad == string(good) {
			t.Errorf("%s: the edit does not apply", name)
		}
		if _, err := DecodeLeaf([]byte(bad)); !errors.Is(err, ErrLeaf) {
			t.Errorf("%s: %v, want ErrLeaf", name, err)
		}
	}
	if _, err := DecodeLeaf(make([]byte, MaxLeaf+1)); !errors.Is(err, ErrLeaf) {
		t.Errorf("too long: %v", err)
	}
	if _, err := DecodeLeaf(good); err != nil {
		t.Errorf("the leaf itself: %v", err)
	}
}

func TestCommitment(t *testing.T) {
	t.Parallel()
	c, o := Commit("release 1.2")
	if !o.Opens(c) {
		t.Fatal("an opening does not open its commitment")
	}
	again, other := Commit("release 1.2")
	if again == c || bytes.Equal(o.Salt, other.Salt) {
		t.Error("two commitments to one text are alike: the salt is not random")
	}
	for name, bad := range map[string]Opening{
		"another text": {Salt: o.Salt, Text: "release 1.3"},
		"another salt": {Salt: other.Salt, Text: o.Text},
		"no salt":      {Text: string(o.Salt) + o.Text},
		"a short salt": {Salt: o.Salt[:15], Text: string(o.Salt[15:]) + o.Text},
		"a long salt":  {Salt: append(bytes.Clone(o.Salt), o.Text[0]), Text: o.Text[1:]},
	} {
		if bad.Opens(c) {
			t.Errorf("%s opens the commitment", name)
		}
	}
}

func FuzzDecodeLeaf(f *testing.F) {
	good, err := fullLeaf().Encode(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"actor":{"kind":"clock"},"seq":0,"time":"1970-01-01T00:00:00.000Z","type":"noted","v":1}`))
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeLeaf(b)
		if err != nil {
			return
		}
		if again, err := l.Encode(nil); err != nil || !bytes.Equal(again, b) {
			t.Errorf("accepted %q, writes %q, %v", b, again, err)
		}
	})
}
