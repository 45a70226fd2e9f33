package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/bot"
	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/audit"
	"github.com/countersign/countersign/store/bolt"
)

// shortDir is a folder whose path is short enough for a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// stateWithLog makes a configuration whose state holds a log of n entries, and
// returns the open store.
func stateWithLog(t *testing.T, n int) (*config, *bolt.Store) {
	t.Helper()
	c := &config{PublicURL: "http://127.0.0.1:1", State: filepath.Join(shortDir(t), "state")}
	db, err := c.openStore(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for i := range n {
		_, err := db.Create(t.Context(), "req_"+strconv.Itoa(i), func(now time.Time, r store.Request) (store.Write, error) {
			return store.Write{
				Request: store.Request{State: store.Denied, Canonical: []byte("{}"), Digest: "00", Code: "AAA-" + strconv.Itoa(i), Created: now},
				Entries: []store.Entry{{Type: "asked", Actor: store.Actor{Kind: "machine", ID: "bot"}, Private: map[string]string{"reason": "because " + strconv.Itoa(i)}}},
			}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return c, db
}

func emptyDirectory(t *testing.T) *identity.Directory {
	t.Helper()
	d, err := identity.NewDirectory(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// serveLog serves the log's socket until the test ends, or stop is called.
func serveLog(t *testing.T, c *config, h http.Handler) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- serveAdmin(ctx, c.statePath(adminSocket), h) }()
	remote := newSocketLog(c.statePath(adminSocket))
	for start := time.Now(); remote.alive(t.Context()) != nil; time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the socket does not answer")
		}
	}
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// The running server and the database alone tell the same.
func TestLogSourcesAgree(t *testing.T) {
	t.Parallel()
	c, db := stateWithLog(t, 1203) // more than two reads
	stop := serveLog(t, c, adminHandler(&bot.Broker{Store: db, Directory: emptyDirectory(t)}, db))
	live, err := c.openLog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := live.(*socketLog); !ok {
		t.Fatalf("a server runs, and the log is read by %T", live)
	}
	first := readAll(t, c, live)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.openLog(t.Context()); !errors.Is(err, bolt.ErrLocked) {
		t.Fatalf("the database is open elsewhere: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	still, err := c.openLog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second := readAll(t, c, still)
	if err := still.Close(); err != nil {
		t.Fatal(err)
	}
	if first != second {
		t.Errorf("the server tells\n%s\nthe database\n%s", first, second)
	}
}

// readAll queries, verifies and exports a log, and returns all that it told.
func readAll(t *testing.T, c *config, l logSource) string {
	t.Helper()
	page, err := l.query(t.Context(), "type:asked before:1000", 3)
	if err != nil || len(page.Entries) != 3 || page.Entries[0].Seq != 999 || page.Next != "997" || page.Entries[0].Private["reason"] != "because 999" {
		t.Fatalf("page %+v, %v", page, err)
	}
	if _, err := l.query(t.Context(), "nonsense", 3); exitCode(err) != exitUsage {
		t.Errorf("a bad filter: %v", err)
	}
	v, err := verifyLog(t.Context(), c, l, "", nil)
	if err != nil || v.Entries != 1203 || v.Opened != 1203 {
		t.Fatalf("verified %+v, %v", v, err)
	}
	out := filepath.Join(t.TempDir(), "export")
	if _, err := exportLog(t.Context(), l, out); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, name := range []string{"entries.jsonl", "checkpoint"} {
		b, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		text.Write(b)
	}
	text.WriteString(bot.AuditTable(page.Entries))
	return text.String()
}

// An export that fails leaves nothing behind.
func TestExportIsWholeOrNotThere(t *testing.T) {
	t.Parallel()
	c, db := stateWithLog(t, 3)
	serveLog(t, c, adminRoutes(localLog{queries: &bot.Broker{Store: db, Directory: emptyDirectory(t)}, log: brokenLog{db}}))
	l, err := c.openLog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	if _, err := exportLog(t.Context(), l, filepath.Join(parent, "export")); err == nil {
		t.Error("a log that breaks off was exported")
	}
	left, err := os.ReadDir(parent)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := verifyLog(t.Context(), c, l, "", nil); err == nil {
		t.Error("a log that breaks off verifies")
	}
	if err := os.Mkdir(filepath.Join(parent, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	whole := localLog{queries: &bot.Broker{Store: db, Directory: emptyDirectory(t)}, log: db}
	if _, err := exportLog(t.Context(), whole, filepath.Join(parent, "empty")); err != nil {
		t.Errorf("an empty folder is refused: %v", err)
	}
	if _, err := exportLog(t.Context(), whole, filepath.Join(parent, "empty")); exitCode(err) != exitUsage {
		t.Errorf("a folder that is not empty: %v", err)
	}
}

// brokenLog breaks off after two entries.
type brokenLog struct{ *bolt.Store }

func (b brokenLog) Log(ctx context.Context, from uint64, _ int, backwards bool) ([]store.Logged, error) {
	if from >= 2 {
		return nil, errors.New("the disk is gone")
	}
	return b.Store.Log(ctx, from, 2, backwards)
}

// A log that somebody has changed does not verify.
func TestVerifyNoticesChanges(t *testing.T) {
	t.Parallel()
	c, db := stateWithLog(t, 5)
	good := localLog{queries: &bot.Broker{Store: db, Directory: emptyDirectory(t)}, log: db}
	if _, err := verifyLog(t.Context(), c, good, "", nil); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(t.TempDir(), "seen")
	note, err := good.checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old, note, 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := verifyLog(t.Context(), c, good, c.statePath(auditVerifierKey), []string{old}); err != nil || v.Seen != 1 || len(v.NotChecked) != 1 {
		t.Errorf("with a key and a checkpoint: %+v, %v", v, err)
	}
	for name, change := range map[string]func(*store.Logged){
		"private text": func(l *store.Logged) { l.Private["reason"] = "another" },
		"leaf":         func(l *store.Logged) { l.Leaf[len(l.Leaf)/2] ^= 1 },
		"number":       func(l *store.Logged) { l.Seq = 9 },
	} {
		bad := localLog{log: changedLog{db, change}}
		if _, err := verifyLog(t.Context(), c, bad, "", nil); err == nil || !strings.Contains(err.Error(), "entry 3") {
			t.Errorf("%s changed: %v", name, err)
		}
	}
}

// changedLog shows entry 3 changed.
type changedLog struct {
	*bolt.Store
	change func(*store.Logged)
}

func (c changedLog) Log(ctx context.Context, from uint64, limit int, backwards bool) ([]store.Logged, error) {
	logged, err := c.Store.Log(ctx, from, limit, backwards)
	for i := range logged {
		if logged[i].Seq == 3 {
			c.change(&logged[i])
		}
	}
	return logged, err
}

func TestAdminSocket(t *testing.T) {
	t.Parallel()
	c, db := stateWithLog(t, 1)
	path := c.statePath(adminSocket)
	h := adminHandler(&bot.Broker{Store: db, Directory: emptyDirectory(t)}, db)
	stop := serveLog(t, c, h)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the socket's mode is %v, %v", info.Mode(), err)
	}
	if err := serveAdmin(t.Context(), path, h); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("a second server on the socket: %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}

	// One that nobody listens on any more is replaced.
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := serveLog(t, c, h)(); err != nil {
		t.Errorf("over a socket left behind: %v", err)
	}

	// A file of that name is not ours to remove.
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := serveAdmin(t.Context(), path, h); err == nil {
		t.Error("a file was replaced by the socket")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file now holds %q, %v", b, err)
	}
	if err := serveAdmin(t.Context(), filepath.Join(shortDir(t), strings.Repeat("x", 120)), h); err == nil || !strings.Contains(err.Error(), "shorter state folder") {
		t.Errorf("a path that is too long: %v", err)
	}
}

func TestAdminRefusesNonsense(t *testing.T) {
	t.Parallel()
	c, db := stateWithLog(t, 1)
	serveLog(t, c, adminHandler(&bot.Broker{Store: db, Directory: emptyDirectory(t)}, db))
	remote := newSocketLog(c.statePath(adminSocket))
	for path, q := range map[string]map[string][]string{
		"/audit":   {"limit": {"0"}},
		"/entries": {"size": {"-1"}},
		"/nowhere": nil,
	} {
		if body, err := remote.get(t.Context(), path, q); err == nil {
			t.Errorf("%s %v answers", path, q)
			_ = body.Close()
		}
	}
	if _, err := remote.query(t.Context(), "", maxAuditPage+1); exitCode(err) != exitUsage {
		t.Errorf("too large a page: %v", err)
	}
	if page, err := remote.query(t.Context(), "", maxAuditPage); err != nil || len(page.Entries) != 1 {
		t.Errorf("the largest page: %+v, %v", page, err)
	}
	note, err := remote.checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := audit.PeekCheckpoint(note); err != nil || p.Size != 1 {
		t.Errorf("checkpoint %+v, %v", p, err)
	}
}
