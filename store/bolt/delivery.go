package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/go-json-experiment/json"
	"go.etcd.io/bbolt"

	"github.com/countersign/countersign/store"
)

// deliveryOp is one UpdateDelivery.
type deliveryOp struct {
	id     string
	change func(now time.Time, d store.Delivery) store.Delivery
	result store.Delivery // set by run
}

// UpdateDelivery implements store.Store.
func (s *Store) UpdateDelivery(ctx context.Context, id string, change func(now time.Time, d store.Delivery) store.Delivery) (store.Delivery, error) {
	if err := checkText("a delivery's id", id); err != nil {
		return store.Delivery{}, store.ErrNotFound
	}
	o := &deliveryOp{id: id, change: change}
	if err := s.submit(ctx, o); err != nil {
		return store.Delivery{}, err
	}
	return o.result, nil
}

// run implements work.
func (o *deliveryOp) run(a *attempt) error {
	before, err := readDelivery(a.tx, o.id)
	if err != nil {
		return err
	}
	after, err := o.call(a, before)
	if err != nil {
		return err
	}
	r, err := readRequest(a.tx, before.Request)
	if err != nil {
		return fmt.Errorf("the delivery's request: %w", err)
	}
	after.ID, after.Request = before.ID, before.Request
	after = due(after, r.Version, a.now)
	value, err := encodeDelivery(after)
	if err != nil {
		return err
	}
	o.result = after
	a.dirty = true
	if err := a.putDelivery(before, after, value); err != nil {
		return &errHalf{err}
	}
	return nil
}

func (o *deliveryOp) call(a *attempt, d store.Delivery) (_ store.Delivery, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.s.log.Error("a delivery's change panicked", "request", d.Request, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: the delivery's change panicked; the log has the stack", ErrRefused)
		}
	}()
	d.Refs = append([]string(nil), d.Refs...)
	return o.change(a.now, d), nil
}

// due keeps the promise that what shows too little is tried again, and that
// what is gone is not.
func due(d store.Delivery, version uint64, now time.Time) store.Delivery {
	switch {
	case d.Gone:
		d.NextTry = time.Time{}
	case d.Shown < version && d.NextTry.IsZero():
		d.NextTry = now
	}
	return d
}

func encodeDelivery(d store.Delivery) ([]byte, error) {
	value, err := json.Marshal(&d, form)
	if err != nil {
		return nil, fmt.Errorf("%w: the delivery cannot be encoded: %w", ErrRefused, err)
	}
	return value, nil
}

func (a *attempt) putDelivery(before, after store.Delivery, value []byte) error {
	p := &putter{}
	p.put(a.tx.Bucket(bucketDelivery), []byte(after.ID), value)
	index := a.tx.Bucket(bucketDueDelivery)
	if !before.NextTry.IsZero() {
		p.delete(index, at(before.NextTry, after.ID))
	}
	if !after.NextTry.IsZero() {
		p.put(index, at(after.NextTry, after.ID), nil)
	}
	return p.err
}

func (a *attempt) stageDeliveries(st *staged, ds []store.Delivery) error {
	seen := make(map[string]bool, len(ds))
	for _, d := range ds {
		if err := checkText("a delivery's id", d.ID); err != nil {
			return err
		}
		if _, err := readDelivery(a.tx, d.ID); !errors.Is(err, store.ErrNotFound) || seen[d.ID] {
			return fmt.Errorf("%w: a delivery with this id exists", ErrRefused)
		}
		seen[d.ID] = true
		d.Request = st.after.ID
		if _, err := encodeDelivery(d); err != nil {
			return err
		}
		st.deliveries = append(st.deliveries, d)
	}
	return nil
}

// applyDeliveries makes the request's deliveries due, since its version has
// grown, and adds the new ones.
func (a *attempt) applyDeliveries(st *staged, create bool) error {
	var old []store.Delivery
	var next uint32
	if !create {
		var err error
		if old, next, err = deliveriesOf(a.tx, st.after.ID); err != nil {
			return err
		}
	}
	for _, d := range old {
		after := due(d, st.after.Version, a.now)
		if after.NextTry.Equal(d.NextTry) {
			continue
		}
		if err := a.storeDelivery(d, after); err != nil {
			return err
		}
	}
	for i, d := range st.deliveries {
		d.NextTry = a.now
		if err := a.storeDelivery(store.Delivery{}, due(d, st.after.Version, a.now)); err != nil {
			return err
		}
		key := binary.BigEndian.AppendUint32(pair(st.after.ID, ""), next+uint32(i))
		if err := a.tx.Bucket(bucketDeliveryOf).Put(key, []byte(d.ID)); err != nil {
			return err
		}
	}
	return nil
}

func (a *attempt) storeDelivery(before, after store.Delivery) error {
	value, err := encodeDelivery(after)
	if err != nil {
		return err
	}
	return a.putDelivery(before, after, value)
}

// deliveriesOf reads a request's deliveries in order of creation, and the
// number that the next one gets.
func deliveriesOf(tx *bbolt.Tx, request string) (ds []store.Delivery, next uint32, err error) {
	prefix := pair(request, "")
	c := tx.Bucket(bucketDeliveryOf).Cursor()
	for key, id := c.Seek(prefix); bytes.HasPrefix(key, prefix); key, id = c.Next() {
		d, err := readDelivery(tx, string(id))
		if err != nil {
			return nil, 0, fmt.Errorf("%w: a listed delivery: %w", ErrDamaged, err)
		}
		ds = append(ds, d)
		next = binary.BigEndian.Uint32(key[len(prefix):]) + 1
	}
	return ds, next, nil
}

// Delivery implements store.Store.
func (s *Store) Delivery(ctx context.Context, id string) (d store.Delivery, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		d, err = readDelivery(tx, id)
		return err
	})
	return d, err
}

// Deliveries implements store.Store.
func (s *Store) Deliveries(ctx context.Context, request string) (ds []store.Delivery, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		ds, _, err = deliveriesOf(tx, request)
		return err
	})
	return ds, err
}

// Due implements store.Store.
func (s *Store) Due(ctx context.Context, limit int) (store.Due, error) {
	var due store.Due
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		now := momentOf(s.clock())
		requests, next := dueIDs(tx.Bucket(bucketDueRequest), now, limit)
		deliveries, later := dueIDs(tx.Bucket(bucketDueDelivery), now, limit)
		due.Requests, due.Next = requests, next
		if due.Next.IsZero() || !later.IsZero() && later.Before(due.Next) {
			due.Next = later
		}
		for _, id := range deliveries {
			d, err := readDelivery(tx, id)
			if err != nil {
				return fmt.Errorf("%w: a due delivery: %w", ErrDamaged, err)
			}
			due.Deliveries = append(due.Deliveries, d)
		}
		return nil
	})
	return due, err
}

// dueIDs returns at most limit ids whose moment has come, earliest first, and
// the first moment that has not.
func dueIDs(b *bbolt.Bucket, now moment, limit int) (ids []string, next time.Time) {
	c := b.Cursor()
	for key, _ := c.First(); key != nil && len(ids) < limit; key, _ = c.Next() {
		m, id := splitAt(key)
		if string(m[:]) > string(now[:]) {
			break
		}
		ids = append(ids, id)
	}
	after := momentOf(now.time().Add(1)) // one nanosecond later
	if key, _ := c.Seek(after[:]); key != nil {
		m, _ := splitAt(key)
		next = m.time()
	}
	return ids, next
}
