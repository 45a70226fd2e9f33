package bolt

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Buckets of schema 1. Numbers in keys are big-endian, so that keys sort as
// what they stand for; texts that are followed by something are length-prefixed,
// so that no two pairs of texts make the same key.
//
// Keys of the hot path are sequential (request ids are ordered by time):
// neighbouring writes meet on the same pages.
var (
	bucketMeta        = []byte("meta")         // schema, checkpoint, ping
	bucketRequest     = []byte("request")      // id -> JSON without the canonical form
	bucketCanonical   = []byte("canonical")    // id -> canonical form, written once
	bucketLeaf        = []byte("leaf")         // seq -> leaf, exactly as it is hashed
	bucketNode        = []byte("node")         // seq -> the tree nodes that leaf seq completed, 32 bytes each
	bucketSide        = []byte("side")         // seq -> salts and private texts, erasable one by one
	bucketToken       = []byte("token")        // moment, token id -> nothing
	bucketKey         = []byte("key")          // idempotency key -> JSON
	bucketKeyExpiry   = []byte("key_expiry")   // moment, idempotency key -> nothing
	bucketPending     = []byte("pending")      // id -> nothing
	bucketCode        = []byte("code")         // code, id -> nothing; only requests that were created pending
	bucketPerson      = []byte("person")       // person, id -> nothing
	bucketDueRequest  = []byte("due_request")  // moment, id -> nothing
	bucketDueDelivery = []byte("due_delivery") // moment, delivery id -> nothing
	bucketDelivery    = []byte("delivery")     // id -> JSON
	bucketDeliveryOf  = []byte("delivery_of")  // request, number -> delivery id
	bucketBlob        = []byte("blob")         // SHA-256 -> bytes

	buckets = [][]byte{
		bucketMeta, bucketRequest, bucketCanonical, bucketLeaf, bucketNode, bucketSide, bucketToken, bucketKey,
		bucketKeyExpiry, bucketPending, bucketCode, bucketPerson, bucketDueRequest, bucketDueDelivery,
		bucketDelivery, bucketDeliveryOf, bucketBlob,
	}

	keySchema     = []byte("schema")
	keyCheckpoint = []byte("checkpoint")
	keyPing       = []byte("ping")
)

// maxText bounds ids and names that become parts of keys, in bytes.
const maxText = 512

// checkText refuses what cannot be part of a key.
func checkText(what, s string) error {
	if s == "" || len(s) > maxText {
		return fmt.Errorf("%w: %s must have 1 to %d bytes", ErrRefused, what, maxText)
	}
	return nil
}

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

// momentSize is the length of a moment in bytes.
const momentSize = 12

// moment is a time as part of a key: seconds, then nanoseconds.
type moment [momentSize]byte

func momentOf(t time.Time) moment {
	var m moment
	// Flipping the sign bit sorts the years before 1970 first.
	binary.BigEndian.PutUint64(m[:], uint64(t.Unix())^1<<63)
	binary.BigEndian.PutUint32(m[8:], uint32(t.Nanosecond()))
	return m
}

// time is the moment in UTC.
func (m moment) time() time.Time {
	sec := int64(binary.BigEndian.Uint64(m[:]) ^ 1<<63)
	return time.Unix(sec, int64(binary.BigEndian.Uint32(m[8:]))).UTC()
}

// at is the key of id at a time.
func at(t time.Time, id string) []byte {
	m := momentOf(t)
	return append(m[:], id...)
}

// splitAt is the inverse of at. The id is copied.
func splitAt(key []byte) (moment, string) {
	return moment(key[:momentSize]), string(key[momentSize:])
}

// pair is the key of two texts: length of the first, first, second.
func pair(first, second string) []byte {
	key := make([]byte, 0, 2+len(first)+len(second))
	key = binary.BigEndian.AppendUint16(key, uint16(len(first)))
	return append(append(key, first...), second...)
}
