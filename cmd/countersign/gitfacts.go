package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/sourcegraph/go-diff/diff"
)

// gitTimeout bounds one call of git.
const gitTimeout = 15 * time.Second

// gitTree is a git work tree that facts are read from. All of its answers are
// the caller's word: cards show them as such, and nothing is decided by them.
type gitTree struct {
	dir string // "" is the current folder
}

// errGit: git is not there, this is no work tree, or it has not what was asked.
var errGit = errors.New("git has no answer")

// run calls git without anything that the tree's own configuration could make it
// start: no pager, no external diff, no text conversion, no file monitor, no
// prompt. It returns at most limit bytes and whether there were more.
func (g gitTree) run(ctx context.Context, limit int, args ...string) (string, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-pager", "-c", "core.fsmonitor=false", "-c", "core.quotePath=true"}, args...)...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_PAGER=cat", "GIT_NO_LAZY_FETCH=1")
	cmd.WaitDelay = time.Second
	out := &cappedBuffer{limit: limit}
	cmd.Stdout = out
	if err := cmd.Run(); err != nil && !out.over {
		return "", false, fmt.Errorf("%w: git %s: %w", errGit, args[0], err)
	}
	return out.String(), out.over, nil
}

// cappedBuffer keeps the first limit bytes, and stops the writer at more.
type cappedBuffer struct {
	bytes.Buffer
	limit int
	over  bool
}

// Write implements io.Writer.
func (b *cappedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		b.over = true
		return 0, errors.New("too long")
	}
	return b.Buffer.Write(p)
}

// line is the first line of a short answer; empty if there is none.
func (g gitTree) line(ctx context.Context, args ...string) string {
	out, over, err := g.run(ctx, 4096, args...)
	if err != nil || over {
		return ""
	}
	first, _, _ := strings.Cut(out, "\n")
	return strings.ToValidUTF8(first, "\uFFFD")
}

// gitFacts is what a commit tells.
type gitFacts struct {
	commit, author, branch string
}

// facts reads the checked out commit. Outside a work tree all is empty.
func (g gitTree) facts(ctx context.Context) gitFacts {
	f := gitFacts{commit: g.line(ctx, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")}
	if f.commit == "" {
		return f
	}
	f.author = g.line(ctx, "log", "-1", "--no-show-signature", "--format=%an <%ae>", "HEAD")
	f.branch = g.line(ctx, "symbolic-ref", "--quiet", "--short", "HEAD")
	return f
}

// Why an automatic diff is left out, in words for a label and a warning.
var (
	errDiffTooLong = fmt.Errorf("it is larger than %d bytes", maxDiff)
	errDiffShallow = errors.New("the clone is too shallow to know what changed (fetch more history, as with fetch-depth: 2)")
	errDiffNone    = errors.New("it is not in a form that can be shown")
)

// diff returns the change that HEAD makes: since its merge base with base (the
// branch that a pull request is for), else since its first parent, else, for the
// very first commit, all of it. An empty diff is no change.
func (g gitTree) diff(ctx context.Context, base string) (string, error) {
	from, err := g.diffFrom(ctx, base)
	if err != nil {
		return "", err
	}
	args := []string{"diff-tree", "-p", "-r", "--no-commit-id", "--no-ext-diff", "--no-textconv", "--no-color", "-M"}
	if from == "" {
		args = append(args, "--root", "HEAD")
	} else {
		args = append(args, from, "HEAD")
	}
	out, over, err := g.run(ctx, maxDiff, args...)
	if err != nil {
		return "", err
	}
	if over {
		return "", errDiffTooLong
	}
	text := strings.ToValidUTF8(out, "\uFFFD")
	if len(text) > maxDiff {
		return "", errDiffTooLong
	}
	if text != "" && !isDiff(text) {
		return "", errDiffNone
	}
	return text, nil
}

// diffFrom returns the commit that the change starts from; empty for the very
// first commit. The edge of a shallow clone looks like a first commit and is
// none.
func (g gitTree) diffFrom(ctx context.Context, base string) (string, error) {
	if base != "" {
		if from := g.line(ctx, "merge-base", "--end-of-options", "refs/remotes/origin/"+base, "HEAD"); from != "" {
			return from, nil
		}
	}
	if from := g.line(ctx, "rev-parse", "--verify", "--quiet", "HEAD^1^{commit}"); from != "" {
		return from, nil
	}
	switch g.line(ctx, "rev-parse", "--is-shallow-repository") {
	case "true":
		return "", errDiffShallow
	case "false":
		return "", nil
	}
	return "", errGit
}

// isDiff reports whether the server will be able to read the text as a diff.
func isDiff(text string) bool {
	files, err := diff.ParseMultiFileDiff([]byte(text))
	return err == nil && len(files) > 0
}
