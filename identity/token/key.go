package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
)

// SigningKey is a private key with its public name. It prints as that name.
// The zero value signs nothing.
type SigningKey struct {
	kid string
	// held returns the private key. It is a function, since fmt walks through
	// pointers and unexported fields, but shows of a function only the address.
	held func() crypto.Signer
}

// KID returns the RFC 7638 thumbprint of the public key.
func (k SigningKey) KID() string { return k.kid }

// Public returns the public key, nil for the zero value.
func (k SigningKey) Public() crypto.PublicKey {
	if k.held == nil {
		return nil
	}
	return k.held().Public()
}

// Algorithm returns the algorithm of credentials that the key signs: ES256,
// EdDSA or RS256.
func (k SigningKey) Algorithm() string {
	switch k.Public().(type) {
	case *ecdsa.PublicKey:
		return "ES256"
	case ed25519.PublicKey:
		return "EdDSA"
	case *rsa.PublicKey:
		return "RS256"
	}
	return ""
}

// Format implements fmt.Formatter; whatever the verb, it shows the kid only.
func (k SigningKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "key:"+k.kid) }

// newSigningKey accepts keys that one of the three algorithms of ours can use.
func newSigningKey(key any) (SigningKey, error) {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return SigningKey{}, errors.New("it is not a key that signs")
	}
	kid, err := Thumbprint(signer.Public())
	if err != nil {
		return SigningKey{}, err
	}
	if k, ok := signer.Public().(*ecdsa.PublicKey); ok && k.Curve != elliptic.P256() {
		return SigningKey{}, errors.New("an elliptic curve other than P-256")
	}
	return SigningKey{kid: kid, held: func() crypto.Signer { return signer }}, nil
}

// rsaBits is the size of the RSA keys that are made here: 128 bits of security
// by NIST SP 800-57, table 2.
const rsaBits = 3072

// GenerateKey makes a key for ES256, EdDSA, or RS256 and PS256, which share
// their kind of key.
func GenerateKey(alg string) (SigningKey, error) {
	var key any
	var err error
	switch alg {
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "RS256", "PS256":
		key, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return SigningKey{}, fmt.Errorf("keys are made for ES256, EdDSA, RS256 and PS256, not for %q", alg)
	}
	if err != nil {
		return SigningKey{}, err
	}
	return newSigningKey(key)
}

// WriteKey writes a private key to a new file: PKCS#8 in PEM (RFC 7468 section
// 10), readable by its owner only. It never overwrites: fs.ErrExist.
func WriteKey(path string, k SigningKey) error {
	if k.held == nil {
		return errors.New("there is no key to write")
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.held())
	if err != nil {
		return errors.New("the key cannot be encoded")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path)) // half a key is no key; the file is ours
	}
	return nil
}

// maxKeyFile is the largest private key file that is read, in bytes.
const maxKeyFile = 64 << 10

// LoadKey reads a private key (PKCS#8 in PEM). It refuses a file that others
// than its owner can read or write, however good the key: it is no secret.
func LoadKey(path string) (SigningKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return SigningKey{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return SigningKey{}, err
	case !info.Mode().IsRegular():
		return SigningKey{}, fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return SigningKey{}, fmt.Errorf("%s can be read by others than its owner (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return SigningKey{}, err
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return SigningKey{}, fmt.Errorf("%s must hold one PEM block PRIVATE KEY and nothing else; openssl pkcs8 -topk8 -nocrypt converts other forms", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return SigningKey{}, fmt.Errorf("%s: the private key is malformed", path)
	}
	k, err := newSigningKey(key)
	if err != nil {
		return SigningKey{}, fmt.Errorf("%s: %w; make one with: countersign keys", path, err)
	}
	return k, nil
}

// PublicPEM returns a public key as a PEM block PUBLIC KEY (RFC 7468 section
// 13), as KeySource.PublicKeyFile wants it.
func PublicPEM(key crypto.PublicKey) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, errors.New("the public key cannot be encoded")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
