package bolt

import (
	"slices"

	"go.etcd.io/bbolt"

	"github.com/countersign/countersign/store"
)

// index keeps the indexes of requests in step with the record.
func (a *attempt) index(p *putter, st *staged, create bool) {
	id := []byte(st.after.ID)
	was, is := !create && st.before.State == store.Pending, st.after.State == store.Pending
	pending := a.tx.Bucket(bucketPending)
	switch {
	case is && !was:
		p.put(pending, id, nil)
	case was && !is:
		p.delete(pending, id)
	}
	if create && (is || st.after.State == store.Approved) && st.after.Code != "" {
		p.put(a.tx.Bucket(bucketCode), pair(st.after.Code, st.after.ID), nil)
	}
	for _, person := range st.after.People {
		if !slices.Contains(st.before.People, person) {
			p.put(a.tx.Bucket(bucketPerson), pair(person, st.after.ID), nil)
		}
	}
	for _, person := range st.before.People {
		if !slices.Contains(st.after.People, person) {
			p.delete(a.tx.Bucket(bucketPerson), pair(person, st.after.ID))
		}
	}
	if st.before.Wake.Equal(st.after.Wake) {
		return
	}
	due := a.tx.Bucket(bucketDueRequest)
	if !st.before.Wake.IsZero() {
		p.delete(due, at(st.before.Wake, st.after.ID))
	}
	if !st.after.Wake.IsZero() {
		p.put(due, at(st.after.Wake, st.after.ID), nil)
	}
}

// putter puts until the first error.
type putter struct{ err error }

func (p *putter) put(b *bbolt.Bucket, key, value []byte) {
	if p.err == nil {
		p.err = b.Put(key, value)
	}
}

func (p *putter) delete(b *bbolt.Bucket, key []byte) {
	if p.err == nil {
		p.err = b.Delete(key)
	}
}
