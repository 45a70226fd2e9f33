package bolt

import (
	"bytes"
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/countersign/countersign/store"
)

// MaxPage is the largest page that Find returns.
const MaxPage = 200

// Find implements store.Store. It walks the narrowest index that the query
// names and looks each id up in the others, so that records are read only for
// what is returned. An empty query returns all requests.
func (s *Store) Find(ctx context.Context, q store.Query) (store.Page, error) {
	switch {
	case q.Limit < 1 || q.Limit > MaxPage:
		return store.Page{}, fmt.Errorf("%w: limit must be 1 to %d", ErrRefused, MaxPage)
	case q.State != "" && q.State != store.Pending:
		return store.Page{}, fmt.Errorf("%w: of all states only pending can be asked for", ErrRefused)
	}
	var page store.Page
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		walk, also := plan(tx, q)
		for id := walk.last(q.Before); id != ""; id = walk.before() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !also.hold(id) {
				continue
			}
			if len(page.Requests) == q.Limit {
				page.Next = page.Requests[q.Limit-1].ID
				return nil
			}
			r, err := readRequest(tx, id)
			if err != nil {
				return fmt.Errorf("%w: an indexed request: %w", ErrDamaged, err)
			}
			page.Requests = append(page.Requests, r)
		}
		return nil
	})
	if err != nil {
		return store.Page{}, err
	}
	return page, nil
}

// index is a range of keys that end in request ids: all keys with one prefix.
type index struct {
	bucket *bbolt.Bucket
	prefix []byte
	cursor *bbolt.Cursor
}

type indexes []*index

// plan chooses the index to walk and those to look into: a code names very few
// requests, few are pending, a person may have many.
func plan(tx *bbolt.Tx, q store.Query) (walk *index, also indexes) {
	var all indexes
	if q.Code != "" {
		all = append(all, &index{bucket: tx.Bucket(bucketCode), prefix: pair(q.Code, "")})
	}
	if q.State == store.Pending {
		all = append(all, &index{bucket: tx.Bucket(bucketPending)})
	}
	if q.Person != "" {
		all = append(all, &index{bucket: tx.Bucket(bucketPerson), prefix: pair(q.Person, "")})
	}
	if len(all) == 0 {
		all = append(all, &index{bucket: tx.Bucket(bucketRequest)})
	}
	return all[0], all[1:]
}

// last returns the newest id before the given one, or the newest of all if that
// is empty; "" if there is none.
func (x *index) last(before string) string {
	x.cursor = x.bucket.Cursor()
	end := successor(x.prefix)
	if before != "" {
		end = append(bytes.Clone(x.prefix), before...)
	}
	if end != nil {
		if key, _ := x.cursor.Seek(end); key != nil {
			return x.before()
		}
	}
	key, _ := x.cursor.Last() // nothing stands at end or after it
	return x.id(key)
}

// before returns the id before the one returned last.
func (x *index) before() string {
	key, _ := x.cursor.Prev()
	return x.id(key)
}

// id is the request id in a key, or "" if the key is not of this index.
func (x *index) id(key []byte) string {
	if key == nil || !bytes.HasPrefix(key, x.prefix) {
		return ""
	}
	return string(key[len(x.prefix):])
}

// hold reports whether every index has the id.
func (xs indexes) hold(id string) bool {
	for _, x := range xs {
		key := append(bytes.Clone(x.prefix), id...)
		if found, _ := x.bucket.Cursor().Seek(key); !bytes.Equal(found, key) {
			return false
		}
	}
	return true
}

// successor is the smallest key greater than all keys with the prefix; nil if
// there is no prefix.
func successor(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
