package rest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/countersign/countersign/bot"
)

// door is an API over fakes, served over loopback. Each answer that passes
// through call is held to openapi.json.
type door struct {
	t      *testing.T
	broker *fakeBroker
	api    *API
	server *httptest.Server
	log    *syncBuffer
	ready  []Problem
	jti    int
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func open(t *testing.T, adjust ...func(*Config)) *door {
	t.Helper()
	d := &door{t: t, broker: newFakeBroker(), log: &syncBuffer{}}
	c := Config{
		Broker: d.broker, Tokens: fakeTokens{}, Minter: fakeMinter{}, Issuer: "https://cs.example",
		Verifiers: []Verifier{
			{Name: "db", SecretSHA256: sha256.Sum256([]byte(canarySecret + "-db")), Audience: "https://db.example"},
			{Name: "other", SecretSHA256: sha256.Sum256([]byte(canarySecret + "-other")), Audience: "https://other.example"},
		},
		InvalidToken: errInvalid, KeysUnavailable: errKeys,
		Ready: func(context.Context) []Problem { return d.ready },
		Log:   slog.New(slog.NewJSONHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		NewID: func() string { return "call-1" },
	}
	for _, f := range adjust {
		f(&c)
	}
	api, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	d.api = api
	mux := http.NewServeMux()
	api.Mount(mux)
	d.server = httptest.NewServer(mux)
	t.Cleanup(d.server.Close)
	return d
}

// answer is an answer that has been read.
type answer struct {
	*http.Response
	body string
}

func (a answer) problem(t *testing.T) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("%s: no problem document: %v: %s", a.Status, err, a.body)
	}
	return p
}

func (a answer) view(t *testing.T) bot.View {
	t.Helper()
	var v bot.View
	if err := json.Unmarshal([]byte(a.body), &v, json.RejectUnknownMembers(true)); err != nil {
		t.Fatalf("%s: no request: %v: %s", a.Status, err, a.body)
	}
	return v
}

// token is a fresh one-time token of a run.
func (d *door) token(run string) string {
	d.jti++
	return fmt.Sprintf("%s.%s.jti%d", canaryToken, run, d.jti)
}

// call makes a call and checks its answer against openapi.json. Headers come in
// pairs; an empty value removes one.
func (d *door) call(method, path, body string, headers ...string) answer {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.server.URL+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.token("1"))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if req.Header.Del(headers[i]); headers[i+1] != "" {
			req.Header.Add(headers[i], headers[i+1])
		}
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	conform(d.t, req, res, b)
	return answer{res, string(b)}
}

// ask is a body that is right in every way.
func ask(action string) string {
	return `{"action":"` + action + `","resource":"payments","audience":"https://db.example","scopes":["db:write"],"ttl":"5m","reason":"release 7"}`
}

// submit asks for an action and returns the request's id.
func (d *door) submit(action string) string {
	d.t.Helper()
	a := d.call("POST", "/v1/requests", ask(action))
	if a.StatusCode >= 300 {
		d.t.Fatalf("submit %s: %s: %s", action, a.Status, a.body)
	}
	return a.view(d.t).ID
}
