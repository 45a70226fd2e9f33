package token

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/countersign/countersign/identity"
)

// AssertionClaims are what a self-signed assertion says.
type AssertionClaims struct {
	Issuer   string // the machine's name: both "iss" and "sub"
	Audience string
	// Life is how long the assertion lasts: at most 5 minutes; one if zero.
	Life time.Duration
	Now  time.Time
	ID   string // "jti": random, for this assertion alone
}

// Sign makes a self-signed assertion (RFC 7523 section 3) that the profile
// "assertion" accepts. RSA keys sign with PS256.
func Sign(k SigningKey, c AssertionClaims) (identity.Secret, error) {
	if c.Life == 0 {
		c.Life = time.Minute
	}
	var faults []error
	if k.held == nil {
		faults = append(faults, errors.New("there is no key to sign with"))
	}
	if !plain.MatchString(c.Issuer) || !plain.MatchString(c.Audience) {
		faults = append(faults, errors.New("issuer and audience must be 1 to 255 printable ASCII characters without space"))
	}
	if c.ID == "" || len(c.ID) > 256 || c.Now.IsZero() {
		faults = append(faults, errors.New("an id of 1 to 256 bytes and the time are wanted"))
	}
	if longest := profiles["assertion"].longest; c.Life < time.Second || c.Life > longest {
		faults = append(faults, fmt.Errorf("the life must be from 1s to %s", longest))
	}
	if len(faults) > 0 {
		return "", fmt.Errorf("signing an assertion: %w", errors.Join(faults...))
	}
	alg := k.Algorithm()
	if alg == "RS256" {
		alg = "PS256"
	}
	return k.sign(alg, assertionType, jwt.MapClaims{
		"iss": c.Issuer, "sub": c.Issuer, "aud": c.Audience, "jti": c.ID,
		"iat": c.Now.Unix(), "exp": c.Now.Add(c.Life).Unix(),
	})
}

// sign makes a compact JWS whose header is alg, kid and typ.
func (k SigningKey) sign(alg, typ string, claims jwt.MapClaims) (identity.Secret, error) {
	t := jwt.NewWithClaims(jwt.GetSigningMethod(alg), claims)
	t.Header["typ"], t.Header["kid"] = typ, k.kid
	raw, err := t.SignedString(k.held())
	if err != nil {
		return "", errors.New("signing failed")
	}
	if len(raw) > maxToken {
		return "", errors.New("the token would be longer than 16 KiB")
	}
	return identity.Secret(raw), nil
}
