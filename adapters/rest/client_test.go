package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	stdjson "encoding/json"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/adapters/rest/client"
	"github.com/countersign/countersign/bot"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
)

// fill sets every field of a struct, so that no member can be forgotten.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1_800_000_000+int64(*n), 0).UTC()))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(value, n)
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) * int64(time.Second))
	case reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Uint8:
		v.SetUint(uint64(*n % 256))
	default:
		panic("fill does not know " + v.Type().String())
	}
}

// The client's types and ours say the same, member by member.
func TestClientTypesAgree(t *testing.T) {
	t.Parallel()
	n := 0
	var sent client.Ask
	fill(reflect.ValueOf(&sent).Elem(), &n)
	wire, err := stdjson.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeAsk(wire)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, wire, got)
	var whole bot.Ask
	fill(reflect.ValueOf(&whole).Elem(), &n)
	var back client.Ask
	roundTrip(t, whole, &back)
	var view bot.View
	fill(reflect.ValueOf(&view).Elem(), &n)
	var request client.Request
	roundTrip(t, view, &request)
	var cred credential
	fill(reflect.ValueOf(&cred).Elem(), &n)
	var redeemed client.Credential
	if err := stdjson.Unmarshal(encode(t, cred), &redeemed); err != nil {
		t.Fatal(err)
	}
	if redeemed.Token.Reveal() != cred.Token || redeemed.Audience != cred.Audience || !redeemed.ExpiresAt.Equal(cred.ExpiresAt) ||
		!bytes.Equal(redeemed.Receipt.Leaf, cred.Receipt.Leaf) || !bytes.Equal(redeemed.Receipt.Proof, cred.Receipt.Proof) ||
		redeemed.TokenType != cred.TokenType || !reflect.DeepEqual(redeemed.Scopes, cred.Scopes) {
		t.Errorf("credential %+v became %+v", cred, redeemed)
	}
	var p problem
	p.Type, p.Title, p.Status, p.Detail, p.Instance = "urn:x", "t", 403, "d", "i"
	p.Errors, p.RequestID, p.Code, p.Reasons = []bot.Fault{{Pointer: "/a", Detail: "b"}}, "r", "c", []string{"why"}
	var told client.Problem
	roundTrip(t, p, &told)
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// roundTrip reads ours into theirs strictly, and writes it down again.
func roundTrip(t *testing.T, ours, theirs any) {
	t.Helper()
	d := stdjson.NewDecoder(bytes.NewReader(encode(t, ours)))
	d.DisallowUnknownFields()
	if err := d.Decode(theirs); err != nil {
		t.Fatalf("%T: %v", theirs, err)
	}
	wire, err := stdjson.Marshal(theirs)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, wire, ours)
}

func agree(t *testing.T, theirs []byte, ours any) {
	t.Helper()
	var a, b any
	if err := errors.Join(json.Unmarshal(theirs, &a), json.Unmarshal(encode(t, ours), &b)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("%T: client − server +:\n%s", ours, diff)
	}
}

// proxy stands between client and door, and loses what the test wants lost.
type proxy struct {
	http.Handler
	mu   sync.Mutex
	lose func(r *http.Request) string // "", "request", "answer" or an HTTP status
	seen []string                     // paths
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, r.Method+" "+r.URL.Path)
	what := p.lose(r)
	p.mu.Unlock()
	switch what {
	case "":
		p.Handler.ServeHTTP(w, r)
		return
	case "answer":
		p.Handler.ServeHTTP(httptest.NewRecorder(), r)
	case "cut":
		w.Header().Set("Content-Length", "5000")
		p.Handler.ServeHTTP(w, r)
	case "502":
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	panic(http.ErrAbortHandler)
}

// behind puts the door behind a proxy and returns a client of it.
func (d *door) behind(lose func(r *http.Request) string) (*client.Client, *proxy) {
	d.t.Helper()
	mux := http.NewServeMux()
	d.api.Mount(mux)
	p := &proxy{Handler: mux, lose: lose}
	s := httptest.NewServer(p)
	s.Config.ErrorLog = nil
	d.t.Cleanup(s.Close)
	return d.client(s.URL), p
}

func (d *door) client(url string) *client.Client {
	d.t.Helper()
	var n atomic.Int64
	c, err := client.New(client.Config{
		URL:      url,
		Token:    func(context.Context) (string, error) { return fmt.Sprintf("%s.1.c%d", canaryToken, n.Add(1)), nil },
		MinDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond, Patience: 10 * time.Second,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

func clientAsk(action string) client.Ask {
	return client.Ask{Action: action, Resource: "payments", Scopes: []string{"db:write"}, TTL: client.Duration(5 * time.Minute), Reason: "release 7"}
}

// Whatever gets lost on the way, one Submit makes one request.
func TestClientSubmitsOnce(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"request", "answer", "cut", "502"} {
		d := open(t)
		tries := 0
		c, _ := d.behind(func(*http.Request) string {
			if tries++; tries <= 2 {
				return what
			}
			return ""
		})
		r, err := c.Submit(t.Context(), clientAsk("deploy"))
		if err != nil || r.ID != "req-1" || r.State != client.Pending || tries != 3 {
			t.Errorf("%s: %+v, %v after %d tries", what, r, err, tries)
		}
		if second, _ := d.broker.peek("req-2"); second.ID != "" {
			t.Errorf("%s: a second request", what)
		}
		if other, err := c.Submit(t.Context(), clientAsk("deploy")); err != nil || other.ID == r.ID {
			t.Errorf("%s: a second Submit: %+v, %v", what, other, err)
		}
	}
}

// The outcome of a write that the server does not know itself is found out.
func TestClientSubmitsAgainWhenUnknown(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.broker.err = store.ErrUnknown
	var told atomic.Int64
	c, err := client.New(client.Config{URL: d.server.URL, Token: func(context.Context) (string, error) { return d.token("1"), nil },
		OnRetry: func(err error, next time.Duration) {
			if told.Add(1); !client.IsProblem(err, client.OutcomeUnknown) || next != time.Second {
				t.Errorf("told %v, again after %s", err, next)
			}
			d.broker.mu.Lock()
			d.broker.err = nil
			d.broker.mu.Unlock()
		}})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.Submit(t.Context(), clientAsk("allow")); err != nil || r.State != client.Approved || told.Load() != 1 {
		t.Errorf("%+v, %v; told %d times", r, err, told.Load())
	}
}

func TestClientLearnsWhyDenied(t *testing.T) {
	t.Parallel()
	d := open(t)
	_, err := d.client(d.server.URL).Submit(t.Context(), clientAsk("deny"))
	var p *client.Problem
	if !errors.As(err, &p) || p.Type != client.Denied || p.RequestID != "req-1" || p.Code != "ABC123" || len(p.Reasons) != 1 ||
		!strings.Contains(err.Error(), "production needs a person") {
		t.Errorf("%v", err)
	}
}

// The server goes away in the middle of a wait, and comes back decided.
func TestClientWaitSurvivesARestart(t *testing.T) {
	t.Parallel()
	d := open(t)
	mux := http.NewServeMux()
	d.api.Mount(mux)
	start := func(address string) *http.Server {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Addr: l.Addr().String(), Handler: mux, ReadHeaderTimeout: time.Second}
		go func() { _ = s.Serve(l) }()
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	first := start("127.0.0.1:0")
	c := d.client("http://" + first.Addr)
	r, err := c.Submit(t.Context(), clientAsk("deploy"))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for d.waiting() == 0 {
			time.Sleep(time.Millisecond)
		}
		_ = first.Close()
		time.Sleep(50 * time.Millisecond) // connections are refused meanwhile
		d.broker.move(r.ID, store.Approved)
		start(first.Addr)
	}()
	if r, err = c.Wait(t.Context(), r.ID); err != nil || r.State != client.Approved || r.Version != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestClientWaitGoesOnAndEnds(t *testing.T) {
	t.Parallel()
	d := open(t)
	id := d.submit("deploy")
	tries := 0
	c, _ := d.behind(func(*http.Request) string {
		if tries++; tries <= 3 {
			return "502"
		}
		return ""
	})
	go func() {
		for d.waiting() == 0 {
			time.Sleep(time.Millisecond)
		}
		d.broker.move(id, store.Pending) // a review that does not decide
		d.broker.move(id, store.Denied)
	}()
	if r, err := c.Wait(t.Context(), id); err != nil || r.State != client.Rejected || r.Outcome.Kind != "denied_by_person" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := c.Wait(t.Context(), "req-9"); !client.IsProblem(err, client.NotFound) {
		t.Errorf("another's request: %v", err)
	}
	d.broker.err = fmt.Errorf("%w: key removed", errInvalid)
	if _, err := c.Wait(t.Context(), id); !client.IsProblem(err, client.InvalidToken) {
		t.Errorf("a token that is no longer accepted: %v", err)
	}
}

// An answer that may have been a credential is asked for again, but not so often
// that the request would be revoked.
func TestClientRedeems(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		what   string
		times  int
		issues int
		ok     bool
	}{{"answer", 0, 1, true}, {"answer", 2, 3, true}, {"cut", 2, 3, true}, {"answer", 9, 3, false}, {"request", 2, 1, true}} {
		d := open(t)
		id := d.submit("allow")
		tries := 0
		c, _ := d.behind(func(*http.Request) string {
			if tries++; tries <= tc.times {
				return tc.what
			}
			return ""
		})
		cred, err := c.Redeem(t.Context(), id)
		r, active := d.broker.peek(id)
		if tc.ok != (err == nil) || len(r.Issues) != tc.issues || r.State != store.Approved {
			t.Errorf("%s %d times: %v, %d issues, %s", tc.what, tc.times, err, len(r.Issues), r.State)
		}
		if tc.ok && cred.Token.Reveal() != canaryMinted+"."+active {
			t.Errorf("%s %d times: not the current credential", tc.what, tc.times)
		}
		if !tc.ok && !errors.Is(err, client.ErrLost) {
			t.Errorf("%s %d times: %v", tc.what, tc.times, err)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v %v", cred, cred, cred, err), "CANARY") {
			t.Errorf("a secret prints: %#v %v", cred, err)
		}
	}
}

func TestClientCancelsAndRevokes(t *testing.T) {
	t.Parallel()
	d := open(t)
	id := d.submit("deploy")
	tries := 0
	c, _ := d.behind(func(*http.Request) string {
		if tries++; tries == 1 {
			return "answer"
		}
		return ""
	})
	if r, err := c.Cancel(t.Context(), id); err != nil || r.State != client.Cancelled {
		t.Errorf("cancel with a lost answer: %+v, %v", r, err)
	}
	if _, err := c.Cancel(t.Context(), id); !client.IsProblem(err, client.WrongState) {
		t.Errorf("cancel what is over: %v", err)
	}
	id = d.submit("allow")
	cred, err := c.Redeem(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Revoke(t.Context(), cred.Token); err != nil || len(d.broker.revoked) != 1 {
		t.Errorf("revoke: %v, %v", err, d.broker.revoked)
	}
	if r, err := c.Get(t.Context(), id); err != nil || r.Decision.Effect != string(policies.Allow) {
		t.Errorf("get: %+v, %v", r, err)
	}
}
