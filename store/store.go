// Package store owns what Countersign remembers, and the contract of the
// engines that keep it: a request is one record, every transition is one atomic
// write of record, audit entries and whatever the transition consumes.
//
// Its rule: no exported way writes a request without its entries, and a write
// that was not committed never happened. storetest holds the contract as tests;
// bolt is the embedded engine.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Errors of every engine. A Change may return errors of its own, which Create
// and Update hand back unwrapped.
var (
	// ErrNotFound: no record has this id.
	ErrNotFound = errors.New("not found")
	// ErrExists: a record with this id was created before.
	ErrExists = errors.New("exists already")
	// ErrReplayed: a one-time token was consumed before, or has expired: then
	// nobody can tell.
	ErrReplayed = errors.New("one-time token used before")
	// ErrKeyUsed: the idempotency key stands for a request already; Keyed says
	// which.
	ErrKeyUsed = errors.New("idempotency key used before")
	// ErrUnknown: the commit failed, and may have happened. Read again.
	ErrUnknown = errors.New("the write's outcome is unknown")
	// ErrReadOnly: the engine refuses writes, for example because its log is
	// behind its last anchor.
	ErrReadOnly = errors.New("the store is read-only")
)

// Store is an engine. All methods are safe for concurrent use. Times come from
// the engine's own clock, in UTC.
type Store interface {
	// Create runs the change on a zero Request and writes the result under id.
	// A change that consumes a used token fails with ErrReplayed, one that
	// claims a used key with ErrKeyUsed, and nothing of it is written.
	Create(ctx context.Context, id string, c Change) (Request, error)
	// Get returns the request, or ErrNotFound.
	Get(ctx context.Context, id string) (Request, error)
	// Update runs the change on the request as it stands and writes the result.
	// It returns the record as it stands afterwards, also when the change
	// refused. Changes of one request run one after another, each exactly on
	// the result of the one before.
	Update(ctx context.Context, id string, c Change) (Request, error)
	// Keyed returns what an idempotency key stands for, or ErrNotFound.
	Keyed(ctx context.Context, key string) (Key, error)
	// Find returns requests, newest first.
	Find(ctx context.Context, q Query) (Page, error)
	// Watch returns the request once its version is greater than after, at once
	// if it is already. When ctx ends first it returns ctx's error: a time-out
	// is not a decision.
	Watch(ctx context.Context, id string, after uint64) (Request, error)
	// Blob returns the bytes with the given hex SHA-256, or ErrNotFound.
	Blob(ctx context.Context, sha256 string) ([]byte, error)

	// Delivery returns one delivery, or ErrNotFound.
	Delivery(ctx context.Context, id string) (Delivery, error)
	// Deliveries returns the deliveries of a request, in order of creation.
	Deliveries(ctx context.Context, request string) ([]Delivery, error)
	// UpdateDelivery replaces a delivery by what change makes of it. Whatever
	// change says, a delivery whose Shown is behind its request's version and
	// that is not Gone stays due.
	UpdateDelivery(ctx context.Context, id string, change func(now time.Time, d Delivery) Delivery) (Delivery, error)
	// Due returns what is due now: at most limit requests and limit deliveries,
	// earliest first.
	Due(ctx context.Context, limit int) (Due, error)

	// Log returns at most limit entries, starting at sequence number from and
	// going up, or down if backwards. Past either end it returns none.
	Log(ctx context.Context, from uint64, limit int, backwards bool) ([]Logged, error)
	// Checkpoint returns the newest signed checkpoint (C2SP tlog-checkpoint)
	// and the number of entries under it; every committed entry is under it.
	Checkpoint(ctx context.Context) (note []byte, size uint64, err error)
	// Receipt returns the proof that entry seq stands under the newest signed
	// checkpoint, or ErrNotFound.
	Receipt(ctx context.Context, seq uint64) (Receipt, error)

	// Ping reports whether the engine can commit a write.
	Ping(ctx context.Context) error
	Close() error
}

// Change computes a transition. It is pure: it reads no clock, does no I/O,
// makes no ids and keeps no reference to r, because it may run again. now is
// the engine's time of the attempt.
type Change func(now time.Time, r Request) (Write, error)

// Write is what a transition leaves behind, all of it or nothing.
type Write struct {
	// Request is the new record. The engine sets ID, Version and LastSeq.
	Request Request
	// Entries are appended to the log in this order, at least one.
	Entries []Entry
	// Tokens are consumed; each may be consumed once until it expires.
	Tokens []Token
	// Key, if not nil, is claimed for this request.
	Key *Key
	// Deliveries are created, due at once.
	Deliveries []Delivery
	// Blobs are kept by the hex SHA-256 that names them.
	Blobs map[string][]byte
}

// Token is a one-time token id, remembered until Expires.
type Token struct {
	Issuer  string
	ID      string
	Expires time.Time
}

// Key is an idempotency key with what it stands for.
type Key struct {
	// Name holds the caller and the key that the caller chose.
	Name string `json:"name"`
	// Request is set by the engine.
	Request string `json:"request"`
	// Fingerprint tells a retry from another request under the same key.
	Fingerprint string    `json:"fingerprint"`
	Expires     time.Time `json:"expires"`
}

// State is where a request stands.
type State string

const (
	Pending   State = "pending"
	Approved  State = "approved"
	Denied    State = "denied"
	Expired   State = "expired"
	Cancelled State = "cancelled"
	Ended     State = "ended"
	Revoked   State = "revoked"
)

// Request is the record of one request. Canonical never changes after creation.
type Request struct {
	ID      string `json:"id"`
	Version uint64 `json:"version"` // set by the engine: 1 at creation, +1 for each write
	State   State  `json:"state"`
	// Canonical is the frozen request in RFC 8785 form; Digest its hex SHA-256;
	// Code the short form of the digest that people compare.
	Canonical json.RawMessage `json:"canonical"`
	Digest    string          `json:"digest"`
	Code      string          `json:"code"`

	// ServiceAccount, Issuer, Subject and Binding are the caller that may read,
	// redeem and cancel.
	ServiceAccount string `json:"service_account"`
	Issuer         string `json:"issuer"`
	Subject        string `json:"subject"`
	Binding        string `json:"binding"`

	Created  time.Time `json:"created"`
	Deadline time.Time `json:"deadline,omitzero"`

	Stage   int      `json:"stage"` // index of the gate that is open
	Reviews []Review `json:"reviews,omitempty"`
	Outcome Outcome  `json:"outcome,omitzero"`
	Grant   *Grant   `json:"grant,omitempty"`
	Issues  []Issue  `json:"issues,omitempty"`
	// Progress is what threads are told, in order; deliveries count along it.
	Progress []Progress `json:"progress,omitempty"`

	// Wake is when the clock alone changes the record; zero is never.
	Wake time.Time `json:"wake,omitzero"`
	// People are the ids of everyone involved (trigger, reviewers), for Find.
	People []string `json:"people,omitempty"`
	// LastSeq is the sequence number of the record's newest entry, set by the
	// engine.
	LastSeq uint64 `json:"last_seq"`
}

// Review is one person's answer in one stage.
type Review struct {
	Person  string    `json:"person"`
	Verdict string    `json:"verdict"` // approve or deny
	Stage   int       `json:"stage"`
	Digest  string    `json:"digest"` // of the request that the person saw
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
	// Platform, Space and Account are where the person answered.
	Platform string `json:"platform"`
	Space    string `json:"space"`
	Account  string `json:"account"`
}

// Outcome is how a request came to an end, or to an approval.
type Outcome struct {
	// Kind is approved, denied_by_policy, denied_by_person, expired,
	// undeliverable, cancelled, ended or revoked.
	Kind   string    `json:"kind"`
	By     string    `json:"by,omitempty"` // person id, "policy", "machine" or "clock"
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Grant is the right that follows an approval.
type Grant struct {
	Digest string        `json:"digest"` // hex; covers request digest, reviews, scopes and TTL
	Scopes []string      `json:"scopes"`
	TTL    time.Duration `json:"ttl"`
	At     time.Time     `json:"at"`
}

// Issue is one credential that was released under a grant.
type Issue struct {
	ID      string    `json:"id"` // the credential's jti
	SHA256  string    `json:"sha256"`
	At      time.Time `json:"at"`
	Expires time.Time `json:"expires"`
}

// Progress is one line of a card's thread.
type Progress struct {
	Kind string    `json:"kind"` // approved, denied, issued, expired, …
	By   string    `json:"by,omitempty"`
	Text string    `json:"text,omitempty"`
	At   time.Time `json:"at"`
}

// Query selects requests; zero fields select nothing.
type Query struct {
	State  State  // only Pending is indexed and may be asked for
	Person string // involved
	Code   string // of a request that was not denied at once
	// Before is a cursor: only requests created before that id.
	Before string
	Limit  int // 1 to 200
}

// Page is one page of an answer; Next is the cursor of the page after, or "".
type Page struct {
	Requests []Request
	Next     string
}

// Delivery is one card in one channel. Its progress never changes the request.
type Delivery struct {
	// ID is random, at least 128 bits, stored before anything is posted; a
	// card's buttons carry it.
	ID       string `json:"id"`
	Request  string `json:"request"`
	Platform string `json:"platform"`
	Channel  string `json:"channel"` // the platform's own id
	// Asks is true where the card has buttons, false for a card to read.
	Asks bool `json:"asks"`
	// Posting is when a post was begun whose outcome is not known yet; zero
	// otherwise.
	Posting time.Time `json:"posting,omitzero"`
	// Refs are the platform's opaque references of the posted card; more than
	// one where an answer was lost and a card posted twice.
	Refs []string `json:"refs,omitempty"`
	// Shown is the version of the request that the card shows.
	Shown    uint64 `json:"shown"`
	Noted    int    `json:"noted"`    // how much of Progress the thread has been told
	Attached bool   `json:"attached"` // the whole diff stands in the thread
	// Attempts counts failures in a row; NextTry is zero when nothing is to do.
	Attempts int       `json:"attempts"`
	NextTry  time.Time `json:"next_try,omitzero"`
	Fault    string    `json:"fault,omitempty"` // the newest failure, free of secrets
	// Gone is true when the card or channel is no more: nothing is tried again.
	Gone bool `json:"gone,omitempty"`
}

// Due is what the reconciler has to look at.
type Due struct {
	Requests   []string // ids whose Wake has come
	Deliveries []Delivery
	// Next is when the earliest of what is not due yet becomes due; zero is
	// never.
	Next time.Time
}

// Entry is a line for the audit log, as a Change makes it.
type Entry struct {
	Type string // asked, decided, reviewed, approved, denied, …
	// Actor says who did it.
	Actor Actor
	// Data stands in the log in the clear, encoded as JSON: nothing personal
	// and no free text.
	Data any
	// Private is personal or free text by name. The log holds a salted
	// commitment to each; the text lies beside the log and can be erased.
	Private map[string]string
}

// Actor is who an entry tells of: kind machine (id: service account), person
// (id: person id), policy (id: revision) or clock (no id).
type Actor struct {
	Kind string `json:"kind"`
	ID   string `json:"id,omitempty"`
}

// Logged is an entry as the log holds it.
type Logged struct {
	Seq     uint64            `json:"seq"`
	Time    time.Time         `json:"time"`
	Type    string            `json:"type"`
	Request string            `json:"request,omitempty"`
	Actor   Actor             `json:"actor"`
	Data    json.RawMessage   `json:"data,omitempty"`
	Private map[string]string `json:"private,omitempty"` // what has not been erased
	// Leaf is exactly what the tree hashes; Salts opens its commitments.
	Leaf  []byte            `json:"-"`
	Salts map[string][]byte `json:"-"`
}

// Receipt proves one entry: Leaf is the entry, Proof a C2SP tlog-proof@v1 with
// the signed checkpoint in it.
type Receipt struct {
	Leaf  []byte
	Proof []byte
}
