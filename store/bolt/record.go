package bolt

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"go.etcd.io/bbolt"

	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/audit"
)

// form is how records are written and read: durations as nanoseconds, absent
// lists as null, so that a record reads back as it was. What is read was
// written here, so it is not searched for repeated members.
var form = json.JoinOptions(
	jsonv1.FormatDurationAsNano(true), json.FormatNilSliceAsNull(true), jsontext.AllowDuplicateNames(true))

// encodeRequest is the record without its canonical form, which lies in a
// bucket of its own: it never changes, so an update need not write it again.
func encodeRequest(r store.Request) ([]byte, error) {
	r.Canonical = nil
	b, err := json.Marshal(&r, form)
	if err != nil {
		return nil, fmt.Errorf("%w: the record cannot be encoded: %w", ErrRefused, err)
	}
	return b, nil
}

// readRequest returns a copy of the record, or store.ErrNotFound.
func readRequest(tx *bbolt.Tx, id string) (store.Request, error) {
	value := tx.Bucket(bucketRequest).Get([]byte(id))
	if value == nil {
		return store.Request{}, store.ErrNotFound
	}
	var r store.Request
	if err := json.Unmarshal(value, &r, form); err != nil {
		return store.Request{}, fmt.Errorf("%w: the record of %s: %w", ErrDamaged, id, err)
	}
	r.Canonical = nil
	if canonical := tx.Bucket(bucketCanonical).Get([]byte(id)); len(canonical) > 0 {
		r.Canonical = bytes.Clone(canonical)
	}
	return r, nil
}

func readDelivery(tx *bbolt.Tx, id string) (store.Delivery, error) {
	value := tx.Bucket(bucketDelivery).Get([]byte(id))
	if value == nil {
		return store.Delivery{}, store.ErrNotFound
	}
	var d store.Delivery
	if err := json.Unmarshal(value, &d, form); err != nil {
		return store.Delivery{}, fmt.Errorf("%w: the delivery %s: %w", ErrDamaged, id, err)
	}
	return d, nil
}

// readKey returns an idempotency key that has not expired, or store.ErrNotFound.
func readKey(tx *bbolt.Tx, name string, now time.Time) (store.Key, error) {
	k, err := storedKey(tx, name)
	if err == nil && !now.Before(k.Expires) {
		return store.Key{}, store.ErrNotFound
	}
	return k, err
}

func storedKey(tx *bbolt.Tx, name string) (store.Key, error) {
	value := tx.Bucket(bucketKey).Get([]byte(name))
	if value == nil {
		return store.Key{}, store.ErrNotFound
	}
	var k store.Key
	if err := json.Unmarshal(value, &k, form); err != nil {
		return store.Key{}, fmt.Errorf("%w: an idempotency key: %w", ErrDamaged, err)
	}
	return k, nil
}

// tokenID is SHA-256 over length-prefixed issuer and id.
type tokenID [sha256.Size]byte

func idOf(t store.Token) tokenID { return sha256.Sum256(pair(t.Issuer, t.ID)) }

// nodes reads the tree within a transaction.
type nodes struct{ bucket *bbolt.Bucket }

// Node implements audit.Nodes.
func (n nodes) Node(seq uint64, level int) (audit.Hash, error) {
	value := n.bucket.Get(seqKey(seq))
	from := level * len(audit.Hash{})
	if len(value) < from+len(audit.Hash{}) {
		return audit.Hash{}, fmt.Errorf("%w: no node at level %d of entry %d", audit.ErrTree, level, seq)
	}
	return audit.Hash(value[from : from+len(audit.Hash{})]), nil
}

// errSide: a side record cannot be read.
var errSide = errors.New("malformed side record")

// encodeSide writes the private texts of one entry: for each, in any order,
// length of the name (1 byte), name, salt, length of the text (4 bytes), text.
// Erasing a text is writing the record again without it.
func encodeSide(side map[string]audit.Opening) []byte {
	size := 0
	for name, o := range side {
		size += 1 + len(name) + audit.SaltSize + 4 + len(o.Text)
	}
	b := make([]byte, 0, size)
	for name, o := range side {
		b = append(append(b, byte(len(name))), name...)
		b = append(b, o.Salt...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(o.Text)))
		b = append(b, o.Text...)
	}
	return b
}

// decodeSide reads what encodeSide wrote. Nothing in the result refers to b.
func decodeSide(b []byte) (map[string]audit.Opening, error) {
	side := make(map[string]audit.Opening)
	for len(b) > 0 {
		n := int(b[0])
		b = b[1:]
		if len(b) < n+audit.SaltSize+4 {
			return nil, errSide
		}
		name, salt := string(b[:n]), bytes.Clone(b[n:n+audit.SaltSize])
		size := binary.BigEndian.Uint32(b[n+audit.SaltSize:])
		b = b[n+audit.SaltSize+4:]
		if uint64(len(b)) < uint64(size) {
			return nil, errSide
		}
		side[name] = audit.Opening{Salt: salt, Text: string(b[:size])}
		b = b[size:]
	}
	return side, nil
}
