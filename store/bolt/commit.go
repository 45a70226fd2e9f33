package bolt

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/countersign/countersign/store"
)

const (
	// maxBatch bounds the writes of one commit, and with them its memory.
	maxBatch = 1024
	// linger bounds how long a commit waits for writers that are likely to come:
	// those that the one before answered. One sync then serves all of them. A
	// lone writer never waits.
	linger = time.Millisecond
)

// work is one write. run stages it: a refusal is returned before anything is
// put into the transaction. It may run again in another transaction.
type work interface{ run(a *attempt) error }

// States of an op: who is quicker, the committing goroutine or the context.
const (
	queued int32 = iota
	taken
	abandoned
)

// op is a write in the queue. err is set before done is closed.
type op struct {
	work
	state atomic.Int32
	err   error
	done  chan struct{}
}

// submit queues a write and waits for its outcome. When ctx ends first, the
// write either has not run and never will, and ctx's error is returned, or it
// is being committed, and its outcome is waited for.
func (s *Store) submit(ctx context.Context, w work) error {
	if s.readOnly {
		return store.ErrReadOnly
	}
	o := &op{work: w, done: make(chan struct{})}
	if err := s.enqueue(ctx, o); err != nil {
		return err
	}
	select {
	case <-o.done:
	case <-ctx.Done():
		if o.state.CompareAndSwap(queued, abandoned) {
			return ctx.Err()
		}
		<-o.done
	}
	return o.err
}

func (s *Store) enqueue(ctx context.Context, o *op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	select {
	case s.queue <- o:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run is the committing goroutine. It ends when the queue is closed and empty.
func (s *Store) run() {
	defer close(s.stopped)
	for first := range s.queue {
		ops := s.gather(first)
		begin := time.Now()
		s.commit(ops)
		// Waiting longer than a commit takes would not pay.
		s.patience = min(linger, time.Since(begin))
		s.expected = len(ops) + len(s.queue)
		for _, o := range ops {
			close(o.done)
		}
	}
}

// gather takes what is queued. If fewer are here than the last commit answered
// and found waiting behind it, the others are given a moment: without it, two
// groups of writers would take turns for ever, each waiting for the other's sync.
func (s *Store) gather(first *op) []*op {
	ops := take(nil, first)
	var late <-chan time.Time
	for len(ops) < maxBatch {
		select {
		case o, ok := <-s.queue:
			if !ok {
				return ops
			}
			ops = take(ops, o)
			continue
		default:
		}
		if len(ops) >= s.expected {
			return ops
		}
		if late == nil {
			late = time.After(s.patience)
		}
		select {
		case o, ok := <-s.queue:
			if !ok {
				return ops
			}
			ops = take(ops, o)
		case <-late:
			return ops
		}
	}
	return ops
}

// take adds the op, unless its caller has given up.
func take(ops []*op, o *op) []*op {
	if o.state.CompareAndSwap(queued, taken) {
		return append(ops, o)
	}
	return ops
}

// errHalf marks a write that failed after it had put something into the
// transaction: the transaction is no good any more.
type errHalf struct{ err error }

func (e *errHalf) Error() string { return e.err.Error() }
func (e *errHalf) Unwrap() error { return e.err }

// commit runs the ops in one transaction and sets their errors. A write that
// breaks half-way is rejected alone: the others run again without it.
func (s *Store) commit(ops []*op) {
	rest := ops
	for len(rest) > 0 {
		broken, err := s.try(rest)
		if broken == nil {
			if err != nil {
				s.fail(rest, err)
			}
			return
		}
		broken.err = err
		s.log.Error("a write was rejected half-way", "error", err.Error())
		without := make([]*op, 0, len(rest)-1)
		for _, o := range rest {
			if o != broken {
				without = append(without, o)
			}
		}
		rest = without
	}
}

// fail answers that the outcome is unknown. What is kept in memory is read from
// the file again, and watchers look for themselves.
func (s *Store) fail(ops []*op, err error) {
	s.log.Error("commit failed", "error", err.Error(), "writes", len(ops))
	s.head, s.tokens = nil, nil
	for _, o := range ops {
		o.err = fmt.Errorf("%w: %w", store.ErrUnknown, err)
		if w, ok := o.work.(*writeOp); ok {
			s.waiters.wake([]string{w.id})
		}
	}
}

// try is one transaction over the ops. It returns the op that broke it, if one
// did, with its error; otherwise the error of the commit.
func (s *Store) try(ops []*op) (broken *op, err error) {
	tx, err := s.db.Begin(true)
	if err != nil {
		return nil, err
	}
	defer func() {
		// bbolt panics over a damaged file. The outcome is unknown then, and
		// the goroutine must live to say so.
		if p := recover(); p != nil {
			s.log.Error("commit panicked", "stack", string(debug.Stack()))
			broken, err = nil, fmt.Errorf("%w: the commit panicked", ErrDamaged)
		}
		if rollback := tx.Rollback(); rollback != nil && !errors.Is(rollback, bbolterrors.ErrTxClosed) && err == nil {
			err = rollback
		}
	}()
	a, err := s.begin(tx)
	if err != nil {
		return nil, err
	}
	for _, o := range ops {
		a.now = s.clock()
		o.err = o.run(a)
		if half := (*errHalf)(nil); errors.As(o.err, &half) {
			return o, half.err
		}
	}
	if !a.dirty {
		return nil, nil
	}
	if err := a.finish(); err != nil {
		return nil, err
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	s.committed(a)
	return nil, nil
}

// committed takes over what the transaction made true, and tells watchers.
func (s *Store) committed(a *attempt) {
	s.head = &a.head
	for id, expires := range a.consumed {
		s.tokens[id] = expires
	}
	for _, id := range a.forgotten {
		delete(s.tokens, id)
	}
	s.waiters.wake(a.touched)
}

// pingOp writes a time that nobody reads.
type pingOp struct{}

func (*pingOp) run(a *attempt) error {
	a.dirty = true
	m := momentOf(a.now)
	if err := a.tx.Bucket(bucketMeta).Put(keyPing, m[:]); err != nil {
		return &errHalf{err}
	}
	return nil
}
