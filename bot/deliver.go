package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/store"
)

// maxCopies bounds how many copies of one card are kept true.
const maxCopies = 5

// errStore marks a failure of our own store, not of the platform.
var errStore = errors.New("store failed")

// deliver makes one card show its request: post or find it, update it, tell the
// thread, attach the files. Each step is recorded before the next, so that a
// crash repeats at most the step under way.
func (b *Broker) deliver(ctx context.Context, d store.Delivery) error {
	platform := b.Platforms[d.Platform]
	r, err := b.Store.Get(ctx, d.Request)
	if err != nil {
		return errors.Join(errStore, err)
	}
	f, err := thaw(r)
	if err != nil {
		return err
	}
	if platform == nil || d.Gone || (len(d.Refs) == 0 && d.Posting.IsZero() && d.Asks && r.State != store.Pending && r.State != store.Approved) {
		return b.settled(ctx, d, r) // nowhere to show it, or too late to be of use
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	diff, err := b.diff(ctx, f)
	if err != nil {
		return errors.Join(errStore, err)
	}
	card := b.card(r, f, d, diff)
	if len(d.Refs) == 0 {
		d, err = b.post(ctx, platform, d, card, len(r.Progress))
	} else if d.Shown < r.Version {
		d, err = b.show(ctx, platform, d, card)
	}
	if err != nil {
		return err
	}
	if len(d.Refs) == 0 { // deleted under us: the next pass posts it again
		return nil
	}
	for _, p := range r.Progress[min(d.Noted, len(r.Progress)):] {
		if err := platform.Note(ctx, d.Refs[0], b.note(r.Code, p)); err != nil && chat.ClassOf(err) != chat.Gone {
			return err
		}
		if d, err = b.record(ctx, d.ID, func(d *store.Delivery) { d.Noted++ }); err != nil {
			return err
		}
	}
	if !d.Attached {
		for _, file := range files(r, f, diff) {
			if err := platform.Attach(ctx, d.Refs[0], file); err != nil && chat.ClassOf(err) != chat.Gone {
				return err
			}
		}
	}
	return b.settled(ctx, d, r)
}

// record updates a delivery; its failure is ours, not the platform's.
func (b *Broker) record(ctx context.Context, id string, change func(d *store.Delivery)) (store.Delivery, error) {
	d, err := b.Store.UpdateDelivery(context.WithoutCancel(ctx), id, func(_ time.Time, d store.Delivery) store.Delivery {
		d.Refs = slices.Clone(d.Refs)
		change(&d)
		return d
	})
	if err != nil {
		return d, errors.Join(errStore, err)
	}
	return d, nil
}

// settled notes that nothing is left to do until the request changes.
func (b *Broker) settled(ctx context.Context, d store.Delivery, r store.Request) error {
	_, err := b.record(ctx, d.ID, func(d *store.Delivery) {
		d.Attempts, d.NextTry, d.Fault = 0, time.Time{}, ""
		if len(d.Refs) == 0 {
			d.Gone = true
			return
		}
		d.Attached = true
	})
	return err
}

// post makes the card appear once. "Posting" is on record before the call; when
// it is found there, an earlier call may have arrived, and the channel is
// looked through before another is made.
func (b *Broker) post(ctx context.Context, p chat.Platform, d store.Delivery, card chat.Card, progress int) (store.Delivery, error) {
	if !d.Posting.IsZero() {
		refs, err := p.Find(ctx, d.Channel, d.ID, d.Posting.Add(-time.Minute))
		if err != nil && !errors.Is(err, chat.ErrUnsupported) {
			return d, err
		}
		if len(refs) > 0 {
			// Which version it shows is unknown: none, so that it is drawn anew.
			return b.record(ctx, d.ID, func(d *store.Delivery) {
				d.Posting, d.Refs, d.Shown = time.Time{}, refs[:min(len(refs), maxCopies)], 0
			})
		}
	}
	now := b.Now()
	if _, err := b.record(ctx, d.ID, func(d *store.Delivery) { d.Posting = now }); err != nil {
		return d, err
	}
	ref, err := p.Post(ctx, d.Channel, card)
	if err != nil {
		if chat.ClassOf(err) != chat.Ambiguous { // certainly not posted
			if _, err := b.record(ctx, d.ID, func(d *store.Delivery) { d.Posting = time.Time{} }); err != nil {
				return d, err
			}
		}
		return d, err
	}
	b.Log.Info("card posted", "platform", d.Platform, "channel", d.Channel, "request", d.Request)
	return b.record(ctx, d.ID, func(d *store.Delivery) {
		d.Posting, d.Shown, d.Noted = time.Time{}, card.Version, progress
		if !slices.Contains(d.Refs, ref) {
			d.Refs = append(d.Refs, ref)
		}
	})
}

// show makes every copy of the card show the newest version. A copy that was
// deleted is forgotten.
func (b *Broker) show(ctx context.Context, p chat.Platform, d store.Delivery, card chat.Card) (store.Delivery, error) {
	var gone []string
	for _, ref := range d.Refs {
		err := p.Update(ctx, ref, card)
		if err != nil && chat.ClassOf(err) == chat.Gone {
			gone = append(gone, ref)
			continue
		}
		if err != nil {
			return d, err
		}
	}
	return b.record(ctx, d.ID, func(d *store.Delivery) {
		d.Refs = slices.DeleteFunc(d.Refs, func(ref string) bool { return slices.Contains(gone, ref) })
		if len(d.Refs) > 0 {
			d.Shown = card.Version
		}
	})
}

// addRefs notes one more copy of a card, and has it drawn anew.
func addRefs(ref string) func(time.Time, store.Delivery) store.Delivery {
	return func(_ time.Time, d store.Delivery) store.Delivery {
		if slices.Contains(d.Refs, ref) || len(d.Refs) >= maxCopies {
			return d
		}
		d.Refs = append(slices.Clone(d.Refs), ref)
		d.Posting, d.Shown = time.Time{}, 0
		return d
	}
}

// postpone records a platform's failure and when to try again; where it is the
// whole platform's, the rest of the queue waits as well. A channel that is gone
// is not tried again.
func (b *Broker) postpone(ctx context.Context, d store.Delivery, rest []store.Delivery, cause error) error {
	class := chat.ClassOf(cause)
	until := b.Now().Add(backoff(cause, d.Attempts))
	b.Log.Warn("delivery failed", "platform", d.Platform, "channel", d.Channel, "request", d.Request, "class", class.String(), "error", cause.Error())
	_, err := b.record(ctx, d.ID, func(d *store.Delivery) {
		d.Attempts++
		d.NextTry, d.Fault = until, fmt.Sprint(cause)
		d.Gone = class == chat.Gone
	})
	for _, other := range rest {
		if err == nil && wholePlatform(cause) {
			_, err = b.record(ctx, other.ID, func(d *store.Delivery) { d.NextTry = until })
		}
	}
	return err
}
