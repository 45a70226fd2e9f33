package token

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/countersign/countersign/identity"
)

// keyServer is an issuer's key set on the loopback interface.
type keyServer struct {
	*httptest.Server
	mu    sync.Mutex
	serve http.HandlerFunc
	calls atomic.Int64
}

func newKeyServer(t testing.TB, keys ...SigningKey) *keyServer {
	s := &keyServer{}
	s.publish(keys...)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		s.mu.Lock()
		serve := s.serve
		s.mu.Unlock()
		serve(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// answer changes what the server says.
func (s *keyServer) answer(f http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve = f
}

func (s *keyServer) publish(keys ...SigningKey) {
	var list []fields
	for _, k := range keys {
		list = append(list, jwk(k.Public()))
	}
	s.answer(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, set(list...)) })
}

func (s *keyServer) fail() {
	s.answer(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "canary", http.StatusServiceUnavailable) })
}

// remote is a verifier of one machine whose keys are on a server, and its clock.
func remote(t testing.TB, s *keyServer) (*Verifier, *clock) {
	t.Helper()
	c := newClock()
	r := Rule{
		ServiceAccount: identity.ServiceAccount{Name: "deploy"},
		Profile:        "assertion", Issuer: machine, Audience: audience, Keys: KeySource{JWKSURL: s.URL},
	}
	v, err := NewVerifier(t.Context(), []Rule{r}, Options{Client: s.Client(), Now: c.Now, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return v, c
}

// assertion makes a good assertion for the time of the clock.
func assertion(t testing.TB, k SigningKey, c *clock) string {
	t.Helper()
	raw, err := Sign(k, AssertionClaims{Issuer: machine, Audience: audience, Now: c.Now(), ID: "canary-id"})
	if err != nil {
		t.Fatal(err)
	}
	return raw.Reveal()
}

func unavailable(t *testing.T, v *Verifier, raw string) {
	t.Helper()
	_, err := v.Verify(t.Context(), raw)
	if !errors.Is(err, ErrKeysUnavailable) || errors.Is(err, ErrInvalid) {
		t.Fatalf("got %v; want ErrKeysUnavailable", err)
	}
	noLeak(t, err, raw)
}

// settle waits for the fetch that runs, if one does.
func settle(v *Verifier) {
	k := v.issuers[machine].keys
	k.mu.Lock()
	flight := k.flight
	k.mu.Unlock()
	if flight != nil {
		<-flight
	}
}

func (s *keyServer) called(t *testing.T, want int64) {
	t.Helper()
	if got := s.calls.Load(); got != want {
		t.Errorf("the server was asked %d times; want %d", got, want)
	}
}

func TestFetch(t *testing.T) {
	t.Parallel()
	k := es256Key()
	s := newKeyServer(t, k)
	v, c := remote(t, s)
	s.called(t, 0)
	for range 5 {
		accepted(t, v, assertion(t, k, c))
	}
	s.called(t, 1)
	if err := v.Check(t.Context()); err != nil {
		t.Error(err)
	}
	s.called(t, 1)
}

// TestRandomKids floods with kids that nobody has, and then rotates for real.
func TestRandomKids(t *testing.T) {
	t.Parallel()
	old, next := es256Key(), generate("ES256")
	s := newKeyServer(t, old)
	v, c := remote(t, s)
	accepted(t, v, assertion(t, old, c))
	flood := func() {
		for i := range 200 {
			h := goodHeader("ES256", old).with("kid", fmt.Sprintf("canary-%d", i))
			refused(t, v, seal("ES256", old.raw(), h.json(), goodClaims().json()), "no usable key")
		}
	}
	flood()
	s.called(t, 1)
	c.turn(fetchEvery)
	flood() // the first spends the minute's fetch
	s.called(t, 2)
	s.publish(old, next)
	refused(t, v, assertion(t, next, c), "within a minute")
	accepted(t, v, assertion(t, old, c))
	c.turn(fetchEvery - time.Second)
	flood()
	refused(t, v, assertion(t, next, c), "within a minute")
	s.called(t, 2)
	c.turn(time.Second)
	accepted(t, v, assertion(t, next, c))
	accepted(t, v, assertion(t, old, c))
	s.called(t, 3)
}

// TestWithdrawn takes a key away: it is forgotten with the next refresh.
func TestWithdrawn(t *testing.T) {
	t.Parallel()
	old, next := es256Key(), generate("ES256")
	s := newKeyServer(t, old, next)
	v, c := remote(t, s)
	accepted(t, v, assertion(t, old, c))
	s.publish(next)
	c.turn(refreshAfter + time.Second)
	// The set at hand answers at once, and is renewed meanwhile.
	accepted(t, v, assertion(t, next, c))
	settle(v)
	refused(t, v, assertion(t, old, c), "no usable key")
	s.called(t, 2)
}

// TestDown keeps an issuer down for longer than a day.
func TestDown(t *testing.T) {
	t.Parallel()
	k, other := es256Key(), generate("ES256")
	s := newKeyServer(t, k)
	v, c := remote(t, s)
	accepted(t, v, assertion(t, k, c))
	s.fail()
	c.turn(maxStale)
	accepted(t, v, assertion(t, k, c))
	settle(v)
	if err := v.Check(t.Context()); err != nil {
		t.Errorf("tokens pass, but Check says %v", err)
	}
	c.turn(time.Hour)
	unavailable(t, v, assertion(t, k, c))
	calls := s.calls.Load()
	unavailable(t, v, assertion(t, k, c))
	if err := v.Check(t.Context()); !errors.Is(err, ErrKeysUnavailable) || !strings.Contains(err.Error(), machine) {
		t.Errorf("Check says %v", err)
	}
	s.called(t, calls)
	s.publish(k, other)
	c.turn(fetchEvery)
	accepted(t, v, assertion(t, k, c))
	accepted(t, v, assertion(t, other, c))
}

// TestDownForNewKid: while the issuer is down it cannot be said whether it has a
// key, so the caller is told to come back.
func TestDownForNewKid(t *testing.T) {
	t.Parallel()
	k, next := es256Key(), generate("ES256")
	s := newKeyServer(t, k)
	v, c := remote(t, s)
	accepted(t, v, assertion(t, k, c))
	s.fail()
	c.turn(fetchEvery)
	unavailable(t, v, assertion(t, next, c))
	accepted(t, v, assertion(t, k, c))
	s.publish(k, next)
	unavailable(t, v, assertion(t, next, c))
	c.turn(fetchEvery)
	accepted(t, v, assertion(t, next, c))
}

// TestBadAnswers serves what must not be believed; the positive twin is the
// same verifier a minute later with a good set.
func TestBadAnswers(t *testing.T) {
	t.Parallel()
	k := es256Key()
	good := set(jwk(k.Public()))
	elsewhere := newKeyServer(t, k)
	for name, answer := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		},
		"redirect with a set": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
			fmt.Fprint(w, good)
		},
		"created": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, good)
		},
		"oversized": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, good, strings.Repeat(" ", maxSet))
		},
		"private member": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, set(jwk(k.Public()).with("d", "canary")))
		},
		"cut short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9999")
			fmt.Fprint(w, good)
		},
		"page": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>canary") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newKeyServer(t)
			s.answer(answer)
			v, c := remote(t, s)
			unavailable(t, v, assertion(t, k, c))
			s.publish(k)
			unavailable(t, v, assertion(t, k, c)) // not even asked within the minute
			s.called(t, 1)
			c.turn(fetchEvery)
			accepted(t, v, assertion(t, k, c))
		})
	}
	t.Cleanup(func() { elsewhere.called(t, 0) })
}

// TestNoCookie: what an issuer's server sets is not sent back to it.
func TestNoCookie(t *testing.T) {
	t.Parallel()
	k := es256Key()
	s := newKeyServer(t)
	s.answer(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Cookies()) > 0 {
			http.Error(w, "a cookie", http.StatusBadRequest)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		fmt.Fprint(w, set(jwk(k.Public())))
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Client().Jar = jar
	v, c := remote(t, s)
	accepted(t, v, assertion(t, k, c))
	c.turn(maxStale + time.Second)
	accepted(t, v, assertion(t, k, c))
	s.called(t, 2)
}

// TestOneFetch lets many callers wait for one fetch, of whom one gives up.
func TestOneFetch(t *testing.T) {
	t.Parallel()
	k := es256Key()
	s := newKeyServer(t)
	release := make(chan struct{})
	s.answer(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		fmt.Fprint(w, set(jwk(k.Public())))
	})
	v, c := remote(t, s)
	raw := assertion(t, k, c)
	hasty, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := v.Verify(hasty, raw); !errors.Is(err, ErrKeysUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the hasty caller got %v", err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := v.Verify(t.Context(), raw); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(5 * time.Millisecond)
	close(release)
	wg.Wait()
	s.called(t, 1)
}

// slow is a transport that never answers.
type slow struct{}

func (slow) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestSilentIssuer bounds how long a caller waits for an issuer that never
// answers.
func TestSilentIssuer(t *testing.T) {
	t.Parallel()
	k := es256Key()
	synctest.Test(t, func(t *testing.T) {
		r := Rule{
			ServiceAccount: identity.ServiceAccount{Name: "deploy"},
			Profile:        "assertion", Issuer: machine, Audience: audience, Keys: KeySource{JWKSURL: "https://silent.example"},
		}
		v, err := NewVerifier(t.Context(), []Rule{r}, Options{Client: &http.Client{Transport: slow{}}, Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		raw, err := Sign(k, AssertionClaims{Issuer: machine, Audience: audience, Now: start, ID: "1"})
		if err != nil {
			t.Fatal(err)
		}
		unavailable(t, v, raw.Reveal())
		if took := time.Since(start); took != fetchTimeout {
			t.Errorf("it took %s; want %s", took, fetchTimeout)
		}
	})
}

// TestKeysRefuseListing: a token without a kid makes keyfunc ask for all keys.
func TestKeysRefuseListing(t *testing.T) {
	t.Parallel()
	k := es256Key()
	v := verifier(t, machineRule(t, k))
	all, err := v.issuers[machine].keys.KeyReadAll(t.Context())
	if err != nil || len(all) != 0 {
		t.Errorf("%d keys listed, error %v", len(all), err)
	}
	if _, err := v.issuers[machine].keys.KeyRead(t.Context(), k.KID()); err != nil {
		t.Error(err)
	}
}

// TestConcurrent uses one verifier and one minter from many sides while
// key sets are renewed; it is meant for the race detector.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	k := es256Key()
	s := newKeyServer(t, k)
	v, c := remote(t, s)
	m := minter(t, ourKeys()...)
	var wg sync.WaitGroup
	var passed atomic.Int64
	for range 16 {
		wg.Go(func() {
			for range 10 {
				// The others may turn the clock so far meanwhile that it expires.
				_, err := v.Verify(t.Context(), assertion(t, k, c))
				switch {
				case err == nil:
					passed.Add(1)
				case !strings.Contains(err.Error(), "expired"):
					t.Error(err)
				}
				cred, err := m.Mint(goodGrant())
				if err != nil {
					t.Error(err)
				}
				if _, err := m.Parse(cred.Token.Reveal()); err != nil {
					t.Error(err)
				}
				c.turn(refreshAfter / 8)
			}
		})
	}
	wg.Wait()
	if passed.Load() == 0 {
		t.Error("none passed")
	}
}
