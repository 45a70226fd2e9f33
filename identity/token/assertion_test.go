package token

import (
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/identity"
)

func TestAssertion(t *testing.T) {
	t.Parallel()
	for alg, k := range map[string]SigningKey{"ES256": es256Key(), "EdDSA": edKey(), "PS256": rsaKey()} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			got := accepted(t, verifier(t, machineRule(t, k)), seal(alg, k.raw(), goodHeader(alg, k).json(), goodClaims().json()))
			want := identity.Evidence{
				Subject:        identity.Subject{Issuer: machine, Name: machine},
				ServiceAccount: "deploy",
				Binding:        identity.Binding("key:" + k.KID()),
				Trigger:        identity.Trigger{Kind: identity.TriggerNone},
				Token:          identity.OneTime{Issuer: machine, ID: "canary-jti", Expires: noon.Add(3 * time.Minute)},
				Facts:          map[string]string{},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestAlgorithms tries every algorithm with every kind of registered key: only
// the one that belongs to the key may pass.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	ec, ed, rs := es256Key(), edKey(), rsaKey()
	public, err := PublicPEM(ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	signers := map[string]any{"ES256": ec.raw(), "EdDSA": ed.raw(), "PS256": rs.raw(), "RS256": rs.raw(), "HS256": public, "none": nil}
	belongs := map[string]SigningKey{"ES256": ec, "EdDSA": ed, "PS256": rs}
	for registered, k := range belongs {
		v := verifier(t, machineRule(t, k))
		for alg, key := range signers {
			t.Run(alg+" for "+registered, func(t *testing.T) {
				t.Parallel()
				raw := seal(alg, key, goodHeader(alg, k).json(), goodClaims().json())
				if alg == registered {
					accepted(t, v, raw)
					return
				}
				reason := "its alg"
				if alg == "none" {
					reason = "signature"
				}
				refused(t, v, raw, reason)
			})
		}
	}
}

func TestNoneWithSignature(t *testing.T) {
	t.Parallel()
	k := es256Key()
	v := verifier(t, machineRule(t, k))
	for _, alg := range []string{"none", "None", "NONE", "HS256", "es256", "ES384", "canary"} {
		refused(t, v, seal("ES256", k.raw(), goodHeader(alg, k).json(), goodClaims().json()), "its alg")
	}
	accepted(t, v, seal("ES256", k.raw(), goodHeader("ES256", k).json(), goodClaims().json()))
}

// TestRS256ForPSS wants an RSA key to be used with the one algorithm configured.
func TestRS256ForPSS(t *testing.T) {
	t.Parallel()
	k := rsaKey()
	pkcs := seal("RS256", k.raw(), goodHeader("RS256", k).json(), goodClaims().json())
	pss := seal("PS256", k.raw(), goodHeader("PS256", k).json(), goodClaims().json())
	v := verifier(t, machineRule(t, k))
	accepted(t, v, pss)
	refused(t, v, pkcs, "its alg")
	r := machineRule(t, k)
	r.Algorithms = []string{"RS256"}
	v = verifier(t, r)
	accepted(t, v, pkcs)
	refused(t, v, pss, "its alg")
	// The header says one and the signature is the other.
	refused(t, v, seal("PS256", k.raw(), goodHeader("RS256", k).json(), goodClaims().json()), "the signature is wrong")
}

func TestPSSSalt(t *testing.T) {
	t.Parallel()
	k := rsaKey()
	v := verifier(t, machineRule(t, k))
	h, c := goodHeader("PS256", k).json(), goodClaims().json()
	accepted(t, v, seal("PS256", k.raw(), h, c))
	refused(t, v, seal("PS256-long-salt", k.raw(), h, c), "the signature is wrong")
}

func TestHeader(t *testing.T) {
	t.Parallel()
	k, other := es256Key(), generate("ES256")
	v := verifier(t, machineRule(t, k))
	good := goodHeader("ES256", k)
	try := func(header string) string { return seal("ES256", k.raw(), header, goodClaims().json()) }
	for _, f := range []fields{good, good.with("typ", nil), good.with("typ", "jwt"), good.with("typ", "client-authentication+jwt")} {
		accepted(t, v, try(f.json()))
	}
	for _, typ := range []string{"at+jwt", "dpop+jwt", "oauth-authz-req+jwt", "logout+jwt", "secevent+jwt", "application/jwt", "canary"} {
		refused(t, v, try(good.with("typ", typ).json()), "another kind of token")
	}
	for _, name := range []string{"crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "enc"} {
		refused(t, v, try(good.with(name, "canary").json()), "the header must not have "+name)
	}
	for _, name := range []string{"canary", "x5t", "cty", "ALG", "kıd"} {
		refused(t, v, try(good.with(name, "canary").json()), "header")
	}
	refused(t, v, try(good.with("kid", nil).json()), "no kid")
	refused(t, v, try(good.with("alg", nil).json()), "no alg")
	refused(t, v, try(good.with("kid", "").json()), "kid must be a string")
	refused(t, v, try(good.with("kid", 7).json()), "kid must be a string")
	refused(t, v, try(good.with("typ", []string{"JWT"}).json()), "typ must be a string")
	refused(t, v, try(good.with("kid", "canary").json()), "no usable key")
	refused(t, v, try(good.with("kid", other.KID()).json()), "no usable key")
	refused(t, v, seal("ES256", other.raw(), good.json(), goodClaims().json()), "the signature is wrong")
	refused(t, v, seal("ES256", other.raw(), good.with("jwk", "canary").json(), goodClaims().json()), "jwk")
	dup := strings.Replace(good.json(), `{`, `{"alg":"ES256",`, 1)
	refused(t, v, try(dup), "every member once")
	refused(t, v, try(`null`), "the header is not one JSON object")
	refused(t, v, try(good.json()+" {}"), "the header is not one JSON object")
}

func TestClaims(t *testing.T) {
	t.Parallel()
	k := es256Key()
	v := verifier(t, machineRule(t, k))
	h, good := goodHeader("ES256", k).json(), goodClaims()
	try := func(payload string) string { return seal("ES256", k.raw(), h, payload) }
	at := func(d time.Duration) int64 { return noon.Add(d).Unix() }
	for name, f := range map[string]fields{
		"as it is":         good,
		"nbf passed":       good.with("nbf", at(-time.Second)),
		"nbf in leeway":    good.with("nbf", at(59*time.Second)),
		"iat in leeway":    good.with("iat", at(59*time.Second)),
		"exp in leeway":    good.with("iat", at(-2*time.Minute)).with("exp", at(-59*time.Second)),
		"longest":          good.with("exp", at(5*time.Minute)),
		"longest, leeway":  good.with("exp", at(6*time.Minute)),
		"fraction":         good.with("exp", float64(at(time.Minute))+0.5),
		"longest id":       good.with("jti", strings.Repeat("j", 256)),
		"unrelated claims": good.with("scope", "x").with("nested", fields{"a": []int{1}}),
	} {
		t.Run(name, func(t *testing.T) { accepted(t, v, try(f.json())) })
	}
	for name, c := range map[string]struct {
		claims fields
		reason string
	}{
		"expired":             {good.with("iat", at(-2*time.Minute)).with("exp", at(-time.Minute)), "expired"},
		"nbf to come":         {good.with("nbf", at(61*time.Second)), "not valid yet"},
		"iat to come":         {good.with("iat", at(61*time.Second)), "not valid yet"},
		"no exp":              {good.with("exp", nil), "exp"},
		"no iat":              {good.with("iat", nil), "exp and iat"},
		"no jti":              {good.with("jti", nil), "jti"},
		"empty jti":           {good.with("jti", ""), "jti"},
		"number jti":          {good.with("jti", 7), "jti"},
		"long jti":            {good.with("jti", strings.Repeat("canary", 50)), "jti"},
		"too long a life":     {good.with("exp", at(6*time.Minute+time.Second)), "lives too long"},
		"issued long ago":     {good.with("iat", at(-4*time.Hour)), "lives too long"},
		"exp before iat":      {good.with("iat", at(30*time.Second)).with("exp", at(20*time.Second)), "exp must be after iat"},
		"exp as text":         {good.with("exp", "canary"), "malformed"},
		"exp beyond time":     {good.with("exp", 1e300), "exp"},
		"negative exp":        {good.with("exp", -5), "expired"},
		"no aud":              {good.with("aud", nil), "aud must be a single string"},
		"list with our aud":   {good.with("aud", []string{audience}), "aud must be a single string"},
		"two auds":            {good.with("aud", []string{audience, "https://canary.example"}), "aud must be a single string"},
		"another aud":         {good.with("aud", "https://canary.example"), "aud is not"},
		"our aud and more":    {good.with("aud", audience+"/"), "aud is not"},
		"empty aud":           {good.with("aud", ""), "aud"},
		"other case of aud":   {good.with("aud", nil).with("AUD", audience), "aud must be"},
		"aud in two cases":    {good.with("AUD", "canary"), "differ only in case"},
		"long s":              {good.with("\u017fub", "canary"), "differ only in case"},
		"too far ahead":       {good.with("iat", at(59*time.Second)).with("exp", at(6*time.Minute+30*time.Second)), "lives too long"},
		"Kelvin's case":       {good.with("extra", nil).with("key", 1).with("\u212aey", 2), "differ only in case"},
		"two other cases":     {good.with("Extra", nil).with("CANARY", 2).with("Canary", 1), "differ only in case"},
		"no sub":              {good.with("sub", nil), "sub must be"},
		"another's sub":       {good.with("sub", "canary"), "sub must be"},
		"no iss":              {good.with("iss", nil), "no service account trusts"},
		"another iss":         {good.with("iss", "canary"), "no service account trusts"},
		"iss of another kind": {good.with("iss", []string{machine}), "no service account trusts"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, v, try(c.claims.json()), c.reason) })
	}
	// What a map cannot spell.
	for name, payload := range map[string]string{
		"duplicate":         strings.Replace(good.json(), `{`, `{"aud":"canary",`, 1),
		"nested duplicate":  strings.Replace(good.json(), `{`, `{"x":{"a":1,"a":2},`, 1),
		"escaped duplicate": strings.Replace(good.json(), `{`, `{"\u0061ud":"canary",`, 1),
		"bad UTF-8":         strings.Replace(good.json(), "canary-extra", "canary\xff", 1),
		"trailing data":     good.json() + `{"aud":"canary"}`,
		"no object":         `["canary"]`,
		"null":              `null`,
		"text":              `canary`,
		"comment":           `/*canary*/` + good.json(),
	} {
		t.Run(name, func(t *testing.T) { refused(t, v, try(payload), "the payload is not one JSON object") })
	}
	t.Run("white space and escapes are JSON", func(t *testing.T) {
		accepted(t, v, try(" \n"+strings.Replace(good.json(), "deploy-bot", `deploy\u002dbot`, 1)+"\t"))
	})
}

// TestEncoding changes nothing but how the token is spelled.
func TestEncoding(t *testing.T) {
	t.Parallel()
	k := es256Key()
	v := verifier(t, machineRule(t, k))
	header, payload := encode(goodHeader("ES256", k).json()), encode(goodClaims().json())
	sign := func(input string) string { return input + "." + encode(rawSign("ES256", k.raw(), input)) }
	good := sign(header + "." + payload)
	accepted(t, v, good)
	parts := strings.Split(good, ".")
	sig := parts[2]
	last := sig[len(sig)-1]
	// 64 bytes leave four unused bits in the last character.
	loose := sig[:len(sig)-1] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[strings.IndexByte(
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", last)|1])
	for name, c := range map[string][2]string{
		"line break in the signature": {header + "." + payload + "." + sig[:9] + "\r\n" + sig[9:], "the signature is not base64url"},
		"signed line break":           {sign(header[:5] + "\n" + header[5:] + "." + payload), "the header is not base64url"},
		"signed payload break":        {sign(header + "." + payload[:5] + "\r" + payload[5:]), "the payload is not base64url"},
		"loose bits":                  {header + "." + payload + "." + loose, "the signature is not base64url"},
		"padding":                     {good + "=", "the signature is not base64url"},
		"standard alphabet":           {sign(base64.StdEncoding.EncodeToString([]byte(`{"~~~":"???>>>"}`)) + "." + payload), "the header is not base64url"},
		"leading space":               {" " + good, "the header is not base64url"},
		"trailing line break":         {good + "\n", "the signature is not base64url"},
		"no signature":                {header + "." + payload + ".", "signature"},
		"two segments":                {header + "." + payload, "three segments"},
		"four segments":               {good + ".", "three segments"},
		"five, as a JWE":              {good + "..", "three segments"},
		"empty":                       {"", "three segments"},
		"dots":                        {"..", "the header"},
		"8 MB":                        {header + "." + payload + "." + strings.Repeat("A", 8<<20), "16 KiB"},
		"8 MB of dots":                {strings.Repeat(".", 8<<20), "16 KiB"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, v, c[0], c[1]) })
	}
	t.Run("16 KiB", func(t *testing.T) {
		t.Parallel()
		size := func(n int) string {
			return seal("ES256", k.raw(), goodHeader("ES256", k).json(), goodClaims().with("pad", strings.Repeat("p", n)).json())
		}
		n := (maxToken - len(size(0))) * 3 / 4
		for len(size(n)) > maxToken {
			n--
		}
		accepted(t, v, size(n))
		refused(t, v, size(n+4), "16 KiB")
	})
}

// TestMalleable spells one ECDSA signature in its two ways: both are the same
// token, and so they carry the same one-time id.
func TestMalleable(t *testing.T) {
	t.Parallel()
	k := es256Key()
	v := verifier(t, machineRule(t, k))
	good := seal("ES256", k.raw(), goodHeader("ES256", k).json(), goodClaims().json())
	cut := strings.LastIndexByte(good, '.') + 1
	sig, err := base64.RawURLEncoding.DecodeString(good[cut:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(sig[32:])
	twin := good[:cut] + encode(sig)
	if twin == good {
		t.Fatal("the twin is the same")
	}
	if a, b := accepted(t, v, good).Token, accepted(t, v, twin).Token; a != b || a.ID == "" {
		t.Errorf("one token has two ids: %v and %v", a, b)
	}
	sig[0] ^= 1
	refused(t, v, good[:cut]+encode(sig), "the signature is wrong")
}

// TestSameKid registers one kid at two issuers: a key is never borrowed.
func TestSameKid(t *testing.T) {
	t.Parallel()
	a, b := es256Key(), generate("ES256")
	rule := func(name string, k SigningKey) Rule {
		r := machineRule(t, k)
		r.Name, r.Issuer = name, name
		r.Keys = KeySource{JWKSFile: write(t, fields{"keys": []any{jwk(k.Public()).with("kid", "one")}}.json())}
		return r
	}
	v := verifier(t, rule("a", a), rule("b", b))
	token := func(name string, k SigningKey) string {
		return seal("ES256", k.raw(), goodHeader("ES256", k).with("kid", "one").json(), goodClaims().with("iss", name).with("sub", name).json())
	}
	accepted(t, v, token("a", a))
	accepted(t, v, token("b", b))
	refused(t, v, token("a", b), "the signature is wrong")
	refused(t, v, token("b", a), "the signature is wrong")
}

// TestRotation registers two keys of one machine: each is its own binding.
func TestRotation(t *testing.T) {
	t.Parallel()
	old, next := es256Key(), edKey()
	v := verifier(t, machineRule(t, old, next))
	e1 := accepted(t, v, seal("ES256", old.raw(), goodHeader("ES256", old).json(), goodClaims().json()))
	e2 := accepted(t, v, seal("EdDSA", next.raw(), goodHeader("EdDSA", next).json(), goodClaims().json()))
	if e1.Binding == e2.Binding || e1.Subject != e2.Subject {
		t.Errorf("bindings %q and %q, subjects %v and %v", e1.Binding, e2.Binding, e1.Subject, e2.Subject)
	}
	refused(t, v, seal("ES256", old.raw(), goodHeader("ES256", next).json(), goodClaims().json()), "its alg is not that of the key")
}

func TestAudiencesOfOneIssuer(t *testing.T) {
	t.Parallel()
	k := es256Key()
	first, second := machineRule(t, k), machineRule(t, k)
	second.Keys = first.Keys
	second.Name, second.Audience = "second", "https://second.example"
	v := verifier(t, first, second)
	token := func(aud string) string {
		return seal("ES256", k.raw(), goodHeader("ES256", k).json(), goodClaims().with("aud", aud).json())
	}
	if got := accepted(t, v, token(audience)).ServiceAccount; got != "deploy" {
		t.Errorf("got %q", got)
	}
	if got := accepted(t, v, token("https://second.example")).ServiceAccount; got != "second" {
		t.Errorf("got %q", got)
	}
	refused(t, v, token("https://third.example"), "aud is not")
}

// TestWeakCurve signs ES256 with P-224, which the library would verify.
func TestWeakCurve(t *testing.T) {
	t.Parallel()
	k := curveKey(elliptic.P224())
	if _, err := Thumbprint(&k.PublicKey); err == nil {
		t.Error("P-224 has a thumbprint")
	}
	if fits("ES256", &k.PublicKey) {
		t.Error("P-224 fits ES256")
	}
	if p := curveKey(elliptic.P256()); !fits("ES256", &p.PublicKey) {
		t.Error("P-256 does not fit ES256")
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	var m members
	if err := json.Unmarshal([]byte(`{"s":"a\"\u0062","e":"","n":12,"f":1.5,"x":1e3,"neg":-1,"b":true,"null":null,"l":["a"],"o":{},
		"late":253402300799,"later":253402300800,"half":10.9}`), &m); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"s": `a"b`, "n": "12", "b": "true"} {
		if got, ok := m.text(name); !ok || got != want {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
	if got, ok := m.text("e"); !ok || got != "" {
		t.Errorf("the empty string: %q, %v", got, ok)
	}
	for _, name := range []string{"f", "x", "neg", "null", "l", "o", "absent"} {
		if got, ok := m.text(name); ok || got != "" {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
	for name, want := range map[string]int64{"n": 12, "late": 253402300799, "half": 10, "x": 1000} {
		if got, ok := m.date(name); !ok || got.Unix() != want {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
	for _, name := range []string{"neg", "later", "s", "null", "absent"} {
		if got, ok := m.date(name); ok || !got.IsZero() {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
}
