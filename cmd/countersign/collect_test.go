package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/countersign/countersign/adapters/rest/client"
)

func clientRequest(state client.State) client.Request {
	return client.Request{ID: "req_1", Code: "K7M-2QX", State: state, Stages: []client.Stage{{Name: "release", Quorum: 2}}}
}

// repo is a git work tree to try things in.
type repo struct {
	gitTree
	t *testing.T
}

func newRepo(t *testing.T) repo {
	t.Helper()
	r := repo{gitTree{t.TempDir()}, t}
	r.git("init", "-q", "-b", "main")
	return r
}

func (r repo) git(args ...string) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", append([]string{"-c", "user.name=Ana Lopes", "-c", "user.email=ana@example.com", "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// commit writes a file and commits it.
func (r repo) commit(name, content string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.git("add", "--all")
	r.git("commit", "-q", "--allow-empty", "-m", "change "+name)
}

func (r repo) wantDiff(base string, has, hasNot []string) {
	r.t.Helper()
	text, err := r.diff(r.t.Context(), base)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range has {
		if !strings.Contains(text, s) {
			r.t.Errorf("the diff lacks %q:\n%s", s, text)
		}
	}
	for _, s := range hasNot {
		if strings.Contains(text, s) {
			r.t.Errorf("the diff holds %q:\n%s", s, text)
		}
	}
}

func TestDiffOfFirstAndLaterCommits(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.commit("one.txt", "first\n")
	r.wantDiff("", []string{"+first"}, nil)
	r.commit("two.txt", "second\n")
	r.wantDiff("", []string{"+second"}, []string{"first"})
	r.git("commit", "-q", "--allow-empty", "-m", "nothing")
	if text, err := r.diff(t.Context(), ""); text != "" || err != nil {
		t.Errorf("an empty commit gives %q, %v", text, err)
	}
	f := r.facts(t.Context())
	if len(f.commit) != 40 || f.author != "Ana Lopes <ana@example.com>" || f.branch != "main" {
		t.Errorf("facts %+v", f)
	}
}

// A pull request shows all its commits, and nothing of what its base did since.
func TestDiffSinceMergeBase(t *testing.T) {
	t.Parallel()
	origin := newRepo(t)
	origin.commit("base.txt", "base\n")
	r := repo{gitTree{filepath.Join(t.TempDir(), "clone")}, t}
	origin.git("clone", "-q", origin.dir, r.dir)
	r.git("checkout", "-q", "-b", "feature")
	r.commit("a.txt", "part one\n")
	r.commit("b.txt", "part two\n")
	origin.commit("other.txt", "moved on\n")
	r.git("fetch", "-q", "origin")
	r.wantDiff("main", []string{"+part one", "+part two"}, []string{"moved on", "base"})
	r.wantDiff("", []string{"+part two"}, []string{"part one"})
	r.wantDiff("--output=evil", []string{"+part two"}, []string{"part one"}) // no such branch
	if _, err := os.Stat(filepath.Join(r.dir, "evil")); err == nil {
		t.Error("a branch's name was taken for an option")
	}
}

// The edge of a shallow clone is not the first commit: its diff would show the
// whole tree as new.
func TestDiffInShallowClone(t *testing.T) {
	t.Parallel()
	origin := newRepo(t)
	origin.commit("one.txt", "first\n")
	origin.commit("two.txt", "second\n")
	clone := func(depth string) repo {
		r := repo{gitTree{filepath.Join(t.TempDir(), "clone")}, t}
		origin.git("clone", "-q", "--depth", depth, "file://"+origin.dir, r.dir)
		return r
	}
	if text, err := clone("1").diff(t.Context(), ""); !errors.Is(err, errDiffShallow) {
		t.Errorf("depth 1: %q, %v", text, err)
	}
	clone("2").wantDiff("", []string{"+second"}, []string{"first"})
}

// What the work tree's own configuration names is not started.
func TestGitStartsNothing(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	trap := filepath.Join(t.TempDir(), "sprung")
	script := filepath.Join(r.dir, "trap.sh")
	r.commit("one.txt", "first\n")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ntouch "+trap+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.commit(".gitattributes", "*.txt diff=trap\n")
	r.commit("one.txt", "second\n")
	for _, name := range []string{"diff.external", "diff.trap.command", "diff.trap.textconv", "core.fsmonitor", "core.pager", "pager.diff-tree", "pager.log"} {
		r.git("config", name, script)
	}
	r.git("config", "log.showSignature", "true")
	r.git("config", "gpg.program", script)
	r.wantDiff("", []string{"-first", "+second"}, nil)
	if f := r.facts(t.Context()); f.author == "" {
		t.Error("no author")
	}
	if _, err := os.Stat(trap); err == nil {
		t.Error("git started a program of the work tree")
	}
	r.git("diff", "HEAD^", "HEAD") // without our options
	if _, err := os.Stat(trap); err != nil {
		t.Errorf("the trap does not work: %v", err)
	}
}

// add runs a collector without a GitHub Actions job.
func (r repo) add(ctx context.Context, diff string) (client.Ask, []string, error) {
	var warnings []string
	c := collector{getenv: func(string) string { return "" }, tree: r.gitTree, warn: func(s string) { warnings = append(warnings, s) }}
	ask := client.Ask{Action: "deploy"}
	err := c.add(ctx, &ask, diff)
	return ask, warnings, err
}

func TestDiffTooLong(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.commit("small.txt", "small\n")
	for name, line := range map[string]string{
		"plain":             strings.Repeat("x", 99) + "\n",
		"longer in JSON":    strings.Repeat("<", 99) + "\n", // six bytes each
		"just below, plain": "",
	} {
		content := strings.Repeat(line, maxDiff/100+1000)
		fits := line == ""
		if name == "longer in JSON" {
			content = strings.Repeat(line, 10_000)
		}
		if fits {
			content = strings.Repeat(strings.Repeat("y", 99)+"\n", maxDiff/101-100)
		}
		r.commit(strings.ReplaceAll(name, " ", "-")+".txt", content) // its own file: the change before is not taken back
		ask, warnings, err := r.add(t.Context(), "auto")
		if err != nil {
			t.Fatal(err)
		}
		left := strings.HasPrefix(ask.Context.Labels["diff"], "left out: ") && len(warnings) == 1 && ask.Context.Diff == ""
		whole := ask.Context.Labels["diff"] == "" && len(warnings) == 0 && ask.Context.Diff != ""
		if fits && !whole || !fits && !left {
			t.Errorf("%s: diff of %d bytes, label %q, warnings %q", name, len(ask.Context.Diff), ask.Context.Labels["diff"], warnings)
		}
	}
}

// What somebody names is not left out in silence.
func TestGivenDiffTooLong(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	file := filepath.Join(t.TempDir(), "change.patch")
	patch := func(line string, n int) {
		text := "--- a/f\n+++ b/f\n@@ -0,0 +1," + strconv.Itoa(n) + " @@\n" + strings.Repeat("+"+line+"\n", n)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	patch(strings.Repeat("x", 98), 40_000)
	if _, _, err := r.add(t.Context(), file); exitCode(err) != exitUsage || !strings.Contains(err.Error(), "4000") {
		t.Errorf("4 MB: %v", err)
	}
	patch(strings.Repeat("<", 98), 10_000)
	if _, _, err := r.add(t.Context(), file); exitCode(err) != exitUsage || !strings.Contains(err.Error(), "can be sent") {
		t.Errorf("1 MB of what JSON writes long: %v", err)
	}
	patch(strings.Repeat("x", 98), 1000)
	if ask, _, err := r.add(t.Context(), file); err != nil || ask.Context.Diff == "" {
		t.Errorf("100 kB: %v", err)
	}
}

func TestOutsideGit(t *testing.T) {
	t.Parallel()
	r := repo{gitTree{t.TempDir()}, t}
	ask, warnings, err := r.add(t.Context(), "auto")
	if err != nil || len(warnings) > 0 || ask.Context.Diff != "" || len(ask.Context.Labels) > 0 {
		t.Errorf("%+v, %q, %v", ask.Context, warnings, err)
	}
}

// A work tree without a commit has nothing to show, and that is no fault.
func TestNoCommitYet(t *testing.T) {
	t.Parallel()
	ask, warnings, err := newRepo(t).add(t.Context(), "auto")
	if err != nil || len(warnings) > 0 || ask.Context.Diff != "" {
		t.Errorf("%+v, %q, %v", ask.Context, warnings, err)
	}
}

// Text that is not UTF-8 arrives as text that is.
func TestDiffNotUTF8(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.commit("latin.txt", "caf\xe9\n")
	text, err := r.diff(t.Context(), "")
	if err != nil || !utf8.ValidString(text) || !strings.Contains(text, "caf\uFFFD") {
		t.Errorf("%q, %v", text, err)
	}
}

func FuzzCut(f *testing.F) {
	f.Add("short")
	f.Add(strings.Repeat("é", 300))
	f.Add(strings.Repeat("\xff", 1000))
	f.Fuzz(func(t *testing.T, s string) {
		got := cut(s)
		if n := utf8.RuneCountInString(got); n > maxLabelText || !utf8.ValidString(got) {
			t.Fatalf("%d characters, valid: %v", n, utf8.ValidString(got))
		}
		if utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxLabelText && got != s {
			t.Fatalf("%q was changed to %q", s, got)
		}
	})
}
