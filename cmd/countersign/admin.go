package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/countersign/countersign/bot"
	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/audit"
)

// maxAuditPage bounds one page of an audit query.
const maxAuditPage = 1000

// adminHandler answers what the audit commands ask of a running server. It
// reads and changes nothing. There is no authentication beside the socket's
// mode: whoever can open it could read the database as well.
func adminHandler(broker *bot.Broker, log store.Store) http.Handler {
	return adminRoutes(localLog{queries: broker, log: log})
}

func adminRoutes(l localLog) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /alive", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /audit", l.serveQuery)
	mux.HandleFunc("GET /checkpoint", l.serveCheckpoint)
	mux.HandleFunc("GET /entries", l.serveEntries)
	return mux
}

func (l localLog) serveQuery(w http.ResponseWriter, r *http.Request) {
	limit, err := strconv.Atoi(r.FormValue("limit"))
	if err != nil || limit < 1 || limit > maxAuditPage {
		http.Error(w, fmt.Sprintf("limit must be 1 to %d", maxAuditPage), http.StatusBadRequest)
		return
	}
	page, err := l.query(r.Context(), r.FormValue("q"), limit)
	if err != nil {
		adminError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.MarshalWrite(w, page) // a caller that went away needs no answer
}

func (l localLog) serveCheckpoint(w http.ResponseWriter, r *http.Request) {
	note, err := l.checkpoint(r.Context())
	if err != nil {
		adminError(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(note) // a caller that went away needs no answer
}

// serveEntries streams the first size entries, one per line, in the form of an
// export. A fault in the middle breaks the connection, so that what was sent
// cannot be taken for all.
func (l localLog) serveEntries(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.ParseUint(r.FormValue("size"), 10, 53)
	if err != nil {
		http.Error(w, "size must be a number of entries", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	out := bufio.NewWriterSize(w, 64<<10)
	for e, err := range l.entries(r.Context(), size) {
		if err == nil {
			err = writeEntry(out, e)
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	_ = out.Flush() // a caller that went away needs no answer
}

// exportLine is an entry in the form of an export, which audit.ReadEntries reads.
type exportLine struct {
	Seq  uint64                   `json:"seq"`
	Leaf string                   `json:"leaf"`
	Side map[string]audit.Opening `json:"side,omitempty"`
}

func writeEntry(w *bufio.Writer, e audit.Entry) error {
	if err := json.MarshalWrite(w, exportLine{e.Seq, string(e.Leaf), e.Side}, json.Deterministic(true)); err != nil {
		return err
	}
	return w.WriteByte('\n')
}

func adminError(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if exitCode(err) == exitUsage {
		status = http.StatusBadRequest
	}
	http.Error(w, err.Error(), status)
}

// serveAdmin serves the administration socket at path until ctx ends. The
// socket is for its owner alone; one that a killed server left behind is
// replaced, one that is answered on is not.
func serveAdmin(ctx context.Context, path string, h http.Handler) error {
	l, err := listenAdmin(ctx, path)
	if err != nil && ctx.Err() != nil {
		return nil //nolint:nilerr // it ended before it began
	}
	if err != nil {
		return fmt.Errorf("administration socket: %w", err)
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx }, // an export ends with the server
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("administration socket: %w", errors.Join(err, l.Close()))
	}
	return nil
}

// maxSocketPath is the shortest limit of the systems that we run on: sun_path
// has 104 bytes on macOS and 108 on Linux, the final zero included.
const maxSocketPath = 103

func listenAdmin(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path %s has %d bytes, and the system takes %d: choose a shorter state folder", path, len(path), maxSocketPath)
	}
	switch err := newSocketLog(path).alive(ctx); {
	case err == nil:
		return nil, fmt.Errorf("another server answers on %s", path)
	case !errors.Is(err, errNoServer):
		return nil, err
	}
	if err := removeSocket(path); err != nil {
		return nil, err
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	// The state folder is for its owner alone, so nobody else comes in between.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeSocket removes a socket that nobody listens on, and nothing else.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return &fs.PathError{Op: "listen", Path: path, Err: syscall.ENOTSOCK}
	}
	return os.Remove(path)
}
