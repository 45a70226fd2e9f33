package token

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"github.com/countersign/countersign/identity"
)

// Audience is somebody for whom credentials are minted.
type Audience struct {
	// Name is the credential's "aud".
	Name string
	// Algorithm is ES256 if empty, EdDSA, or RS256 for those that know no other.
	Algorithm string
}

// credentialType is the "typ" of RFC 9068 section 2.1.
const credentialType = "at+jwt"

// maxLife is the longest life of any credential, whatever policy says.
const maxLife = 24 * time.Hour

// Minter signs credentials in the form of RFC 9068. It keeps no record: who
// calls Mint records the credential before releasing it. It is safe for
// concurrent use.
type Minter struct {
	// Now is the clock that Parse goes by. It is set before first use.
	Now func() time.Time

	issuer    string
	audiences map[string]string     // algorithm by name
	signers   map[string]SigningKey // by algorithm
	public    map[string]publicKey  // by kid
	parsers   map[string]*jwt.Parser
	jwks      []byte
}

type publicKey struct {
	alg string
	key crypto.PublicKey
}

// NewMinter builds a minter and reports every fault at once. Of several keys of
// one algorithm the first signs, and the others are only published: list a new
// key second for as long as anybody caches the key set (an hour), then swap the
// two, and drop the old one when the last credential under it has expired.
func NewMinter(issuer string, signing []SigningKey, audiences []Audience) (*Minter, error) {
	m := &Minter{
		Now: time.Now, issuer: issuer, audiences: map[string]string{},
		signers: map[string]SigningKey{}, public: map[string]publicKey{}, parsers: map[string]*jwt.Parser{},
	}
	var faults []error
	if err := issuerURL(issuer); err != nil {
		faults = append(faults, err)
	}
	for i, k := range signing {
		switch _, twice := m.public[k.kid]; {
		case k.held == nil:
			faults = append(faults, fmt.Errorf("signing key %d is empty", i+1))
		case twice:
			faults = append(faults, fmt.Errorf("signing key %d stands twice", i+1))
		default:
			m.hold(k)
		}
	}
	for _, a := range audiences {
		if a.Algorithm == "" {
			a.Algorithm = "ES256"
		}
		_, twice := m.audiences[a.Name]
		_, can := m.signers[a.Algorithm]
		switch {
		case !plain.MatchString(a.Name):
			faults = append(faults, fmt.Errorf("audience %q: the name must be 1 to 255 printable ASCII characters without space", a.Name))
		case twice:
			faults = append(faults, fmt.Errorf("audience %q stands twice", a.Name))
		case !can:
			faults = append(faults, fmt.Errorf("audience %q: there is no signing key for %q; keys sign ES256, EdDSA or RS256", a.Name, a.Algorithm))
		}
		m.audiences[a.Name] = a.Algorithm
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	var err error
	m.jwks, err = m.publish()
	return m, err
}

// hold adds a key for publishing and, as the first of its algorithm, for signing.
func (m *Minter) hold(k SigningKey) {
	alg := k.Algorithm()
	m.public[k.kid] = publicKey{alg: alg, key: k.Public()}
	if _, first := m.signers[alg]; first {
		return
	}
	m.signers[alg] = k
	// The issuer is not empty: the library would take that for "do not check".
	m.parsers[alg] = jwt.NewParser(jwt.WithValidMethods([]string{alg}), jwt.WithStrictDecoding(),
		jwt.WithIssuer(m.issuer), jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return m.Now() }))
}

// Mint signs a credential for a grant. Times are cut to whole seconds, in the
// returned grant as well.
func (m *Minter) Mint(g identity.Grant) (identity.Credential, error) {
	g.Issued, g.Expires = g.Issued.UTC().Truncate(time.Second), g.Expires.UTC().Truncate(time.Second)
	alg, known := m.audiences[g.Audience]
	if !known {
		return identity.Credential{}, fmt.Errorf("minting: the audience %q is not configured", g.Audience)
	}
	if err := checkGrant(g); err != nil {
		return identity.Credential{}, fmt.Errorf("minting: %w", err)
	}
	raw, err := m.signers[alg].sign(alg, credentialType, jwt.MapClaims{
		"iss": m.issuer, "sub": g.Subject, "aud": g.Audience, "client_id": g.ServiceAccount,
		"iat": g.Issued.Unix(), "exp": g.Expires.Unix(), "jti": g.ID,
		"scope": strings.Join(g.Scopes, " "), "txn": g.Request, "apd": g.Digest,
	})
	if err != nil {
		return identity.Credential{}, fmt.Errorf("minting: %w", err)
	}
	sum := sha256.Sum256([]byte(raw.Reveal()))
	return identity.Credential{Grant: g, Token: raw, SHA256: hex.EncodeToString(sum[:])}, nil
}

// checkGrant refuses a grant that would lose or change its meaning as a token:
// an absent part, text that JSON would alter, a scope that reads as two.
func checkGrant(g identity.Grant) error {
	for _, part := range []struct{ name, value string }{
		{"id", g.ID}, {"request", g.Request}, {"digest", g.Digest}, {"subject", g.Subject}, {"service account", g.ServiceAccount},
	} {
		if part.value == "" || !utf8.ValidString(part.value) {
			return fmt.Errorf("the %s of the grant is empty or not UTF-8", part.name)
		}
	}
	if len(g.Scopes) == 0 {
		return errors.New("the grant has no scopes; a decision without scopes gets no credential")
	}
	for i, s := range g.Scopes {
		if !scopeToken(s) {
			return errors.New("a scope must be printable ASCII characters without space, quote and backslash (RFC 6749 section 3.3)")
		}
		if slices.Contains(g.Scopes[:i], s) {
			return errors.New("a scope stands twice")
		}
	}
	if life := g.Expires.Sub(g.Issued); life <= 0 || life > maxLife || g.Issued.Unix() <= 0 || g.Expires.Unix() > maxDate {
		return fmt.Errorf("the grant must last for 1s to %s", maxLife)
	}
	return nil
}

// scopeToken reports whether s is a scope-token of RFC 6749 section 3.3.
func scopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// credentialClaims are exactly the claims that Mint writes.
type credentialClaims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Client   string `json:"client_id"`
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	ID       string `json:"jti"`
	Scope    string `json:"scope"`
	Request  string `json:"txn"`
	Digest   string `json:"apd"`
}

// Parse returns the grant of a credential that this minter, or one before it
// with the same issuer and a key still published, has minted and that has not
// expired, without leeway. It fails with ErrInvalid. Whether the credential was
// revoked, it cannot know.
func (m *Minter) Parse(raw string) (identity.Grant, error) {
	d, err := dissect(raw)
	if err != nil {
		return identity.Grant{}, err
	}
	if err := d.restrict("alg", "kid", "typ"); err != nil {
		return identity.Grant{}, err
	}
	if d.typ != credentialType {
		return identity.Grant{}, invalid("its typ is not " + credentialType)
	}
	k, known := m.public[d.kid]
	if !known || k.alg != d.alg {
		return identity.Grant{}, invalid("it is not signed by a key of this issuer")
	}
	if _, err := m.parsers[k.alg].Parse(raw, func(*jwt.Token) (any, error) { return k.key, nil }); err != nil {
		return identity.Grant{}, refusal(err)
	}
	return m.grant(d)
}

// grant decodes the claims of a verified credential.
func (m *Minter) grant(d dissected) (identity.Grant, error) {
	malformed := invalid("its claims are not those of a credential")
	// The parts were checked one by one; together they decode strictly.
	body, err := json.Marshal(d.claims)
	if err != nil {
		return identity.Grant{}, malformed
	}
	var c credentialClaims
	if json.Unmarshal(body, &c, json.RejectUnknownMembers(true)) != nil {
		return identity.Grant{}, malformed
	}
	g := identity.Grant{
		ID: c.ID, Request: c.Request, Digest: c.Digest, Subject: c.Subject, ServiceAccount: c.Client, Audience: c.Audience,
		Scopes: strings.Split(c.Scope, " "), Issued: time.Unix(c.Issued, 0).UTC(), Expires: time.Unix(c.Expires, 0).UTC(),
	}
	if _, known := m.audiences[g.Audience]; !known || checkGrant(g) != nil {
		return identity.Grant{}, malformed
	}
	return g, nil
}

// JWKS returns the JWK Set (RFC 7517 section 5) of all keys: public members
// only, sorted by kid, the same bytes each time.
func (m *Minter) JWKS() []byte { return slices.Clone(m.jwks) }

// publish encodes the set.
func (m *Minter) publish() ([]byte, error) {
	set := make([]map[string]string, 0, len(m.public))
	for _, kid := range slices.Sorted(maps.Keys(m.public)) {
		pairs, err := coordinates(m.public[kid].key)
		if err != nil {
			return nil, err
		}
		jwk := map[string]string{"kid": kid, "use": "sig", "alg": m.public[kid].alg}
		for i := 0; i < len(pairs); i += 2 {
			jwk[pairs[i]] = pairs[i+1]
		}
		set = append(set, jwk)
	}
	return json.Marshal(map[string]any{"keys": set}, json.Deterministic(true))
}

// discovery is the part of OpenID Connect Discovery 1.0 section 3 and RFC 8414
// section 2 that is true of an issuer at which nobody logs in.
type discovery struct {
	Issuer        string   `json:"issuer"`
	JWKS          string   `json:"jwks_uri"`
	Introspection string   `json:"introspection_endpoint"`
	Revocation    string   `json:"revocation_endpoint"`
	Responses     []string `json:"response_types_supported"`
	Subjects      []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	Claims        []string `json:"claims_supported"`
}

// Discovery returns the document for /.well-known/openid-configuration of a
// server that people reach at publicURL. Verifiers compare its issuer with the
// address that they asked, so the two should be the same.
func (m *Minter) Discovery(publicURL string) []byte {
	base := strings.TrimRight(publicURL, "/")
	b, err := json.Marshal(discovery{
		Issuer:        m.issuer,
		JWKS:          base + "/.well-known/jwks.json",
		Introspection: base + "/v1/introspect",
		Revocation:    base + "/v1/revoke",
		Responses:     []string{"id_token"},
		Subjects:      []string{"public"},
		Algorithms:    slices.Sorted(maps.Keys(m.signers)),
		Claims:        []string{"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "txn", "apd"},
	})
	if err != nil {
		// Only text that is not UTF-8 cannot be encoded, and publicURL is the
		// operator's; an empty object promises nothing.
		return []byte("{}")
	}
	return b
}
