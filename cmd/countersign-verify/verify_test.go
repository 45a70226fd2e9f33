package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/store/audit"
)

const origin = "countersign.example/audit/1"

var digestA, digestB = strings.Repeat("aa", 32), strings.Repeat("bb", 32)

// m is what an entry says in the clear.
type m = map[string]any

// line is an entry of a story, to be numbered.
type line struct {
	kind    string
	by      audit.Actor
	data    m
	after   time.Duration // since the entry before
	request string        // req_1 if empty
	private map[string]string
}

var (
	machine = audit.Actor{Kind: "machine", ID: "ci"}
	policy  = audit.Actor{Kind: "policy", ID: "rev1"}
	clock   = audit.Actor{Kind: "clock"}
	start   = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
)

func person(id string) audit.Actor { return audit.Actor{Kind: "person", ID: id} }

func stamp(d time.Duration) string { return start.Add(d).Format(time.RFC3339) }

// Lines of stories. Each call makes a new one, to be spoiled.

func asked() line {
	return line{kind: "asked", by: machine, data: m{
		"account": "ci", "action": "deploy", "environment": "prod", "audience": "aws", "scopes": []string{"a", "b"},
		"ttl": "15m0s", "digest": digestA, "trigger": "p_trigger",
	}, private: map[string]string{"resource": "web", "reason": "release"}}
}

func decided(effect string, stages ...m) line {
	d := m{"effect": effect, "revision": "rev1"}
	if effect == "review" {
		d["stages"], d["deadline"] = stages, stamp(time.Hour)
	}
	return line{kind: "decided", by: policy, data: d}
}

func gate(quorum int, distinct bool, eligible ...string) m {
	return m{"name": "gate", "quorum": quorum, "distinct": distinct, "eligible": eligible}
}

func reviewed(id, verdict string, stage int) line {
	return line{kind: "reviewed", by: person(id), data: m{"verdict": verdict, "stage": stage, "digest": digestA, "platform": "slack"}, after: time.Second}
}

func approved(by audit.Actor) line {
	return line{kind: "approved", by: by, data: m{"grant": digestB, "scopes": []string{"a"}, "ttl": "10m0s"}}
}

func denied(by audit.Actor) line {
	return line{kind: "denied", by: by, private: map[string]string{"reason": "no"}}
}

func issued(n int, replaces string) line {
	d := m{"jti": fmt.Sprint("j", n), "sha256": strings.Repeat(fmt.Sprintf("%02d", n), 32), "grant": digestB, "audience": "aws",
		"scopes": []string{"a"}, "expires": stamp(10 * time.Minute)}
	if replaces != "" {
		d["replaces"] = replaces
	}
	return line{kind: "issued", by: machine, data: d, after: time.Second}
}

func over(kind, cause string, by audit.Actor, jti string, after time.Duration) line {
	d := m{"cause": cause}
	if jti != "" {
		d["jti"] = jti
	}
	return line{kind: kind, by: by, data: d, after: after}
}

// Stories that are legal.

func allowed() []line { return []line{asked(), decided("allow"), approved(policy)} }

func oneStage() []line {
	return []line{asked(), decided("review", gate(2, false, "p_a", "p_b", "p_c", "p_trigger")),
		reviewed("p_a", "approve", 0), reviewed("p_b", "approve", 0), approved(person("p_b"))}
}

// joined is a story in which p_new joined the group after the request was made.
func joined() []line {
	s := oneStage()
	s[1].data["stages"].([]m)[0]["groups"] = []string{"release"}
	s[3] = reviewed("p_new", "approve", 0)
	s[3].data["groups"] = []string{"release"}
	s[4] = approved(person("p_new"))
	return s
}

func twoStages() []line {
	return []line{asked(), decided("review", gate(1, false, "p_a", "p_b"), gate(1, true, "p_a", "p_b")),
		reviewed("p_a", "approve", 0), reviewed("p_b", "approve", 1), approved(person("p_b"))}
}

// unnamed is a story about an action that is not one of the account's.
func unnamed(effect string, outcome line) []line {
	s := []line{asked(), decided(effect), outcome}
	delete(s[0].data, "action")
	return s
}

func turnedDown() []line {
	return []line{asked(), decided("review", gate(2, false, "p_a", "p_b")), reviewed("p_a", "approve", 0),
		reviewed("p_b", "deny", 0), denied(person("p_b"))}
}

func redeemed() []line { return append(oneStage(), issued(1, "")) }

func thrice() []line { return append(redeemed(), issued(2, "j1"), issued(3, "j2")) }

func pending() []line {
	return []line{asked(), decided("review", gate(1, false, "p_a"))}
}

// world is an export in the making.
type world struct {
	key     audit.Key
	entries []audit.Entry
	tree    audit.Frontier
	at      time.Time
	last    map[string]uint64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	k, err := audit.GenerateKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	return &world{key: k, at: start, last: map[string]uint64{}}
}

func (w *world) tell(t *testing.T, story []line) {
	t.Helper()
	for _, one := range story {
		w.at = w.at.Add(one.after)
		l := audit.Leaf{Seq: w.tree.Size(), Time: w.at, Type: one.kind, Request: "req_1", Actor: one.by, Commit: map[string]audit.Commitment{}}
		switch one.request {
		case "":
		case "none":
			l.Request = ""
		default:
			l.Request = one.request
		}
		if prev, ok := w.last[l.Request]; ok && l.Request != "" {
			l.Prev = &prev
		}
		w.last[l.Request] = l.Seq
		if one.data != nil {
			b, err := json.Marshal(one.data)
			if err != nil {
				t.Fatal(err)
			}
			l.Data = b
		}
		side := map[string]audit.Opening{}
		for name, text := range one.private {
			l.Commit[name], side[name] = audit.Commit(text)
		}
		encoded, err := l.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		w.entries = append(w.entries, audit.Entry{Seq: l.Seq, Leaf: encoded, Side: side})
		w.tree.Append(audit.LeafHash(encoded), nil)
	}
}

func (w *world) checkpoint(t *testing.T) []byte {
	t.Helper()
	b, err := audit.Checkpoint{Origin: origin, Size: w.tree.Size(), Root: w.tree.Root()}.Sign(w.key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *world) stream() iter.Seq2[audit.Entry, error] {
	return func(yield func(audit.Entry, error) bool) {
		for _, e := range w.entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// export writes the folder and the key, and returns their paths.
func (w *world) export(t *testing.T, older ...[]byte) (folder, key string) {
	t.Helper()
	folder, key = filepath.Join(t.TempDir(), "export"), filepath.Join(t.TempDir(), "key")
	if err := audit.WriteExport(t.Context(), folder, w.stream(), w.checkpoint(t), older); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte(w.key.Public()), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder, key
}

// verify runs the program and decodes what it prints.
func verify(t *testing.T, args ...string) (code int, out string, r result) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), append([]string{}, args...), strings.NewReader(""), &stdout, &stderr)
	if stdout.Len() > 0 && slices.Contains(args, "json") {
		if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
			t.Fatalf("%v: %s", err, stdout.String())
		}
	}
	return code, stdout.String() + stderr.String(), r
}

func TestLegalStories(t *testing.T) {
	t.Parallel()
	none := func(trigger string) []line { // anybody may review what nobody has triggered
		s := oneStage()
		s[0].data["trigger"] = trigger
		return s
	}
	for name, story := range map[string][]line{
		"denied by policy":                {asked(), decided("deny"), denied(policy)},
		"allowed":                         allowed(),
		"allowed, ended unused":           append(allowed(), over("ended", "unused", clock, "", time.Hour)),
		"allowed, redeemed":               append(allowed(), issued(1, "")),
		"allowed, revoked":                append(allowed(), over("revoked", "person", person("p_x"), "", 0)),
		"pending":                         pending(),
		"one stage":                       oneStage(),
		"one stage, a group that grew":    joined(),
		"denied, an action of nobody's":   unnamed("deny", denied(policy)),
		"two stages":                      twoStages(),
		"nobody triggered":                none("none"),
		"an unmapped trigger":             none("unmapped"),
		"turned down":                     turnedDown(),
		"expired":                         append(pending(), over("expired", "deadline", clock, "", time.Hour)),
		"undeliverable":                   append(pending(), over("expired", "undeliverable", clock, "", time.Minute)),
		"cancelled":                       append(pending(), line{kind: "cancelled", by: machine}),
		"redeemed":                        redeemed(),
		"redeemed three times":            thrice(),
		"redeemed, ended":                 append(redeemed(), over("ended", "expired", clock, "", 10*time.Minute)),
		"redeemed, revoked":               append(redeemed(), over("revoked", "machine", machine, "j1", time.Minute)),
		"redeemed three times, reused":    append(thrice(), over("revoked", "reuse", machine, "j3", time.Minute)),
		"redeemed, revoked by somebody":   append(redeemed(), over("revoked", "person", person("p_x"), "j1", time.Minute)),
		"an entry that is of no request":  append(pending(), line{kind: "rotated", by: clock, request: "none"}),
		"a time that stands still":        append(pending(), over("expired", "deadline", clock, "", time.Hour), line{kind: "asked", by: machine, data: asked().data, request: "req_2"}, line{kind: "decided", by: policy, data: decided("review", gate(1, false, "p_a")).data, request: "req_2"}, line{kind: "reviewed", by: person("p_a"), data: reviewed("p_a", "approve", 0).data, request: "req_2"}, line{kind: "approved", by: person("p_a"), data: approved(policy).data, request: "req_2"}),
		"stories that run beside another": interleaved(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.tell(t, story)
			folder, key := w.export(t)
			if code, out, r := verify(t, "--key", key, "--output", "json", folder); code != exitHolds || !r.OK {
				t.Errorf("exit %d: %s", code, out)
			}
		})
	}
}

func interleaved() []line {
	var all []line
	other := func(l line) line { l.request = "req_2"; return l }
	first, second := oneStage(), turnedDown()
	all = append(all, first[:2]...)
	all = append(all, other(second[0]), other(second[1]), first[2], other(second[2]), first[3], first[4], other(second[3]), other(second[4]))
	return all
}

func TestExportReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tell(t, allowed())
	older := w.checkpoint(t)
	w.tell(t, []line{over("ended", "unused", clock, "", time.Hour), {kind: "rotated", by: clock, request: "none"}})
	w.entries[0].Side = map[string]audit.Opening{"reason": w.entries[0].Side["reason"]} // resource erased
	folder, key := w.export(t, older)
	code, out, r := verify(t, "--key", key, "--output", "json", folder)
	if code != exitHolds || *r.Entries != 5 || r.Requests.Finished != 1 || r.Requests.Open != 0 || *r.Older != 1 || *r.Opened != 1 || r.Origin != origin {
		t.Errorf("exit %d: %s", code, out)
	}
	for _, want := range []string{"1 private texts", "1 entries that belong to no request", "come from elsewhere"} {
		if !strings.Contains(strings.Join(r.NotChecked, "\n"), want) {
			t.Errorf("what was not checked does not say %q: %q", want, r.NotChecked)
		}
	}
	if code, out, _ := verify(t, "--key", key, folder); code != exitHolds || !strings.Contains(out, "holds: 5 entries") || !strings.Contains(out, "not checked:") {
		t.Errorf("exit %d: %s", code, out)
	}
	empty := newWorld(t)
	folder, key = empty.export(t)
	if code, out, _ := verify(t, "--key", key, folder); code != exitHolds || !strings.Contains(out, "no older checkpoint was given") {
		t.Errorf("an empty log: exit %d: %s", code, out)
	}
}

func TestReceipt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tell(t, []line{{kind: "rotated", by: clock, request: "none"}})
	_, key := w.export(t)
	r, err := audit.NewReceipt(w.entries[0].Leaf, 0, w.checkpoint(t), 1, nil) // a tree of one needs no nodes
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "receipt.json")
	for name, one := range map[string]struct {
		text string
		code int
		want string
	}{
		"good":      {string(text), exitHolds, "stands in the log"},
		"forged":    {strings.Replace(string(text), "clock", "clack", 1), exitFault, "NOT in order"},
		"no JSON":   {"x", exitFault, "NOT in order"},
		"truncated": {string(text[:len(text)/2]), exitFault, "NOT in order"},
		"too long":  {strings.Repeat(" ", maxReceipt+1), exitFault, "NOT in order"},
	} {
		if err := os.WriteFile(file, []byte(one.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out, _ := verify(t, "receipt", "--key", key, file); code != one.code || !strings.Contains(out, one.want) {
			t.Errorf("%s: exit %d: %s", name, code, out)
		}
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"receipt", "--key", key, "--output", "json", "-"}, bytes.NewReader(text), &out, &out); code != exitHolds || !strings.Contains(out.String(), `"ok": true`) {
		t.Errorf("from standard input: exit %d: %s", code, out.String())
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	folder, key := w.export(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := w.key.Save(secret); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"nothing":             {},
		"no key":              {folder},
		"no folder":           {"--key", key},
		"two folders":         {"--key", key, folder, folder},
		"no such folder":      {"--key", key, folder + "x"},
		"no such key":         {"--key", key + "x", folder},
		"a secret key":        {"--key", secret, folder},
		"an unknown flag":     {"--key", key, "--loud", folder},
		"an unknown output":   {"--key", key, "--output", "xml", folder},
		"no such receipt":     {"receipt", "--key", key, folder + "x"},
		"a folder as receipt": {"receipt", "--key", key, folder},
	} {
		if code, out, _ := verify(t, args...); code != exitFailed || out == "" || strings.Contains(out, "PRIVATE+KEY+"+origin) {
			t.Errorf("%s: exit %d: %s", name, code, out)
		}
	}
	if code, out, _ := verify(t, "--help"); code != exitHolds || !strings.Contains(out, "receipt --key") {
		t.Errorf("--help: exit %d: %s", code, out)
	}
	other := newWorld(t)
	_, foreign := other.export(t)
	if code, out, _ := verify(t, "--key", foreign, folder); code != exitFault || !strings.Contains(out, "NOT in order") {
		t.Errorf("another log's key: exit %d: %s", code, out)
	}
}
