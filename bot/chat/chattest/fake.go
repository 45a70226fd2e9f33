package chattest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/countersign/countersign/bot/chat"
)

// Fake is a chat platform in memory, of another shape than the real ones: it
// has no modal and no ephemeral message. A form sits on the card, so a reason
// travels with the click; the answer to a click is the new card; what only one
// person may read arrives as a direct message. All of it is safe for concurrent
// use.
//
// As a chat.Platform it is what the heart sees. Join, Click, Submit and Command
// act as people do. Fail injects a fault into the next calls; Remove takes a
// card away for good.
type Fake struct {
	// Now is the clock of the fake; set it before use.
	Now func() time.Time
	// Deadline is how long a Handler may take; two seconds unless set before use.
	Deadline time.Duration

	name    string
	space   string
	handler chat.Handler

	mu      sync.Mutex
	seq     int
	posts   []*Posted
	members map[chat.Account]chat.Member
	faults  map[Op][]Fault
	direct  map[chat.Account][]string
	forms   map[chat.Account]form
	calls   []string
	panics  []string
}

// Posted is a card in a channel, as the channel has it now.
type Posted struct {
	Ref     string
	Channel string
	At      time.Time
	Card    chat.Card
	Updates int // how often the card was replaced
	Thread  []string
	Files   []chat.File

	gone bool
}

type form struct {
	ref    string
	prompt chat.Prompt
}

var _ chat.Platform = (*Fake)(nil)

// NewFake returns an empty platform. Its name is its kind of account; every
// account that Join makes has the space "T-"+name.
func NewFake(name string) *Fake {
	return &Fake{
		Now:      time.Now,
		Deadline: 2 * time.Second,
		name:     name,
		space:    "T-" + name,
		members:  map[chat.Account]chat.Member{},
		faults:   map[Op][]Fault{},
		direct:   map[chat.Account][]string{},
		forms:    map[chat.Account]form{},
	}
}

// Listen connects the Handler that clicks and commands reach.
func (f *Fake) Listen(h chat.Handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handler = h
}

// Join makes an account with what the platform says of it, or changes it.
func (f *Fake) Join(id string, m chat.Member) chat.Account {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := chat.Account{Platform: f.name, Space: f.space, ID: id}
	f.members[a] = m
	return a
}

// Person is Join for a full member in good standing whose name is the id.
func (f *Fake) Person(id string) chat.Account {
	return f.Join(id, chat.Member{Known: true, Human: true, Active: true, Home: true, Name: id})
}

// Posts returns the cards of a channel, oldest first; of all channels if
// channel is empty. What it returns is the caller's own.
func (f *Fake) Posts(channel string) []Posted {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Posted
	for _, p := range f.posts {
		if !p.gone && (channel == "" || p.Channel == channel) {
			out = append(out, p.copy())
		}
	}
	return out
}

// Posted returns one card, or false if there is none under ref.
func (f *Fake) Posted(ref string) (Posted, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.find(ref); p != nil {
		return p.copy(), true
	}
	return Posted{}, false
}

// Direct returns what only this account was told, oldest first.
func (f *Fake) Direct(who chat.Account) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.direct[who])
}

// Calls returns every call of the Platform's methods so far, as "op target".
func (f *Fake) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Remove takes a card away: updates of it find that it is gone.
func (f *Fake) Remove(ref string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.find(ref); p != nil {
		p.gone = true
	}
}

// Name implements chat.Platform.
func (f *Fake) Name() string { return f.name }

// Post implements chat.Platform.
func (f *Fake) Post(ctx context.Context, channel string, c chat.Card) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return call(ctx, f, OpPost, channel, func() (string, error) {
		f.seq++
		p := &Posted{Ref: fmt.Sprintf("%s/%d", channel, f.seq), Channel: channel, At: f.Now(), Card: clone(c)}
		f.posts = append(f.posts, p)
		return p.Ref, nil
	})
}

// Find implements chat.Platform.
func (f *Fake) Find(ctx context.Context, channel, delivery string, since time.Time) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return call(ctx, f, OpFind, channel, func() ([]string, error) {
		var refs []string
		for _, p := range f.posts {
			if !p.gone && p.Channel == channel && p.Card.Delivery == delivery && !p.At.Before(since) {
				refs = append(refs, p.Ref)
			}
		}
		return refs, nil
	})
}

// Update implements chat.Platform.
func (f *Fake) Update(ctx context.Context, ref string, c chat.Card) error {
	return f.change(ctx, OpUpdate, ref, func(p *Posted) {
		p.Card = clone(c)
		p.Updates++
	})
}

// Note implements chat.Platform.
func (f *Fake) Note(ctx context.Context, ref, text string) error {
	return f.change(ctx, OpNote, ref, func(p *Posted) { p.Thread = append(p.Thread, show(text)) })
}

// Attach implements chat.Platform.
func (f *Fake) Attach(ctx context.Context, ref string, file chat.File) error {
	return f.change(ctx, OpAttach, ref, func(p *Posted) {
		file.Text = slices.Clone(file.Text)
		p.Files = append(p.Files, file)
	})
}

// Member implements chat.Platform.
func (f *Fake) Member(ctx context.Context, a chat.Account) (chat.Member, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return call(ctx, f, OpMember, a.ID, func() (chat.Member, error) { return f.members[a], nil })
}

// Check implements chat.Platform.
func (f *Fake) Check(ctx context.Context, channel string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := call(ctx, f, OpCheck, channel, func() (struct{}, error) { return struct{}{}, nil })
	return err
}

// Click presses a button of a card as who: the verb need not stand on the card
// any more, for a person's screen may be older than the card. reason is what the
// person wrote into the form on the card. It returns what the Handler answered,
// after the platform has shown it. An error means that nothing could be pressed.
func (f *Fake) Click(ctx context.Context, who chat.Account, ref string, v chat.Verb, reason string) (chat.Reply, error) {
	f.mu.Lock()
	p := f.find(ref)
	if p == nil {
		f.mu.Unlock()
		return chat.Reply{}, errors.New("there is no such card: " + ref)
	}
	c := chat.Click{Account: who, Button: p.Card.Button, Verb: v, Reason: reason, Channel: p.Channel, Ref: ref, At: f.Now()}
	f.mu.Unlock()
	return f.deliver(ctx, c)
}

// Submit sends the form that a prompt has opened for who.
func (f *Fake) Submit(ctx context.Context, who chat.Account, reason string) (chat.Reply, error) {
	f.mu.Lock()
	open, ok := f.forms[who]
	delete(f.forms, who)
	f.mu.Unlock()
	if !ok {
		return chat.Reply{}, errors.New("no form is open for " + who.ID)
	}
	channel, _, _ := strings.Cut(open.ref, "/")
	return f.deliver(ctx, chat.Click{
		Account: who, Button: open.prompt.Button, Verb: open.prompt.Verb,
		Reason: reason, Channel: channel, Ref: open.ref, At: f.Now(),
	})
}

// Form returns the form that is open for who.
func (f *Fake) Form(who chat.Account) (chat.Prompt, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	open, ok := f.forms[who]
	return open.prompt, ok
}

// Command types a line to the bot as who.
func (f *Fake) Command(ctx context.Context, who chat.Account, channel, text string) (chat.Reply, error) {
	h, err := f.listener()
	if err != nil {
		return chat.Reply{}, err
	}
	r := f.ask(ctx, func(ctx context.Context) chat.Reply {
		return h.Command(ctx, chat.Command{Account: who, Text: text, Channel: channel, At: f.Now()})
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell(who, r)
	return r, nil
}

func (f *Fake) deliver(ctx context.Context, c chat.Click) (chat.Reply, error) {
	h, err := f.listener()
	if err != nil {
		return chat.Reply{}, err
	}
	r := f.ask(ctx, func(ctx context.Context) chat.Reply { return h.Click(ctx, c) })
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Prompt != nil {
		f.forms[c.Account] = form{ref: c.Ref, prompt: *r.Prompt}
	}
	if p := f.find(c.Ref); p != nil && r.Card != nil {
		p.Card = clone(*r.Card)
		p.Updates++
		r.Card = nil
	}
	f.tell(c.Account, r)
	return r, nil
}

func (f *Fake) listener() (chat.Handler, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.handler == nil {
		return nil, errors.New("nothing listens: call Listen first")
	}
	return f.handler, nil
}

// ask calls the Handler under the deadline and answers for it when it is late.
func (f *Fake) ask(ctx context.Context, do func(context.Context) chat.Reply) chat.Reply {
	ctx, cancel := context.WithTimeout(ctx, f.Deadline)
	defer cancel()
	unconfirmed := chat.Reply{Text: "This is not confirmed: see the card.", Refused: true}
	answer := make(chan chat.Reply, 1)
	go func() {
		reply := unconfirmed
		defer func() {
			if v := recover(); v != nil {
				f.note(fmt.Sprint(v))
				reply = unconfirmed
			}
			answer <- reply
		}()
		reply = do(ctx)
	}()
	select {
	case r := <-answer:
		if ctx.Err() == nil {
			return r
		}
	case <-ctx.Done():
	}
	return unconfirmed
}

func (f *Fake) note(panicked string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.panics = append(f.panics, panicked)
}

// Panics are what the Handler panicked with: the person who acted was told that
// nothing is confirmed, as on every platform.
func (f *Fake) Panics() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.panics)
}

// tell sends what is private in a reply as a direct message. f.mu is held.
func (f *Fake) tell(who chat.Account, r chat.Reply) {
	parts := []string{show(r.Text), show(r.Table)}
	if r.Card != nil {
		parts = append(parts, Text(*r.Card))
	}
	if s := strings.TrimSpace(strings.Join(parts, "\n")); s != "" {
		f.direct[who] = append(f.direct[who], s)
	}
}

func (f *Fake) change(ctx context.Context, op Op, ref string, do func(*Posted)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := call(ctx, f, op, ref, func() (struct{}, error) {
		p := f.find(ref)
		if p == nil {
			return struct{}{}, &chat.Error{Class: chat.Gone, Op: string(op), Code: "no_such_card"}
		}
		do(p)
		return struct{}{}, nil
	})
	return err
}

// find returns the card under ref, or nil. f.mu is held.
func (f *Fake) find(ref string) *Posted {
	i := slices.IndexFunc(f.posts, func(p *Posted) bool { return p.Ref == ref && !p.gone })
	if i < 0 {
		return nil
	}
	return f.posts[i]
}

func (p *Posted) copy() Posted {
	c := *p
	c.Card = clone(p.Card)
	c.Thread, c.Files = slices.Clone(p.Thread), slices.Clone(p.Files)
	return c
}

// clone cuts a card loose from the caller's slices.
func clone(c chat.Card) chat.Card {
	c.Fields, c.Says = slices.Clone(c.Fields), slices.Clone(c.Says)
	c.Policy, c.Reviews = slices.Clone(c.Policy), slices.Clone(c.Reviews)
	c.Checks, c.Links = slices.Clone(c.Checks), slices.Clone(c.Links)
	c.Mentions, c.Actions = slices.Clone(c.Mentions), slices.Clone(c.Actions)
	if c.Diff != nil {
		d := *c.Diff
		c.Diff = &d
	}
	return c
}
