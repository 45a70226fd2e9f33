package bolt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/audit"
)

// writeOp is one Create or Update.
type writeOp struct {
	id     string
	create bool
	change store.Change
	result store.Request // set by run
}

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, id string, c store.Change) (store.Request, error) {
	if err := checkText("a request's id", id); err != nil {
		return store.Request{}, err
	}
	w := &writeOp{id: id, create: true, change: c}
	err := s.submit(ctx, w)
	return outcome(w, err)
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, id string, c store.Change) (store.Request, error) {
	if err := checkText("a request's id", id); err != nil {
		return store.Request{}, store.ErrNotFound
	}
	w := &writeOp{id: id, change: c}
	err := s.submit(ctx, w)
	return outcome(w, err)
}

// outcome is the record with the error. A write that never ran, or of which
// nobody knows whether it happened, has no record.
func outcome(w *writeOp, err error) (store.Request, error) {
	if errors.Is(err, store.ErrUnknown) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return store.Request{}, err
	}
	return w.result, err
}

// staged is everything that one write will put, checked and encoded.
type staged struct {
	before, after store.Request
	record        []byte
	leaves        []leaf
	tokens        map[tokenID]moment
	key           *store.Key
	keyJSON       []byte
	deliveries    []store.Delivery
	blobs         map[string][]byte // by raw hash
}

type leaf struct {
	bytes []byte
	side  []byte
}

// run implements work.
func (w *writeOp) run(a *attempt) error {
	w.result = store.Request{}
	before, err := readRequest(a.tx, w.id)
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	case w.create && err == nil:
		return store.ErrExists
	case !w.create && err != nil:
		return err
	}
	st, err := w.stage(a, before)
	if err != nil {
		if !w.create {
			// Read again: a change that refuses may have scribbled on its copy.
			if w.result, err = w.refused(a, err); err != nil {
				return err
			}
		}
		return err
	}
	w.result = st.after
	if err := a.apply(st, w.create); err != nil {
		return &errHalf{err}
	}
	return nil
}

// refused returns the record as it stands with the refusal.
func (w *writeOp) refused(a *attempt, refusal error) (store.Request, error) {
	r, err := readRequest(a.tx, w.id)
	if err != nil {
		return store.Request{}, errors.Join(refusal, err)
	}
	return r, refusal
}

// stage runs the change and checks and encodes all that it wrote. Nothing is
// put into the transaction.
func (w *writeOp) stage(a *attempt, before store.Request) (*staged, error) {
	arg := before
	arg.Canonical = bytes.Clone(before.Canonical)
	write, err := w.call(a, arg)
	if err != nil {
		return nil, err
	}
	if len(write.Entries) == 0 {
		return nil, fmt.Errorf("%w: it has no entry for the log", ErrRefused)
	}
	if !w.create && !bytes.Equal(write.Request.Canonical, before.Canonical) {
		return nil, fmt.Errorf("%w: the canonical form never changes after creation", ErrRefused)
	}
	st := &staged{before: before, after: write.Request}
	st.after.ID, st.after.Version = w.id, before.Version+1
	if err := checkIndexed(st.after); err != nil {
		return nil, err
	}
	if err := a.stageEntries(st, write.Entries, w.create); err != nil {
		return nil, err
	}
	if st.record, err = encodeRequest(st.after); err != nil {
		return nil, err
	}
	if err := a.stageTokens(st, write.Tokens); err != nil {
		return nil, err
	}
	if err := a.stageKey(st, write.Key); err != nil {
		return nil, err
	}
	if err := a.stageDeliveries(st, write.Deliveries); err != nil {
		return nil, err
	}
	return st, stageBlobs(st, write.Blobs)
}

// call runs the change. A panic rejects only this write. What it panicked with
// may hold anything, so only the stack is logged.
func (w *writeOp) call(a *attempt, r store.Request) (_ store.Write, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.s.log.Error("a change panicked", "request", w.id, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: the change panicked; the log has the stack", ErrRefused)
		}
	}()
	return w.change(a.now, r)
}

// checkIndexed refuses texts that would not fit into an index.
func checkIndexed(r store.Request) error {
	if len(r.Code) > maxText {
		return fmt.Errorf("%w: the code is longer than %d bytes", ErrRefused, maxText)
	}
	for _, person := range r.People {
		if err := checkText("a person's id", person); err != nil {
			return err
		}
	}
	return nil
}

// stageEntries encodes the leaves, each with its place, time and predecessor.
func (a *attempt) stageEntries(st *staged, entries []store.Entry, create bool) error {
	seq := a.head.frontier.Size()
	at := a.leafTime()
	var prev *uint64
	if !create {
		last := st.before.LastSeq
		prev = &last
	}
	st.leaves = make([]leaf, len(entries))
	for i, e := range entries {
		l := audit.Leaf{
			Seq: seq, Time: at, Type: e.Type, Request: st.after.ID, Prev: prev,
			Actor: audit.Actor{Kind: e.Actor.Kind, ID: e.Actor.ID},
		}
		var err error
		if e.Data != nil {
			if l.Data, err = json.Marshal(e.Data, json.Deterministic(true)); err != nil {
				return fmt.Errorf("%w: the data of entry %q cannot be encoded: %w", ErrRefused, e.Type, err)
			}
		}
		var side map[string]audit.Opening
		if len(e.Private) > 0 {
			l.Commit, side = make(map[string]audit.Commitment, len(e.Private)), make(map[string]audit.Opening, len(e.Private))
		}
		for name, text := range e.Private {
			if !utf8.ValidString(text) {
				return fmt.Errorf("%w: the private text %q is not UTF-8", ErrRefused, name)
			}
			l.Commit[name], side[name] = audit.Commit(text)
		}
		if st.leaves[i].bytes, err = l.Encode(nil); err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
		st.leaves[i].side = encodeSide(side)
		last := seq
		prev = &last
		seq++
	}
	st.after.LastSeq = seq - 1
	return nil
}

// leafTime is now, but never before the newest entry: a clock that was set back
// does not stop the log.
func (a *attempt) leafTime() time.Time {
	if a.now.Before(a.head.newest) {
		return a.head.newest
	}
	return a.now
}

// maxToken bounds a token's issuer and id, in bytes; only their hash is kept.
const maxToken = 4096

func (a *attempt) stageTokens(st *staged, tokens []store.Token) error {
	now := momentOf(a.now)
	for _, t := range tokens {
		if t.Issuer == "" || t.ID == "" || len(t.Issuer) > maxToken || len(t.ID) > maxToken {
			return fmt.Errorf("%w: a one-time token needs an issuer and an id of at most %d bytes", ErrRefused, maxToken)
		}
		id := idOf(t)
		until, used := st.tokens[id]
		if !used {
			until, used = a.consumed[id]
		}
		if !used {
			until, used = a.s.tokens[id]
		}
		// One that has expired may have been used and forgotten.
		expires := momentOf(t.Expires)
		if used && string(until[:]) > string(now[:]) || string(expires[:]) <= string(now[:]) {
			return store.ErrReplayed
		}
		if st.tokens == nil {
			st.tokens = make(map[tokenID]moment, len(tokens))
		}
		st.tokens[id] = expires
	}
	return nil
}

func (a *attempt) stageKey(st *staged, k *store.Key) error {
	if k == nil {
		return nil
	}
	if err := checkText("an idempotency key", k.Name); err != nil {
		return err
	}
	if _, err := readKey(a.tx, k.Name, a.now); err == nil {
		return store.ErrKeyUsed
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	key := *k
	key.Request = st.after.ID
	encoded, err := json.Marshal(&key, form)
	if err != nil {
		return fmt.Errorf("%w: the idempotency key cannot be encoded: %w", ErrRefused, err)
	}
	st.key, st.keyJSON = &key, encoded
	return nil
}

func stageBlobs(st *staged, blobs map[string][]byte) error {
	for name, b := range blobs {
		sum := sha256.Sum256(b)
		if name != hex.EncodeToString(sum[:]) {
			return fmt.Errorf("%w: a blob's name is not its SHA-256 in hex", ErrRefused)
		}
		if st.blobs == nil {
			st.blobs = make(map[string][]byte, len(blobs))
		}
		st.blobs[string(sum[:])] = b
	}
	return nil
}

// apply puts the staged write into the transaction. An error leaves it half
// done.
func (a *attempt) apply(st *staged, create bool) error {
	a.dirty, a.appended = true, true
	a.touched = append(a.touched, st.after.ID)
	p := &putter{}
	id := []byte(st.after.ID)
	p.put(a.request, id, st.record)
	if create {
		p.put(a.canonical, id, bytes.Clone(st.after.Canonical))
	}
	at := a.leafTime()
	for _, l := range st.leaves {
		key := seqKey(a.head.frontier.Size())
		p.put(a.leaf, key, l.bytes)
		if len(l.side) > 0 {
			p.put(a.side, key, l.side)
		}
		a.scratch = a.head.frontier.Append(audit.LeafHash(l.bytes), a.scratch)
		p.put(a.node, key, flat(a.scratch))
	}
	a.head.newest = at
	a.index(p, st, create)
	a.applyTokensAndKey(p, st)
	for sum, b := range st.blobs {
		if blob := a.tx.Bucket(bucketBlob); blob.Get([]byte(sum)) == nil {
			p.put(blob, []byte(sum), bytes.Clone(b))
		}
	}
	if p.err != nil {
		return p.err
	}
	return a.applyDeliveries(st, create)
}

func (a *attempt) applyTokensAndKey(p *putter, st *staged) {
	for id, expires := range st.tokens {
		p.put(a.tx.Bucket(bucketToken), append(append([]byte(nil), expires[:]...), id[:]...), nil)
		a.consumed[id] = expires
	}
	if st.key == nil {
		return
	}
	// A key that has expired but was not forgotten yet is taken over.
	if old, err := storedKey(a.tx, st.key.Name); err == nil {
		p.delete(a.tx.Bucket(bucketKeyExpiry), at(old.Expires, old.Name))
	}
	p.put(a.tx.Bucket(bucketKey), []byte(st.key.Name), st.keyJSON)
	p.put(a.tx.Bucket(bucketKeyExpiry), at(st.key.Expires, st.key.Name), nil)
}

func flat(hashes []audit.Hash) []byte {
	b := make([]byte, 0, len(hashes)*len(audit.Hash{}))
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	return b
}
