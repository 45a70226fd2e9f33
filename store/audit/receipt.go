package audit

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrReceipt: the receipt does not prove its leaf.
var ErrReceipt = errors.New("the receipt does not hold")

// maxPath is the longest possible audit path: the tree has less than 2^53 leaves.
const maxPath = 53

// Receipt proves one entry to whoever holds the verifier's key. In JSON both
// members are strings that hold the exact bytes.
type Receipt struct {
	// Leaf is the entry, exactly as the tree hashes it.
	Leaf []byte
	// Proof is a C2SP tlog-proof@v1: index, audit path and signed checkpoint.
	Proof []byte
}

// NewReceipt builds the receipt for entry seq under a signed checkpoint of the
// given size.
func NewReceipt(leaf []byte, seq uint64, checkpoint []byte, size uint64, nodes Nodes) (Receipt, error) {
	path, err := ProveInclusion(size, seq, nodes)
	if err != nil {
		return Receipt{}, err
	}
	p := proof.TLogProof{Index: seq, Checkpoint: checkpoint}
	for _, h := range path {
		p.Hashes = append(p.Hashes, h)
	}
	return Receipt{Leaf: leaf, Proof: p.Marshal()}, nil
}

// VerifyReceipt checks a receipt against a key that the caller trusts, and
// returns the entry with the checkpoint that covers it. The error wraps
// ErrReceipt, ErrCheckpoint or ErrLeaf.
func VerifyReceipt(r Receipt, v note.Verifier) (Leaf, Checkpoint, error) {
	p, err := parseProof(r.Proof)
	if err != nil {
		return Leaf{}, Checkpoint{}, err
	}
	c, err := OpenCheckpoint(p.Checkpoint, v)
	if err != nil {
		return Leaf{}, Checkpoint{}, err
	}
	leaf, err := DecodeLeaf(r.Leaf)
	if err != nil {
		return Leaf{}, Checkpoint{}, err
	}
	switch {
	case leaf.Seq != p.Index:
		return Leaf{}, Checkpoint{}, fmt.Errorf("%w: the proof is of entry %d, the entry is %d", ErrReceipt, p.Index, leaf.Seq)
	case p.Index >= c.Size:
		return Leaf{}, Checkpoint{}, fmt.Errorf("%w: entry %d is not under a checkpoint of %d entries", ErrReceipt, p.Index, c.Size)
	}
	path := make(tlog.RecordProof, len(p.Hashes))
	for i, h := range p.Hashes {
		path[i] = h
	}
	if err := tlog.CheckRecord(path, int64(c.Size), c.Root, int64(p.Index), LeafHash(r.Leaf)); err != nil {
		return Leaf{}, Checkpoint{}, fmt.Errorf("%w: the path does not lead from the entry to the root", ErrReceipt)
	}
	return leaf, c, nil
}

// parseProof is strict where the format's own parser is not: other line ends,
// other base64 or extra data would be other bytes for the same proof.
func parseProof(b []byte) (proof.TLogProof, error) {
	var p proof.TLogProof
	if len(b) > 2*MaxNote {
		return p, fmt.Errorf("%w: the proof is too long", ErrReceipt)
	}
	if err := p.Unmarshal(b); err != nil {
		return p, fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	if p.ExtraData != nil || len(p.Hashes) > maxPath || !bytes.Equal(p.Marshal(), b) {
		return p, fmt.Errorf("%w: the proof is not in the form in which it is written", ErrReceipt)
	}
	return p, nil
}
