// Package bolt owns the embedded engine: one bbolt file, one process, one
// goroutine that commits.
//
// Its rule: what one commit holds is all there or not there at all. Records,
// audit entries, hashes and the signed checkpoint of the new size are written in
// one transaction, so that every committed state has exactly one signed
// checkpoint, and nothing is answered before the file is synced.
//
// Who owns what: the committing goroutine (commit.go) alone writes to the file
// and alone touches head and tokens. Everything that is read comes from read
// transactions and is copied before they end.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/mod/sumdb/note"

	"github.com/countersign/countersign/store"
)

// Errors of this engine beside those of package store.
var (
	// ErrDamaged: the file is not what this program wrote.
	ErrDamaged = errors.New("the state file is damaged")
	// ErrLocked: another process has the file open.
	ErrLocked = errors.New("the state file is in use by another process")
	// ErrNewer: the file was written by a newer version of this program.
	ErrNewer = errors.New("the state file is of a newer version")
	// ErrClock: the clock stands before what the log already tells of.
	ErrClock = errors.New("the clock is behind the audit log")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrRefused: the write breaks a rule of the store; nothing of it happened.
	ErrRefused = errors.New("the write breaks a rule of the store")
)

// maxSkew is how far the clock may stand before the newest entry at opening.
const maxSkew = 5 * time.Minute

// Options of an engine. Signer is required.
type Options struct {
	// Signer signs the checkpoints. Its name is the log's origin. It must be
	// deterministic, as Ed25519 is: the newest checkpoint is checked at opening
	// by signing it again.
	Signer note.Signer
	// Origin, if not empty, must be the signer's name.
	Origin string
	// Former are the keys that signed before a change of keys: the newest
	// checkpoint may stand under one of them.
	Former []note.Verifier
	// Now is the engine's clock; time.Now if nil.
	Now func() time.Time
	// Log gets what nobody is told otherwise; discarded if nil.
	Log *slog.Logger
	// Timeout is how long to wait for another process to release the file;
	// five seconds if zero.
	Timeout time.Duration
	// MaxSize bounds the file in bytes; zero is no bound.
	MaxSize int
}

// Store is the engine. It implements store.Store.
type Store struct {
	db     *bbolt.DB
	signer note.Signer
	now    func() time.Time
	log    *slog.Logger

	readOnly bool
	queue    chan *op
	// mu guards closed against the queue: nothing is queued once it is closed.
	mu      sync.RWMutex
	closed  bool
	stopped chan struct{} // closed when the committing goroutine has ended
	closing chan struct{} // closed when Close begins

	waiters waiters

	// These belong to the committing goroutine. head and tokens are read from the
	// file when nil.
	head   *head
	tokens map[tokenID]moment
	// expected is how many writers the next commit is likely to serve, patience
	// how long it waits for them.
	expected int
	patience time.Duration
}

var _ store.Store = (*Store)(nil)

// Close waits for queued writes, then releases the file. Watchers get
// ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.closing)
	close(s.queue)
	s.mu.Unlock()
	<-s.stopped
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close state file: %w", err)
	}
	return nil
}

// Ping commits a tiny write on the same path as every other, without touching
// the log.
func (s *Store) Ping(ctx context.Context) error {
	return s.submit(ctx, &pingOp{})
}

// view runs a read transaction. What f keeps must be copied.
func (s *Store) view(ctx context.Context, f func(tx *bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.db.View(f)
	if errors.Is(err, bbolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

// clock is the engine's time: UTC, whole milliseconds as in the log, and
// without the monotonic part, so that a record reads back equal.
func (s *Store) clock() time.Time { return s.now().UTC().Truncate(time.Millisecond) }
