package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/identity/token"
)

// command is one run of the command line in this process.
type command struct {
	stdout bytes.Buffer
	stderr bytes.Buffer
	err    error
}

// runCommand runs the command line with nothing in its environment.
func runCommand(ctx context.Context, args ...string) *command {
	c := &command{}
	c.err = run(ctx, args, strings.NewReader(""), &c.stdout, &c.stderr, func(string) string { return "" })
	return c
}

// machineKey makes a key file, and returns the flags that use it.
func machineKey(t *testing.T) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bot.pem")
	key, err := token.GenerateKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	if err := token.WriteKey(path, key); err != nil {
		t.Fatal(err)
	}
	return []string{"--key", path, "--issuer", "deploy-bot"}
}

func askArgs(t *testing.T, server string, more ...string) []string {
	return append(append([]string{"request", "--server", server, "--action", "deploy", "--resource", "payments", "--reason", "why", "--diff", "none"}, machineKey(t)...), more...)
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args      []string
		code      int
		says      string
		cancelled int
	}{
		"leaves the request pending": {nil, exitUndecided, "interrupted: the request is left as it stands; go on with: countersign request --resume req_1", 0},
		"cancels it where asked to":  {[]string{"--cancel-on-interrupt"}, exitCancelled, "cancelled", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStub(t, t.TempDir())
			ctx, interrupt := context.WithCancel(t.Context())
			go func() {
				<-s.polls // somebody waits for people
				interrupt()
			}()
			c := runCommand(ctx, askArgs(t, s.URL+"/pending", test.args...)...)
			if exitCode(c.err) != test.code || !strings.Contains(c.err.Error(), test.says) {
				t.Errorf("exit %d, %v; want %d, %q", exitCode(c.err), c.err, test.code, test.says)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if got := s.calls["pending cancel"]; got != test.cancelled {
				t.Errorf("%d calls to cancel, want %d", got, test.cancelled)
			}
		})
	}
}

func TestInterruptTellsJSON(t *testing.T) {
	t.Parallel()
	s := newStub(t, t.TempDir())
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		<-s.polls
		interrupt()
	}()
	c := runCommand(ctx, askArgs(t, s.URL+"/pending", "-o", "json")...)
	var got result
	if err := json.Unmarshal(c.stdout.Bytes(), &got); err != nil {
		t.Fatalf("%v in %q", err, &c.stdout)
	}
	if got.ID != "req_1" || got.State != "pending" || got.Token != "" || exitCode(c.err) != exitUndecided {
		t.Errorf("got %+v, exit %d", got, exitCode(c.err))
	}
}

// A retry after a lost answer is the same request: it carries the same key.
func TestRetriesKeepTheKey(t *testing.T) {
	t.Parallel()
	s := newStub(t, t.TempDir())
	if c := runCommand(t.Context(), askArgs(t, s.URL+"/flaky")...); c.err != nil {
		t.Fatal(c.err)
	}
	if c := runCommand(t.Context(), askArgs(t, s.URL+"/allow")...); c.err != nil {
		t.Fatal(c.err)
	}
	if c := runCommand(t.Context(), askArgs(t, s.URL+"/allow", "--idempotency-key", "release-7")...); c.err != nil {
		t.Fatal(c.err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) != 4 || s.keys[0] == "" || s.keys[0] != s.keys[1] || s.keys[1] == s.keys[2] || s.keys[3] != "release-7" {
		t.Errorf("idempotency keys %q: want one for both tries, another for another run, and the given one", s.keys)
	}
}

func TestTimeoutIsNoDecision(t *testing.T) {
	t.Parallel()
	s := newStub(t, t.TempDir())
	begun := time.Now()
	c := runCommand(t.Context(), askArgs(t, s.URL+"/pending", "--timeout", "200ms", "--cancel-on-interrupt")...)
	if exitCode(c.err) != exitUndecided || time.Since(begun) > 10*time.Second {
		t.Errorf("exit %d after %s: %v", exitCode(c.err), time.Since(begun), c.err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls["pending cancel"] != 0 {
		t.Error("a time-out cancelled the request")
	}
}

// The progress line on a terminal: one line, drawn anew, never wider than it.
func TestLiveLine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	p := newProgress(&out, func(string) string { return "" })
	if p.width != nil {
		t.Fatal("a buffer is no terminal")
	}
	p.width, p.now = func() int { return 60 }, func() time.Time { return now }
	p.start()
	expires := now.Add(75 * time.Second)
	r := clientRequest("pending")
	r.ExpiresAt = &expires
	p.show(r)
	p.outage(io.ErrUnexpectedEOF, time.Second)
	p.line("a line of its own")
	p.show(clientRequest("cancelled"))
	p.settle()
	text := out.String()
	for _, want := range []string{"\rK7M-2QX  waiting for people (release 0 of 2)  1:15 left\x1b[K", "\r\x1b[Ka line of its own\n", "…\x1b[K"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not hold %q", text, want)
		}
	}
	if !strings.HasSuffix(text, "\r\x1b[KK7M-2QX  cancelled\n") {
		t.Errorf("%q does not end with the line that stays", text)
	}
	for part := range strings.SplitSeq(text, "\r") {
		if n := len([]rune(strings.TrimSuffix(strings.TrimPrefix(part, "\x1b[K"), "\x1b[K"))); n > 60 {
			t.Errorf("%q is %d wide, want at most 60", part, n)
		}
	}
}

func TestRemaining(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "expiring", 0: "expiring", 59 * time.Second: "0:59 left", 61 * time.Second: "1:01 left", 2*time.Hour + 5*time.Minute: "2h05m left",
	} {
		if got := remaining(d); got != want {
			t.Errorf("remaining(%s) = %q, want %q", d, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"plain", "two\nlines", "\x1b[31mred", "\u202eevil", "\xff\xfe", "a\u200bb", "::add-mask::x", "日本語 é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := printable(s)
		for _, r := range got {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200b || r == 0x2028 || r == 0x2029 {
				t.Fatalf("%q holds %U", got, r)
			}
		}
	})
}
