package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/identity"
)

// Tokens are forged here by hand, without the library under test.

var (
	noon     = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	es256Key = sync.OnceValue(func() SigningKey { return generate("ES256") })
	edKey    = sync.OnceValue(func() SigningKey { return generate("EdDSA") })
	rsaKey   = sync.OnceValue(func() SigningKey { return wrap(rsaOf(2048)) })
	rsaOther = sync.OnceValue(func() SigningKey { return wrap(rsaOf(2048)) })
)

func generate(alg string) SigningKey {
	k, err := GenerateKey(alg)
	if err != nil {
		panic(err)
	}
	return k
}

func wrap(key crypto.Signer) SigningKey {
	k, err := newSigningKey(key)
	if err != nil {
		panic(err)
	}
	return k
}

func rsaOf(bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return k
}

func curveKey(c elliptic.Curve) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func encode[T string | []byte](b T) string { return base64.RawURLEncoding.EncodeToString([]byte(b)) }

// object of a token as a test changes it.
type fields map[string]any

// with returns a copy with one member set, or taken out if the value is nil.
func (f fields) with(name string, value any) fields {
	out := maps.Clone(f)
	out[name] = value
	if value == nil {
		delete(out, name)
	}
	return out
}

func (f fields) json() string {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// rawSign makes the signature bytes of an algorithm. Nothing is checked, so
// that what should not exist can be made as well.
func rawSign(alg string, key any, input string) []byte {
	sum := sha256.Sum256([]byte(input))
	var sig []byte
	var err error
	switch alg {
	case "none":
		return nil
	case "HS256":
		mac := hmac.New(sha256.New, key.([]byte))
		mac.Write([]byte(input))
		return mac.Sum(nil)
	case "ES256":
		r, s, e := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), sum[:])
		err, sig = e, make([]byte, 64)
		r.FillBytes(sig[:32])
		s.FillBytes(sig[32:])
	case "EdDSA":
		sig = ed25519.Sign(key.(ed25519.PrivateKey), []byte(input))
	case "PS256":
		sig, err = rsa.SignPSS(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "PS256-long-salt":
		sig, err = rsa.SignPSS(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 20})
	case "RS256":
		sig, err = rsa.SignPKCS1v15(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, sum[:])
	default:
		panic(alg)
	}
	if err != nil {
		panic(err)
	}
	return sig
}

// seal makes a token of any two texts.
func seal(alg string, key any, header, payload string) string {
	input := encode(header) + "." + encode(payload)
	return input + "." + encode(rawSign(alg, key, input))
}

func (k SigningKey) raw() any { return k.held() }

// clock is a clock that tests turn.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: noon} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// keyFile writes public keys as PEM and returns the path.
func keyFile(t testing.TB, keys ...SigningKey) string {
	t.Helper()
	var all []byte
	for _, k := range keys {
		b, err := PublicPEM(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return write(t, string(all))
}

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	machine  = "deploy-bot"
	audience = "https://countersign.example"
)

// machineRule trusts a machine with keys in a file.
func machineRule(t testing.TB, keys ...SigningKey) Rule {
	return Rule{
		ServiceAccount: identity.ServiceAccount{Name: "deploy"},
		Profile:        "assertion", Issuer: machine, Audience: audience,
		Keys: KeySource{PublicKeyFile: keyFile(t, keys...)},
	}
}

func verifier(t testing.TB, rules ...Rule) *Verifier {
	t.Helper()
	v, err := NewVerifier(t.Context(), rules, Options{Now: newClock().Now, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// goodHeader and goodClaims make an assertion that passes. Text that must never
// be repeated holds the word canary.
func goodHeader(alg string, k SigningKey) fields {
	return fields{"alg": alg, "kid": k.KID(), "typ": "JWT"}
}

func goodClaims() fields {
	return fields{
		"iss": machine, "sub": machine, "aud": audience, "jti": "canary-jti", "extra": "canary-extra",
		"iat": noon.Unix(), "exp": noon.Add(2 * time.Minute).Unix(),
	}
}

// accepted and refused check an outcome; refused wants the reason to be told,
// and nothing of the token with it.
func accepted(t *testing.T, v *Verifier, raw string) identity.Evidence {
	t.Helper()
	e, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	return e
}

func refused(t *testing.T, v *Verifier, raw, reason string) {
	t.Helper()
	e, err := v.Verify(t.Context(), raw)
	if err == nil {
		t.Fatalf("accepted as %+v", e)
	}
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), reason) {
		t.Errorf("error %q does not say %q", err, reason)
	}
	if e.ServiceAccount != "" || e.Subject.Name != "" || e.Token.ID != "" {
		t.Errorf("evidence beside an error: %+v", e)
	}
	noLeak(t, err, raw)
}

func noLeak(t *testing.T, err error, raw string) {
	t.Helper()
	if strings.Contains(strings.ToLower(err.Error()), "canary") {
		t.Errorf("the error repeats the token: %v", err)
	}
	for _, part := range strings.Split(raw, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			t.Errorf("the error repeats a segment: %v", err)
		}
	}
}
