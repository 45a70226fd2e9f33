package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/countersign/countersign/store/audit"
)

const (
	defaultTimeout = 5 * time.Second
	// queueLength is how many writes may wait before their callers do.
	queueLength = 4 * maxBatch
	// mapSize is how much address space is reserved at first: growing it later
	// waits for all readers.
	mapSize = 256 << 20
)

// Open opens the file, or makes it with mode 0600. It checks that the newest
// checkpoint is signed by this log's key, that the hash tree has its root and
// that the newest entry is in the tree; it does not read the whole log. Errors:
// ErrLocked, ErrDamaged, ErrNewer, ErrClock, and those of the file system.
func Open(path string, o Options) (*Store, error) {
	if o.Signer == nil {
		return nil, errors.New("open state file: a key that signs the audit log is required")
	}
	if o.Origin != "" && o.Origin != o.Signer.Name() {
		return nil, fmt.Errorf("open state file: the audit key is of the log %q, not %q", o.Signer.Name(), o.Origin)
	}
	s := newStore(o)
	db, err := openFile(path, bbolt.Options{
		Timeout: o.Timeout, MaxSize: o.MaxSize,
		// The synced free list makes opening a large file quick; without it,
		// every page is read.
		FreelistType: bbolt.FreelistMapType, InitialMmapSize: mapSize,
	})
	if err != nil {
		return nil, err
	}
	s.db = db
	if err := guard(func() error { return s.prepare(o) }); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	go s.run()
	return s, nil
}

// OpenReadOnly opens an existing file for reading: every write fails with
// store.ErrReadOnly. It fails with ErrLocked while a process writes. The newest
// checkpoint is checked against the tree, but not against a key: the caller
// verifies what it reads.
func OpenReadOnly(path string) (*Store, error) {
	s := newStore(Options{})
	s.readOnly = true
	close(s.stopped)
	db, err := openFile(path, bbolt.Options{Timeout: time.Second, ReadOnly: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	s.db = db
	err = guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			switch version := schemaOf(tx); {
			case version > schema:
				return newer(version)
			case version == 0:
				return fmt.Errorf("%w: it has no schema version; is it a file of this program?", ErrDamaged)
			case version < schema:
				return fmt.Errorf("it has the older schema %d; serve it once with this program, which migrates it", version)
			}
			_, err := checkLog(tx)
			return err
		})
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return s, nil
}

func newStore(o Options) *Store {
	s := &Store{
		signer: o.Signer, now: o.Now, log: o.Log,
		queue: make(chan *op, queueLength), stopped: make(chan struct{}), closing: make(chan struct{}),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// openFile opens the database and names what is wrong with it.
func openFile(path string, o bbolt.Options) (*bbolt.DB, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	// When bbolt panics over a damaged file, the file must be closed by us.
	var file *os.File
	o.OpenFile = func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
		file, err = os.OpenFile(name, flag, mode)
		return file, err
	}
	var db *bbolt.DB
	err := guard(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &o)
		return err
	})
	switch {
	case err == nil:
	case errors.Is(err, ErrDamaged):
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), file.Close())
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("open %s: %w; only one may have it open", path, ErrLocked)
	case errors.Is(err, bbolterrors.ErrInvalid), errors.Is(err, bbolterrors.ErrChecksum), errors.Is(err, bbolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("open %s: %w: %w", path, ErrDamaged, err)
	default:
		return nil, fmt.Errorf("open state file: %w", err)
	}
	if err := checkLength(db); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return db, nil
}

// checkLength refuses a file that was cut: reading beyond its end through the
// memory map would end the process.
func checkLength(db *bbolt.DB) error {
	info, err := os.Stat(db.Path())
	if err != nil {
		return err
	}
	return db.View(func(tx *bbolt.Tx) error {
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: it has %d bytes and should have %d", ErrDamaged, info.Size(), tx.Size())
		}
		return nil
	})
}

// guard turns a panic of bbolt and a fault in the memory map into ErrDamaged.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return f()
}

// prepare migrates and checks the file.
func (s *Store) prepare(o Options) error {
	if info, err := os.Stat(s.db.Path()); err != nil {
		return err
	} else if info.Mode().Perm()&0o077 != 0 {
		return &fs.PathError{Op: "open", Path: s.db.Path(), Err: errors.New("others can read the state file; chmod 600 it")}
	}
	if err := s.migrate(migrations); err != nil {
		return err
	}
	return s.db.View(func(tx *bbolt.Tx) error {
		c, err := checkLog(tx)
		if err != nil {
			return err
		}
		if err := checkSigner(c, tx.Bucket(bucketMeta).Get(keyCheckpoint), o); err != nil {
			return err
		}
		h, err := readHead(tx)
		if err != nil {
			return err
		}
		if now := s.clock(); now.Before(h.newest.Add(-maxSkew)) {
			return fmt.Errorf("%w: it is %s here, and the newest entry was written at %s; set the clock",
				ErrClock, now.Format(time.RFC3339), h.newest.Format(time.RFC3339))
		}
		s.head = &h
		return nil
	})
}

// checkSigner verifies the newest checkpoint: it must be what the signer would
// sign, or stand under a former key.
func checkSigner(c audit.Checkpoint, signed []byte, o Options) error {
	if c.Origin == o.Signer.Name() {
		again, err := c.Sign(o.Signer)
		if err != nil {
			return err
		}
		if bytes.Equal(again, signed) {
			return nil
		}
	}
	for _, v := range o.Former {
		if _, err := audit.OpenCheckpoint(signed, v); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: the newest checkpoint, of the log %q, is not signed by the audit key %q; is it the right key file?",
		ErrDamaged, c.Origin, o.Signer.Name())
}

// checkLog checks in a few reads that entries, tree and checkpoint fit.
func checkLog(tx *bbolt.Tx) (audit.Checkpoint, error) {
	damaged := func(format string, args ...any) (audit.Checkpoint, error) {
		return audit.Checkpoint{}, fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
	}
	c, err := audit.PeekCheckpoint(tx.Bucket(bucketMeta).Get(keyCheckpoint))
	if err != nil {
		return damaged("%w", err)
	}
	f, err := audit.ReadFrontier(c.Size, nodes{tx.Bucket(bucketNode)})
	if err != nil {
		return damaged("%w", err)
	}
	if f.Root() != c.Root {
		return damaged("the hash tree does not have the root of the newest checkpoint")
	}
	for _, name := range [][]byte{bucketLeaf, bucketNode} {
		last, _ := tx.Bucket(name).Cursor().Last()
		if (c.Size == 0) != (last == nil) || last != nil && !bytes.Equal(last, seqKey(c.Size-1)) {
			return damaged("the log and its newest checkpoint do not end at the same entry")
		}
	}
	if c.Size == 0 {
		return c, nil
	}
	h, err := nodes{tx.Bucket(bucketNode)}.Node(c.Size-1, 0)
	if err != nil || h != audit.LeafHash(tx.Bucket(bucketLeaf).Get(seqKey(c.Size-1))) {
		return damaged("the newest entry is not the one in the hash tree")
	}
	return c, nil
}

// schema is the version of the layout that this program writes. A migration
// from version n to n+1 stands at index n.
const schema = 1

var migrations = [schema]func(s *Store, tx *bbolt.Tx) error{0: create}

// create makes an empty store: its log has a signed checkpoint from the start.
func create(s *Store, tx *bbolt.Tx) error {
	for _, name := range buckets {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	var empty audit.Frontier
	signed, err := audit.Checkpoint{Origin: s.signer.Name(), Root: empty.Root()}.Sign(s.signer)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketMeta).Put(keyCheckpoint, signed)
}

// schemaOf is the version of the file; 0 is an empty one.
func schemaOf(tx *bbolt.Tx) uint32 {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return 0
	}
	value := meta.Get(keySchema)
	if len(value) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(value)
}

func newer(version uint32) error {
	return fmt.Errorf("%w: it has schema %d, this program knows %d; use the newer program", ErrNewer, version, schema)
}

// migrate brings the file forward, all steps in one transaction.
func (s *Store) migrate(steps [schema]func(*Store, *bbolt.Tx) error) error {
	var version uint32
	if err := s.db.View(func(tx *bbolt.Tx) error { version = schemaOf(tx); return nil }); err != nil {
		return err
	}
	switch {
	case version == schema:
		return nil
	case version > schema:
		return newer(version)
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		if version == 0 {
			if name, _ := tx.Cursor().First(); name != nil {
				return fmt.Errorf("%w: it holds data but no schema version; is it a file of this program?", ErrDamaged)
			}
		}
		for _, step := range steps[version:] {
			if err := step(s, tx); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keySchema, binary.BigEndian.AppendUint32(nil, schema))
	})
}
