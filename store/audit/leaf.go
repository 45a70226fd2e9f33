package audit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ErrLeaf: the bytes are no leaf, or the leaf cannot be encoded.
var ErrLeaf = errors.New("malformed audit entry")

// Bounds of a leaf. MaxSeq is the largest integer that RFC 8785 writes exactly
// (2^53-1); MaxLeaf keeps an auditor's memory bounded.
const (
	MaxSeq  = 1<<53 - 1
	MaxLeaf = 1 << 20 // bytes
	maxName = 64      // bytes of a type, kind or commitment name
	maxID   = 512     // bytes of a request or actor id
)

// timeForm is RFC 3339 in UTC with exactly three digits of a second.
const timeForm = "2006-01-02T15:04:05.000Z"

// Actor says who did what an entry tells of.
type Actor struct {
	Kind string `json:"kind"`
	ID   string `json:"id,omitempty"`
}

// Leaf is one entry of the log, version 1.
type Leaf struct {
	// Seq is the entry's place in the log, from 0 and without gaps.
	Seq uint64
	// Time is in UTC and whole milliseconds, never before the previous leaf's.
	Time time.Time
	Type string
	// Request is empty for an entry that belongs to no request.
	Request string
	// Prev is the sequence number of the same request's previous entry; nil for
	// its first.
	Prev  *uint64
	Actor Actor
	// Data is a JSON object that stands in the clear, in RFC 8785 form; nil if
	// there is none.
	Data []byte
	// Commit holds the commitment to each private text, by name.
	Commit map[string]Commitment
}

// Encode appends the leaf's RFC 8785 form to dst: members sorted by name, no
// white space. Data is brought into that form; an empty object counts as none.
// The error wraps ErrLeaf.
func (l Leaf) Encode(dst []byte) ([]byte, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	if dst == nil {
		dst = make([]byte, 0, 512+len(l.Data))
	}
	start := len(dst)
	dst = append(dst, `{"actor":{`...)
	if l.Actor.ID != "" {
		dst = append(dst, `"id":`...)
		dst = appendString(dst, l.Actor.ID)
		dst = append(dst, ',')
	}
	dst = append(dst, `"kind":`...)
	dst = appendString(dst, l.Actor.Kind)
	dst = append(dst, '}')
	if len(l.Commit) > 0 {
		dst = append(dst, `,"commit":{`...)
		for i, name := range slices.Sorted(maps.Keys(l.Commit)) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, name)
			dst = append(dst, `:"`...)
			c := l.Commit[name]
			dst = hex.AppendEncode(dst, c[:])
			dst = append(dst, '"')
		}
		dst = append(dst, '}')
	}
	dst, err := l.appendData(dst)
	if err != nil {
		return nil, err
	}
	if l.Prev != nil {
		dst = strconv.AppendUint(append(dst, `,"prev":`...), *l.Prev, 10)
	}
	if l.Request != "" {
		dst = appendString(append(dst, `,"request":`...), l.Request)
	}
	dst = strconv.AppendUint(append(dst, `,"seq":`...), l.Seq, 10)
	dst = l.Time.AppendFormat(append(dst, `,"time":"`...), timeForm)
	dst = appendString(append(dst, `","type":`...), l.Type)
	dst = append(dst, `,"v":1}`...)
	if len(dst)-start > MaxLeaf {
		return nil, fmt.Errorf("%w: longer than %d bytes; what is long belongs beside the log", ErrLeaf, MaxLeaf)
	}
	return dst, nil
}

// appendData appends the member "data", unless there is none.
func (l Leaf) appendData(dst []byte) ([]byte, error) {
	if len(l.Data) == 0 {
		return dst, nil
	}
	v := jsontext.Value(bytes.Clone(l.Data))
	if err := v.Canonicalize(); err != nil {
		return nil, fmt.Errorf("%w: data: %w", ErrLeaf, err)
	}
	switch {
	case v.Kind() != '{':
		return nil, fmt.Errorf("%w: data must be a JSON object", ErrLeaf)
	case len(v) == len("{}"):
		return dst, nil
	}
	return append(append(dst, `,"data":`...), v...), nil
}

// appendString appends s as RFC 8785 writes a string. check has refused what is
// not UTF-8, the only thing that AppendQuote complains of.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

func (l Leaf) check() error {
	fault := func(what string) error { return fmt.Errorf("%w: %s", ErrLeaf, what) }
	switch {
	case l.Seq > MaxSeq:
		return fault("seq is out of range")
	case l.Prev != nil && l.Request == "":
		return fault("prev without a request")
	case l.Prev != nil && *l.Prev >= l.Seq:
		return fault("prev must be smaller than seq")
	case !isName(l.Type):
		return fault("type must be 1 to 64 of a-z, 0-9 and _")
	case !isName(l.Actor.Kind):
		return fault("the actor's kind must be 1 to 64 of a-z, 0-9 and _")
	case !isID(l.Actor.ID) || !isID(l.Request):
		return fault("ids must be UTF-8 and at most 512 bytes")
	case l.Time.Location() != time.UTC || l.Time.Nanosecond()%int(time.Millisecond) != 0:
		return fault("time must be in UTC and whole milliseconds")
	case l.Time.Year() < 1970 || l.Time.Year() > 9999:
		return fault("time must be in the years 1970 to 9999")
	}
	for name := range l.Commit {
		if !isName(name) {
			return fault("names of private texts must be 1 to 64 of a-z, 0-9 and _")
		}
	}
	return nil
}

// isName reports whether s may name a type, a kind or a private text. ASCII
// only, so that sorting by bytes is RFC 8785's sorting by UTF-16 units.
func isName(s string) bool {
	if len(s) == 0 || len(s) > maxName {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// rawLeaf is the leaf as it stands in JSON.
type rawLeaf struct {
	V       int               `json:"v"`
	Seq     uint64            `json:"seq"`
	Time    string            `json:"time"`
	Type    string            `json:"type"`
	Request string            `json:"request,omitzero"`
	Prev    *uint64           `json:"prev,omitzero"`
	Actor   Actor             `json:"actor"`
	Data    jsontext.Value    `json:"data,omitzero"`
	Commit  map[string]string `json:"commit,omitzero"`
}

// DecodeLeaf parses a leaf and refuses every byte sequence that Encode would
// not have written: unknown or repeated members, white space, another order,
// another version. The result keeps no reference to b. The error wraps ErrLeaf.
func DecodeLeaf(b []byte) (Leaf, error) {
	if len(b) > MaxLeaf {
		return Leaf{}, fmt.Errorf("%w: longer than %d bytes", ErrLeaf, MaxLeaf)
	}
	var raw rawLeaf
	if err := json.Unmarshal(b, &raw, json.RejectUnknownMembers(true)); err != nil {
		return Leaf{}, fmt.Errorf("%w: %w", ErrLeaf, err)
	}
	if raw.V != 1 {
		return Leaf{}, fmt.Errorf("%w: version %d is not known; a newer program may know it", ErrLeaf, raw.V)
	}
	at, err := time.Parse(timeForm, raw.Time)
	if err != nil {
		return Leaf{}, fmt.Errorf("%w: time: %w", ErrLeaf, err)
	}
	l := Leaf{
		Seq: raw.Seq, Time: at.UTC(), Type: raw.Type, Request: raw.Request, Prev: raw.Prev,
		Actor: raw.Actor, Data: bytes.Clone(raw.Data),
	}
	for name, text := range raw.Commit {
		var c Commitment
		if n, err := hex.Decode(c[:], []byte(text[:min(len(text), 2*len(c))])); err != nil || n != len(c) {
			return Leaf{}, fmt.Errorf("%w: commitment %q is not a SHA-256 in hex", ErrLeaf, name)
		}
		if l.Commit == nil {
			l.Commit = make(map[string]Commitment, len(raw.Commit))
		}
		l.Commit[name] = c
	}
	again, err := l.Encode(nil)
	if err != nil {
		return Leaf{}, err
	}
	if !bytes.Equal(again, b) {
		return Leaf{}, fmt.Errorf("%w: not in RFC 8785 form", ErrLeaf)
	}
	return l, nil
}
