package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"

	"go.etcd.io/bbolt"

	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/audit"
)

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, id string) (r store.Request, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		r, err = readRequest(tx, id)
		return err
	})
	return r, err
}

// Keyed implements store.Store.
func (s *Store) Keyed(ctx context.Context, key string) (k store.Key, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		k, err = readKey(tx, key, s.clock())
		return err
	})
	return k, err
}

// Blob implements store.Store.
func (s *Store) Blob(ctx context.Context, sha256 string) (b []byte, err error) {
	sum, err := hex.DecodeString(sha256)
	if err != nil {
		return nil, store.ErrNotFound
	}
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		value := tx.Bucket(bucketBlob).Get(sum)
		if value == nil {
			return store.ErrNotFound
		}
		b = bytes.Clone(value)
		return nil
	})
	return b, err
}

// maxPage bounds the entries that one call of Log returns.
const maxPage = 10_000

// Log implements store.Store.
func (s *Store) Log(ctx context.Context, from uint64, limit int, backwards bool) ([]store.Logged, error) {
	var logged []store.Logged
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		side := tx.Bucket(bucketSide)
		c := tx.Bucket(bucketLeaf).Cursor()
		key, leaf := c.Seek(seqKey(from))
		if !bytes.Equal(key, seqKey(from)) {
			return nil // past the end
		}
		for key != nil && len(logged) < min(limit, maxPage) {
			one, err := entry(leaf, side.Get(key))
			if err != nil {
				return err
			}
			logged = append(logged, one)
			if len(logged)%64 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if backwards {
				key, leaf = c.Prev()
			} else {
				key, leaf = c.Next()
			}
		}
		return nil
	})
	return logged, err
}

// entry is one entry as the store shows it, copied.
func entry(b, side []byte) (store.Logged, error) {
	leaf, err := audit.DecodeLeaf(b)
	if err != nil {
		return store.Logged{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	openings, err := decodeSide(side)
	if err != nil {
		return store.Logged{}, fmt.Errorf("%w: beside entry %d: %w", ErrDamaged, leaf.Seq, err)
	}
	l := store.Logged{
		Seq: leaf.Seq, Time: leaf.Time, Type: leaf.Type, Request: leaf.Request,
		Actor: store.Actor{Kind: leaf.Actor.Kind, ID: leaf.Actor.ID}, Data: leaf.Data, Leaf: bytes.Clone(b),
	}
	if len(openings) > 0 {
		l.Private, l.Salts = make(map[string]string, len(openings)), make(map[string][]byte, len(openings))
	}
	for name, o := range openings {
		l.Private[name], l.Salts[name] = o.Text, o.Salt
	}
	return l, nil
}

// Checkpoint implements store.Store.
func (s *Store) Checkpoint(ctx context.Context) (signed []byte, size uint64, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		signed, size, err = newest(tx)
		return err
	})
	return signed, size, err
}

func newest(tx *bbolt.Tx) (signed []byte, size uint64, err error) {
	signed = bytes.Clone(tx.Bucket(bucketMeta).Get(keyCheckpoint))
	c, err := audit.PeekCheckpoint(signed)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return signed, c.Size, nil
}

// Receipt implements store.Store.
func (s *Store) Receipt(ctx context.Context, seq uint64) (store.Receipt, error) {
	var receipt store.Receipt
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		signed, size, err := newest(tx)
		if err != nil {
			return err
		}
		if seq >= size {
			return store.ErrNotFound
		}
		leaf := bytes.Clone(tx.Bucket(bucketLeaf).Get(seqKey(seq)))
		r, err := audit.NewReceipt(leaf, seq, signed, size, nodes{tx.Bucket(bucketNode)})
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		receipt = store.Receipt(r)
		return nil
	})
	return receipt, err
}

// Entries reads count entries from seq on, with the texts beside them, in the
// form that audit.Verification and audit.WriteExport take. It reads in steps:
// a long read transaction would keep the file from reusing pages.
func (s *Store) Entries(ctx context.Context, seq, count uint64) iter.Seq2[audit.Entry, error] {
	const step = 512
	return func(yield func(audit.Entry, error) bool) {
		for end := seq + count; seq < end; {
			page, err := s.raw(ctx, seq, int(min(step, end-seq)))
			if err == nil && len(page) == 0 {
				return // past the end
			}
			if err != nil {
				yield(audit.Entry{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			seq += uint64(len(page))
		}
	}
}

// maxStep is how many bytes of entries are held at a time, give or take one.
const maxStep = 8 << 20

// raw reads entries as they lie in the file. The sequence number is the key's,
// so that a leaf in the wrong place is noticed.
func (s *Store) raw(ctx context.Context, from uint64, limit int) (page []audit.Entry, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		side := tx.Bucket(bucketSide)
		c := tx.Bucket(bucketLeaf).Cursor()
		bytesRead := 0
		for key, leaf := c.Seek(seqKey(from)); key != nil && len(page) < limit && bytesRead < maxStep; key, leaf = c.Next() {
			seq := binary.BigEndian.Uint64(key)
			openings, err := decodeSide(side.Get(key))
			if err != nil {
				return fmt.Errorf("%w: beside entry %d: %w", ErrDamaged, seq, err)
			}
			bytesRead += len(leaf) + len(side.Get(key))
			page = append(page, audit.Entry{Seq: seq, Leaf: bytes.Clone(leaf), Side: openings})
		}
		return nil
	})
	return page, err
}
