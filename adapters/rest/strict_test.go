package rest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/countersign/countersign/bot"
)

func TestStrictBodies(t *testing.T) {
	t.Parallel()
	replace := func(from, to string) string { return strings.Replace(ask("deploy"), from, to, 1) }
	big := replace("release 7", strings.Repeat("x", maxBody))
	for name, tc := range map[string]struct {
		body    string
		headers []string
		status  int
		kind    string
		pointer string // of the first fault
	}{
		"as it should be":       {body: ask("deploy"), status: 202},
		"charset utf-8":         {body: ask("deploy"), headers: []string{"Content-Type", "application/json; charset=UTF-8"}, status: 202},
		"space around":          {body: " \n" + ask("deploy") + "\n", status: 202},
		"nearly 4 MiB":          {body: replace("release 7", strings.Repeat("x", maxBody-len(ask("deploy")))), status: 202},
		"null as a text":        {body: replace("release 7", "null"), status: 202},
		"duplicate member":      {body: replace(`"action"`, `"action":"read","action"`), status: 400, kind: "invalid-json", pointer: "/action"},
		"duplicate by escape":   {body: replace(`"action"`, `"action":"read","\u0061ction"`), status: 400, kind: "invalid-json", pointer: "/action"},
		"duplicate deep inside": {body: replace(`"ttl"`, `"context":{"labels":{"a":"1","a":"2"}},"ttl"`), status: 400, kind: "invalid-json", pointer: "/context/labels/a"},
		"case variant":          {body: replace(`"action"`, `"Action"`), status: 400, kind: "invalid-json", pointer: "/Action"},
		"unknown member":        {body: replace(`"action"`, `"force":true,"action"`), status: 400, kind: "invalid-json", pointer: "/force"},
		"unknown deep inside":   {body: replace(`"ttl"`, `"context":{"checks":[{"name":"a","status":"passed","ok":true}]},"ttl"`), status: 400, kind: "invalid-json", pointer: "/context/checks/0/ok"},
		"null":                  {body: replace(`["db:write"]`, `null`), status: 400, kind: "invalid-json", pointer: "/scopes"},
		"null in an array":      {body: replace(`"db:write"`, `null`), status: 400, kind: "invalid-json", pointer: "/scopes/0"},
		"null for all":          {body: `null`, status: 400, kind: "invalid-json"},
		"wrong kind":            {body: replace(`["db:write"]`, `"db:write"`), status: 400, kind: "invalid-json", pointer: "/scopes"},
		"ttl without unit":      {body: replace(`"5m"`, `"5"`), status: 400, kind: "invalid-json", pointer: "/ttl"},
		"ttl as a number":       {body: replace(`"5m"`, `300`), status: 400, kind: "invalid-json", pointer: "/ttl"},
		"bad UTF-8":             {body: replace("release", "rele\xffase"), status: 400, kind: "invalid-json", pointer: "/reason"},
		"lone surrogate":        {body: replace("release", `\ud800`), status: 400, kind: "invalid-json", pointer: "/reason"},
		"trailing data":         {body: ask("deploy") + ask("deploy"), status: 400, kind: "invalid-json"},
		"cut short":             {body: ask("deploy")[:40], status: 400, kind: "invalid-json"},
		"an array":              {body: "[" + ask("deploy") + "]", status: 400, kind: "invalid-json"},
		"byte order mark":       {body: "\ufeff" + ask("deploy"), status: 400, kind: "invalid-json"},
		"empty":                 {headers: []string{"Content-Type", "application/json"}, status: 400, kind: "invalid-json"},
		"meaning":               {body: replace("deploy", ""), status: 422, kind: "invalid-request", pointer: "/action"},
		"over 4 MiB":            {body: big, status: 413, kind: "too-large"},
		"no content type":       {body: ask("deploy"), headers: []string{"Content-Type", ""}, status: 415, kind: "wrong-content-type"},
		"form":                  {body: ask("deploy"), headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, kind: "wrong-content-type"},
		"another charset":       {body: ask("deploy"), headers: []string{"Content-Type", "application/json; charset=utf-16"}, status: 415, kind: "wrong-content-type"},
		"compressed":            {body: ask("deploy"), headers: []string{"Content-Encoding", "gzip"}, status: 415, kind: "wrong-content-type"},
		"key with a space":      {body: ask("deploy"), headers: []string{"Idempotency-Key", "a b"}, status: 400, kind: "invalid-key"},
		"key of 255":            {body: ask("deploy"), headers: []string{"Idempotency-Key", strings.Repeat("k", 255)}, status: 202},
		"key of 256":            {body: ask("deploy"), headers: []string{"Idempotency-Key", strings.Repeat("k", 256)}, status: 400, kind: "invalid-key"},
		"key not ASCII":         {body: ask("deploy"), headers: []string{"Idempotency-Key", "é"}, status: 400, kind: "invalid-key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := open(t).call("POST", "/v1/requests", tc.body, tc.headers...)
			if a.StatusCode != tc.status {
				t.Fatalf("%s: %s", a.Status, a.body)
			}
			if tc.kind == "" {
				return
			}
			p := a.problem(t)
			if p.Type != typePrefix+tc.kind || p.Detail == "" || a.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%+v, headers %v", p, a.Header)
			}
			if tc.pointer != "" && (len(p.Errors) != 1 || p.Errors[0].Pointer != tc.pointer || p.Errors[0].Detail == "") {
				t.Errorf("faults %+v, want one at %s", p.Errors, tc.pointer)
			}
		})
	}
}

func TestTwoKeysOrTokensAreRefused(t *testing.T) {
	t.Parallel()
	d := open(t)
	for header, want := range map[string]int{"Idempotency-Key": 400, "Authorization": 401} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", d.server.URL+"/v1/requests", strings.NewReader(ask("deploy")))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+d.token("1"))
		req.Header.Add(header, "Bearer "+d.token("1"))
		req.Header.Add(header, "Bearer "+d.token("1"))
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s twice: %s", header, res.Status)
		}
	}
}

func TestStrictQueries(t *testing.T) {
	t.Parallel()
	d := open(t)
	id := d.submit("deploy")
	for query, want := range map[string]int{
		"": 200, "?after=0": 200, "?wait=0s": 200, "?after=0&wait=30s": 200, "?after=1&wait=1ms": 200,
		"?wait=31s": 400, "?wait=-1s": 400, "?wait=5": 400, "?after=-1": 400, "?after=x": 400, "?after=1&after=2": 400,
		"?After=1": 400, "?token=x": 400, "?wait=1s;after=1": 400, "?wait=%zz": 400, "?after=": 400, "?wait=": 400,
	} {
		a := d.call("GET", "/v1/requests/"+id+query, "")
		if a.StatusCode != want {
			t.Errorf("%q: %s: %s", query, a.Status, a.body)
		}
	}
	for path, want := range map[string]int{"/v1/requests?x=1": 400, "/v1/requests": 202} {
		if a := d.call("POST", path, ask("deploy")); a.StatusCode != want {
			t.Errorf("POST %s: %s", path, a.Status)
		}
	}
	for path, want := range map[string]int{"/cancel?x=1": 400, "/cancel": 200} {
		if a := d.call("POST", "/v1/requests/"+id+path, ""); a.StatusCode != want {
			t.Errorf("POST %s: %s", path, a.Status)
		}
	}
}

func TestCallsWithoutBody(t *testing.T) {
	t.Parallel()
	d := open(t)
	for body, want := range map[string]int{"": 200, "{}": 200, `{"scopes":["more"]}`: 400, "[]": 400, strings.Repeat(" ", maxForm+1): 413} {
		id := d.submit("deploy")
		if a := d.call("POST", "/v1/requests/"+id+"/cancel", body); a.StatusCode != want {
			t.Errorf("%.20q: %s: %s", body, a.Status, a.body)
		}
	}
}

// raw speaks HTTP by hand, to do what no client library does.
func (d *door) raw(t *testing.T) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", d.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// Of a stranger's body nothing is read: the answer comes although no byte of it
// was sent, and without 100 Continue. A machine is told to go on, unless the
// body that it announces is too large.
func TestTokenIsVerifiedBeforeTheBody(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, tc := range []struct {
		token  string
		length int
		want   string
	}{{"nonsense", 4_000_000, "HTTP/1.1 401 "}, {d.token("1"), 4_000_000, "HTTP/1.1 100 "}, {d.token("1"), 5_000_000, "HTTP/1.1 413 "}} {
		c := d.raw(t)
		_, err := fmt.Fprintf(c, "POST /v1/requests HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", tc.token, tc.length)
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, tc.want) {
			t.Errorf("%s: %q, %v", tc.want, line, err)
		}
	}
}

// A body of unknown length is counted as it comes.
func TestChunkedBodies(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, tc := range []struct{ reason, want int }{{1000, 202}, {maxBody, 413}} {
		body := strings.Replace(ask("deploy"), "release 7", strings.Repeat("x", tc.reason), 1)
		req, err := http.NewRequestWithContext(t.Context(), "POST", d.server.URL+"/v1/requests", io.MultiReader(strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+d.token("1"))
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != tc.want {
			t.Errorf("%d bytes: %s, want %d", len(body), res.Status, tc.want)
		}
	}
}

// The time for the body is not the time for the decision.
func TestDecisionsOutliveTheBodyTimeout(t *testing.T) {
	t.Parallel()
	d := open(t, func(c *Config) { c.BodyTimeout = 50 * time.Millisecond })
	d.broker.hold = func(ctx context.Context) {
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			t.Error("the call was cancelled while it was decided")
		}
	}
	if a := d.call("POST", "/v1/requests", ask("allow")); a.StatusCode != 201 {
		t.Errorf("%s: %s", a.Status, a.body)
	}
	for _, body := range []string{"", "{}"} {
		if a := d.call("POST", "/v1/requests/"+d.submit("deploy")+"/cancel", body); a.StatusCode != 200 {
			t.Errorf("with body %q: %s: %s", body, a.Status, a.body)
		}
	}
}

func TestSlowBodies(t *testing.T) {
	t.Parallel()
	d := open(t, func(c *Config) { c.BodyTimeout = 100 * time.Millisecond })
	c := d.raw(t)
	_, err := fmt.Fprintf(c, "POST /v1/requests HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n{", d.token("1"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 408 ") || !strings.Contains(string(b), "body-timeout") {
		t.Errorf("%q, %v", b, err)
	}
}

// A poll outlives the time for a body, and the server's own time-outs.
func TestPollOutlivesTimeouts(t *testing.T) {
	t.Parallel()
	d := open(t, func(c *Config) { c.BodyTimeout = 50 * time.Millisecond })
	d.server.Close()
	mux := http.NewServeMux()
	d.api.Mount(mux)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second, ReadTimeout: 50 * time.Millisecond, WriteTimeout: 50 * time.Millisecond}
	t.Cleanup(func() { _ = s.Close() })
	go func() { _ = s.Serve(l) }()
	d.server.URL = "http://" + l.Addr().String()
	id := d.submit("deploy")
	start := time.Now()
	a := d.call("GET", "/v1/requests/"+id+"?after=1&wait=300ms", "")
	if a.StatusCode != 200 || time.Since(start) < 300*time.Millisecond {
		t.Errorf("%s after %s: %s", a.Status, time.Since(start), a.body)
	}
}

// Whatever is accepted means the same to every reader: it is a JSON object in
// the sense of I-JSON, and writing it down and reading it again changes nothing.
func FuzzDecodeAsk(f *testing.F) {
	for _, seed := range []string{
		ask("deploy"), `{}`, `null`, `{"scopes":null}`, `{"ttl":"1h"}`, `{"action":"a","action":"b"}`, `{"Action":"a"}`, "{\"action\":\"\xff\"}",
		`{"triggered_by":{"kind":"github","id":"7"},"context":{"labels":{"a":"null"},"checks":[{"name":"a","status":"passed"}],"links":[{"title":"t","url":"https://x"}]}}`,
		`{"ttl":"-1ns","context":{"tickets":["T-1"],"diff":"--- a\n+++ b\n"}}`, `{"reason":"\ud83d\ude00"}`, ask("deploy") + "x",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decodeAsk(body)
		if err != nil {
			var p *problem
			if !errors.As(err, &p) || p.Status != 400 || len(p.Errors) != 1 || len(p.Errors[0].Detail) > 300 {
				t.Fatalf("not told in the right form: %#v", err)
			}
			return
		}
		v := jsontext.Value(body)
		if !v.IsValid() || v.Kind() != '{' {
			t.Fatalf("accepted %q", body)
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var second bot.Ask
		if err := json.Unmarshal(again, &second, json.RejectUnknownMembers(true)); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		third, err := json.Marshal(second)
		if err != nil || string(canonical(t, third)) != string(canonical(t, again)) {
			t.Fatalf("%s became %s", again, third)
		}
	})
}

func canonical(t *testing.T, v jsontext.Value) jsontext.Value {
	t.Helper()
	c := v.Clone()
	if err := c.Canonicalize(); err != nil {
		t.Fatal(err)
	}
	return c
}
