package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/countersign/countersign/bot"
	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/audit"
	"github.com/countersign/countersign/store/bolt"
)

// logSource is the audit log, wherever it can be reached: through the running
// server, or in the database when no server runs.
type logSource interface {
	// query answers filters as in chat, newest first.
	query(ctx context.Context, filters string, limit int) (bot.AuditPage, error)
	// checkpoint returns the newest signed checkpoint.
	checkpoint(ctx context.Context) ([]byte, error)
	// entries yields the first size entries, in order.
	entries(ctx context.Context, size uint64) iter.Seq2[audit.Entry, error]
	Close() error
}

// openLog reaches the log of a configuration.
func (c *config) openLog(ctx context.Context) (logSource, error) {
	remote := newSocketLog(c.statePath(adminSocket))
	err := remote.alive(ctx)
	if err == nil {
		return remote, nil
	}
	if !errors.Is(err, errNoServer) {
		return nil, fmt.Errorf("the running server does not answer on %s: %w", c.statePath(adminSocket), err)
	}
	directory, err := c.directory()
	if err != nil {
		return nil, err
	}
	db, err := bolt.OpenReadOnly(c.statePath(databaseFile))
	switch {
	case errors.Is(err, bolt.ErrLocked):
		return nil, fmt.Errorf("%w: a server runs, but not on %s; run this as the server's user and with its configuration", err, c.statePath(adminSocket))
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no log yet: %s does not exist; is state in the configuration right?", c.statePath(databaseFile))
	case err != nil:
		return nil, err
	}
	return localLog{queries: &bot.Broker{Store: db, Directory: directory}, log: db, close: db.Close}, nil
}

// localLog is the log of a store in this process.
type localLog struct {
	queries interface {
		Audit(ctx context.Context, q bot.AuditQuery) (bot.AuditPage, error)
	}
	log interface {
		Log(ctx context.Context, from uint64, limit int, backwards bool) ([]store.Logged, error)
		Checkpoint(ctx context.Context) ([]byte, uint64, error)
	}
	close func() error
}

func (l localLog) Close() error { return l.close() }

func (l localLog) query(ctx context.Context, filters string, limit int) (bot.AuditPage, error) {
	q, err := bot.ParseAuditQuery(filters, time.Now())
	if err != nil {
		return bot.AuditPage{}, usageError("%w", err)
	}
	q.Limit = limit
	return l.queries.Audit(ctx, q)
}

func (l localLog) checkpoint(ctx context.Context) ([]byte, error) {
	note, _, err := l.log.Checkpoint(ctx)
	return note, err
}

func (l localLog) entries(ctx context.Context, size uint64) iter.Seq2[audit.Entry, error] {
	return func(yield func(audit.Entry, error) bool) {
		for next := uint64(0); next < size; {
			logged, err := l.log.Log(ctx, next, int(min(500, size-next)), false)
			if err != nil {
				yield(audit.Entry{}, err)
				return
			}
			if len(logged) == 0 {
				return // the reader counts
			}
			for _, e := range logged {
				if !yield(entryOf(e), nil) {
					return
				}
			}
			next += uint64(len(logged))
		}
	}
}

// entryOf is an entry as auditors get it.
func entryOf(l store.Logged) audit.Entry {
	e := audit.Entry{Seq: l.Seq, Leaf: l.Leaf}
	for name, text := range l.Private {
		if e.Side == nil {
			e.Side = map[string]audit.Opening{}
		}
		e.Side[name] = audit.Opening{Salt: l.Salts[name], Text: text}
	}
	return e
}

// errNoServer: nobody listens on the socket.
var errNoServer = errors.New("no server runs")

// socketLog asks a running server over its administration socket.
type socketLog struct{ http *http.Client }

func newSocketLog(path string) *socketLog {
	return &socketLog{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

func (s *socketLog) Close() error {
	s.http.CloseIdleConnections()
	return nil
}

// alive reports whether a server answers; errNoServer if nobody listens.
func (s *socketLog) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	body, err := s.get(ctx, "/alive", nil)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return errNoServer
	}
	if err != nil {
		return err
	}
	return body.Close()
}

// get returns the body of a good answer.
func (s *socketLog) get(ctx context.Context, path string, q url.Values) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: "admin", Path: path, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	res, err := s.http.Do(req)
	if err != nil {
		return nil, netCause(err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	err = errors.Join(err, res.Body.Close())
	if err != nil {
		return nil, err
	}
	message := string(bytes.TrimSpace(text))
	if res.StatusCode == http.StatusBadRequest {
		return nil, usageError("%s", message)
	}
	return nil, fmt.Errorf("the server says: %s", message)
}

func (s *socketLog) query(ctx context.Context, filters string, limit int) (page bot.AuditPage, err error) {
	body, err := s.get(ctx, "/audit", url.Values{"q": {filters}, "limit": {strconv.Itoa(limit)}})
	if err != nil {
		return page, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	return page, json.UnmarshalRead(body, &page)
}

func (s *socketLog) checkpoint(ctx context.Context) (note []byte, err error) {
	body, err := s.get(ctx, "/checkpoint", nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	return io.ReadAll(io.LimitReader(body, audit.MaxNote))
}

func (s *socketLog) entries(ctx context.Context, size uint64) iter.Seq2[audit.Entry, error] {
	return func(yield func(audit.Entry, error) bool) {
		body, err := s.get(ctx, "/entries", url.Values{"size": {strconv.FormatUint(size, 10)}})
		if err != nil {
			yield(audit.Entry{}, err)
			return
		}
		defer func() { _ = body.Close() }() // only read
		audit.ReadEntries(bufio.NewReader(body))(yield)
	}
}
