package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
)

// maxReviewReason is how much a reviewer may write, in characters.
const maxReviewReason = 1000

// notAllowed is an error whose text is the answer to the person who acted.
type notAllowed string

func (n notAllowed) Error() string { return string(n) }

// reviewer is a person who acts now, in front of one account.
type reviewer struct {
	identity.Person
	account identity.Account
}

// who turns an account into a person who may act at all: known to the platform
// as a human, active and at home, and known to the directory. It fails closed:
// a platform that does not answer makes nobody a reviewer.
func (b *Broker) who(ctx context.Context, a chat.Account) (reviewer, error) {
	account := identity.Account{Kind: a.Platform, Space: a.Space, ID: a.ID}
	platform := b.Platforms[a.Platform]
	if platform == nil || !account.Complete() {
		return reviewer{}, notAllowed("Your account could not be identified. Nothing was changed.")
	}
	// The directory is asked first: strangers must not use up the platform's
	// patience with us.
	p, ok := b.Directory.ByAccount(account)
	if !ok {
		return reviewer{}, notAllowed(fmt.Sprintf("Your account (%s) is not in Countersign's directory. Ask its operator to add it to people. Nothing was changed.", account))
	}
	m, err := platform.Member(ctx, a)
	if err != nil {
		b.Log.Warn("account lookup failed", "platform", a.Platform, "error", err.Error())
		return reviewer{}, notAllowed("Your account could not be checked just now. Nothing was changed; please try again.")
	}
	if !reviews(m) {
		return reviewer{}, notAllowed("Only active full members of this organisation may act here: no guests, outside accounts or bots. Nothing was changed.")
	}
	return reviewer{Person: p, account: account}, nil
}

// reviews reports whether a platform's member may act at all.
func reviews(m chat.Member) bool { return m.Known && m.Human && m.Active && m.Home }

// Click implements chat.Handler.
func (b *Broker) Click(ctx context.Context, c chat.Click) chat.Reply {
	id, stage, ok := readButton(c.Button)
	if !ok {
		return refuse("This button is not known. Nothing was changed.")
	}
	d, err := b.Store.Delivery(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return refuse("This button is not known. Nothing was changed.")
	}
	if err != nil {
		return b.unsure("read delivery", err)
	}
	if d.Platform != c.Account.Platform || !d.Asks || (c.Channel != "" && c.Channel != d.Channel) {
		return refuse("This button does not belong to this message. Nothing was changed.")
	}
	r, err := b.Store.Get(ctx, d.Request)
	if err != nil {
		return b.unsure("read request", err)
	}
	p, err := b.who(ctx, c.Account)
	if err != nil {
		return refuse(err.Error())
	}
	b.adopt(ctx, d, c.Ref)
	if r.State == store.Pending && stage != r.Stage {
		return refuse("The stage that you saw is complete, and another is open. Nothing was changed: look at the card again.")
	}
	reply := b.act(ctx, p, r, c)
	return b.withCard(ctx, d, reply)
}

// button is what a card's buttons carry: the delivery, and the gate that the
// card shows. A press means that gate, whatever has been opened since.
func button(d store.Delivery, r store.Request) string { return d.ID + "." + strconv.Itoa(r.Stage) }

func readButton(s string) (delivery string, stage int, ok bool) {
	delivery, number, ok := strings.Cut(s, ".")
	stage, err := strconv.Atoi(number)
	return delivery, stage, ok && err == nil
}

// adopt notes a copy of the card that a lost answer had hidden from us.
func (b *Broker) adopt(ctx context.Context, d store.Delivery, ref string) {
	if ref == "" || slices.Contains(d.Refs, ref) || len(d.Refs) >= maxCopies {
		return
	}
	_, err := b.Store.UpdateDelivery(ctx, d.ID, addRefs(ref))
	if err != nil {
		b.Log.Warn("copy of a card was not noted", "delivery_request", d.Request, "error", err.Error())
	}
}

// withCard adds the card as it stands now, for platforms that answer with it.
func (b *Broker) withCard(ctx context.Context, d store.Delivery, reply chat.Reply) chat.Reply {
	if reply.Prompt != nil || reply.Refused {
		return reply
	}
	r, err := b.Store.Get(ctx, d.Request)
	if err != nil {
		return reply
	}
	if card, err := b.draw(ctx, r, d); err == nil {
		reply.Card = &card
	}
	return reply
}

// act does what the person asks with one request, from a button or a command.
func (b *Broker) act(ctx context.Context, p reviewer, r store.Request, c chat.Click) chat.Reply {
	f, err := thaw(r)
	if err != nil {
		return b.unsure("read frozen request", err)
	}
	if n := utf8.RuneCountInString(c.Reason); n > maxReviewReason {
		return refuse(fmt.Sprintf("The reason has %d characters; at most %d. Nothing was changed.", n, maxReviewReason))
	}
	switch c.Verb {
	case chat.Approve, chat.Deny:
		if c.Verb == chat.Deny && strings.TrimSpace(c.Reason) == "" {
			if err := b.mayReview(ctx, p, r, f, c.Verb); err != nil {
				return b.explain(r, err)
			}
			return ask(c, r, f, "Why not? The one who asked will read this.")
		}
		return b.answer(ctx, p, r, f, store.Review{
			Person: p.ID, Verdict: string(c.Verb), Reason: strings.TrimSpace(c.Reason),
			Platform: p.account.Kind, Space: p.account.Space, Account: p.account.ID,
		})
	case chat.Details:
		card, err := b.draw(ctx, r, store.Delivery{})
		if err != nil {
			return b.unsure("draw card", err)
		}
		return chat.Reply{Text: card.Summary, Table: details(r, card), Refused: true}
	case chat.Revoke:
		return b.revoke(ctx, p, r, f, strings.TrimSpace(c.Reason))
	default:
		return refuse("This button is not known. Nothing was changed.")
	}
}

// ask makes a form for the missing reason.
func ask(c chat.Click, r store.Request, f Frozen, label string) chat.Reply {
	return chat.Reply{Refused: true, Text: "A reason is needed.", Prompt: &chat.Prompt{
		Button: c.Button, Verb: c.Verb, Title: "Deny request", Label: label, Submit: "Deny", MaxLength: maxReviewReason,
		Facts: []chat.Field{{Label: "Action", Value: f.Action}, {Label: "Resource", Value: f.Resource},
			{Label: "Environment", Value: f.Context.Environment}, {Label: "Code", Value: r.Code}},
	}}
}

// answer writes one review of the gate that is open in r. It judges on what it
// read; when the record moved meanwhile, it judges again, but never of another
// gate: that is not what the person saw.
func (b *Broker) answer(ctx context.Context, p reviewer, r store.Request, f Frozen, v store.Review) chat.Reply {
	for {
		if err := b.mayReview(ctx, p, r, f, chat.Verb(v.Verdict)); err != nil {
			return b.explain(r, err)
		}
		groups := slices.DeleteFunc(b.Directory.GroupsOf(p.ID), func(g string) bool {
			return !slices.Contains(f.Decision.Stages[r.Stage].Approvers.Groups, g)
		})
		next, err := b.Store.Update(ctx, r.ID, review(f, r.Version, v, groups))
		switch {
		case errors.Is(err, errStale) && next.Stage != r.Stage:
			return refuse("Another stage was opened meanwhile. Nothing was changed: look at the card again.")
		case errors.Is(err, errStale):
			r = next
			continue
		case errors.Is(err, errDecided), errors.Is(err, errTwice):
			return b.explain(next, err)
		case err != nil:
			return b.settle(ctx, p, r, v, err)
		}
		b.Nudge()
		b.Log.Info("review recorded", "request", r.ID, "person", p.ID, "verdict", v.Verdict, "state", string(next.State))
		if !reviewed(next, p.ID, r.Stage) { // the deadline had passed: it expired instead
			return b.explain(next, errDecided)
		}
		return chat.Reply{Text: "Recorded. " + b.standing(next, f)}
	}
}

// settle reads again after a write whose outcome is unknown.
func (b *Broker) settle(ctx context.Context, p reviewer, before store.Request, v store.Review, cause error) chat.Reply {
	r, err := b.Store.Get(ctx, before.ID)
	if err == nil && errors.Is(cause, store.ErrUnknown) {
		for _, w := range r.Reviews {
			if w.Person == p.ID && w.Stage == before.Stage && w.Verdict == v.Verdict {
				b.Nudge()
				return chat.Reply{Text: "Recorded."}
			}
		}
	}
	return b.unsure("record review", cause)
}

// mayReview holds the rules of eligibility and, for an approval, asks the policy.
func (b *Broker) mayReview(ctx context.Context, p reviewer, r store.Request, f Frozen, v chat.Verb) error {
	switch {
	case r.State != store.Pending:
		return errDecided
	case reviewed(r, p.ID, r.Stage):
		return errTwice
	case slices.Contains(f.Excluded, p.ID), b.triggered(p.ID, f):
		return notAllowed("You triggered this request, or are named as who did: somebody else has to review it.")
	}
	s := f.Decision.Stages[r.Stage]
	if !slices.Contains(b.approvers(s, f), p.ID) {
		return notAllowed(fmt.Sprintf("You are not among the approvers of this request (%s).", approverNames(s)))
	}
	if v == chat.Deny {
		return nil // an approver may always say no; the policy may only say no as well
	}
	if s.Distinct && slices.ContainsFunc(r.Reviews, func(v store.Review) bool { return v.Person == p.ID && v.Verdict == "approve" }) {
		return notAllowed("You approved an earlier stage; this one needs somebody else.")
	}
	return b.policyAllows(ctx, r, f, &p.ID)
}

// triggered reports whether the directory knows the trigger's account as this
// person by now, whatever it knew when the request was made.
func (b *Broker) triggered(id string, f Frozen) bool {
	p, ok := b.Directory.ByAccount(f.Trigger.Account)
	return ok && p.ID == id
}

// policyAllows asks data.countersign.review. A notAllowed is the policy's
// answer; any other error means that there was none.
func (b *Broker) policyAllows(ctx context.Context, r store.Request, f Frozen, who *string) error {
	account, ok := b.Accounts.Account(f.ServiceAccount)
	if !ok {
		return notAllowed(fmt.Sprintf("The service account %q is no longer configured.", f.ServiceAccount))
	}
	in := policyInput(f, account, time.Duration(f.TTL))
	in.Now = stamp(b.Now())
	for _, v := range r.Reviews {
		in.Reviews = append(in.Reviews, policies.ReviewSoFar{Person: v.Person, Verdict: v.Verdict, Stage: v.Stage})
	}
	if who != nil {
		in.Person = &policies.Person{ID: *who, Groups: b.Directory.GroupsOf(*who)}
	}
	v, err := b.Policy.Review(ctx, in)
	if err != nil {
		b.Log.Error("review policy failed", "request", r.ID, "error", err.Error())
		return errors.New("The policy could not be asked just now. Nothing was changed; please try again.") //nolint:staticcheck // shown to a person
	}
	if v.Deny {
		return notAllowed("The policy does not allow it: " + strings.Join(v.Reasons, "; "))
	}
	return nil
}

// revoke ends an approved request. Whoever could have approved it, was involved
// in it, owns the service account or reads the audit log may: this only ever
// takes a right away.
func (b *Broker) revoke(ctx context.Context, p reviewer, r store.Request, f Frozen, reason string) chat.Reply {
	if !b.concerns(p.ID, r, f) && !b.readsAudit(p.ID) {
		return refuse("You are not among the approvers or owners of this request.")
	}
	next, err := b.Store.Update(ctx, r.ID, revokeBy(person(p.ID), "person", reason))
	switch {
	case errors.Is(err, errDecided) && next.State == store.Pending:
		return refuse("It is still pending: deny it instead.")
	case errors.Is(err, errDecided):
		return b.explain(next, err)
	case err != nil:
		if again, readErr := b.Store.Get(ctx, r.ID); readErr != nil || again.State != store.Revoked {
			return b.unsure("revoke", err)
		}
	}
	b.Nudge()
	b.Log.Info("request revoked", "request", r.ID, "person", p.ID)
	return chat.Reply{Text: "Revoked. Verifiers that introspect refuse the credential from now on; one that only checks signatures accepts it until it expires."}
}

// concerns reports whether the person may see and revoke the request.
func (b *Broker) concerns(id string, r store.Request, f Frozen) bool {
	if slices.Contains(r.People, id) || slices.Contains(f.Owners, id) {
		return true
	}
	for _, s := range f.Decision.Stages {
		if slices.Contains(b.Directory.Members(s.Approvers.Groups, s.Approvers.People), id) {
			return true
		}
	}
	return false
}

// explain tells the person who acted why nothing was changed.
func (b *Broker) explain(r store.Request, err error) chat.Reply {
	switch {
	case errors.Is(err, errDecided):
		f, thawErr := thaw(r)
		if thawErr != nil {
			return b.unsure("read frozen request", thawErr)
		}
		text := "Nothing was changed: this request is no longer open. " + b.standing(r, f)
		if r.State == store.Approved {
			text += " To take the approval back, revoke it."
		}
		return refuse(text)
	case errors.Is(err, errTwice):
		return refuse("You have reviewed this stage already; one person counts once, on every platform.")
	}
	return refuse(err.Error())
}

func refuse(text string) chat.Reply { return chat.Reply{Text: text, Refused: true} }

// unsure answers when the store failed: the person is never told a guess.
func (b *Broker) unsure(doing string, err error) chat.Reply {
	b.Log.Error("action not confirmed", "doing", doing, "error", err.Error())
	return refuse("Not confirmed: something went wrong on our side. The card shows what holds; please try again.")
}

func approverNames(s policies.Stage) string {
	return strings.Join(append(slices.Clone(s.Approvers.Groups), s.Approvers.People...), ", ")
}
