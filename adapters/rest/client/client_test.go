package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const canary = "CANARY-TOKEN"

// serve starts a server that answers as f does, and a client of it that loses
// no time.
func serve(t *testing.T, f http.HandlerFunc, adjust ...func(*Config)) *Client {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	config := Config{URL: s.URL, Token: func(context.Context) (string, error) { return canary, nil },
		MinDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond, Patience: 5 * time.Second}
	for _, a := range adjust {
		a(&config)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func answer(w http.ResponseWriter, status int, kind string, body any) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func TestNew(t *testing.T) {
	t.Parallel()
	token := func(context.Context) (string, error) { return canary, nil }
	for _, tc := range []struct {
		c  Config
		ok bool
	}{
		{Config{URL: "https://cs.example", Token: token}, true},
		{Config{URL: "https://cs.example/behind/", Token: token}, true},
		{Config{URL: "http://127.0.0.1:8080", Token: token}, true},
		{Config{URL: "http://[::1]:8080", Token: token}, true},
		{Config{URL: "http://localhost", Token: token}, true},
		{Config{URL: "http://cs.internal", Token: token, AllowHTTP: true}, true},
		{Config{URL: "http://cs.internal", Token: token}, false},
		{Config{URL: "http://127.0.0.1.example.com", Token: token}, false},
		{Config{URL: "https://cs.example"}, false},
		{Config{URL: "", Token: token}, false},
		{Config{URL: "cs.example", Token: token}, false},
		{Config{URL: "ftp://cs.example", Token: token}, false},
		{Config{URL: "https://user:" + canary + "@cs.example", Token: token}, false},
		{Config{URL: "https://cs.example?x=1", Token: token}, false},
		{Config{URL: "https://cs.example/%zz" + canary, Token: token}, false},
	} {
		_, err := New(tc.c)
		if tc.ok != (err == nil) || err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", tc.c.URL, err)
		}
	}
}

func TestCallsCarryWhatTheyMust(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	var keys []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if got, want := r.Header.Get("Authorization"), fmt.Sprintf("Bearer fresh-%d", len(keys)+1); got != want {
			t.Errorf("token %q, want %q", got, want)
		}
		if r.URL.Path != "/behind/v1/requests" || r.Header.Get("Content-Type") != "application/json" ||
			string(body) != `{"action":"deploy","resource":"","ttl":"1m30s","reason":"","context":{}}` {
			t.Errorf("%s %s %s", r.URL, r.Header, body)
		}
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		if len(keys) < 3 {
			answer(w, 503, "text/html", "later")
			return
		}
		answer(w, 201, "application/json", Request{ID: "r1", State: Approved})
	}, func(config *Config) {
		config.URL += "/behind/"
		config.Token = func(context.Context) (string, error) { return fmt.Sprintf("fresh-%d", n.Add(1)), nil }
	})
	if r, err := c.Submit(t.Context(), Ask{Action: "deploy", TTL: Duration(90 * time.Second)}); err != nil || r.ID != "r1" {
		t.Fatalf("%+v, %v", r, err)
	}
	if len(keys) != 3 || keys[0] != keys[1] || keys[1] != keys[2] || len(keys[0]) < 20 {
		t.Errorf("keys %q", keys)
	}
}

func TestErrorsOfTheServer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		kind   string
		body   any
		want   Problem
	}{
		"problem": {403, "application/problem+json", map[string]any{"type": Denied, "title": "Denied by policy", "status": 999, "request_id": "r1", "code": "ABC123", "reasons": []string{"no"}},
			Problem{Type: Denied, Title: "Denied by policy", Status: 403, RequestID: "r1", Code: "ABC123", Reasons: []string{"no"}}},
		"about:blank": {404, "application/problem+json", map[string]any{"type": "about:blank", "title": "Gone"}, Problem{Title: "Gone", Status: 404}},
		"a proxy's":   {404, "text/html", "<html>", Problem{Title: "Not Found", Status: 404}},
		"OAuth":       {400, "application/json", map[string]any{"error": "invalid_request", "error_description": "no token"}, Problem{Title: "invalid_request", Detail: "no token", Status: 400}},
		"an echo":     {401, "application/problem+json", map[string]any{"title": "No", "detail": "your token is " + canary}, Problem{Title: "No", Detail: "your token is [redacted]", Status: 401}},
		"a redirect": {302, "text/html", "", Problem{Title: "Found", Status: 302,
			Detail: "The server redirects, which is not followed: put its final address into the configuration."}},
	} {
		var calls atomic.Int64
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.Header().Set("Location", "https://evil.example/")
			answer(w, tc.status, tc.kind, tc.body)
		})
		_, err := c.Wait(t.Context(), "r1")
		var p *Problem
		if !errors.As(err, &p) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if fmt.Sprintf("%+v", *p) != fmt.Sprintf("%+v", tc.want) || calls.Load() != 1 {
			t.Errorf("%s: %d calls: %+v, want %+v", name, calls.Load(), *p, tc.want)
		}
		if strings.Contains(fmt.Sprintf("%v %+v", err, *p), canary) {
			t.Errorf("%s: the error holds the token: %v", name, err)
		}
	}
}

// Retry-After is heeded, and what the server said is told when patience ends.
func TestRetryAfterAndPatience(t *testing.T) {
	t.Parallel()
	var first atomic.Int64
	var waits []time.Duration
	limited := map[string]any{"type": RateLimited, "title": "Too many calls"}
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if first.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
		}
		answer(w, 429, "application/problem+json", limited)
	}, func(config *Config) {
		config.Patience = 1200 * time.Millisecond
		config.OnRetry = func(_ error, next time.Duration) { waits = append(waits, next) }
	})
	_, err := c.Get(t.Context(), "r1")
	if !IsProblem(err, RateLimited) || len(waits) < 3 || waits[0] != time.Second || waits[1] > 10*time.Millisecond {
		t.Errorf("%v after %v", err, waits)
	}
	for value, want := range map[string]time.Duration{"": 0, "0": 0, "-1": 0, "x": 0, "7": 7 * time.Second, "99999999": maxRetryAfter,
		"Fri, 01 Jan 2100 00:00:00 GMT": maxRetryAfter, "Fri, 01 Jan 2010 00:00:00 GMT": 0} {
		if got := retryAfter(http.Header{"Retry-After": {value}}); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// A wait that ends with its context says so, and what stood in its way.
func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) })
	_, err := c.Wait(ctx, "r1")
	var p *Problem
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &p) || p.Status != 502 {
		t.Errorf("outage: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	pending := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, "application/json", Request{ID: "r1", State: Pending, Version: 1})
	})
	if _, err = pending.Wait(ctx, "r1"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnreachable) {
		t.Errorf("pending: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = c.Wait(gone, "r1"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A server (or a proxy) that answers polls at once is not called in a tight loop,
// nor is that an error to tell of; polls that last are repeated at once.
func TestPollsThatEndEarly(t *testing.T) {
	t.Parallel()
	var calls, told atomic.Int64
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "after=1&wait=25s" {
			t.Errorf("query %q", r.URL.RawQuery)
		}
		version := uint64(1)
		if calls.Add(1) == 4 {
			version = 2
		} else {
			w.Header().Set("Retry-After", "0")
		}
		answer(w, 200, "application/json", Request{ID: "r1", State: Pending, Version: version})
	}, func(config *Config) {
		config.MinDelay, config.MaxDelay = 40*time.Millisecond, 40*time.Millisecond
		config.OnRetry = func(error, time.Duration) { told.Add(1) }
	})
	start := time.Now()
	r, err := c.Changed(t.Context(), "r1", 1)
	if took := time.Since(start); err != nil || r.Version != 2 || calls.Load() != 4 || took < 50*time.Millisecond || told.Load() != 0 {
		t.Errorf("%+v, %v: %d calls in %s, told %d", r, err, calls.Load(), took, told.Load())
	}
}

// An error of the token's source, and a certificate that does not verify, are
// not mended by trying again.
func TestFinalErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("no key file")
	c := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("called without a token") },
		func(config *Config) { config.Token = func(context.Context) (string, error) { return "", broken } })
	if _, err := c.Wait(t.Context(), "r1"); !errors.Is(err, broken) {
		t.Errorf("token: %v", err)
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("called without trust") }))
	t.Cleanup(s.Close)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	c, err := New(Config{URL: s.URL, Token: func(context.Context) (string, error) { return canary, nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(t.Context(), "r1"); !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), canary) {
		t.Errorf("certificate: %v", err)
	}
	if c, err = New(Config{URL: s.URL, HTTPClient: s.Client(), Token: func(context.Context) (string, error) { return "", broken }}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(t.Context(), "r1"); !errors.Is(err, broken) {
		t.Errorf("trusted: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	c, err := New(Config{URL: s.URL, Token: func(context.Context) (string, error) { return canary, nil }, MinDelay: time.Millisecond, Patience: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"submit": func() error { _, err := c.Submit(t.Context(), Ask{}); return err },
		"redeem": func() error { _, err := c.Redeem(t.Context(), "r1"); return err },
		"cancel": func() error { _, err := c.Cancel(t.Context(), "r1"); return err },
		"revoke": func() error { return c.Revoke(t.Context(), canary) },
	} {
		if err := call(); !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Connections that are refused use up no issue; answers that say that nothing
// was done neither.
func TestRedeemCountsWhatMayHaveHappened(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		kind  string // of the 503
		calls int64
		want  error
	}{"may have happened": {OutcomeUnknown, 3, ErrLost}, "a proxy's": {"", 3, ErrLost}, "did not happen": {problemType + "unavailable", 7, nil}} {
		var calls atomic.Int64
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if calls.Add(1) < 7 {
				answer(w, 503, "application/problem+json", map[string]any{"type": tc.kind, "title": "Not now"})
				return
			}
			answer(w, 200, "application/json", map[string]any{"token": canary})
		})
		cred, err := c.Redeem(t.Context(), "r1")
		if !errors.Is(err, tc.want) || calls.Load() != tc.calls || (tc.want == nil) != (cred.Token.Reveal() == canary) {
			t.Errorf("%s: %v after %d calls", name, err, calls.Load())
		}
	}
}

// A request's id cannot lead to another path.
func TestIDsStayInThePath(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{"req-1": "/v1/requests/req-1", "": "/v1/requests/-", "a/b?c#d": "/v1/requests/a%2Fb%3Fc%23d", "ü": "/v1/requests/%C3%BC"} {
		if got := at(id, ""); got != want {
			t.Errorf("%q: %s, want %s", id, got, want)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	cred := Credential{Token: canary}
	encoded, err := json.Marshal(cred)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("redeemed", "credential", cred, "token", cred.Token)
	all := fmt.Sprintf("%v %+v %#v %s %q", cred, cred, cred, cred.Token, cred.Token) + string(encoded) + log.String()
	if strings.Contains(all, canary) || !strings.Contains(all, redacted) || cred.Token.Reveal() != canary {
		t.Error(all)
	}
}
