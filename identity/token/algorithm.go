package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// The algorithms of RFC 7518 and RFC 8037 that are ever accepted: signatures
// with a public key only.
var algorithms = []string{"ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}

// RSA moduli are refused below and above these sizes, in bits: below is weak
// (RFC 7518 section 3.3), above makes every verification slow.
const (
	minRSA = 2048
	maxRSA = 8192
)

// checkKey refuses keys that no signature should rest on: RSA moduli of the
// wrong size, exponents below 65537 (FIPS 186-5), and curves without an
// algorithm of their own. The library would verify ES256 with P-224.
func checkKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return fmt.Errorf("an RSA key of %d bits; %d to %d are allowed", n, minRSA, maxRSA)
		}
		if k.E < 65537 || k.E%2 == 0 {
			return errors.New("an RSA key whose exponent is even or below 65537")
		}
		return nil
	case *ecdsa.PublicKey:
		if curveName(k.Curve) == "" {
			return errors.New("an elliptic curve other than P-256, P-384 and P-521")
		}
		return nil
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return errors.New("an Ed25519 key of the wrong length")
		}
		return nil
	}
	return fmt.Errorf("a key of type %T; RSA, elliptic curve and Ed25519 keys are allowed", key)
}

// curveName returns the name of RFC 7518 section 6.2.1.1, empty if there is none.
func curveName(c elliptic.Curve) string {
	switch c {
	case elliptic.P256():
		return "P-256"
	case elliptic.P384():
		return "P-384"
	case elliptic.P521():
		return "P-521"
	}
	return ""
}

// fits reports whether a key is of the kind that the algorithm wants, the curve
// included.
func fits(alg string, key crypto.PublicKey) bool {
	return slices.Contains(algorithmsOf(key), alg)
}

// algorithmsOf returns the algorithms that a key can be used with.
func algorithmsOf(key crypto.PublicKey) []string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return []string{"PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}
	case *ecdsa.PublicKey:
		switch curveName(k.Curve) {
		case "P-256":
			return []string{"ES256"}
		case "P-384":
			return []string{"ES384"}
		case "P-521":
			return []string{"ES512"}
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	}
	return nil
}

// coordinates returns a public key as the required members of a JWK, sorted by
// name: name, value, name, value … It fails on keys that checkKey refuses.
func coordinates(key crypto.PublicKey) ([]string, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := key.(type) {
	case *rsa.PublicKey:
		return []string{"e", b64(big.NewInt(int64(k.E)).Bytes()), "kty", "RSA", "n", b64(k.N.Bytes())}, nil
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, x, y: SEC 1 section 2.3.3
		if err != nil {
			return nil, errors.New("an elliptic curve key that is not on its curve")
		}
		half := (len(point) - 1) / 2
		return []string{"crv", curveName(k.Curve), "kty", "EC", "x", b64(point[1 : 1+half]), "y", b64(point[1+half:])}, nil
	default:
		return []string{"crv", "Ed25519", "kty", "OKP", "x", b64(key.(ed25519.PublicKey))}, nil
	}
}

// Thumbprint returns the RFC 7638 thumbprint of a public key: the base64url of
// the SHA-256 of its required members. It is the kid of every key of ours.
func Thumbprint(key crypto.PublicKey) (string, error) {
	pairs, err := coordinates(key)
	if err != nil {
		return "", err
	}
	// The values are base64url and fixed words, so they need no escaping.
	canonical := []byte{'{'}
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			canonical = append(canonical, ',')
		}
		canonical = append(canonical, `"`+pairs[i]+`":"`+pairs[i+1]+`"`...)
	}
	sum := sha256.Sum256(append(canonical, '}'))
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}
