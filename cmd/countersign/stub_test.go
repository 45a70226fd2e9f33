package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// stubSecret is the credential that the stub issues: a canary that may stand
// where it was asked for and nowhere else.
const stubSecret = "credential-canary.7Q9x.signature"

// stub answers as the machines' API does. The first segment of the path names
// how a request goes: scripts choose it with --server. It holds every caller to
// one rule of its own: no token is used twice.
type stub struct {
	*httptest.Server
	folder string // where the newest ask is written to, as ask.json

	mu    sync.Mutex
	used  map[string]bool
	calls map[string]int // by story and call
	keys  []string       // idempotency keys
	polls chan struct{}  // gets a value for each poll, if it has room
}

func newStub(t testing.TB, folder string) *stub {
	t.Helper()
	s := &stub{folder: folder, used: map[string]bool{}, calls: map[string]int{}, polls: make(chan struct{}, 64)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{story}/v1/requests", s.submit)
	mux.HandleFunc("GET /{story}/v1/requests/{id}", s.get)
	mux.HandleFunc("POST /{story}/v1/requests/{id}/credential", s.redeem)
	mux.HandleFunc("POST /{story}/v1/requests/{id}/cancel", s.cancel)
	mux.HandleFunc("GET /oidc", s.oidc)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	s.Server = httptest.NewUnstartedServer(mux)
	s.Start() // once its address can be read
	t.Cleanup(s.Close)
	return s
}

// stories are what becomes of a request, by the versions that polls see. The
// last one stays.
var stories = map[string][]map[string]any{
	"approve": {pendingAt(0), pendingAt(1), approvedBy("Ana Lopes")},
	"allow":   {approvedBy("policy")},
	"person":  {pendingAt(0), ended("denied", "denied_by_person", "Ana Lopes", "not on a Friday")},
	"hostile": {pendingAt(0), ended("denied", "denied_by_person", "Eve\x1b[2J", "no\n::set-env name=PATH::/evil\x1b]0;x\x07 \u202eoffline")},
	"expire":  {pendingAt(0), ended("expired", "expired", "the clock", "")},
	"nobody":  {pendingAt(0), ended("expired", "undeliverable", "the clock", "")},
	"cancel":  {pendingAt(0), ended("cancelled", "cancelled", "the machine that asked", "")},
	"revoke":  {pendingAt(0), ended("revoked", "revoked", "Ana Lopes", "")},
	"over":    {ended("ended", "ended", "the clock", "unused")},
	"pending": {pendingAt(0)},
	"lockout": {pendingAt(0)},
	"flaky":   {pendingAt(0), approvedBy("Ana Lopes")},
	"refuse":  {approvedBy("Ana Lopes")},
	"late":    {approvedBy("Ana Lopes"), ended("revoked", "revoked", "Ana Lopes", "")},
}

func pendingAt(approved int) map[string]any {
	return map[string]any{"state": "pending", "stages": []any{map[string]any{"name": "release", "state": "open", "quorum": 2, "approved": approved}}}
}

func approvedBy(who string) map[string]any { return ended("approved", "approved", who, "") }

func ended(state, kind, by, reason string) map[string]any {
	return map[string]any{"state": state, "outcome": map[string]any{"kind": kind, "by": by, "reason": reason, "at": "2026-11-20T12:00:00Z"}}
}

// view is version n (from 1) of a story's request.
func (s *stub) view(story string, n int) map[string]any {
	versions := stories[story]
	n = min(n, len(versions))
	v := map[string]any{
		"id": "req_1", "code": "K7M-2QX", "digest": "00ff", "version": n, "action": "deploy", "resource": "payments", "scopes": []string{"deploy:payments"},
		"audience": "https://deploy.example.com", "ttl": "10m0s", "decision": map[string]any{"effect": "review", "reasons": []string{"production needs a person"}, "revision": "r1"},
		"stages": []any{}, "reviews": []any{}, "created_at": "2026-11-20T11:59:00Z", "expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
	}
	for name, value := range versions[n-1] {
		v[name] = value
	}
	return v
}

// enter counts a call and refuses one without a fresh token.
func (s *stub) enter(w http.ResponseWriter, r *http.Request, call string) (n int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer || s.used[token] {
		problem(w, 401, "invalid-token", map[string]any{"detail": "no token, or one that was used before"})
		return 0, false
	}
	s.used[token] = true
	key := r.PathValue("story") + " " + call
	s.calls[key]++
	return s.calls[key], true
}

func (s *stub) submit(w http.ResponseWriter, r *http.Request) {
	n, ok := s.enter(w, r, "submit")
	if !ok {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.keys = append(s.keys, r.Header.Get("Idempotency-Key"))
	if err := os.WriteFile(filepath.Join(s.folder, "ask.json"), body, 0o600); err != nil {
		panic(err)
	}
	s.mu.Unlock()
	switch story := r.PathValue("story"); {
	case story == "deny":
		problem(w, 403, "denied", map[string]any{"title": "The policy denies this", "request_id": "req_1", "code": "K7M-2QX", "reasons": []string{"drop-database is not allowed"}})
	case story == "invalid":
		problem(w, 422, "invalid-request", map[string]any{"title": "The request is not valid", "errors": []any{map[string]any{"pointer": "/action", "detail": "must begin with a-z"}}})
	case story == "stranger":
		problem(w, 401, "invalid-token", map[string]any{"title": "The token is not valid", "detail": "no service account matches"})
	case story == "flaky" && n == 1:
		problem(w, 503, "unavailable", nil)
	case stories[story] == nil:
		http.NotFound(w, r)
	default:
		v := s.view(story, 1)
		if v["state"] != "pending" {
			w.WriteHeader(http.StatusCreated)
		} else {
			w.WriteHeader(http.StatusAccepted)
		}
		reply(w, v)
	}
}

func (s *stub) get(w http.ResponseWriter, r *http.Request) {
	n, ok := s.enter(w, r, "get")
	if !ok {
		return
	}
	select {
	case s.polls <- struct{}{}:
	default:
	}
	story := r.PathValue("story")
	if story == "lockout" {
		problem(w, 401, "invalid-token", map[string]any{"title": "The token is not valid", "detail": "the key was withdrawn"})
		return
	}
	if story == "flaky" && n == 1 {
		problem(w, 502, "", nil)
		return
	}
	after := 0
	if text := r.FormValue("after"); text != "" {
		if _, err := fmt.Sscan(text, &after); err != nil {
			problem(w, 400, "invalid-request", nil)
			return
		}
	}
	if after >= len(stories[story]) { // a poll that nothing ends
		<-r.Context().Done()
		return
	}
	if story == "late" || (r.FormValue("after") == "" && story != "pending") {
		after = len(stories[story]) - 1
	}
	reply(w, s.view(story, after+1))
}

func (s *stub) redeem(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.enter(w, r, "redeem"); !ok {
		return
	}
	switch r.PathValue("story") {
	case "refuse":
		problem(w, 403, "refused", map[string]any{"title": "The policy refuses this by now", "reasons": []string{"a freeze began"}})
	case "late":
		problem(w, 400, "invalid-grant", map[string]any{"title": "The grant is not valid"})
	default:
		reply(w, map[string]any{
			"token": stubSecret, "token_type": "Bearer", "expires_at": "2026-11-20T12:10:00Z", "scopes": []string{"deploy:payments"}, "audience": "https://deploy.example.com",
			"receipt": map[string]any{"leaf": base64.StdEncoding.EncodeToString([]byte(`{"v":1}`)), "proof": base64.StdEncoding.EncodeToString([]byte("proof\n"))},
		})
	}
}

func (s *stub) cancel(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.enter(w, r, "cancel"); ok {
		reply(w, s.view("cancel", 2))
	}
}

// oidc is the token address of a GitHub Actions runner.
func (s *stub) oidc(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.calls["oidc"]++
	n := s.calls["oidc"]
	s.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer runner-canary" || !strings.HasPrefix(r.FormValue("audience"), s.URL) || r.FormValue("api-version") != "2.0" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	reply(w, map[string]any{"value": fmt.Sprintf("job-token-%d", n)})
}

func reply(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func problem(w http.ResponseWriter, status int, name string, more map[string]any) {
	p := map[string]any{"status": status, "title": http.StatusText(status)}
	if name != "" {
		p["type"] = "urn:countersign:problem:" + name
	}
	for k, v := range more {
		p[k] = v
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	reply(w, p)
}
