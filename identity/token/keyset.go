package token

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/MicahParks/jwkset"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits of a key set: its size in bytes, and its number of keys.
const (
	maxSet  = 256 << 10
	maxKeys = 100
)

// keySet holds the usable keys of an issuer by kid.
type keySet map[string]setKey

type setKey struct {
	jwkset.JWK
	endorsements []string
}

// webKey is the part of a JWK (RFC 7517 section 4) that is read. Certificates
// are not: they prove nothing that the operator's choice of the set does not.
type webKey struct {
	Kty    string   `json:"kty"`
	Kid    string   `json:"kid"`
	Use    string   `json:"use"`
	KeyOps []string `json:"key_ops"`
	Alg    string   `json:"alg"`
	Crv    string   `json:"crv"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	// Endorsements are the Bot Connector's own member: the channels that a key
	// may speak for.
	Endorsements []string `json:"endorsements"`
}

// parseSet reads a JWK Set strictly. It refuses the whole set if a key has no
// kid or another's, if it is symmetric, or if it tells private parts: such a
// set comes from somebody who must not be trusted with keys. Keys that are
// merely of no use here (for encryption, of an unknown kind, too short) are
// left out; a set of none but such keys is refused.
func parseSet(data []byte) (keySet, error) {
	if len(data) > maxSet {
		return nil, fmt.Errorf("the key set is larger than %d KiB", maxSet>>10)
	}
	var doc struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, errors.New("the key set is not a JSON object with a list of keys, every member once")
	}
	if len(doc.Keys) > maxKeys {
		return nil, fmt.Errorf("the key set has %d keys; %d are allowed", len(doc.Keys), maxKeys)
	}
	set, seen := keySet{}, map[string]bool{}
	var unusable error
	for i, raw := range doc.Keys {
		k, err := readKey(raw)
		if err == nil && seen[k.Kid] {
			err = errors.New("it has the kid of another")
		}
		if err != nil {
			return nil, fmt.Errorf("key %d of the set: %w", i+1, err)
		}
		seen[k.Kid] = true
		jwk, err := k.usable()
		if err != nil {
			unusable = fmt.Errorf("key %d of the set: %w", i+1, err)
			continue
		}
		set[k.Kid] = setKey{jwk, k.Endorsements}
	}
	if len(set) == 0 {
		if unusable == nil {
			unusable = errors.New("the key set is empty")
		}
		return nil, unusable
	}
	return set, nil
}

// private are the members that only a private or symmetric key has (RFC 7518
// sections 6.2.2, 6.3.2 and 6.4).
var private = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// readKey decodes one key and refuses what condemns the whole set.
func readKey(raw jsontext.Value) (webKey, error) {
	var all members
	var k webKey
	if json.Unmarshal(raw, &all) != nil || json.Unmarshal(raw, &k) != nil {
		return webKey{}, errors.New("it is not a JSON Web Key")
	}
	for _, name := range private {
		if _, there := all[name]; there {
			return webKey{}, errors.New("it tells a private or symmetric key; publish public members only, and replace the key")
		}
	}
	switch {
	case k.Kty == "oct":
		return webKey{}, errors.New("it is symmetric (kty oct)")
	case k.Kid == "":
		return webKey{}, errors.New("it has no kid")
	}
	return k, nil
}

// usable returns the key if signatures may be verified with it. jwkset itself
// neither looks at key_ops nor ties the algorithm to the kind of key.
func (k webKey) usable() (jwkset.JWK, error) {
	if k.Use != "" && k.Use != "sig" {
		return jwkset.JWK{}, errors.New("its use is not sig")
	}
	if len(k.KeyOps) > 0 && !slices.Contains(k.KeyOps, "verify") {
		return jwkset.JWK{}, errors.New("its key_ops do not hold verify")
	}
	if k.Alg == "Ed25519" { // RFC 9864's name; tokens and the library say EdDSA
		k.Alg = "EdDSA"
	}
	m := jwkset.JWKMarshal{
		KTY: jwkset.KTY(k.Kty), KID: k.Kid, USE: jwkset.USE(k.Use), ALG: jwkset.ALG(k.Alg),
		CRV: jwkset.CRV(k.Crv), X: k.X, Y: k.Y, N: k.N, E: k.E,
	}
	jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{Private: false}, jwkset.JWKValidateOptions{})
	if err != nil {
		return jwkset.JWK{}, errors.New("it is malformed or of an unknown kind")
	}
	if err := checkKey(jwk.Key()); err != nil {
		return jwkset.JWK{}, err
	}
	if k.Alg != "" && !fits(k.Alg, jwk.Key()) {
		return jwkset.JWK{}, errors.New("its alg does not belong to a key of its kind")
	}
	return jwk, nil
}

// parsePEM reads one or more public keys (PKIX, "PUBLIC KEY"). Their kids are
// their thumbprints.
func parsePEM(data []byte) (keySet, error) {
	set := keySet{}
	for len(data) > 0 {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("a PEM block %q where a PUBLIC KEY is wanted; never put a private key here", block.Type)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("the PUBLIC KEY is malformed")
		}
		kid, jwk, err := wrapKey(key)
		if err != nil {
			return nil, err
		}
		set[kid] = setKey{JWK: jwk}
	}
	if len(set) == 0 {
		return nil, errors.New("no PEM block PUBLIC KEY was found")
	}
	return set, nil
}

// wrapKey makes a key of ours a JWK whose kid is its thumbprint.
func wrapKey(key crypto.PublicKey) (string, jwkset.JWK, error) {
	kid, err := Thumbprint(key)
	if err != nil {
		return "", jwkset.JWK{}, err
	}
	jwk, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid, USE: jwkset.UseSig}})
	if err != nil {
		return "", jwkset.JWK{}, errors.New("the key is malformed")
	}
	return kid, jwk, nil
}
