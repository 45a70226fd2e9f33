package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// ErrKey: the text or file is no key.
var ErrKey = errors.New("bad audit key")

// Key is the Ed25519 key that signs checkpoints. It is a note.Signer; its name
// is the log's origin. It must sign nothing else. It prints without its secret.
type Key struct {
	note.Signer
	secret string
	public string
}

// GenerateKey makes a key for the log with the given origin, for example
// "countersign.example.com/audit/1". The origin must not be empty and must not
// contain white space or "+".
func GenerateKey(origin string) (Key, error) {
	secret, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return ParseKey(secret)
}

// ParseKey reads the text form of a key as golang.org/x/mod/sumdb/note writes
// it: "PRIVATE+KEY+<name>+<hash>+<key>". White space around it is ignored. The
// error wraps ErrKey and holds no part of the key.
func ParseKey(text string) (Key, error) {
	secret := strings.TrimSpace(text)
	signer, err := note.NewSigner(secret)
	if err != nil {
		return Key{}, fmt.Errorf("%w: it must be one line that begins with PRIVATE+KEY+; for a name without white space or +", ErrKey)
	}
	// PRIVATE+KEY+<name>+<hash>+<key>: only the last part may hold a + itself.
	encoded := strings.SplitN(secret, "+", 5)[4]
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return Key{}, fmt.Errorf("%w: it is not an Ed25519 key", ErrKey)
	}
	public, err := note.NewEd25519VerifierKey(signer.Name(), ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey))
	if err != nil {
		return Key{}, fmt.Errorf("%w: it is not an Ed25519 key", ErrKey)
	}
	return Key{Signer: signer, secret: secret, public: public}, nil
}

// Public is the text form of the verifier's key, "<name>+<hash>+<key>": what an
// auditor is given, out of band.
func (k Key) Public() string { return k.public }

// Verifier verifies what the key signs.
func (k Key) Verifier() note.Verifier {
	v, err := note.NewVerifier(k.public)
	if err != nil {
		panic("audit: Key was not made by ParseKey") // only a zero Key comes here
	}
	return v
}

// String shows the public form.
func (k Key) String() string { return k.public }

// GoString shows the public form.
func (k Key) GoString() string { return k.public }

// Save writes the secret to a new file of mode 0600. An existing file is never
// replaced: a lost key cannot be made again.
func (k Key) Save(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("save audit key: %w", err)
	}
	_, err = f.WriteString(k.secret + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("save audit key: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

// LoadKey reads a key that Save wrote. A file that others than its owner can
// read is refused.
func LoadKey(path string) (Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Key{}, fmt.Errorf("load audit key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Key{}, fmt.Errorf("%w: others can read %s; chmod 600 it, and consider making a new key", ErrKey, path)
	}
	text, err := readSmall(path)
	if err != nil {
		return Key{}, fmt.Errorf("load audit key: %w", err)
	}
	return ParseKey(text)
}

// ParseVerifier reads the text form that Public gives.
func ParseVerifier(text string) (note.Verifier, error) {
	v, err := note.NewVerifier(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("%w: a verifier's key is one line, <name>+<hash>+<key>: %w", ErrKey, err)
	}
	return v, nil
}

// LoadVerifier reads a verifier's key from a file.
func LoadVerifier(path string) (note.Verifier, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, fmt.Errorf("load verifier's key: %w", err)
	}
	return ParseVerifier(text)
}

// readSmall reads a file that must be small, such as a key or a note.
func readSmall(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Size() > MaxNote {
		return "", &fs.PathError{Op: "read", Path: filepath.Clean(path), Err: errors.New("the file is far too long for this")}
	}
	b, err := os.ReadFile(path)
	return string(b), err
}
