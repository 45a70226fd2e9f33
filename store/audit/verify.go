package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Entry is one entry as it is handed to an auditor.
type Entry struct {
	Seq uint64
	// Leaf is exactly what the tree hashes.
	Leaf []byte
	// Side opens the leaf's commitments, by name, as far as the texts have not
	// been erased.
	Side map[string]Opening
}

// Fault is the first thing that is wrong with a log. It wraps the reason.
type Fault struct {
	// Seq is the first bad entry, or the first of those among which it is.
	Seq uint64
	Err error
}

// Error implements error.
func (f *Fault) Error() string { return fmt.Sprintf("entry %d: %s", f.Seq, f.Err) }

// Unwrap returns the reason.
func (f *Fault) Unwrap() error { return f.Err }

// Reasons of faults, beside ErrLeaf, ErrCheckpoint and what Each returns.
var (
	ErrSequence   = errors.New("the sequence has a gap or a repetition")
	ErrChain      = errors.New("the request's chain of entries is broken")
	ErrTime       = errors.New("time goes backwards")
	ErrCommitment = errors.New("a private text is not the one that was committed to")
	ErrRoot       = errors.New("the entries do not have the root that was signed")
	ErrCut        = errors.New("entries are missing at the end")
)

// Verification is what a whole log is verified against.
type Verification struct {
	// Key is trusted by the caller; never one that came with the log.
	Key note.Verifier
	// Newest is the signed checkpoint that covers all entries.
	Newest []byte
	// Older are checkpoints that were seen before, for example posted into a
	// channel, in any order. The log must contain the log of each.
	Older [][]byte
	// Each, if not nil, is called with every leaf that is in order so far.
	Each func(Leaf) error
}

// Report tells what was verified.
type Report struct {
	Checkpoint Checkpoint
	Size       uint64
	First      time.Time // of the first entry
	Last       time.Time // of the last entry
	Older      int       // older checkpoints that the log contains
	Opened     uint64    // private texts that match their commitments
	Erased     uint64    // commitments without a text: nothing was checked
}

// Run reads all entries once, in order, and checks: signatures; no gap and no
// repetition in seq; the root under the newest and every older checkpoint; each
// leaf's form; time; the chain of entries of each request; the texts that are
// there against their commitments. It returns a *Fault for the first thing
// wrong, and an error of the reader or ctx as it is.
//
// Memory: the right edge of the tree, and about 40 bytes for each request.
func (v Verification) Run(ctx context.Context, entries iter.Seq2[Entry, error]) (Report, error) {
	r, err := v.start()
	if err != nil {
		return Report{}, err
	}
	for e, err := range entries {
		if err != nil {
			return Report{}, err
		}
		if err := ctx.Err(); err != nil {
			return Report{}, err
		}
		if err := r.add(e); err != nil {
			return Report{}, err
		}
	}
	return r.end()
}

// run is one verification under way.
type run struct {
	each     func(Leaf) error
	report   Report
	frontier Frontier
	// checks are the checkpoints still to come, smallest first. Up to good,
	// the entries are under a checkpoint that fits.
	checks []Checkpoint
	good   uint64
	// last is the newest entry of each request, by a hash of its id under a
	// random seed. Two ids of a million requests fall together with a
	// probability of 3 in 100 million; that would be a false alarm, never a
	// false pass of a changed log, and another run would not repeat it.
	last map[uint64]uint64
	seed maphash.Seed
}

func (v Verification) start() (*run, error) {
	newest, err := OpenCheckpoint(v.Newest, v.Key)
	if err != nil {
		return nil, fmt.Errorf("the newest checkpoint: %w", err)
	}
	r := &run{each: v.Each, last: make(map[uint64]uint64), seed: maphash.MakeSeed()}
	for i, signed := range v.Older {
		c, err := OpenCheckpoint(signed, v.Key)
		if err != nil {
			return nil, fmt.Errorf("older checkpoint %d: %w", i+1, err)
		}
		if c.Size > newest.Size {
			return nil, &Fault{Seq: newest.Size, Err: fmt.Errorf("%w: a checkpoint of %d entries was seen before, the newest here has %d; the log was rolled back", ErrCut, c.Size, newest.Size)}
		}
		r.checks = append(r.checks, c)
	}
	r.report.Checkpoint, r.report.Older = newest, len(r.checks)
	r.checks = append(r.checks, newest)
	slices.SortFunc(r.checks, func(a, b Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	return r, r.compare()
}

// compare compares the root with every checkpoint of the size reached.
func (r *run) compare() error {
	for len(r.checks) > 0 && r.checks[0].Size == r.frontier.Size() {
		if r.checks[0].Root != r.frontier.Root() {
			return &Fault{Seq: r.good, Err: fmt.Errorf("%w: this entry, or one of those up to the checkpoint of %d entries, is not the one that was signed", ErrRoot, r.frontier.Size())}
		}
		r.good = r.frontier.Size()
		r.checks = r.checks[1:]
	}
	return nil
}

// add takes the next entry.
func (r *run) add(e Entry) error {
	next := r.frontier.Size()
	fault := func(err error) error { return &Fault{Seq: next, Err: err} }
	if e.Seq != next {
		return fault(fmt.Errorf("%w: entry %d stands in its place", ErrSequence, e.Seq))
	}
	if len(r.checks) == 0 {
		return fault(fmt.Errorf("%w: it stands beyond the newest checkpoint", ErrSequence))
	}
	leaf, err := DecodeLeaf(e.Leaf)
	if err != nil {
		return fault(err)
	}
	if leaf.Seq != next {
		return fault(fmt.Errorf("%w: the leaf says that it is entry %d", ErrSequence, leaf.Seq))
	}
	if leaf.Time.Before(r.report.Last) {
		return fault(fmt.Errorf("%w: the entry before is of %s", ErrTime, r.report.Last.Format(timeForm)))
	}
	if err := r.chain(leaf); err != nil {
		return fault(err)
	}
	if err := r.open(leaf, e.Side); err != nil {
		return fault(err)
	}
	if r.each != nil {
		if err := r.each(leaf); err != nil {
			return fault(err)
		}
	}
	if next == 0 {
		r.report.First = leaf.Time
	}
	r.report.Last = leaf.Time
	r.frontier.Append(LeafHash(e.Leaf), nil)
	return r.compare()
}

// chain checks that prev names the request's previous entry.
func (r *run) chain(l Leaf) error {
	if l.Request == "" {
		return nil
	}
	id := maphash.String(r.seed, l.Request)
	last, known := r.last[id]
	r.last[id] = l.Seq
	switch {
	case known && l.Prev == nil:
		return fmt.Errorf("%w: it calls itself the first of %s, which has entry %d", ErrChain, l.Request, last)
	case !known && l.Prev != nil:
		return fmt.Errorf("%w: it follows entry %d, which is not of %s", ErrChain, *l.Prev, l.Request)
	case known && *l.Prev != last:
		return fmt.Errorf("%w: it follows entry %d, but the newest of %s is %d", ErrChain, *l.Prev, l.Request, last)
	}
	return nil
}

// open checks the texts that are there.
func (r *run) open(l Leaf, side map[string]Opening) error {
	for name, o := range side {
		c, ok := l.Commit[name]
		if !ok {
			return fmt.Errorf("%w: the entry commits to no %q", ErrCommitment, name)
		}
		if !o.Opens(c) {
			return fmt.Errorf("%w: %q", ErrCommitment, name)
		}
	}
	r.report.Opened += uint64(len(side))
	r.report.Erased += uint64(len(l.Commit) - len(side))
	return nil
}

func (r *run) end() (Report, error) {
	r.report.Size = r.frontier.Size()
	if len(r.checks) > 0 {
		return Report{}, &Fault{Seq: r.report.Size, Err: fmt.Errorf("%w: the checkpoint has %d", ErrCut, r.checks[len(r.checks)-1].Size)}
	}
	return r.report, nil
}
