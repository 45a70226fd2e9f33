package bolt

import (
	"context"
	"sync"

	"github.com/countersign/countersign/store"
)

// waiters are those who wait for a request's next version: one channel for each
// request that anybody waits for, closed at the next commit that touches it.
type waiters struct {
	mu   sync.Mutex
	byID map[string]*waiter
}

type waiter struct {
	changed chan struct{}
	count   int
}

// join returns a channel that is closed at the next change of the request after
// this call, and how to leave.
func (w *waiters) join(id string) (changed <-chan struct{}, leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID == nil {
		w.byID = make(map[string]*waiter)
	}
	one := w.byID[id]
	if one == nil {
		one = &waiter{changed: make(chan struct{})}
		w.byID[id] = one
	}
	one.count++
	return one.changed, func() { w.leave(id, one) }
}

func (w *waiters) leave(id string, one *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one.count--; one.count == 0 && w.byID[id] == one {
		delete(w.byID, id)
	}
}

// wake ends the wait of everyone who joined before.
func (w *waiters) wake(ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if one := w.byID[id]; one != nil {
			close(one.changed)
			delete(w.byID, id)
		}
	}
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, id string, after uint64) (store.Request, error) {
	for {
		// Joined before the record is read: a commit in between is not missed.
		changed, leave := s.waiters.join(id)
		r, err := s.Get(ctx, id)
		if err != nil || r.Version > after {
			leave()
			return r, err
		}
		select {
		case <-changed:
			leave()
		case <-ctx.Done():
			leave()
			return store.Request{}, ctx.Err()
		case <-s.closing:
			leave()
			return store.Request{}, ErrClosed
		}
	}
}
