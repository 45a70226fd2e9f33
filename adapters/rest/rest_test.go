package rest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestNewReportsEveryFault(t *testing.T) {
	t.Parallel()
	good := open(t).api.Config
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	_, err := New(Config{})
	for _, field := range []string{"Broker", "Tokens", "Minter", "Issuer", "InvalidToken", "KeysUnavailable", "Ready", "Log", "NewID"} {
		if err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("%s is not missed: %v", field, err)
		}
	}
	secret := sha256.Sum256([]byte("s"))
	for name, vs := range map[string][]Verifier{
		"no name":      {{SecretSHA256: secret, Audience: "a"}},
		"no audience":  {{Name: "v", SecretSHA256: secret}},
		"no secret":    {{Name: "v", Audience: "a"}},
		"empty secret": {{Name: "v", Audience: "a", SecretSHA256: sha256.Sum256(nil)}},
		"same name":    {{Name: "v", SecretSHA256: secret, Audience: "a"}, {Name: "v", SecretSHA256: sha256.Sum256([]byte("t")), Audience: "b"}},
		"same secret":  {{Name: "v", SecretSHA256: secret, Audience: "a"}, {Name: "w", SecretSHA256: secret, Audience: "b"}},
	} {
		c := good
		c.Verifiers = vs
		if _, err := New(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	d := open(t)
	for path, want := range map[string]string{
		"/.well-known/jwks.json": `"kid":"k1"`, "/.well-known/openid-configuration": `"issuer":"https://cs.example"`,
		"/.well-known/oauth-authorization-server": `"issuer":"https://cs.example"`, "/openapi.json": `"openapi": "3.1.0"`,
	} {
		a := d.call("GET", path, "", "Authorization", "")
		if a.StatusCode != 200 || !strings.Contains(a.body, want) || a.Header.Get("Cache-Control") != "public, max-age=3600" ||
			a.Header.Get("Content-Type") != "application/json" || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %s, headers %v: %.80s", path, a.Status, a.Header, a.body)
		}
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	d := open(t)
	if a := d.call("GET", "/readyz", "", "Authorization", ""); a.StatusCode != 200 || a.body != `{"status":"ok","problems":[]}` {
		t.Errorf("ready: %s: %s", a.Status, a.body)
	}
	d.ready = []Problem{{Component: "policy", Detail: "no bundle is loaded: set policy.path"}}
	a := d.call("GET", "/readyz", "", "Authorization", "")
	if a.StatusCode != 503 || a.body != `{"status":"unready","problems":[{"component":"policy","detail":"no bundle is loaded: set policy.path"}]}` {
		t.Errorf("unready: %s: %s", a.Status, a.body)
	}
	if a := d.call("GET", "/healthz", "", "Authorization", ""); a.StatusCode != 200 {
		t.Errorf("alive: %s", a.Status)
	}
}

// A flood of submissions is stopped, and keeps nobody from polling.
func TestLimits(t *testing.T) {
	t.Parallel()
	d := open(t, func(c *Config) { c.Limits.Submits = Limit{PerSecond: 0.001, Burst: 2} })
	for i, want := range []int{202, 202, 429, 429} {
		a := d.call("POST", "/v1/requests", ask("deploy"))
		if a.StatusCode != want || (want == 429) != (a.Header.Get("Retry-After") == "1") {
			t.Errorf("submission %d: %s, Retry-After %q", i, a.Status, a.Header.Get("Retry-After"))
		}
	}
	for range 20 {
		if a := d.call("GET", "/v1/requests/req-1", ""); a.StatusCode != 200 {
			t.Errorf("poll: %s", a.Status)
		}
	}
	d = open(t, func(c *Config) { c.Limits.Others = Limit{PerSecond: 0.001, Burst: 1} })
	id := d.submit("deploy")
	for i, want := range []int{200, 429} {
		if a := d.call("GET", "/v1/requests/"+id, ""); a.StatusCode != want {
			t.Errorf("poll %d: %s", i, a.Status)
		}
	}
}

// A server that shuts down answers its long polls with the request as it stands,
// and finishes what it was doing otherwise.
func TestDrainAnswersWaiters(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.server.Config.RegisterOnShutdown(d.api.Drain)
	id := d.submit("deploy")
	deciding := make(chan struct{})
	d.broker.hold = func(ctx context.Context) {
		close(deciding)
		for d.waiting() > 0 {
			time.Sleep(time.Millisecond)
		}
		if ctx.Err() != nil {
			t.Error("a call that decides was cut off")
		}
	}
	down := make(chan error)
	go func() {
		<-deciding
		down <- d.server.Config.Shutdown(t.Context())
	}()
	go func() {
		for d.waiting() == 0 {
			time.Sleep(time.Millisecond)
		}
		if a := d.call("POST", "/v1/requests", ask("allow")); a.StatusCode != 201 {
			t.Errorf("a call under way: %s", a.Status)
		}
	}()
	start := time.Now()
	a := d.call("GET", "/v1/requests/"+id+"?after=1&wait=25s", "")
	if v := a.view(t); a.StatusCode != 200 || v.State != "pending" || v.Version != 1 {
		t.Errorf("%s: %s", a.Status, a.body)
	}
	if err := <-down; err != nil || time.Since(start) > 10*time.Second {
		t.Errorf("shut down after %s: %v", time.Since(start), err)
	}
}

// Once drained, a poll waits for nothing, and is an answer all the same; so is a
// wait that is over before it began.
func TestPollsThatCannotWait(t *testing.T) {
	t.Parallel()
	d := open(t)
	id := d.submit("deploy")
	if a := d.call("GET", "/v1/requests/"+id+"?after=1&wait=1ns", ""); a.StatusCode != 200 || a.view(t).Version != 1 {
		t.Errorf("no time: %s: %s", a.Status, a.body)
	}
	d.api.Drain()
	start := time.Now()
	a := d.call("GET", "/v1/requests/"+id+"?after=1&wait=25s", "")
	if a.StatusCode != 200 || a.view(t).Version != 1 || time.Since(start) > 10*time.Second {
		t.Errorf("drained: %s after %s: %s", a.Status, time.Since(start), a.body)
	}
}

// Waiters cost no goroutine beyond those that net/http has for a connection, and
// few kilobytes, which the test's own ends of the connections share.
func TestWaitersAreCheap(t *testing.T) {
	bare := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		bare <- struct{}{}
		<-r.Context().Done()
	}))
	defer s.Close()
	arrived := 0
	floorMemory, floorGoroutines := cost(t, s.Listener.Addr().String(), "/", func(n int) {
		for ; arrived < n; arrived++ {
			<-bare
		}
	})
	d := open(t)
	id := d.submit("deploy")
	memory, goroutines := cost(t, d.server.Listener.Addr().String(), "/v1/requests/"+id+"?after=1&wait=25s", func(n int) {
		for d.waiting() < n {
			time.Sleep(time.Millisecond)
		}
	})
	t.Logf("a waiter costs %d bytes and %.1f goroutines; a bare one %d and %.1f (both ends of the connection)", memory, goroutines, floorMemory, floorGoroutines)
	if goroutines > floorGoroutines+0.5 {
		t.Errorf("%.1f goroutines for each waiter, bare %.1f", goroutines, floorGoroutines)
	}
	if memory > 40<<10 {
		t.Errorf("%d bytes for each waiter", memory)
	}
	d.broker.move(id, "approved")
}

// cost opens connections that wait, and tells what each costs in this process.
func cost(t *testing.T, address, path string, settled func(n int)) (memory int64, goroutines float64) {
	t.Helper()
	const waiters = 200
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first has made free, finalizers included
	runtime.ReadMemStats(&before)
	already := runtime.NumGoroutine()
	for i := range waiters {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s.1.w%d\r\n\r\n", path, canaryToken, i); err != nil {
			t.Fatal(err)
		}
	}
	settled(waiters)
	runtime.GC()
	runtime.ReadMemStats(&after)
	inUse := func(m *runtime.MemStats) int64 { return int64(m.HeapAlloc + m.StackInuse) }
	return (inUse(&after) - inUse(&before)) / waiters, float64(runtime.NumGoroutine()-already) / waiters
}
