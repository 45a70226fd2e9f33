package audit

import (
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
)

// ErrCheckpoint: the note is no checkpoint of this log, or not signed by the
// given key.
var ErrCheckpoint = errors.New("bad checkpoint")

// MaxNote bounds the bytes of a signed checkpoint that is read.
const MaxNote = 64 << 10

// Checkpoint says which log has how many entries under which root. Origin is
// the name of the key that signs it.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   Hash
}

func (c Checkpoint) body() string {
	return string(log.Checkpoint{Origin: c.Origin, Size: c.Size, Hash: c.Root[:]}.Marshal())
}

// Sign returns the checkpoint as a signed note (C2SP tlog-checkpoint). The
// origin must be the signer's name.
func (c Checkpoint) Sign(s note.Signer) ([]byte, error) {
	if c.Origin != s.Name() {
		return nil, fmt.Errorf("%w: the origin %q is not the key's name %q", ErrCheckpoint, c.Origin, s.Name())
	}
	signed, err := note.Sign(&note.Note{Text: c.body()}, s)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return signed, nil
}

// OpenCheckpoint verifies a signed checkpoint against a key that the caller
// trusts and parses it strictly: three lines, the origin being the key's name,
// numbers and base64 in the one form in which they are written. Signatures by
// other keys (witnesses) may stand beside ours. The error wraps ErrCheckpoint.
func OpenCheckpoint(signed []byte, v note.Verifier) (Checkpoint, error) {
	if len(signed) > MaxNote {
		return Checkpoint{}, fmt.Errorf("%w: longer than %d bytes", ErrCheckpoint, MaxNote)
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	for _, sig := range n.Sigs {
		// A note's parser lets the unused bits of the last character pass.
		if _, err := base64.StdEncoding.Strict().DecodeString(sig.Base64); err != nil {
			return Checkpoint{}, fmt.Errorf("%w: the signature is not in the form in which it is written", ErrCheckpoint)
		}
	}
	c, err := parseBody(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != v.Name() {
		return Checkpoint{}, fmt.Errorf("%w: it is of the log %q, the key is of %q", ErrCheckpoint, c.Origin, v.Name())
	}
	return c, nil
}

func parseBody(text string) (Checkpoint, error) {
	var raw log.Checkpoint
	rest, err := raw.Unmarshal([]byte(text))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	if len(rest) > 0 || len(raw.Hash) != len(Hash{}) || raw.Size > MaxSeq {
		return Checkpoint{}, fmt.Errorf("%w: it must hold an origin, a size below 2^53 and a SHA-256 root, and nothing else", ErrCheckpoint)
	}
	c := Checkpoint{Origin: raw.Origin, Size: raw.Size, Root: Hash(raw.Hash)}
	if c.body() != text {
		return Checkpoint{}, fmt.Errorf("%w: size or root are not in the form in which they are written", ErrCheckpoint)
	}
	return c, nil
}

// PeekCheckpoint parses the body of a note without verifying any signature: to
// know a size before the key is at hand, never to believe it.
func PeekCheckpoint(signed []byte) (Checkpoint, error) {
	n, err := note.Open(signed, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		n, err = unverified.Note, nil
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	return parseBody(n.Text)
}
