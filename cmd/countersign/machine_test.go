package main

import (
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
)

// runner is a GitHub Actions runner's token address that answers as told.
func runner(t *testing.T, answer func(n int64, w http.ResponseWriter, r *http.Request)) (tokenSource, *atomic.Int64) {
	t.Helper()
	var calls atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(calls.Add(1), w, r) }))
	t.Cleanup(s.Close)
	env := map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": s.URL + "/t?api-version=2.0&ids=url-canary", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner-canary"}
	source, err := actionsToken(func(name string) string { return env[name] }, "https://countersign.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return source, &calls
}

func TestActionsToken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer func(n int64, w http.ResponseWriter, r *http.Request)
		want   string // the token, or a part of the error
		calls  int64
	}{
		"given": {func(_ int64, w http.ResponseWriter, r *http.Request) {
			if r.FormValue("audience") == "https://countersign.example.com" && r.FormValue("api-version") == "2.0" && r.Header.Get("Authorization") == "Bearer runner-canary" {
				_, _ = w.Write([]byte(`{"count": 1, "value": "token"}`))
			}
		}, "token", 1},
		"given after an outage": {func(n int64, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			_, _ = w.Write([]byte(`{"value": "token"}`))
		}, "token", 2},
		"refused": {func(_ int64, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, "403", 1},
		"empty":   {func(_ int64, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"value": ""}`)) }, "holds no token", 1},
		"no JSON": {func(_ int64, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`<html>answer-canary`)) }, "holds no token", 1},
		"sent elsewhere": {func(_ int64, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "307", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, calls := runner(t, test.answer)
			got, err := source(t.Context())
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, test.want) || (test.want == "token") != (err == nil) {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
			if strings.Contains(got, "canary") {
				t.Errorf("a secret stands in %q", got)
			}
			if calls.Load() != test.calls {
				t.Errorf("%d calls, want %d", calls.Load(), test.calls)
			}
		})
	}
}

func TestReadVersion(t *testing.T) {
	t.Parallel()
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"}, {Key: "vcs.time", Value: "2026-11-20T12:00:00Z"}, {Key: "vcs.modified", Value: "true"},
	}}
	v := readVersion(info, true)
	if got, want := v.String(), "countersign (devel) commit 0123456789ab (modified) go1.26.8"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	info.Main.Version, info.Settings = "v1.2.3", nil
	if got, want := readVersion(info, true).String(), "countersign v1.2.3 go1.26.8"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := readVersion(nil, false).Version; got != "unknown" {
		t.Errorf("without build information: %q", got)
	}
}
