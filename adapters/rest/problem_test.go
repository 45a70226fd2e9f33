package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/countersign/countersign/bot"
	"github.com/countersign/countersign/store"
)

// Every error of the heart and the store, as the machine sees it.
func TestProblems(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err    error
		status int
		name   string
		retry  string
	}{
		{bot.ErrNotFound, 404, "not-found", ""},
		{fmt.Errorf("more: %w", bot.ErrNotFound), 404, "not-found", ""},
		{bot.ErrKeyMismatch, 422, "key-mismatch", ""},
		{store.ErrReplayed, 401, "token-replayed", ""},
		{bot.ErrPending, 409, "pending", ""},
		{bot.ErrInvalidGrant, 409, "invalid-grant", ""},
		{bot.ErrNoCredential, 409, "no-credential", ""},
		{bot.ErrState, 409, "wrong-state", ""},
		{&bot.InvalidError{Faults: []bot.Fault{{Pointer: "/ttl", Detail: "must be 1s to 15m"}}}, 422, "invalid-request", ""},
		{&bot.RefusedError{Reasons: []string{"an incident is open"}}, 403, "refused", ""},
		{fmt.Errorf("commit: %w", store.ErrUnknown), 503, "outcome-unknown", "1"},
		{store.ErrReadOnly, 503, "read-only", "30"},
		{bot.ErrUnavailable, 503, "unavailable", "2"},
		{context.DeadlineExceeded, 503, "unavailable", "2"},
		{errors.New("disk on fire at /var/lib"), 500, "internal", ""},
		{store.ErrNotFound, 500, "internal", ""},
	} {
		d := open(t)
		id := d.submit("allow")
		d.broker.err = tc.err
		path, body := "/v1/requests/"+id+"/credential", ""
		if tc.status == 422 {
			path, body = "/v1/requests", ask("allow")
		}
		a := d.call("POST", path, body)
		p := a.problem(t)
		if a.StatusCode != tc.status || p.Status != tc.status || p.Type != typePrefix+tc.name || p.Title == "" || p.Detail == "" ||
			p.Instance != "urn:countersign:call:call-1" || a.Header.Get("Retry-After") != tc.retry || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v: %s: Retry-After %q: %+v", tc.err, a.Status, a.Header.Get("Retry-After"), p)
		}
		logged := strings.Contains(d.log.String(), `"level":"ERROR"`)
		if logged != (tc.status >= 500) {
			t.Errorf("%v: logged as an error: %t", tc.err, logged)
		}
		if tc.name == "internal" && strings.Contains(a.body, tc.err.Error()) {
			t.Errorf("the answer tells of the inside: %s", a.body)
		}
	}
}

func TestProblemsTellReasonsAndFaults(t *testing.T) {
	t.Parallel()
	d := open(t)
	id := d.submit("allow")
	d.broker.err = &bot.RefusedError{Reasons: []string{"an incident is open", "a freeze"}}
	p := d.call("POST", "/v1/requests/"+id+"/credential", "").problem(t)
	if len(p.Reasons) != 2 || p.Reasons[0] != "an incident is open" {
		t.Errorf("%+v", p)
	}
	d.broker.err = &bot.InvalidError{Faults: []bot.Fault{{Pointer: "/ttl", Detail: "too long"}, {Pointer: "/reason", Detail: "bad \xff text"}}}
	p = d.call("POST", "/v1/requests", ask("allow")).problem(t)
	if len(p.Errors) != 2 || p.Errors[0].Pointer != "/ttl" || p.Errors[1].Detail != "bad \ufffd text" {
		t.Errorf("%+v", p)
	}
}

// A submission finds no request missing: what is missing is the account.
func TestUnknownAccount(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.broker.err = fmt.Errorf("%w: the service account is not configured", bot.ErrNotFound)
	if a := d.call("POST", "/v1/requests", ask("allow")); a.StatusCode != 403 || a.problem(t).Type != typePrefix+"unknown-account" {
		t.Errorf("%s: %s", a.Status, a.body)
	}
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		header    string
		status    int
		name      string
		challenge string
	}{
		"none":        {"", 401, "unauthenticated", `Bearer realm="countersign"`},
		"basic":       {"Basic eDp5", 401, "unauthenticated", `Bearer realm="countersign"`},
		"bare":        {"Bearer ", 401, "unauthenticated", `Bearer realm="countersign"`},
		"no scheme":   {canaryToken + ".1.j", 401, "unauthenticated", `Bearer realm="countersign"`},
		"forged":      {"Bearer forged", 401, "invalid-token", `Bearer realm="countersign", error="invalid_token", error_description="token refused: the 'signature' does not verify '"`},
		"keys down":   {"Bearer " + canaryToken + ".down", 503, "keys-unavailable", ""},
		"good":        {"Bearer " + canaryToken + ".1.j1", 202, "", ""},
		"lower case":  {"bearer " + canaryToken + ".1.j1", 202, "", ""},
		"many spaces": {"Bearer   " + canaryToken + ".1.j1", 202, "", ""},
	} {
		d := open(t)
		a := d.call("POST", "/v1/requests", ask("deploy"), "Authorization", tc.header)
		if a.StatusCode != tc.status || a.Header.Get("WWW-Authenticate") != tc.challenge {
			t.Errorf("%s: %s, %q", name, a.Status, a.Header.Get("WWW-Authenticate"))
		}
		if tc.name != "" && a.problem(t).Type != typePrefix+tc.name {
			t.Errorf("%s: %s", name, a.body)
		}
	}
}

func TestOtherMethodsAndPaths(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, tc := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/v1/requests", 405, "POST"},
		{"DELETE", "/v1/requests/req-1", 405, "GET"},
		{"GET", "/v1/requests/req-1/credential", 405, "POST"},
		{"POST", "/openapi.json", 405, "GET"},
		{"GET", "/v1/nothing", 404, ""},
		{"POST", "/v1/requests/req-1/approve", 404, ""},
		{"HEAD", "/healthz", 200, ""},
	} {
		a := d.call(tc.method, tc.path, "")
		if a.StatusCode != tc.status || a.Header.Get("Allow") != tc.allow {
			t.Errorf("%s %s: %s, Allow %q", tc.method, tc.path, a.Status, a.Header.Get("Allow"))
		}
	}
}

// A panic is a 500 that tells nothing of itself; the server lives on.
func TestPanics(t *testing.T) {
	t.Parallel()
	d := open(t)
	id := d.submit("deploy")
	d.broker.boom = "the token is " + canaryToken
	a := d.call("GET", "/v1/requests/"+id, "")
	if p := a.problem(t); a.StatusCode != 500 || p.Type != typePrefix+"internal" || strings.Contains(a.body, canaryToken) {
		t.Errorf("%s: %s", a.Status, a.body)
	}
	if log := d.log.String(); !strings.Contains(log, "panic while answering") || !strings.Contains(log, "fake_test.go") || strings.Contains(log, canaryToken) {
		t.Errorf("log: %s", log)
	}
	d.broker.boom = nil
	if a := d.call("GET", "/v1/requests/"+id, ""); a.StatusCode != 200 {
		t.Errorf("afterwards: %s", a.Status)
	}
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	d := open(t)
	id := d.submit("deploy")
	d.call("GET", "/v1/requests/"+id+"?after=0", "")
	d.call("GET", "/v1/requests/"+id, "", "Authorization", "Bearer forged")
	lines := strings.Split(strings.TrimSpace(d.log.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("log: %v", lines)
	}
	for i, want := range []map[string]any{
		{"msg": "call answered", "level": "INFO", "method": "POST", "route": "/v1/requests", "status": 202.0, "account": "deployer", "request": id, "call": "call-1"},
		{"msg": "call answered", "level": "INFO", "method": "GET", "route": "/v1/requests/{id}", "status": 200.0, "account": "deployer", "request": id, "remote": "127.0.0.1"},
		{"msg": "call answered", "level": "INFO", "method": "GET", "route": "/v1/requests/{id}", "status": 401.0, "account": nil, "request": nil},
	} {
		var got map[string]any
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatal(err)
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("line %d: %s is %v, want %v", i, k, got[k], v)
			}
		}
	}
}

// Whatever goes wrong, no token, secret, credential, query or body is logged,
// and no answer repeats what the caller sent as a secret.
func TestCanaries(t *testing.T) {
	t.Parallel()
	d := open(t)
	id := d.submit("allow")
	cred := d.call("POST", "/v1/requests/"+id+"/credential", "")
	if !strings.Contains(cred.body, canaryMinted) {
		t.Fatalf("no credential: %s", cred.body)
	}
	form := []string{"Content-Type", "application/x-www-form-urlencoded", "Authorization", "Bearer " + canarySecret + "-db"}
	var answers []answer
	for _, err := range []error{nil, errors.New("broken"), bot.ErrUnavailable, store.ErrReplayed} {
		d.broker.err = err
		answers = append(answers,
			d.call("POST", "/v1/introspect", "token="+canaryMinted+"."+id+".0", form...),
			d.call("POST", "/v1/introspect?token="+canaryMinted, "", form...),
			d.call("POST", "/v1/introspect", "token="+canaryMinted, "Authorization", "Basic "+canarySecret),
			d.call("POST", "/v1/revoke", "token="+canaryMinted+"."+id+".0", form[:2]...),
			d.call("GET", "/v1/requests/"+id+"?access_token="+canaryToken, ""),
			d.call("GET", "/v1/requests/"+canaryToken, ""),
			d.call("GET", "/v1/"+canaryToken, ""),
			d.call("POST", "/v1/requests", `{"`+canaryToken, "Authorization", "Bearer "+canaryToken),
			d.call("POST", "/v1/requests", ask("deploy"), "Idempotency-Key", canarySecret+" "),
			d.call("POST", "/v1/requests", strings.Replace(ask("deploy"), "release 7", canarySecret, 1)),
		)
	}
	for _, a := range answers {
		if a.StatusCode >= 300 && strings.Contains(a.body, "CANARY") {
			t.Errorf("the answer repeats a secret: %s: %s", a.Request.URL.Path, a.body)
		}
	}
	if strings.Contains(d.log.String(), "CANARY") {
		t.Errorf("log: %s", d.log.String())
	}
}

// A caller that has gone is no failure of ours.
func TestCallerGone(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.broker.err = context.Canceled
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "/v1/requests/req-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &call{}
	d.api.tell(c, req, context.Canceled)
	if c.status != statusGone || c.fault != nil {
		t.Errorf("status %d, fault %v", c.status, c.fault)
	}
	if a := d.call("GET", "/v1/requests/req-1", ""); a.StatusCode != 500 {
		t.Errorf("cancelled by something else: %s", a.Status)
	}
}
