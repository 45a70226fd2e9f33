package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/adapters/emulator"
	"github.com/countersign/countersign/adapters/rest/client"
	"github.com/countersign/countersign/identity/token"
)

// TestKillLoop kills the server with SIGKILL again and again while machines ask
// and redeem and two people race for every card, each to
// approve or deny it at random. In the end each machine was told one decision, which is the one on
// record; each card shows it; and an export of the log passes the auditor's
// program, which knows the legal stories.
func TestKillLoop(t *testing.T) {
	t.Parallel()
	const requests, kills = 60, 15
	l := newKillLoop(t)
	l.start()
	var told sync.Map // request id -> client.Request
	var machines sync.WaitGroup
	for i := range 4 {
		machines.Go(func() {
			for range requests / 4 {
				if r, err := l.machine(t.Context(), i); err != nil {
					t.Error(err)
				} else {
					told.Store(r.ID, r)
				}
			}
		})
	}
	people, leave := context.WithCancel(t.Context())
	var clicking sync.WaitGroup
	clicking.Go(func() { l.person(people, emulator.Ada) })
	clicking.Go(func() { l.person(people, emulator.Grace) })
	for range kills {
		time.Sleep(time.Duration(50+rand.IntN(400)) * time.Millisecond)
		l.kill()
		l.start()
	}
	machines.Wait()
	leave()
	clicking.Wait()

	states := map[client.State]int{}
	told.Range(func(id, v any) bool {
		r, now := v.(client.Request), l.read(t, id.(string))
		states[now.State]++
		if now.Outcome.Kind != r.Outcome.Kind || now.Outcome.By != r.Outcome.By || now.Digest != r.Digest {
			t.Errorf("%s: the machine was told %+v, on record is %+v", id, r.Outcome, now.Outcome)
		}
		if !l.cardSays(r.Code, now) {
			t.Errorf("%s: its card does not show that it is %s", id, now.State)
		}
		return true
	})
	if n := states[client.Approved] + states[client.Rejected]; n != requests {
		t.Errorf("%d of %d requests are decided: %v", n, requests, states)
	}
	l.audit(t)
	t.Logf("%d requests, %d kills with SIGKILL, %d credentials, %d clicks of two racing people (%d met no server): %v; none lost, none doubled",
		requests, kills, l.credentials.Load(), l.clicks.Load(), l.unanswered.Load(), states)
}

type killLoop struct {
	t    *testing.T
	d    *demo
	key  token.SigningKey
	cmd  *exec.Cmd
	id   atomic.Int64
	done chan struct{}

	credentials, clicks, unanswered atomic.Int64
}

func newKillLoop(t *testing.T) *killLoop {
	t.Helper()
	d := &demo{env: environment{stdout: os.Stderr, getenv: os.Getenv}, state: t.TempDir(), listen: "127.0.0.1:0", chat: "127.0.0.1:0", limits: &emulator.Limits{}}
	log, closeLog, err := d.openLog()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeLog)
	ln, err := d.prepare(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- d.slack.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	if d.config, err = loadConfig(d.path("countersign.yaml")); err != nil {
		t.Fatal(err)
	}
	key, err := token.LoadKey(d.path("ci-bot.key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return &killLoop{t: t, d: d, key: key}
}

// start runs a server and waits until it answers.
func (l *killLoop) start() {
	l.t.Helper()
	log, err := os.OpenFile(l.d.path("server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		l.t.Fatal(err)
	}
	defer log.Close()
	l.cmd = exec.Command("countersign", "serve", "--config", l.d.path("countersign.yaml"))
	l.cmd.Stderr = log
	if err := l.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) { defer close(done); _ = cmd.Wait() }(l.cmd, l.done)
	l.t.Cleanup(l.kill)
	for range 400 {
		resp, err := http.Get(l.d.config.PublicURL + "/healthz")
		if err == nil {
			resp.Body.Close()
			return
		}
		select {
		case <-l.done:
			text, _ := os.ReadFile(l.d.path("server.log"))
			l.t.Fatalf("the server does not start again:\n%s", text[max(0, len(text)-2000):])
		case <-time.After(25 * time.Millisecond):
		}
	}
	l.t.Fatal("the server does not answer")
}

func (l *killLoop) kill() {
	_ = l.cmd.Process.Kill() // SIGKILL; it may be gone already
	<-l.done
}

func (l *killLoop) client(i int) (*client.Client, error) {
	return client.New(client.Config{
		URL: l.d.config.PublicURL, MinDelay: 20 * time.Millisecond, MaxDelay: 100 * time.Millisecond,
		Token: func(context.Context) (string, error) {
			raw, err := token.Sign(l.key, token.AssertionClaims{Issuer: "ci-bot", Audience: l.d.config.PublicURL, Now: time.Now(), ID: fmt.Sprintf("m%d-%d", i, l.id.Add(1))})
			return raw.Reveal(), err
		},
	})
}

// machine asks, waits, and redeems what was approved.
func (l *killLoop) machine(ctx context.Context, i int) (client.Request, error) {
	c, err := l.client(i)
	if err != nil {
		return client.Request{}, err
	}
	r, err := c.Submit(ctx, client.Ask{
		Action: "deploy", Resource: fmt.Sprint("shop/", l.id.Add(1)), Audience: "shop-production", Scopes: []string{"deploy:shop"},
		TTL: client.Duration(10 * time.Minute), Reason: "kill loop", Context: client.Context{Environment: "production"},
	})
	if err != nil {
		return r, fmt.Errorf("submit: %w", err)
	}
	if r, err = c.Wait(ctx, r.ID); err != nil || r.State != client.Approved {
		return r, err
	}
	if _, err := c.Redeem(ctx, r.ID); err != nil {
		return r, fmt.Errorf("redeem %s: %w", r.ID, err)
	}
	l.credentials.Add(1)
	return r, nil
}

// person says yes or no, at random, to every card that asks.
func (l *killLoop) person(ctx context.Context, user string) {
	for ctx.Err() == nil {
		for _, m := range l.d.slack.Messages(emulator.Deploys) {
			if verb := []string{"approve", "deny"}[rand.IntN(2)]; slices.Contains(m.Buttons(), "countersign:"+verb) {
				l.click(ctx, user, m, verb)
			}
		}
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
	}
}

func (l *killLoop) click(ctx context.Context, user string, m emulator.Message, verb string) {
	l.clicks.Add(1)
	got, err := l.d.slack.Click(ctx, user, m.Channel, m.TS, "countersign:"+verb)
	if err != nil || got.Status == 0 {
		l.unanswered.Add(1)
		return
	}
	for end := time.Now().Add(time.Second); verb == "deny" && len(l.d.slack.OpenViews(user)) == 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond) // a denial asks for its reason, unless it comes too late
	}
	for _, v := range l.d.slack.OpenViews(user) {
		if got, err := l.d.slack.SubmitView(ctx, user, v.ID, reasonIn(v)); err != nil || got.Status == 0 {
			l.unanswered.Add(1)
		}
		_, _ = l.d.slack.CloseView(ctx, user, v.ID) // gone already when it was taken
	}
}

// read asks the server itself.
func (l *killLoop) read(t *testing.T, id string) client.Request {
	t.Helper()
	c, err := l.client(9)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// cardSays waits until the card of a request shows its state.
func (l *killLoop) cardSays(code string, r client.Request) bool {
	word := map[client.State]string{client.Approved: "Credential issued", client.Rejected: "Denied by"}[r.State]
	for range 400 {
		for _, m := range l.d.slack.Messages(emulator.Deploys) {
			if strings.Contains(string(m.Blocks), code) && strings.Contains(string(m.Blocks), word) {
				return true
			}
		}
		time.Sleep(25 * time.Millisecond)
	}
	return false
}

// audit exports the log from the running server, and lets the auditor's own
// program judge it.
func (l *killLoop) audit(t *testing.T) {
	t.Helper()
	dir := l.d.path("export")
	for _, args := range [][]string{
		{"go", "build", "-o", l.d.path("countersign-verify"), "../countersign-verify"},
		{"countersign", "audit", "export", "--config", l.d.path("countersign.yaml"), "--out", dir},
		{l.d.path("countersign-verify"), "--key", l.d.path(auditVerifierKey), dir},
	} {
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "entries.jsonl")); errors.Is(err, os.ErrNotExist) {
		t.Error("nothing was exported")
	}
}
