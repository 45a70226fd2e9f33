package bolt

import (
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/countersign/countersign/store/audit"
)

// head is the end of the log: what the next entry needs to know.
type head struct {
	frontier audit.Frontier
	newest   time.Time // of the newest entry
}

// attempt is one transaction of the committing goroutine.
type attempt struct {
	s    *Store
	tx   *bbolt.Tx
	now  time.Time // of the write that runs
	head head

	request, canonical, leaf, node, side *bbolt.Bucket

	dirty     bool // something was put
	appended  bool // an entry was appended
	touched   []string
	consumed  map[tokenID]moment // by this transaction
	forgotten []tokenID
	scratch   []audit.Hash
}

// Sequential keys never go back to a page once it is full; records grow a little.
const (
	fillLog    = 0.95
	fillRecord = 0.75
)

// begin prepares a transaction, reading from the file what is not in memory.
func (s *Store) begin(tx *bbolt.Tx) (*attempt, error) {
	if s.head == nil {
		h, err := readHead(tx)
		if err != nil {
			return nil, err
		}
		s.head = &h
	}
	if s.tokens == nil {
		s.tokens = readTokens(tx)
	}
	a := &attempt{
		s: s, tx: tx, head: head{frontier: s.head.frontier.Clone(), newest: s.head.newest},
		request: tx.Bucket(bucketRequest), canonical: tx.Bucket(bucketCanonical),
		leaf: tx.Bucket(bucketLeaf), node: tx.Bucket(bucketNode), side: tx.Bucket(bucketSide),
		consumed: make(map[tokenID]moment),
	}
	a.request.FillPercent = fillRecord
	for _, b := range []*bbolt.Bucket{a.canonical, a.leaf, a.node, a.side} {
		b.FillPercent = fillLog
	}
	return a, nil
}

// finish forgets what has expired and signs the new size.
func (a *attempt) finish() error {
	if err := a.forget(); err != nil {
		return err
	}
	if !a.appended {
		return nil
	}
	c := audit.Checkpoint{Origin: a.s.signer.Name(), Size: a.head.frontier.Size(), Root: a.head.frontier.Root()}
	signed, err := c.Sign(a.s.signer)
	if err != nil {
		return err
	}
	return a.tx.Bucket(bucketMeta).Put(keyCheckpoint, signed)
}

// readHead reads the end of the log under the newest checkpoint.
func readHead(tx *bbolt.Tx) (head, error) {
	signed := tx.Bucket(bucketMeta).Get(keyCheckpoint)
	c, err := audit.PeekCheckpoint(signed)
	if err != nil {
		return head{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	f, err := audit.ReadFrontier(c.Size, nodes{tx.Bucket(bucketNode)})
	if err != nil {
		return head{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	h := head{frontier: f}
	if c.Size == 0 {
		return h, nil
	}
	leaf, err := audit.DecodeLeaf(tx.Bucket(bucketLeaf).Get(seqKey(c.Size - 1)))
	if err != nil {
		return head{}, fmt.Errorf("%w: the newest entry: %w", ErrDamaged, err)
	}
	h.newest = leaf.Time
	return h, nil
}

// sweep is how many expired rows of each kind one commit forgets, beside as
// many as it added: what has piled up melts away, and no commit becomes long.
const sweep = 16

// forget removes expired one-time tokens and idempotency keys.
func (a *attempt) forget() error {
	now := momentOf(a.s.clock())
	tokens := a.tx.Bucket(bucketToken)
	for _, key := range expired(tokens, now, sweep+2*len(a.consumed)) {
		if err := tokens.Delete(key); err != nil {
			return err
		}
		id := tokenID(key[momentSize:])
		// The same id may have been consumed again since it expired.
		if _, again := a.consumed[id]; !again && a.s.tokens[id] == moment(key[:momentSize]) {
			a.forgotten = append(a.forgotten, id)
		}
	}
	expiry, keys := a.tx.Bucket(bucketKeyExpiry), a.tx.Bucket(bucketKey)
	for _, key := range expired(expiry, now, sweep+2*len(a.touched)) {
		if err := expiry.Delete(key); err != nil {
			return err
		}
		if err := keys.Delete(key[momentSize:]); err != nil {
			return err
		}
	}
	return nil
}

// expired returns copies of the first keys whose moment is not after now.
func expired(b *bbolt.Bucket, now moment, limit int) [][]byte {
	var found [][]byte
	c := b.Cursor()
	for key, _ := c.First(); key != nil && len(found) < limit; key, _ = c.Next() {
		if string(key[:momentSize]) > string(now[:]) {
			break
		}
		found = append(found, append([]byte(nil), key...))
	}
	return found
}

// readTokens reads the one-time tokens that are remembered: those of the last
// minutes, since tokens are short-lived. In memory they cost a look-up on the
// hot path nothing; in the file they lie by time, so that writing them does not
// touch a page for each.
func readTokens(tx *bbolt.Tx) map[tokenID]moment {
	tokens := make(map[tokenID]moment)
	c := tx.Bucket(bucketToken).Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		tokens[tokenID(key[momentSize:])] = moment(key[:momentSize])
	}
	return tokens
}
