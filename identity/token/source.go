package token

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
)

// How long things about a fetched key set last.
const (
	// fetchEvery is the shortest time between two fetches from one issuer,
	// failed ones included. Until it has passed, a kid that the newest set
	// lacks is known to be unknown: random kids cost the issuer one fetch a
	// minute, and delay a real rotation by a minute at most.
	fetchEvery = time.Minute
	// refreshAfter is the age at which a set is fetched anew even if it knows
	// the kid, so that keys which the issuer withdrew are forgotten.
	refreshAfter = 15 * time.Minute
	// maxStale is the age at which a set that could not be renewed is no longer
	// believed.
	maxStale = 24 * time.Hour
	// fetchTimeout bounds one fetch.
	fetchTimeout = 10 * time.Second
)

// KeySource says where the keys of an issuer are. Exactly one field is set.
type KeySource struct {
	// JWKSURL is https, or http at a loopback address. Redirects are not followed.
	JWKSURL string
	// JWKSFile is a JWK Set, read once.
	JWKSFile string
	// PublicKeyFile holds one or more PEM blocks PUBLIC KEY, read once. The kid
	// of each is its RFC 7638 thumbprint.
	PublicKeyFile string
}

// keys are the keys of one issuer, and never of another: kids are unique only
// within an issuer. It is a jwkset.Storage in which keys can only be read by
// kid. The embedded storage stays empty, so listing all keys, which keyfunc
// does for a token without a kid, yields none.
type keys struct {
	jwkset.Storage

	url    string // empty for keys from a file
	client *http.Client
	now    func() time.Time
	log    *slog.Logger
	life   context.Context // ends fetches when the verifier's life ends

	mu     sync.Mutex
	set    keySet
	got    time.Time     // start of the newest fetch that succeeded
	tried  time.Time     // start of the newest fetch
	failed bool          // the newest fetch failed
	flight chan struct{} // closed when the running fetch ends; nil when none runs
}

// newKeys reads or prepares a key source. Nothing is fetched yet.
func newKeys(ctx context.Context, s KeySource, o Options) (*keys, error) {
	k := &keys{Storage: jwkset.NewMemoryStorage(), now: o.Now, log: o.Log, life: ctx}
	var err error
	switch {
	case (s.JWKSURL != "") == (s.JWKSFile+s.PublicKeyFile != "") || (s.JWKSFile != "" && s.PublicKeyFile != ""):
		return nil, errors.New("keys: give exactly one of a JWKS URL, a JWKS file and a public key file")
	case s.JWKSURL != "":
		if err := fetchable(s.JWKSURL); err != nil {
			return nil, err
		}
		k.url, k.client = s.JWKSURL, strictClient(o.Client)
	case s.JWKSFile != "":
		k.set, err = readSet(s.JWKSFile, parseSet)
	default:
		k.set, err = readSet(s.PublicKeyFile, parsePEM)
	}
	return k, err
}

// readSet reads a file of keys of at most maxSet bytes.
func readSet(path string, parse func([]byte) (keySet, error)) (keySet, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSet+1))
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if len(data) > maxSet {
		return nil, fmt.Errorf("keys: %s is larger than %d KiB", path, maxSet>>10)
	}
	set, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", path, err)
	}
	return set, nil
}

// fetchable refuses addresses at which nobody proves to be the issuer.
func fetchable(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "":
		return errors.New("keys: the JWKS URL is not a URL")
	case u.User != nil || u.Fragment != "":
		return errors.New("keys: the JWKS URL must have no user name, password or fragment")
	case u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return errors.New("keys: the JWKS URL must be https, or http at a loopback address")
}

// loopback reports whether a host is this machine by name or address.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// strictClient returns a client on the same transport that follows no redirect
// and keeps no cookie.
func strictClient(c *http.Client) *http.Client {
	strict := *c
	strict.Jar = nil
	strict.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &strict
}

// KeyRead returns the key with the given kid. A kid that the set lacks makes
// the set be fetched anew, once a minute at most. It returns
// jwkset.ErrKeyNotFound if the issuer has no such key, and ErrKeysUnavailable
// if that cannot be said.
func (k *keys) KeyRead(ctx context.Context, kid string) (jwkset.JWK, error) {
	jwk, flight, err := k.look(kid, true)
	if flight == nil {
		return jwk, err
	}
	select {
	case <-flight:
	case <-ctx.Done():
		return jwkset.JWK{}, fmt.Errorf("%w: %w", ErrKeysUnavailable, ctx.Err())
	}
	jwk, _, err = k.look(kid, false)
	return jwk, err
}

// look returns the key from the set at hand, or the fetch to wait for. It
// starts a fetch if one is called for, and mayFetch allows it.
func (k *keys) look(kid string, mayFetch bool) (jwkset.JWK, <-chan struct{}, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	believed := k.believed()
	key, found := k.set[kid]
	found = found && believed

	if mayFetch && k.url != "" {
		wanted := !found || now.Sub(k.got) > refreshAfter
		allowed := k.tried.IsZero() || now.Sub(k.tried) >= fetchEvery
		if wanted && allowed && k.flight == nil {
			k.tried, k.flight = now, make(chan struct{})
			go k.fetch(now, k.flight)
		}
		if !found && k.flight != nil {
			return jwkset.JWK{}, k.flight, nil
		}
	}
	switch {
	case found:
		return key.JWK, nil, nil
	case !believed || k.failed:
		return jwkset.JWK{}, nil, ErrKeysUnavailable
	default:
		return jwkset.JWK{}, nil, jwkset.ErrKeyNotFound
	}
}

// fetch renews the set. A set that cannot be had or read leaves the old one.
func (k *keys) fetch(started time.Time, flight chan struct{}) {
	ctx, cancel := context.WithTimeout(k.life, fetchTimeout)
	defer cancel()
	set, err := k.download(ctx)
	k.mu.Lock()
	if err == nil {
		k.set, k.got = set, started
	}
	k.failed, k.flight = err != nil, nil
	k.mu.Unlock()
	close(flight)
	if err != nil {
		k.log.LogAttrs(ctx, slog.LevelWarn, "fetching an issuer's keys failed", slog.String("url", k.url), slog.Any("error", err))
	}
}

// download gets and reads the set.
func (k *keys) download(ctx context.Context) (keySet, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d where 200 is wanted; redirects are not followed", res.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxSet+1))
	if err != nil {
		return nil, err
	}
	return parseSet(data)
}

// endorsements returns what the key of a kid is endorsed for, nothing if there
// is no such key any more.
func (k *keys) endorsements(kid string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.set[kid].endorsements)
}

// believed reports whether the set at hand may be used. The lock is held.
func (k *keys) believed() bool {
	return k.url == "" || !k.got.IsZero() && k.now().Sub(k.got) <= maxStale
}

// ready reports whether the set can be believed now, fetching it if need be.
func (k *keys) ready(ctx context.Context) error {
	k.mu.Lock()
	ok := k.believed()
	k.mu.Unlock()
	if ok {
		return nil
	}
	// No key has an empty kid, so a set that has been fetched answers "not found".
	if _, err := k.KeyRead(ctx, ""); !errors.Is(err, jwkset.ErrKeyNotFound) {
		return err
	}
	return nil
}

// static returns the keys that came from a file, for checks at construction.
func (k *keys) static() []crypto.PublicKey {
	var out []crypto.PublicKey
	if k.url == "" {
		for _, jwk := range k.set {
			out = append(out, jwk.Key())
		}
	}
	return out
}

// thumbprints returns the thumbprints of static.
func (k *keys) thumbprints() []string {
	var out []string
	for _, key := range k.static() {
		if t, err := Thumbprint(key); err == nil {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return out
}
