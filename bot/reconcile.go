package bot

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/store"
)

const (
	dueLimit    = 256
	callTimeout = 15 * time.Second
	// idle is how long the reconciler trusts the store's word that nothing is
	// due; a nudge ends it at once.
	idle = 30 * time.Second
	// A failed delivery is tried again after 1 s, 2 s, 4 s … up to these.
	maxBackoff     = time.Minute
	maxSlowBackoff = 10 * time.Minute // where a person has to mend something
)

// Reconciler makes the world outside match the records: it expires what is
// over, and makes every card show its request. It is level-triggered: it asks
// the store what is due and keeps nothing that a crash could lose.
type Reconciler struct {
	broker *Broker
	nudge  chan struct{}
	// breath is how long a queue rests when our own store fails.
	breath time.Duration
	mu     sync.Mutex
	busy   map[string]bool // platforms whose queue is being worked on
	wg     sync.WaitGroup
}

// NewReconciler returns the broker's reconciler and makes the broker nudge it.
func NewReconciler(b *Broker) *Reconciler {
	r := &Reconciler{broker: b, nudge: make(chan struct{}, 1), breath: time.Second, busy: map[string]bool{}}
	b.Nudge = r.Nudge
	return r
}

// Nudge says that something may be due. It never blocks.
func (r *Reconciler) Nudge() {
	select {
	case r.nudge <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, then waits for the deliveries under way.
func (r *Reconciler) Run(ctx context.Context) {
	defer r.wg.Wait()
	for ctx.Err() == nil {
		wait := idle
		due, err := r.broker.Store.Due(ctx, dueLimit)
		if err != nil {
			r.broker.Log.Error("asking what is due failed", "error", err.Error())
			wait = time.Second
		} else {
			wait = min(wait, r.pass(ctx, due))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-r.nudge:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// pass starts what is due and returns how long nothing else will be.
func (r *Reconciler) pass(ctx context.Context, due store.Due) time.Duration {
	wait := idle
	if !due.Next.IsZero() {
		wait = max(due.Next.Sub(r.broker.Now()), time.Millisecond)
	}
	for _, id := range due.Requests {
		if err := r.broker.wake(ctx, id); err != nil {
			r.broker.Log.Error("request was not woken", "request", id, "error", err.Error())
			wait = min(wait, time.Second)
		}
	}
	queues := map[string][]store.Delivery{}
	for _, d := range due.Deliveries {
		queues[d.Platform] = append(queues[d.Platform], d)
	}
	for name, queue := range queues {
		r.start(ctx, name, queue)
	}
	return wait
}

// start works on one platform's queue, unless that is under way already; the
// end of it nudges, so that what came meanwhile is seen.
func (r *Reconciler) start(ctx context.Context, name string, queue []store.Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy[name] {
		return
	}
	r.busy[name] = true
	r.wg.Go(func() {
		r.work(ctx, name, queue)
		r.mu.Lock()
		r.busy[name] = false
		r.mu.Unlock()
		r.Nudge()
	})
}

// work delivers one by one. When the platform as a whole is in trouble, the
// rest of the queue waits as long as the one that found out.
func (r *Reconciler) work(ctx context.Context, name string, queue []store.Delivery) {
	for i, d := range queue {
		if ctx.Err() != nil {
			return
		}
		cause := r.broker.deliver(ctx, d)
		if cause == nil {
			continue
		}
		err := cause
		if !errors.Is(cause, errStore) {
			err = r.broker.postpone(ctx, d, queue[i+1:], cause)
		}
		if err != nil {
			r.broker.Log.Error("delivery was not recorded", "platform", name, "request", d.Request, "error", err.Error())
			pause(ctx, r.breath)
			return
		}
		if wholePlatform(cause) {
			return
		}
	}
}

// wholePlatform reports whether a failure is not the one delivery's own.
func wholePlatform(err error) bool {
	class := chat.ClassOf(err)
	return class == chat.RateLimited || class == chat.Retry
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// wake lets the clock act on one request.
func (b *Broker) wake(ctx context.Context, id string) error {
	ds, err := b.Store.Deliveries(ctx, id)
	if err != nil {
		return err
	}
	delivered := false
	for _, d := range ds {
		delivered = delivered || (d.Asks && len(d.Refs) > 0)
	}
	r, err := b.Store.Update(ctx, id, wake(delivered))
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if err == nil {
		b.Log.Info("request ended by the clock", "request", id, "state", string(r.State), "outcome", r.Outcome.Kind)
		b.Nudge()
	}
	return err
}

// backoff is how long to wait after the given number of failures in a row,
// with up to a fifth of jitter.
func backoff(err error, attempts int) time.Duration {
	var e *chat.Error
	if errors.As(err, &e) && e.Class == chat.RateLimited && e.After > 0 {
		return e.After
	}
	most := maxBackoff
	if chat.ClassOf(err) == chat.Misconfigured {
		most = maxSlowBackoff
	}
	d := min(time.Second<<min(attempts, 12), most)
	return d + rand.N(d/5+1)
}
