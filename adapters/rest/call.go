package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// writeTimeout is how long a caller may take to read an answer.
const writeTimeout = 30 * time.Second

// statusGone stands in the log for a caller that left before the answer.
const statusGone = 499

// action answers a call, or returns an error for problem documents to tell.
type action func(c *call, r *http.Request) error

// call is one HTTP call: the answer being written, and what the access log
// tells of it.
type call struct {
	http.ResponseWriter
	id      string
	account string // service account or verifier, once authenticated
	request string // the request's id
	status  int
	bytes   int64
	// fault is what lies behind a 5xx.
	fault error
	// oauth is true where errors have the form of RFC 6749 section 5.2.
	oauth bool
}

// WriteHeader implements http.ResponseWriter.
func (c *call) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (c *call) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(b)
	c.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (c *call) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// serve runs an action: it sets the headers that every answer has, tells errors,
// recovers panics, and writes the access log.
func (a *API) serve(path string, do action) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{ResponseWriter: w, id: a.NewID()}
		start := time.Now()
		defer func() {
			if v := recover(); v != nil {
				if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(v)
				}
				a.Log.LogAttrs(r.Context(), slog.LevelError, "panic while answering", slog.String("call", c.id),
					slog.String("panic", describe(v)), slog.String("stack", string(debug.Stack())))
				a.tell(c, r, errPanic)
			}
			a.logCall(r.Context(), c, r, path, time.Since(start))
		}()
		h := c.Header()
		h.Set("X-Request-Id", c.id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		if r.ContentLength != 0 {
			c.deadlines(a.BodyTimeout, a.BodyTimeout+writeTimeout)
		} else {
			c.deadlines(0, writeTimeout)
		}
		if err := do(c, r); err != nil {
			a.tell(c, r, err)
		}
	})
}

// describe tells of a panic without its text, which may hold anything; the Go
// run time's own panics hold no text of strangers but an index or a type.
func describe(v any) string {
	if e, ok := v.(runtime.Error); ok {
		return e.Error()
	}
	return fmt.Sprintf("%T", v)
}

// deadlines bounds, from now, the reading of the body and the writing of the
// answer; zero is no bound. A body that the call leaves unread needs a bound as
// well, because the server drains it; but nothing that waits may have one: the
// server watches the connection meanwhile, and would take it for the caller's
// leaving. Writers without deadlines, as in tests, are left as they are.
func (c *call) deadlines(read, write time.Duration) {
	rc := http.NewResponseController(c.ResponseWriter)
	var at time.Time
	if read > 0 {
		at = time.Now().Add(read)
	}
	_ = rc.SetReadDeadline(at)
	_ = rc.SetWriteDeadline(time.Now().Add(write))
}

// logCall writes one line for a call. The path stands there as its pattern, the
// query not at all: both may hold what a stranger put there.
func (a *API) logCall(ctx context.Context, c *call, r *http.Request, path string, took time.Duration) {
	level := slog.LevelInfo
	if path == "/healthz" || path == "/readyz" {
		level = slog.LevelDebug
	}
	if c.fault != nil {
		level = slog.LevelError
	}
	if !a.Log.Enabled(ctx, level) {
		return
	}
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote = ""
	}
	attrs := []slog.Attr{
		slog.String("call", c.id), slog.String("method", known(r.Method)), slog.String("route", path),
		slog.Int("status", c.status), slog.Int64("bytes", c.bytes), slog.Duration("took", took), slog.String("remote", remote),
	}
	if c.account != "" {
		attrs = append(attrs, slog.String("account", c.account))
	}
	if c.request != "" {
		attrs = append(attrs, slog.String("request", c.request))
	}
	if c.fault != nil {
		attrs = append(attrs, slog.String("error", c.fault.Error()))
	}
	a.Log.LogAttrs(ctx, level, "call answered", attrs...)
}

// known keeps a stranger's invented method out of the log.
func known(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return method
	}
	return "other"
}

// writeJSON answers with v. It encodes before it writes, so that what cannot be
// encoded is told as a problem and not as half an answer.
func writeJSON(c *call, status int, v any) error {
	return writeAs(c, "application/json", status, v)
}

func writeAs(c *call, kind string, status int, v any) error {
	b, err := json.Marshal(v, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	writeBytes(c, kind, status, b)
	return nil
}

// writeBytes answers with b. A caller who is gone cannot be told anything, so
// the error of the write is not one.
func writeBytes(c *call, kind string, status int, b []byte) {
	c.Header().Set("Content-Type", kind)
	c.WriteHeader(status)
	_, _ = c.Write(b)
}
