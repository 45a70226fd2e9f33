package rest

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"golang.org/x/time/rate"

	"github.com/countersign/countersign/identity"
)

// authenticate verifies the call's bearer token and counts the call against the
// limit of its service account. It reads nothing of the body.
func (a *API) authenticate(c *call, r *http.Request, limit *limiter) (identity.Evidence, error) {
	raw, ok := credentials(r, "Bearer")
	if !ok {
		return identity.Evidence{}, errNoToken
	}
	ev, err := a.Tokens.Verify(r.Context(), raw)
	if err != nil {
		return identity.Evidence{}, err
	}
	c.account = ev.ServiceAccount
	if !limit.allow(ev.ServiceAccount) {
		return identity.Evidence{}, errLimited
	}
	return ev, nil
}

// credentials returns what follows the scheme in the call's only Authorization
// header (RFC 9110 section 11.4: the scheme's case does not matter).
func credentials(r *http.Request, scheme string) (string, bool) {
	h := r.Header.Values("Authorization")
	if len(h) != 1 {
		return "", false
	}
	name, value, _ := strings.Cut(h[0], " ")
	value = strings.Trim(value, " ")
	return value, strings.EqualFold(name, scheme) && value != ""
}

// verifiers are the configured resource servers.
type verifiers []Verifier

func newVerifiers(list []Verifier) (verifiers, error) {
	var faults []error
	names, secrets := map[string]bool{}, map[[32]byte]bool{}
	for _, v := range list {
		switch {
		case v.Name == "" || v.Audience == "":
			faults = append(faults, fmt.Errorf("rest: verifier %q needs a name and an audience", v.Name))
		case v.SecretSHA256 == [32]byte{} || v.SecretSHA256 == sha256.Sum256(nil):
			faults = append(faults, fmt.Errorf("rest: verifier %q has no secret", v.Name))
		case names[v.Name] || secrets[v.SecretSHA256]:
			faults = append(faults, fmt.Errorf("rest: verifier %q stands twice, or has the secret of another", v.Name))
		}
		names[v.Name], secrets[v.SecretSHA256] = true, true
	}
	return list, errors.Join(faults...)
}

// errNotVerifier is RFC 7662 section 2.3: only those we know may ask.
var errNotVerifier = &problem{Name: "unauthenticated", Status: http.StatusUnauthorized, Title: "Not a configured verifier",
	Detail: "Send the verifier's secret as bearer token, or its name and secret as HTTP Basic.", oauth: "invalid_client"}

// of returns the verifier that the call proves to be, by its secret as bearer
// token, or by name and secret as HTTP Basic (RFC 6749 section 2.3.1).
func (vs verifiers) of(r *http.Request) (Verifier, error) {
	name, secret := "", ""
	if value, ok := credentials(r, "Bearer"); ok {
		secret = value
	} else if _, ok := credentials(r, "Basic"); ok {
		user, password, ok := r.BasicAuth()
		var errName, errSecret error
		name, errName = url.QueryUnescape(user)
		secret, errSecret = url.QueryUnescape(password)
		if !ok || errName != nil || errSecret != nil || name == "" {
			return Verifier{}, errNotVerifier
		}
	}
	sum := sha256.Sum256([]byte(secret))
	found := -1
	for i, v := range vs {
		if subtle.ConstantTimeCompare(sum[:], v.SecretSHA256[:]) == 1 && (name == "" || name == v.Name) {
			found = i
		}
	}
	if found < 0 {
		return Verifier{}, errNotVerifier
	}
	return vs[found], nil
}

// Limits bound the calls of each service account. Submitting and everything
// else count apart, so that a flood of new requests never keeps a machine from
// learning what became of the ones before.
type Limits struct {
	Submits Limit
	Others  Limit
}

// Limit is a token bucket; zero PerSecond is no limit.
type Limit struct {
	PerSecond float64
	Burst     int // at least 1
}

// limiter holds a bucket for each service account. Their names come from the
// configuration, so there are not many.
type limiter struct {
	Limit
	mu      sync.Mutex
	buckets map[string]*rate.Limiter
}

func newLimiter(l Limit) *limiter {
	return &limiter{Limit: l, buckets: map[string]*rate.Limiter{}}
}

func (l *limiter) allow(account string) bool {
	if l.PerSecond <= 0 {
		return true
	}
	l.mu.Lock()
	b := l.buckets[account]
	if b == nil {
		b = rate.NewLimiter(rate.Limit(l.PerSecond), max(1, l.Burst))
		l.buckets[account] = b
	}
	l.mu.Unlock()
	return b.Allow()
}
