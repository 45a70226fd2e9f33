package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a node of the tree.
type Hash = tlog.Hash

// LeafHash is the RFC 6962 hash of a leaf: SHA-256(0x00 || leaf).
func LeafHash(leaf []byte) Hash { return tlog.RecordHash(leaf) }

// Frontier is the right edge of a tree: the hashes of the largest complete
// subtrees, from left to right, at most 53 of them. It is all that is needed to
// append and to know the root. The zero Frontier is the empty tree.
type Frontier struct {
	size uint64
	edge []Hash // one for each set bit of size, the highest first
}

// Size is the number of leaves.
func (f *Frontier) Size() uint64 { return f.size }

// Append adds a leaf by its LeafHash. It returns the nodes that the leaf
// completes, from the leaf upwards: what an engine stores beside it. The result
// is valid until the next call of Append with the same dst.
func (f *Frontier) Append(leaf Hash, dst []Hash) []Hash {
	dst = append(dst[:0], leaf)
	for n := f.size; n&1 == 1; n >>= 1 {
		last := len(f.edge) - 1
		leaf = tlog.NodeHash(f.edge[last], leaf)
		f.edge = f.edge[:last]
		dst = append(dst, leaf)
	}
	f.edge = append(f.edge, leaf)
	f.size++
	return dst
}

// Root is the RFC 6962 root; that of the empty tree is SHA-256 of nothing.
func (f *Frontier) Root() Hash {
	if f.size == 0 {
		return sha256.Sum256(nil)
	}
	root := f.edge[len(f.edge)-1]
	for i := len(f.edge) - 2; i >= 0; i-- {
		root = tlog.NodeHash(f.edge[i], root)
	}
	return root
}

// Clone returns an independent copy.
func (f *Frontier) Clone() Frontier {
	return Frontier{size: f.size, edge: append([]Hash(nil), f.edge...)}
}

// Nodes reads what Append returned when leaf seq was added.
type Nodes interface {
	// Node returns element level of the nodes that leaf seq completed.
	Node(seq uint64, level int) (Hash, error)
}

// ErrTree: stored nodes are missing or do not fit the size.
var ErrTree = errors.New("the stored hash tree is damaged")

// reader shows Nodes as tlog wants to read them.
type reader struct{ nodes Nodes }

// ReadHashes implements tlog.HashReader.
func (r reader) ReadHashes(indexes []int64) ([]Hash, error) {
	hashes := make([]Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		// Node n of a level is complete once its last leaf is there.
		h, err := r.nodes.Node(uint64(n+1)<<level-1, level)
		if err != nil {
			return nil, err
		}
		hashes[i] = h
	}
	return hashes, nil
}

// ReadFrontier rebuilds the right edge of a tree of the given size from its
// stored nodes. It reads at most 53 of them.
func ReadFrontier(size uint64, nodes Nodes) (Frontier, error) {
	if size > MaxSeq {
		return Frontier{}, fmt.Errorf("%w: size %d is out of range", ErrTree, size)
	}
	f := Frontier{size: size}
	end := uint64(0)
	for level := bits.Len64(size) - 1; level >= 0; level-- {
		if size>>level&1 == 0 {
			continue
		}
		end += 1 << level
		h, err := nodes.Node(end-1, level)
		if err != nil {
			return Frontier{}, err
		}
		f.edge = append(f.edge, h)
	}
	return f, nil
}

// ProveInclusion returns the RFC 6962 audit path of leaf seq in the tree of the
// given size.
func ProveInclusion(size, seq uint64, nodes Nodes) ([]Hash, error) {
	if size > MaxSeq || seq >= size {
		return nil, fmt.Errorf("no proof of entry %d in a log of %d", seq, size)
	}
	return tlog.ProveRecord(int64(size), int64(seq), reader{nodes})
}

// ProveConsistency returns the RFC 6962 proof that the tree of size contains
// the tree of the smaller size old, which must not be empty: the empty tree is
// part of everything and proves nothing.
func ProveConsistency(size, old uint64, nodes Nodes) ([]Hash, error) {
	if size > MaxSeq || old == 0 || old > size {
		return nil, fmt.Errorf("no proof of consistency from %d entries to %d", old, size)
	}
	return tlog.ProveTree(int64(size), int64(old), reader{nodes})
}
