package audit

import (
	"crypto/sha256"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// The naive functions are RFC 6962, section 2.1, word by word.

func naiveRoot(leaves [][]byte) Hash {
	switch len(leaves) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, leaves[0]...))
	}
	k := 1 << (bits.Len(uint(len(leaves)-1)) - 1)
	left, right := naiveRoot(leaves[:k]), naiveRoot(leaves[k:])
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

func naivePath(m int, leaves [][]byte) []Hash {
	if len(leaves) == 1 {
		return nil
	}
	k := 1 << (bits.Len(uint(len(leaves)-1)) - 1)
	if m < k {
		return append(naivePath(m, leaves[:k]), naiveRoot(leaves[k:]))
	}
	return append(naivePath(m-k, leaves[k:]), naiveRoot(leaves[:k]))
}

func naiveProof(m int, leaves [][]byte, whole bool) []Hash {
	if m == len(leaves) {
		if whole {
			return nil
		}
		return []Hash{naiveRoot(leaves)}
	}
	k := 1 << (bits.Len(uint(len(leaves)-1)) - 1)
	if m <= k {
		return append(naiveProof(m, leaves[:k], whole), naiveRoot(leaves[k:]))
	}
	return append(naiveProof(m-k, leaves[k:], false), naiveRoot(leaves[:k]))
}

// memory stores nodes as an engine does.
type memory [][]Hash

func (m memory) Node(seq uint64, level int) (Hash, error) {
	if seq >= uint64(len(m)) || level >= len(m[seq]) {
		return Hash{}, fmt.Errorf("%w: no node at level %d of entry %d", ErrTree, level, seq)
	}
	return m[seq][level], nil
}

func grow(n int) (leaves [][]byte, nodes memory, f Frontier) {
	for i := range n {
		leaf := fmt.Appendf(nil, "leaf %d", i)
		leaves = append(leaves, leaf)
		nodes = append(nodes, f.Append(LeafHash(leaf), nil))
	}
	return leaves, nodes, f
}

// sizes are those at which trees change their shape.
func sizes() []int {
	list := []int{0, 1}
	for k := 2; k <= 256; k *= 2 {
		list = append(list, k-1, k, k+1)
	}
	return slices.Compact(list)
}

func TestTreeAgainstRFC6962(t *testing.T) {
	t.Parallel()
	for _, n := range sizes() {
		leaves, nodes, f := grow(n)
		if f.Size() != uint64(n) || f.Root() != naiveRoot(leaves) {
			t.Errorf("size %d: another root", n)
		}
		again, err := ReadFrontier(uint64(n), nodes)
		if err != nil || again.Root() != f.Root() || again.Size() != f.Size() {
			t.Errorf("size %d: the frontier read back: %v", n, err)
		}
		clone := f.Clone()
		clone.Append(Hash{}, nil)
		if f.Root() != naiveRoot(leaves) {
			t.Errorf("size %d: appending to a clone changed the original", n)
		}
		for m := range n {
			path, err := ProveInclusion(uint64(n), uint64(m), nodes)
			if err != nil || !slices.Equal(path, naivePath(m, leaves)) {
				t.Fatalf("size %d, leaf %d: another path: %v", n, m, err)
			}
		}
		for m := 1; m <= n; m++ {
			proof, err := ProveConsistency(uint64(n), uint64(m), nodes)
			if err != nil || !slices.Equal(proof, naiveProof(m, leaves, true)) {
				t.Fatalf("sizes %d and %d: another proof: %v", m, n, err)
			}
			if err := tlog.CheckTree(proof, int64(n), f.Root(), int64(m), naiveRoot(leaves[:m])); err != nil {
				t.Fatalf("sizes %d and %d: %v", m, n, err)
			}
		}
	}
}

func TestTreeAgainstRFC6962Large(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	n := 9_000 + rng.IntN(1_000)
	leaves, nodes, f := grow(n)
	if f.Root() != naiveRoot(leaves) {
		t.Errorf("size %d: another root", n)
	}
	for range 5 {
		size := 1 + rng.IntN(n)
		m := rng.IntN(size)
		path, err := ProveInclusion(uint64(size), uint64(m), nodes)
		if err != nil || !slices.Equal(path, naivePath(m, leaves[:size])) {
			t.Errorf("size %d, leaf %d: another path: %v", size, m, err)
		}
	}
}

func TestProofsOutOfRange(t *testing.T) {
	t.Parallel()
	_, nodes, _ := grow(5)
	for _, one := range [][2]uint64{{0, 0}, {5, 5}, {5, 6}, {1 << 63, 1}, {1<<64 - 1, 1<<64 - 2}, {MaxSeq + 1, 0}} {
		if _, err := ProveInclusion(one[0], one[1], nodes); err == nil {
			t.Errorf("ProveInclusion(%d, %d) gave a proof", one[0], one[1])
		}
	}
	for _, one := range [][2]uint64{{5, 0}, {0, 0}, {5, 6}, {1 << 63, 1}} {
		if _, err := ProveConsistency(one[0], one[1], nodes); err == nil {
			t.Errorf("ProveConsistency(%d, %d) gave a proof", one[0], one[1])
		}
	}
	if _, err := ProveInclusion(6, 0, nodes); err == nil {
		t.Error("a proof in a larger tree than is stored")
	}
	for _, size := range []uint64{6, MaxSeq + 1, 1<<64 - 1} {
		if _, err := ReadFrontier(size, nodes); err == nil {
			t.Errorf("a frontier of %d from 5 leaves", size)
		}
	}
	if _, err := ProveInclusion(5, 4, nodes); err != nil {
		t.Errorf("the last leaf: %v", err)
	}
}
