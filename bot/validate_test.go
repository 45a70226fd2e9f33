package bot

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/policies"
)

func TestBadAsks(t *testing.T) {
	t.Parallel()
	many := func(n int) []string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprint("s", i))
		}
		return out
	}
	for pointer, cases := range map[string][]func(*Ask){
		"/action":                  {func(a *Ask) { a.Action = "" }, func(a *Ask) { a.Action = "Deploy!" }, func(a *Ask) { a.Action = strings.Repeat("a", 65) }},
		"/resource":                {func(a *Ask) { a.Resource = "" }, func(a *Ask) { a.Resource = "  " }, func(a *Ask) { a.Resource = "a\nb" }, func(a *Ask) { a.Resource = "a\u202eb" }, func(a *Ask) { a.Resource = strings.Repeat("é", 513) }},
		"/reason":                  {func(a *Ask) { a.Reason = "" }, func(a *Ask) { a.Reason = " \n" }, func(a *Ask) { a.Reason = strings.Repeat("x", 1<<20) }},
		"/ttl":                     {func(a *Ask) { a.TTL = 0 }, func(a *Ask) { a.TTL = -1 }, func(a *Ask) { a.TTL = policies.Duration(10 * 365 * 24 * time.Hour) }},
		"/scopes":                  {func(a *Ask) { a.Scopes = many(33) }},
		"/scopes/1":                {func(a *Ask) { a.Scopes = []string{"a", "a"} }, func(a *Ask) { a.Scopes = []string{"a", "b c"} }, func(a *Ask) { a.Scopes = []string{"a", `b"`} }},
		"/audience":                {func(a *Ask) { a.Audience = "two words" }},
		"/triggered_by/id":         {func(a *Ask) { a.TriggeredBy = &TriggeredBy{Kind: "github"} }},
		"/triggered_by/url":        {func(a *Ask) { a.TriggeredBy = &TriggeredBy{Kind: "github", ID: "1", URL: "javascript:alert(1)"} }},
		"/context/environment":     {func(a *Ask) { a.Context.Environment = "Production" }},
		"/context/risk":            {func(a *Ask) { a.Context.Risk = "none" }},
		"/context/checks/0/status": {func(a *Ask) { a.Context.Checks = []Check{{Name: "x", Status: "green"}} }},
		"/context/links/0/url":     {func(a *Ask) { a.Context.Links = []Link{{URL: "ftp://x"}} }, func(a *Ask) { a.Context.Links = []Link{{URL: "https://"}} }},
		"/context/tickets/0":       {func(a *Ask) { a.Context.Tickets = []string{""} }},
		"/context/labels/a~1b":     {func(a *Ask) { a.Context.Labels = map[string]string{"a/b": strings.Repeat("x", 257)} }},
		"/context":                 {func(a *Ask) { a.Context.Tickets = many(21) }},
		"/context/diff": {
			func(a *Ask) { a.Context.Diff = "not a diff" },
			func(a *Ask) {
				a.Context.Diff = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+" + strings.Repeat("b", 5<<20) + "\n"
			},
		},
	} {
		for i, change := range cases {
			ask := deployAsk()
			change(&ask)
			_, err := validate(ask)
			var invalid *InvalidError
			if !errors.As(err, &invalid) || !slices.ContainsFunc(invalid.Faults, func(f Fault) bool { return f.Pointer == pointer && f.Detail != "" }) {
				t.Errorf("%s, case %d: %v", pointer, i, err)
			}
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("%s, case %d: the error repeats what was sent", pointer, i)
			}
		}
	}
	if _, err := validate(deployAsk()); err != nil {
		t.Errorf("the twin: %v", err)
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := validate(Ask{})
	var invalid *InvalidError
	if !errors.As(err, &invalid) || len(invalid.Faults) < 4 {
		t.Errorf("%v", err)
	}
}

// TestReadsWhatGitWrites reads diffs of every kind of change, made by git.
func TestReadsWhatGitWrites(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Log("git is not here: its diffs are read from the seeds of FuzzReadDiff only")
		return
	}
	dir := t.TempDir()
	git := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"}, args...)...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %v: %v", args, err)
		}
		return string(out)
	}
	sh := func(script string) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v %s", script, err, out)
		}
	}
	git("init", "-q")
	sh(`printf 'one\ntwo\n' > a; printf 'same\nsame\n' > b; printf 'x' > 'with space é'; printf '\000\001' > bin; printf 'gone\n' > c; printf '#!\n' > run`)
	git("add", "-A")
	git("commit", "-qm", "first")
	sh(`printf 'one\n2\nthree\n' > a; mv b moved; printf 'y' > 'with space é'; printf '\000\002' > bin; rm c; chmod +x run; printf -- '--- not a header\n' > tricky`)
	git("add", "-A")
	d, err := readDiff(git("diff", "--cached"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a", "bin", "c", "moved", "run", "tricky"}
	for _, p := range want {
		if !slices.Contains(d.Paths, p) {
			t.Errorf("path %q is missing in %q", p, d.Paths)
		}
	}
	if d.Added < 4 || d.Removed < 2 {
		t.Errorf("counted +%d -%d", d.Added, d.Removed)
	}
}

func FuzzReadDiff(f *testing.F) {
	f.Add("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n")
	f.Add("diff --git a/x b/x\nold mode 100644\nnew mode 100755\n")
	f.Add("diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to y\n")
	f.Add("Binary files a/x and b/x differ\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := readDiff(text)
		if err == nil && d != nil && (d.Files < 1 || d.Bytes != len(text) || len(d.Paths) > maxPaths) {
			t.Errorf("%+v", d)
		}
		cut, whole := preview(text)
		if !strings.HasPrefix(text, cut) || whole != (cut == text) || strings.Count(cut, "\n") > previewLines {
			t.Errorf("preview of %d characters, whole %v", len(cut), whole)
		}
	})
}

// FuzzCommand lets anybody in the directory type anything.
func FuzzCommand(f *testing.F) {
	for _, text := range []string{"", "help", "show K7Q2MX", "deny K7Q2MX because", "audit actor:ada since:1d", "pending req_\x00", "approve \u202eX"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w := newWorld(t)
		r := w.submit(deployAsk())
		reply := w.say(olga, text)
		if reply.Text == "" && reply.Card == nil {
			t.Error("no answer")
		}
		if got := w.get(r.ID); got.Version != r.Version {
			t.Errorf("%q changed the request", text)
		}
	})
}
