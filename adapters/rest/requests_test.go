package rest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/store"
)

func TestSubmitAnswersByDecision(t *testing.T) {
	t.Parallel()
	for action, want := range map[string]struct {
		status int
		state  string
	}{"allow": {201, "approved"}, "deploy": {202, "pending"}} {
		a := open(t).call("POST", "/v1/requests", ask(action), "Idempotency-Key", "k1")
		if a.StatusCode != want.status {
			t.Fatalf("%s: %s: %s", action, a.Status, a.body)
		}
		v := a.view(t)
		if v.State != want.state || a.Header.Get("Location") != "/v1/requests/"+v.ID || a.Header.Get("ETag") != `"1"` {
			t.Errorf("%s: %+v, headers %v", action, v, a.Header)
		}
		if a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: may be cached", action)
		}
	}
}

func TestSubmitDeniedTellsWhy(t *testing.T) {
	t.Parallel()
	a := open(t).call("POST", "/v1/requests", ask("deny"))
	p := a.problem(t)
	if a.StatusCode != 403 || p.Type != "urn:countersign:problem:denied" || p.RequestID != "req-1" || p.Code != "ABC123" ||
		len(p.Reasons) != 1 || a.Header.Get("Location") != "/v1/requests/req-1" {
		t.Errorf("%s: %+v", a.Status, p)
	}
}

func TestSubmitRepeated(t *testing.T) {
	t.Parallel()
	d := open(t)
	first := d.call("POST", "/v1/requests", ask("deploy"), "Idempotency-Key", "k1").view(t)
	again := d.call("POST", "/v1/requests", ask("deploy"), "Idempotency-Key", "k1")
	if again.StatusCode != 202 || again.view(t).ID != first.ID {
		t.Errorf("repeated: %s: %s", again.Status, again.body)
	}
	if other := d.call("POST", "/v1/requests", ask("allow"), "Idempotency-Key", "k1"); other.StatusCode != 422 ||
		other.problem(t).Type != "urn:countersign:problem:key-mismatch" {
		t.Errorf("another ask under the same key: %s: %s", other.Status, other.body)
	}
	d.broker.move(first.ID, store.Denied)
	if over := d.call("POST", "/v1/requests", ask("deploy"), "Idempotency-Key", "k1"); over.StatusCode != 200 ||
		over.view(t).Outcome.Kind != "denied_by_person" {
		t.Errorf("repeated after its end: %s: %s", over.Status, over.body)
	}
}

func TestSubmitReplayedToken(t *testing.T) {
	t.Parallel()
	d := open(t)
	bearer := "Bearer " + d.token("1")
	if a := d.call("POST", "/v1/requests", ask("deploy"), "Authorization", bearer); a.StatusCode != 202 {
		t.Fatalf("first use: %s", a.Status)
	}
	a := d.call("POST", "/v1/requests", ask("deploy"), "Authorization", bearer)
	if a.StatusCode != 401 || a.problem(t).Type != "urn:countersign:problem:token-replayed" || a.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("second use: %s: %s", a.Status, a.body)
	}
}

// Another run of the same machine is a stranger.
func TestStrangersFindNothing(t *testing.T) {
	t.Parallel()
	d := open(t)
	id := d.submit("allow")
	for _, call := range [][2]string{{"GET", ""}, {"POST", "/credential"}, {"POST", "/cancel"}} {
		a := d.call(call[0], "/v1/requests/"+id+call[1], "", "Authorization", "Bearer "+d.token("2"))
		if a.StatusCode != 404 || a.problem(t).Type != "urn:countersign:problem:not-found" || strings.Contains(a.body, id) {
			t.Errorf("stranger's %s %s: %s: %s", call[0], call[1], a.Status, a.body)
		}
	}
	for _, call := range [][2]string{{"GET", ""}, {"POST", "/credential"}, {"POST", "/cancel"}} {
		if a := d.call(call[0], "/v1/requests/"+id+call[1], ""); a.StatusCode != 200 {
			t.Errorf("owner's %s %s: %s: %s", call[0], call[1], a.Status, a.body)
		}
	}
}

func TestRedeem(t *testing.T) {
	t.Parallel()
	d := open(t)
	pending := d.submit("deploy")
	if a := d.call("POST", "/v1/requests/"+pending+"/credential", ""); a.StatusCode != 409 || a.problem(t).Type != "urn:countersign:problem:pending" {
		t.Errorf("pending: %s: %s", a.Status, a.body)
	}
	d.broker.move(pending, store.Approved)
	a := d.call("POST", "/v1/requests/"+pending+"/credential", "{}")
	if a.StatusCode != 200 || !strings.Contains(a.body, `"token":"`+canaryMinted) || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("approved: %s: %s", a.Status, a.body)
	}
	d.broker.move(pending, store.Revoked)
	if a := d.call("POST", "/v1/requests/"+pending+"/credential", ""); a.StatusCode != 409 || a.problem(t).Type != "urn:countersign:problem:invalid-grant" {
		t.Errorf("revoked: %s: %s", a.Status, a.body)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	d := open(t)
	id := d.submit("deploy")
	if a := d.call("POST", "/v1/requests/"+id+"/cancel", ""); a.StatusCode != 200 || a.view(t).State != "cancelled" {
		t.Errorf("pending: %s: %s", a.Status, a.body)
	}
	if a := d.call("POST", "/v1/requests/"+id+"/cancel", ""); a.StatusCode != 409 || a.problem(t).Type != "urn:countersign:problem:wrong-state" {
		t.Errorf("cancelled: %s: %s", a.Status, a.body)
	}
}

func TestPollWakesOnChange(t *testing.T) {
	t.Parallel()
	d := open(t)
	id := d.submit("deploy")
	go func() {
		for d.waiting() == 0 {
			time.Sleep(time.Millisecond)
		}
		d.broker.move(id, store.Approved)
	}()
	start := time.Now()
	a := d.call("GET", "/v1/requests/"+id+"?after=1&wait=20s", "")
	if v := a.view(t); v.State != "approved" || v.Version != 2 || time.Since(start) > 10*time.Second {
		t.Errorf("%s after %s: %s", a.Status, time.Since(start), a.body)
	}
}

func (d *door) waiting() int {
	d.broker.mu.Lock()
	defer d.broker.mu.Unlock()
	return d.broker.waiting
}

// A poll's time-out is the request as it stands, and decides nothing.
func TestPollTimesOutUndecided(t *testing.T) {
	t.Parallel()
	d := open(t)
	id := d.submit("deploy")
	a := d.call("GET", "/v1/requests/"+id+"?after=1&wait=20ms", "")
	if v := a.view(t); a.StatusCode != 200 || v.State != "pending" || v.Version != 1 {
		t.Errorf("%s: %s", a.Status, a.body)
	}
	d.broker.move(id, store.Approved)
	if v := d.call("GET", "/v1/requests/"+id+"?after=1&wait=20s", "").view(t); v.State != "approved" {
		t.Errorf("approved after the time-out: %+v", v)
	}
}

// With all places taken, a poll is answered at once, and told to be patient.
func TestPollBeyondTheBound(t *testing.T) {
	t.Parallel()
	d := open(t, func(c *Config) { c.MaxWaiters = 1 })
	id := d.submit("deploy")
	done := make(chan struct{})
	req, err := http.NewRequestWithContext(t.Context(), "GET", d.server.URL+"/v1/requests/"+id+"?after=1&wait=20s", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.token("1"))
	go func() {
		defer close(done)
		if res, err := http.DefaultTransport.RoundTrip(req); err == nil {
			_ = res.Body.Close()
		}
	}()
	for d.waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	a := d.call("GET", "/v1/requests/"+id+"?after=1&wait=20s", "")
	if a.StatusCode != 200 || a.Header.Get("Retry-After") != "5" || time.Since(start) > 10*time.Second {
		t.Errorf("%s, Retry-After %q, after %s", a.Status, a.Header.Get("Retry-After"), time.Since(start))
	}
	d.broker.move(id, store.Approved)
	<-done
	// The place is free again.
	if a := d.call("GET", "/v1/requests/"+id+"?after=2&wait=10ms", ""); a.StatusCode != 200 || a.Header.Get("Retry-After") != "" {
		t.Errorf("afterwards: %s, Retry-After %q", a.Status, a.Header.Get("Retry-After"))
	}
}
