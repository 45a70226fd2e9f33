package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/identity/token"
)

// benchAsk is a typical request, about 1.4 KB with its token.
const benchAsk = `{"action":"deploy","resource":"shop/api","audience":"shop","scopes":["deploy:shop"],"ttl":"5m","reason":"nightly","context":{"environment":"test","checks":[{"name":"unit tests","status":"passed","value":"412 of 412"},{"name":"scan","status":"passed"}],"labels":{"commit":"0123456789abcdef"}}}`

// BenchmarkAutoApprove measures the whole pre-approved path through a real
// server: a request with a JWT (verified, consumed, decided by Rego, committed
// durably with its entries) and the redemption of its credential (signed,
// committed, released with a receipt). Beside it stands the ceiling of the same
// run: bare net/http that decodes and encodes JSON of the same size.
//
// One operation is two HTTP calls and two durable commits; "of-ceiling" is
// calls per second over the ceiling's calls per second.
func BenchmarkAutoApprove(b *testing.B) {
	for _, connections := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			s := newBench(b, connections)
			ceiling := s.rate(b, 2000*min(connections, 8), connections, s.echo)
			b.ResetTimer()
			var times durations
			start := time.Now()
			s.each(b, b.N, connections, func(ctx context.Context, i int) error {
				t := time.Now()
				defer func() { times.add(time.Since(t)) }()
				return s.approve(ctx)
			})
			calls := 2 * float64(b.N) / time.Since(start).Seconds()
			b.StopTimer()
			b.ReportMetric(calls, "calls/s")
			b.ReportMetric(ceiling, "ceiling-calls/s")
			b.ReportMetric(calls/ceiling, "of-ceiling")
			b.ReportMetric(times.at(0.5).Seconds()*1000, "p50-ms")
			b.ReportMetric(times.at(0.99).Seconds()*1000, "p99-ms")
		})
	}
}

type durations struct {
	mu  sync.Mutex
	all []time.Duration
}

func (d *durations) add(t time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, t)
}

func (d *durations) at(q float64) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.Sort(d.all)
	return d.all[min(int(q*float64(len(d.all))), len(d.all)-1)]
}

type bench struct {
	key    token.SigningKey
	url    string
	ping   string
	client *http.Client
	ids    atomic.Int64
}

// newBench starts a server without chat on loopback, and the ceiling beside it.
func newBench(b *testing.B, connections int) *bench {
	b.Helper()
	dir := b.TempDir()
	key, err := token.GenerateKey("ES256")
	if err != nil {
		b.Fatal(err)
	}
	pem, err := token.PublicPEM(key.Public())
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ci.pub.pem"), pem, 0o600); err != nil {
		b.Fatal(err)
	}
	addr, err := freePort("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	c, err := parseConfig(fmt.Appendf(nil, `
public_url: http://%[1]s
listen: %[1]s
state: state
service_accounts:
  - {name: ci, profile: assertion, issuer: ci, keys: {public_key_file: ci.pub.pem}, actions: [deploy], audiences: [shop], scopes: ["deploy:shop"], labels: {environment: test}}
audiences: [{name: shop}]
`, addr), dir)
	if err != nil {
		b.Fatal(err)
	}
	s, err := newServer(b.Context(), c, os.Getenv, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return &bench{key: key, url: c.PublicURL, ping: startEcho(b), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}}
}

// startEcho serves the ceiling: decode JSON, encode it again.
func startEcho(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var v map[string]any
		if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	})}
	go func() { _ = srv.Serve(ln) }()
	b.Cleanup(func() { _ = srv.Close() })
	return "http://" + ln.Addr().String()
}

// each runs n operations over the given number of connections.
func (s *bench) each(b *testing.B, n, connections int, do func(ctx context.Context, i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				if err := do(b.Context(), i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// rate is how many operations a second are done.
func (s *bench) rate(b *testing.B, n, connections int, do func(ctx context.Context, i int) error) float64 {
	b.Helper()
	start := time.Now()
	s.each(b, n, connections, do)
	return float64(n) / time.Since(start).Seconds()
}

func (s *bench) echo(ctx context.Context, _ int) error {
	return s.call(ctx, s.ping, benchAsk, "", new(map[string]any))
}

// approve asks and redeems, as a pipeline does.
func (s *bench) approve(ctx context.Context) error {
	var r struct{ ID, State string }
	if err := s.call(ctx, s.url+"/v1/requests", benchAsk, s.assertion(), &r); err != nil {
		return err
	}
	var c struct{ Token string }
	if err := s.call(ctx, s.url+"/v1/requests/"+r.ID+"/credential", "", s.assertion(), &c); err != nil {
		return err
	}
	if r.State != "approved" || c.Token == "" {
		return fmt.Errorf("state %q, credential present: %v", r.State, c.Token != "")
	}
	return nil
}

func (s *bench) assertion() string {
	raw, err := token.Sign(s.key, token.AssertionClaims{Issuer: "ci", Audience: s.url, Life: time.Minute, Now: time.Now(), ID: fmt.Sprint("bench-", s.ids.Add(1))})
	if err != nil {
		return err.Error()
	}
	return raw.Reveal()
}

func (s *bench) call(ctx context.Context, url, body, bearer string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	return json.Unmarshal(text, out)
}
