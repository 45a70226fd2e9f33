package token

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"
	"os"
	"strings"
	"testing"
)

// jwk returns a public key as a JWK with a kid of its own.
func jwk(key crypto.PublicKey) fields {
	pairs, err := coordinates(key)
	if err != nil {
		panic(err)
	}
	kid, err := Thumbprint(key)
	if err != nil {
		panic(err)
	}
	f := fields{"kid": kid, "use": "sig"}
	for i := 0; i < len(pairs); i += 2 {
		f[pairs[i]] = pairs[i+1]
	}
	return f
}

func set(keys ...fields) string {
	list := make([]any, len(keys))
	for i, k := range keys {
		list[i] = k
	}
	return fields{"keys": list}.json()
}

func TestParseSet(t *testing.T) {
	t.Parallel()
	ec, ed, rs := jwk(es256Key().Public()), jwk(edKey().Public()), jwk(rsaKey().Public())
	p384 := curveKey(elliptic.P384())
	for name, c := range map[string]struct {
		text string
		kids int
	}{
		"three kinds":            {set(ec, ed, rs), 3},
		"without use":            {set(ec.with("use", nil)), 1},
		"with alg":               {set(ec.with("alg", "ES256"), ed.with("alg", "EdDSA"), rs.with("alg", "RS256")), 3},
		"new name of EdDSA":      {set(ed.with("alg", "Ed25519")), 1},
		"key_ops verify":         {set(ec.with("key_ops", []string{"verify"})), 1},
		"certificates":           {set(rs.with("x5c", []string{"bm90IGEgY2VydGlmaWNhdGU"}).with("x5t", "x").with("x5u", "https://example.com")), 1},
		"members nobody knows":   {set(ec.with("endorsements", []string{"msteams"}).with("D", "x")), 1},
		"another curve":          {set(jwk(&p384.PublicKey)), 1},
		"encryption left out":    {set(ec, rs.with("use", "enc")), 1},
		"key_ops left out":       {set(ec, rs.with("key_ops", []string{"encrypt"})), 1},
		"unknown kind left out":  {set(ec, fields{"kty": "OKP", "crv": "Ed448", "x": "AA", "kid": "z"}), 1},
		"secp256k1 left out":     {set(ec, fields{"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "z"}), 1},
		"alg of another kind":    {set(ec, rs.with("alg", "ES256")), 1},
		"off the curve left out": {set(ed, ec.with("x", ec["y"])), 1},
		"a full hundred":         {set(hundred(ec)...), 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseSet([]byte(c.text))
			if err != nil || len(got) != c.kids {
				t.Errorf("%d keys, error %v; want %d", len(got), err, c.kids)
			}
		})
	}
	weak := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(3), 1022), E: 65537}
	small := fields{"kty": "RSA", "n": encode(weak.N.Bytes()), "e": "AQAB", "kid": "weak"}
	three := rs.with("e", "Aw")
	for name, c := range map[string]struct{ text, reason string }{
		"duplicate kid":        {set(ec, rs.with("kid", ec["kid"])), "the kid of another"},
		"duplicate, one unfit": {set(ec, rs.with("kid", ec["kid"]).with("use", "enc")), "the kid of another"},
		"no kid":               {set(ec, rs.with("kid", nil)), "no kid"},
		"empty kid":            {set(ec.with("kid", "")), "no kid"},
		"kid as a number":      {set(ec.with("kid", 5)), "not a JSON Web Key"},
		"private EC":           {set(rs, ec.with("d", "canary")), "private"},
		"private part of RSA":  {set(ec, rs.with("p", "canary")), "private"},
		"symmetric":            {set(ec, fields{"kty": "oct", "k": "canary", "kid": "s"}), "symmetric"},
		"symmetric without k":  {set(ec, fields{"kty": "oct", "kid": "s"}), "symmetric"},
		"RSA of 1024 bits":     {set(small), "1024 bits"},
		"RSA with exponent 3":  {set(three), "exponent"},
		"huge exponent":        {set(rs.with("e", strings.Repeat("A", 20)+"AQAB"+strings.Repeat("A", 20))), "malformed"},
		"only for encryption":  {set(ec.with("use", "enc")), "not sig"},
		"none":                 {`{"keys":[]}`, "empty"},
		"no list":              {`{}`, "empty"},
		"one hundred and one":  {set(append(hundred(ec), ed)...), "101 keys"},
		"list of words":        {`{"keys":["canary"]}`, "not a JSON Web Key"},
		"duplicate list":       {`{"keys":[],"keys":[]}`, "every member once"},
		"duplicate in a key":   {strings.Replace(set(ec), `"crv"`, `"kty":"EC","crv"`, 1), "every member once"},
		"other case of list":   {strings.Replace(set(ec), `"keys"`, `"Keys"`, 1), "empty"},
		"not JSON":             {"<html>canary</html>", "not a JSON object"},
		"too large":            {set(ec.with("pad", strings.Repeat("p", maxSet))), "larger than 256 KiB"},
		"nothing but null":     {`null`, "empty"},
		"bad UTF-8":            {strings.Replace(set(ec.with("note", "canary")), "canary", "\xff", 1), "every member once"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseSet([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Fatalf("%d keys, error %v; want %q", len(got), err, c.reason)
			}
			noLeak(t, err, "")
		})
	}
}

func hundred(k fields) []fields {
	var out []fields
	for i := range maxKeys {
		out = append(out, k.with("kid", "key-"+string(rune('a'+i/26))+string(rune('a'+i%26))))
	}
	return out
}

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	k := es256Key()
	private := t.TempDir() + "/private"
	if err := WriteKey(private, k); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		source KeySource
		reason string
	}{
		"a private key":   {KeySource{PublicKeyFile: private}, "never put a private key here"},
		"no PEM":          {KeySource{PublicKeyFile: write(t, "canary")}, "no PEM block"},
		"broken PEM":      {KeySource{PublicKeyFile: write(t, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")}, "malformed"},
		"no file":         {KeySource{JWKSFile: t.TempDir() + "/none"}, "no such file"},
		"private JWK":     {KeySource{JWKSFile: write(t, set(jwk(k.Public()).with("d", "canary")))}, "private"},
		"large file":      {KeySource{JWKSFile: write(t, strings.Repeat(" ", maxSet+1))}, "larger than 256 KiB"},
		"two sources":     {KeySource{JWKSFile: "a", PublicKeyFile: "b"}, "exactly one"},
		"two other":       {KeySource{JWKSFile: "a", JWKSURL: "https://example.com"}, "exactly one"},
		"three":           {KeySource{JWKSFile: "a", JWKSURL: "https://example.com", PublicKeyFile: "b"}, "exactly one"},
		"no source":       {KeySource{}, "exactly one"},
		"http":            {KeySource{JWKSURL: "http://example.com/jwks"}, "must be https"},
		"file URL":        {KeySource{JWKSURL: "file://host/etc/passwd"}, "must be https"},
		"password in URL": {KeySource{JWKSURL: "https://u:canary@example.com/"}, "no user name"},
		"no URL":          {KeySource{JWKSURL: "jwks"}, "not a URL"},
		"unparsable URL":  {KeySource{JWKSURL: "https://canary\x7f/"}, "not a URL"},
		"almost loopback": {KeySource{JWKSURL: "http://localhost.example.com/"}, "must be https"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := machineRule(t, k)
			r.Keys = c.source
			_, err := NewVerifier(t.Context(), []Rule{r}, Options{})
			if err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Fatalf("error %v; want %q", err, c.reason)
			}
			noLeak(t, err, "")
		})
	}
	for _, good := range []string{"https://example.com/jwks?x=1", "http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost:1/"} {
		if err := fetchable(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	if _, err := os.Stat(private); err != nil {
		t.Error(err)
	}
}

// TestThumbprint checks the examples of RFC 7638 section 3.1 and RFC 8037
// appendix A.3.
func TestThumbprint(t *testing.T) {
	t.Parallel()
	s, err := parseSet([]byte(`{"keys":[{"kty":"RSA","kid":"rsa","e":"AQAB","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"},
		{"kty":"OKP","kid":"ed","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for kid, want := range map[string]string{
		"rsa": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		"ed":  "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
	} {
		k := s[kid]
		if got, err := Thumbprint(k.Key()); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", kid, got, err, want)
		}
	}
}

func FuzzParseSet(f *testing.F) {
	ec := jwk(es256Key().Public())
	f.Add(set(ec, jwk(edKey().Public()), jwk(rsaKey().Public())))
	f.Add(set(ec.with("d", "AA")))
	f.Add(`{"keys":[{"kty":"EC","crv":"P-256","x":"","y":"","kid":"a"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseSet([]byte(text))
		if (err == nil) == (len(got) == 0) {
			t.Fatalf("%d keys and error %v", len(got), err)
		}
		for kid, k := range got {
			if kid == "" || checkKey(k.Key()) != nil || len(algorithmsOf(k.Key())) == 0 {
				t.Fatalf("an unusable key was kept: %v", k.Marshal())
			}
		}
	})
}
