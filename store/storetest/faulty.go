package storetest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/countersign/countersign/store"
)

// Names of the writes, as Faulty tells them to its hook.
const (
	OpCreate         = "create"
	OpUpdate         = "update"
	OpUpdateDelivery = "update_delivery"
)

// Faulty is a store whose writes fail as Hook says. Everything else passes
// through.
type Faulty struct {
	store.Store
	// Hook is asked before each write. A nil error lets the write pass. With an
	// error the caller gets that error and no record, and apply says whether
	// the write happens all the same: each write can fail having happened and
	// not having happened. Hook may be called concurrently; a nil Hook lets
	// every write pass.
	Hook func(op string) (apply bool, err error)
}

var _ store.Store = (*Faulty)(nil)

// FailNth is a hook that fails the n-th write, counted from 0, with
// store.ErrUnknown, and lets all others pass.
func FailNth(n int64, apply bool) func(op string) (bool, error) {
	var count atomic.Int64
	return func(string) (bool, error) {
		if count.Add(1)-1 == n {
			return apply, store.ErrUnknown
		}
		return true, nil
	}
}

// ask returns what the hook says.
func (f *Faulty) ask(op string) (apply bool, err error) {
	if f.Hook == nil {
		return true, nil
	}
	return f.Hook(op)
}

// Create implements store.Store.
func (f *Faulty) Create(ctx context.Context, id string, c store.Change) (store.Request, error) {
	return faulty(f, OpCreate, func() (store.Request, error) { return f.Store.Create(ctx, id, c) })
}

// Update implements store.Store.
func (f *Faulty) Update(ctx context.Context, id string, c store.Change) (store.Request, error) {
	return faulty(f, OpUpdate, func() (store.Request, error) { return f.Store.Update(ctx, id, c) })
}

// UpdateDelivery implements store.Store.
func (f *Faulty) UpdateDelivery(ctx context.Context, id string, change func(now time.Time, d store.Delivery) store.Delivery) (store.Delivery, error) {
	return faulty(f, OpUpdateDelivery, func() (store.Delivery, error) { return f.Store.UpdateDelivery(ctx, id, change) })
}

func faulty[T any](f *Faulty, op string, write func() (T, error)) (T, error) {
	apply, fault := f.ask(op)
	if fault == nil {
		return write()
	}
	var none T
	if apply {
		// Whether the engine refused it is as unknown to the caller as the rest.
		_, _ = write()
	}
	return none, fault
}
