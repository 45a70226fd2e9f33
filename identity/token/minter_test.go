package token

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/identity"
)

const ourIssuer = "https://countersign.example"

func goodGrant() identity.Grant {
	return identity.Grant{
		ID: "canary-cred", Request: "req_1", Digest: "canary-digest", Subject: "deploy:production:deploy",
		ServiceAccount: "deploy", Audience: "https://cluster.example", Scopes: []string{"deploy:write", "logs:read"},
		Issued: noon, Expires: noon.Add(5 * time.Minute),
	}
}

func minter(t testing.TB, keys ...SigningKey) *Minter {
	t.Helper()
	audiences := []Audience{{Name: "https://cluster.example"}, {Name: "azure", Algorithm: "RS256"}, {Name: "ed", Algorithm: "EdDSA"}}
	m, err := NewMinter(ourIssuer, keys, audiences)
	if err != nil {
		t.Fatal(err)
	}
	m.Now = func() time.Time { return noon }
	return m
}

func ourKeys() []SigningKey { return []SigningKey{es256Key(), rsaKey(), edKey()} }

func TestMint(t *testing.T) {
	t.Parallel()
	m := minter(t, ourKeys()...)
	g := goodGrant()
	g.Issued, g.Expires = g.Issued.Add(time.Millisecond).In(time.FixedZone("x", 3600)), g.Expires.Add(999*time.Millisecond)
	c, err := m.Mint(g)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goodGrant(), c.Grant); diff != "" {
		t.Error(diff)
	}
	sum := sha256.Sum256([]byte(c.Token.Reveal()))
	if c.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("hash %s", c.SHA256)
	}
	parts := strings.Split(c.Token.Reveal(), ".")
	for i, want := range []string{
		`{"alg":"ES256","kid":"` + es256Key().KID() + `","typ":"at+jwt"}`,
		`{"apd":"canary-digest","aud":"https://cluster.example","client_id":"deploy","exp":1795176300,"iat":1795176000,` +
			`"iss":"https://countersign.example","jti":"canary-cred","scope":"deploy:write logs:read","sub":"deploy:production:deploy","txn":"req_1"}`,
	} {
		got, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || string(got) != want {
			t.Errorf("segment %d:\n%s; want\n%s", i, got, want)
		}
	}
}

func TestMintAndParse(t *testing.T) {
	t.Parallel()
	m := minter(t, ourKeys()...)
	for aud, alg := range map[string]string{"https://cluster.example": "ES256", "azure": "RS256", "ed": "EdDSA"} {
		g := goodGrant()
		g.Audience = aud
		c, err := m.Mint(g)
		if err != nil {
			t.Fatal(err)
		}
		header, _, _ := strings.Cut(c.Token.Reveal(), ".")
		if b, _ := base64.RawURLEncoding.DecodeString(header); !strings.Contains(string(b), `"alg":"`+alg+`"`) {
			t.Errorf("%s has the header %s", aud, b)
		}
		got, err := m.Parse(c.Token.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(g, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestMintRefuses(t *testing.T) {
	t.Parallel()
	m := minter(t, ourKeys()...)
	for name, change := range map[string]func(*identity.Grant){
		"no id":             func(g *identity.Grant) { g.ID = "" },
		"no request":        func(g *identity.Grant) { g.Request = "" },
		"no digest":         func(g *identity.Grant) { g.Digest = "" },
		"no subject":        func(g *identity.Grant) { g.Subject = "" },
		"bad UTF-8":         func(g *identity.Grant) { g.Subject = "canary\xff" },
		"no account":        func(g *identity.Grant) { g.ServiceAccount = "" },
		"no audience":       func(g *identity.Grant) { g.Audience = "" },
		"unknown audience":  func(g *identity.Grant) { g.Audience = "https://cluster.example/" },
		"no scopes":         func(g *identity.Grant) { g.Scopes = nil },
		"empty scope":       func(g *identity.Grant) { g.Scopes = []string{""} },
		"two scopes in one": func(g *identity.Grant) { g.Scopes = []string{"logs:read admin"} },
		"quote in a scope":  func(g *identity.Grant) { g.Scopes = []string{`a"b`} },
		"scope beyond":      func(g *identity.Grant) { g.Scopes = []string{"schön"} },
		"scope twice":       func(g *identity.Grant) { g.Scopes = []string{"a", "b", "a"} },
		"no life":           func(g *identity.Grant) { g.Expires = g.Issued },
		"backwards":         func(g *identity.Grant) { g.Expires = g.Issued.Add(-time.Second) },
		"part of a second":  func(g *identity.Grant) { g.Expires = g.Issued.Add(time.Second - 1) },
		"more than a day":   func(g *identity.Grant) { g.Expires = g.Issued.Add(24*time.Hour + time.Second) },
		"no times":          func(g *identity.Grant) { g.Issued, g.Expires = time.Time{}, time.Time{} },
		"too large":         func(g *identity.Grant) { g.Subject = strings.Repeat("canary", 3000) },
	} {
		g := goodGrant()
		change(&g)
		c, err := m.Mint(g)
		if err == nil || c.Token != "" || c.ID != "" {
			t.Errorf("%s: minted", name)
			continue
		}
		noLeak(t, err, "")
	}
	long := goodGrant()
	long.Expires = long.Issued.Add(24 * time.Hour)
	if _, err := m.Mint(long); err != nil {
		t.Error(err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	m := minter(t, ourKeys()...)
	k := es256Key()
	header := fields{"alg": "ES256", "kid": k.KID(), "typ": "at+jwt"}
	claims := fields{
		"iss": ourIssuer, "sub": "deploy:production:deploy", "aud": "https://cluster.example", "client_id": "deploy",
		"iat": noon.Unix(), "exp": noon.Add(time.Minute).Unix(), "jti": "canary", "scope": "a b", "txn": "req_1", "apd": "canary",
	}
	try := func(h, c fields) (identity.Grant, error) {
		return m.Parse(seal("ES256", k.raw(), h.json(), c.json()))
	}
	if g, err := try(header, claims); err != nil || len(g.Scopes) != 2 {
		t.Fatalf("the good one: %+v, %v", g, err)
	}
	if _, err := try(header, claims.with("exp", noon.Unix()+1)); err != nil {
		t.Errorf("the last second: %v", err)
	}
	stranger := generate("ES256")
	type pair struct{ h, c fields }
	for name, p := range map[string]pair{
		"expired now":      {header, claims.with("iat", noon.Unix()-60).with("exp", noon.Unix())},
		"expired long ago": {header, claims.with("iat", 1000).with("exp", 2000)},
		"no exp":           {header, claims.with("exp", nil)},
		"fraction":         {header, claims.with("exp", float64(noon.Unix())+30.5)},
		"another issuer":   {header, claims.with("iss", "https://canary.example")},
		"no issuer":        {header, claims.with("iss", nil)},
		"aud in a list":    {header, claims.with("aud", []string{"https://cluster.example"})},
		"foreign aud":      {header, claims.with("aud", "canary")},
		"a claim more":     {header, claims.with("canary", 1)},
		"other case":       {header, claims.with("jti", nil).with("JTI", "canary")},
		"no jti":           {header, claims.with("jti", nil)},
		"no apd":           {header, claims.with("apd", nil)},
		"empty scope":      {header, claims.with("scope", "")},
		"two spaces":       {header, claims.with("scope", "a  b")},
		"type JWT":         {header.with("typ", "JWT"), claims},
		"no type":          {header.with("typ", nil), claims},
		"assertion":        {header.with("typ", "client-authentication+jwt"), claims},
		"no kid":           {header.with("kid", nil), claims},
		"unknown kid":      {header.with("kid", stranger.KID()), claims},
		"kid of RSA":       {header.with("kid", rsaKey().KID()), claims},
		"alg of another":   {header.with("alg", "RS256"), claims},
		"alg none":         {header.with("alg", "none"), claims},
		"critical":         {header.with("crit", []string{"exp"}), claims},
		"own key":          {header.with("jwk", jwk(k.Public())), claims},
	} {
		g, err := try(p.h, p.c)
		if !errors.Is(err, ErrInvalid) || g.ID != "" {
			t.Errorf("%s: %+v, %v", name, g, err)
			continue
		}
		noLeak(t, err, "")
	}
	if _, err := m.Parse(seal("ES256", stranger.raw(), header.json(), claims.json())); !errors.Is(err, ErrInvalid) {
		t.Errorf("a stranger's signature: %v", err)
	}
	if _, err := m.Parse(seal("PS256", rsaKey().raw(), header.with("alg", "PS256").with("kid", rsaKey().KID()).json(), claims.json())); !errors.Is(err, ErrInvalid) {
		t.Errorf("our RSA key with PS256: %v", err)
	}
}

// TestNotAnAssertion: what we mint must not pass as a machine's assertion, nor
// the other way round, even with one key.
func TestNotAnAssertion(t *testing.T) {
	t.Parallel()
	k := es256Key()
	c, err := minter(t, ourKeys()...).Mint(goodGrant())
	if err != nil {
		t.Fatal(err)
	}
	r := machineRule(t, k)
	r.Issuer, r.Audience = ourIssuer, "https://cluster.example"
	refused(t, verifier(t, r), c.Token.Reveal(), "another kind of token")
	raw, err := Sign(k, AssertionClaims{Issuer: ourIssuer, Audience: "https://cluster.example", Now: noon, ID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := minter(t, ourKeys()...).Parse(raw.Reveal()); !errors.Is(err, ErrInvalid) {
		t.Errorf("an assertion is a credential: %v", err)
	}
	accepted(t, verifier(t, r), raw.Reveal())
}

func TestMinterRotation(t *testing.T) {
	t.Parallel()
	old, next := es256Key(), generate("ES256")
	others := []SigningKey{rsaKey(), edKey()}
	before, after := minter(t, append(others, old, next)...), minter(t, append(others, next, old)...)
	c, err := before.Mint(goodGrant())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := after.Parse(c.Token.Reveal()); err != nil {
		t.Errorf("the old key's credential died with the swap: %v", err)
	}
	if got, want := string(after.JWKS()), string(before.JWKS()); got != want {
		t.Errorf("the order of keys changes the set:\n%s\n%s", got, want)
	}
	c2, err := after.Mint(goodGrant())
	if err != nil {
		t.Fatal(err)
	}
	d, err := dissect(c2.Token.Reveal())
	if err != nil || d.kid != next.KID() {
		t.Errorf("signed by %s, error %v", d.kid, err)
	}
	if _, err := minter(t, append(others, next)...).Parse(c.Token.Reveal()); !errors.Is(err, ErrInvalid) {
		t.Errorf("a dropped key still counts: %v", err)
	}
}

func TestJWKS(t *testing.T) {
	t.Parallel()
	m := minter(t, ourKeys()...)
	b := m.JWKS()
	s, err := parseSet(b)
	if err != nil || len(s) != 3 {
		t.Fatalf("%d keys, error %v", len(s), err)
	}
	for _, k := range ourKeys() {
		jwk := s[k.KID()]
		if thumb, err := Thumbprint(jwk.Key()); err != nil || thumb != k.KID() {
			t.Errorf("kid %s has the thumbprint %s, error %v", k.KID(), thumb, err)
		}
		if got := jwk.Marshal(); got.ALG.String() != k.Algorithm() || got.USE != "sig" {
			t.Errorf("alg %s, use %s", got.ALG, got.USE)
		}
	}
	b[0] = 'x'
	if m.JWKS()[0] == 'x' {
		t.Error("a caller can change the set")
	}
	empty, err := NewMinter(ourIssuer, nil, nil)
	if err != nil || string(empty.JWKS()) != `{"keys":[]}` {
		t.Errorf("without keys: %s, %v", empty.JWKS(), err)
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	var got map[string]any
	if err := json.Unmarshal(minter(t, ourKeys()...).Discovery(ourIssuer+"/"), &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"issuer":                                ourIssuer,
		"jwks_uri":                              ourIssuer + "/.well-known/jwks.json",
		"introspection_endpoint":                ourIssuer + "/v1/introspect",
		"revocation_endpoint":                   ourIssuer + "/v1/revoke",
		"id_token_signing_alg_values_supported": []any{"ES256", "EdDSA", "RS256"},
		"response_types_supported":              []any{"id_token"},
		"subject_types_supported":               []any{"public"},
	} {
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestMinterFaults(t *testing.T) {
	t.Parallel()
	_, err := NewMinter("http://countersign.example", []SigningKey{es256Key(), es256Key(), {}},
		[]Audience{{Name: "a"}, {Name: "a"}, {Name: ""}, {Name: "azure", Algorithm: "RS256"}, {Name: "p", Algorithm: "PS256"}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"must be an https URL", "key 2 stands twice", "key 3 is empty", `"a" stands twice`, `audience ""`,
		`"azure": there is no signing key`, `"p": there is no signing key`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	if _, err := NewMinter("http://127.0.0.1:8080", []SigningKey{es256Key()}, []Audience{{Name: "a"}}); err != nil {
		t.Error(err)
	}
}
