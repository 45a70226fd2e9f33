package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/countersign/countersign/store/audit"
)

// errStory: a request went through what no request may go through.
var errStory = errors.New("not a legal story")

func fault(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errStory, fmt.Errorf(format, args...))
}

// What is fixed about credentials.
const (
	maxIssues     = 3
	reissueWindow = 2 * time.Minute
	// second is how far times in data, which are whole seconds, may differ.
	second = time.Second
)

// stories are the requests whose end has not come yet. A finished one is
// forgotten: the chain of entries shows when an id comes again.
type stories struct {
	open     map[string]*story
	finished uint64
	other    uint64    // entries that belong to no request
	last     time.Time // of the entry before
}

// story is what has happened to one request so far.
type story struct {
	asked    askedData
	decided  *decidedData
	approved *approvedData
	issues   []issuedData
	first    time.Time // of the first issue

	stage     int                 // the open gate
	reviewers map[string]struct{} // of the open gate
	approvers [][]string          // of each gate

	// next is the type of the entry that must come at once, by the actor by,
	// at seq: both stand in one write of the server.
	next string
	by   audit.Actor
	seq  uint64
}

func newStories() *stories { return &stories{open: make(map[string]*story)} }

// add judges the next entry of the log.
func (s *stories) add(l audit.Leaf) error {
	moved := l.Time.After(s.last)
	s.last = l.Time
	if l.Request == "" {
		s.other++
		return nil
	}
	told, known := s.open[l.Request]
	if !known {
		if l.Type != "asked" || l.Prev != nil {
			return fault("%q of %s, which was not asked or has ended", l.Type, l.Request)
		}
		told, err := begin(l)
		s.open[l.Request] = told
		return err
	}
	over, err := told.add(l, moved)
	if over {
		delete(s.open, l.Request)
		s.finished++
	}
	return err
}

// end judges the end of the log: no write of the server ends half-way.
func (s *stories) end() error {
	var first *audit.Fault
	for id, told := range s.open {
		if told.next != "" && (first == nil || told.seq < first.Seq) {
			first = &audit.Fault{Seq: told.seq, Err: fault("%q of %s must follow, and the log ends", told.next, id)}
		}
	}
	if first != nil {
		return first
	}
	return nil
}

// at says which entry must follow at once.
func (s *story) at(l audit.Leaf, next string, by audit.Actor) {
	s.next, s.by, s.seq = next, by, l.Seq+1
}

// begin judges the first entry of a request.
func begin(l audit.Leaf) (*story, error) {
	d, err := data[askedData](l)
	switch {
	case err != nil:
		return nil, err
	case l.Actor != audit.Actor{Kind: "machine", ID: d.Account} || d.Account == "":
		return nil, fault("asked by %s %q for the account %q", l.Actor.Kind, l.Actor.ID, d.Account)
	case d.Digest == "" || d.Trigger == "" || d.TTL == 0:
		return nil, fault("asked without ttl, digest or trigger")
	}
	s := &story{asked: d, reviewers: make(map[string]struct{})}
	s.at(l, "decided", audit.Actor{Kind: "policy"})
	return s, nil
}

// add judges the next entry of the request. over is true when nothing may
// follow. moved is true when the entry's time is surely its own: the log's time
// stands still while the server's clock is behind.
func (s *story) add(l audit.Leaf, moved bool) (over bool, err error) {
	if s.next != "" {
		if l.Type != s.next || l.Seq != s.seq {
			return false, fault("%q where %q must follow at once, as entry %d", l.Type, s.next, s.seq)
		}
		if s.by.Kind != l.Actor.Kind || s.by.ID != "" && s.by.ID != l.Actor.ID {
			return false, fault("%q by %s %q", l.Type, l.Actor.Kind, l.Actor.ID)
		}
		s.next = ""
		switch l.Type {
		case "decided":
			return false, s.decide(l)
		case "approved":
			return false, s.approve(l)
		default: // denied
			_, err := data[struct{}](l)
			return true, err
		}
	}
	switch {
	case s.approved == nil && l.Type == "reviewed":
		return false, s.review(l, moved)
	case s.approved == nil && l.Type == "expired":
		return true, s.expire(l)
	case s.approved == nil && l.Type == "cancelled":
		_, err := data[struct{}](l)
		return true, errors.Join(err, s.byMachine(l))
	case s.approved != nil && l.Type == "issued":
		return false, s.issue(l)
	case s.approved != nil && l.Type == "ended":
		return true, s.finish(l)
	case s.approved != nil && l.Type == "revoked":
		return true, s.revoke(l)
	}
	where := "pending"
	if s.approved != nil {
		where = "approved"
	}
	return false, fault("%q of a request that is %s", l.Type, where)
}

func (s *story) byMachine(l audit.Leaf) error {
	if (l.Actor != audit.Actor{Kind: "machine", ID: s.asked.Account}) {
		return fault("%q by %s %q, not by the machine that asked", l.Type, l.Actor.Kind, l.Actor.ID)
	}
	return nil
}

func byClock(l audit.Leaf) error {
	if (l.Actor != audit.Actor{Kind: "clock"}) {
		return fault("%q by %s %q, not by the clock", l.Type, l.Actor.Kind, l.Actor.ID)
	}
	return nil
}

func (s *story) decide(l audit.Leaf) error {
	d, err := data[decidedData](l)
	if err != nil {
		return err
	}
	if l.Actor.ID != d.Revision || d.Revision == "" {
		return fault("decided by the revision %q and names %q", l.Actor.ID, d.Revision)
	}
	if d.Effect != "deny" && s.asked.Action == "" {
		return fault("the action is not one of the account's, and the effect is %q", d.Effect)
	}
	s.decided = &d
	if d.Effect != "review" && len(d.Stages) > 0 {
		return fault("the effect is %q and there are stages", d.Effect)
	}
	switch d.Effect {
	case "deny":
		s.at(l, "denied", l.Actor)
	case "allow":
		s.at(l, "approved", l.Actor)
	case "review":
		if len(d.Stages) == 0 || d.Deadline.IsZero() {
			return fault("a review without stages or deadline")
		}
		for i, one := range d.Stages {
			if one.Quorum < 1 {
				return fault("stage %d needs %d people", i, one.Quorum)
			}
		}
		s.approvers = make([][]string, len(d.Stages))
	default:
		return fault("the effect %q", d.Effect)
	}
	return nil
}

func (s *story) review(l audit.Leaf, moved bool) error {
	d, err := data[reviewedData](l)
	if err != nil {
		return err
	}
	who := l.Actor.ID
	if l.Actor.Kind != "person" || who == "" {
		return fault("reviewed by %s %q, not by a person", l.Actor.Kind, who)
	}
	if d.Stage != s.stage {
		return fault("a review of stage %d while stage %d is open", d.Stage, s.stage)
	}
	gate := s.decided.Stages[s.stage]
	_, twice := s.reviewers[who]
	switch {
	case d.Digest != s.asked.Digest:
		return fault("%s reviewed another request than was asked: its digest differs", who)
	case !slices.Contains(gate.Eligible, who) && !overlap(gate.Groups, d.Groups), slices.Contains(s.decided.Excluded, who):
		return fault("%s may not review stage %d", who, s.stage)
	case who == s.asked.Trigger:
		return fault("%s reviewed their own run", who)
	case twice:
		return fault("%s reviewed stage %d twice", who, s.stage)
	case gate.Distinct && slices.ContainsFunc(s.approvers[:s.stage], func(ids []string) bool { return slices.Contains(ids, who) }):
		return fault("%s approved an earlier stage, and stage %d needs somebody else", who, s.stage)
	case moved && l.Time.After(s.decided.Deadline.Add(second)):
		return fault("%s reviewed after the deadline", who)
	}
	s.reviewers[who] = struct{}{}
	switch d.Verdict {
	case "deny":
		s.at(l, "denied", l.Actor)
	case "approve":
		s.approvers[s.stage] = append(s.approvers[s.stage], who)
		if len(s.approvers[s.stage]) < gate.Quorum {
			return nil
		}
		s.stage++
		clear(s.reviewers)
		if s.stage == len(s.decided.Stages) {
			s.at(l, "approved", l.Actor)
		}
	default:
		return fault("the verdict %q", d.Verdict)
	}
	return nil
}

// approve judges an approval that was due: by an allowing policy, or by the
// last person of the last stage.
func (s *story) approve(l audit.Leaf) error {
	d, err := data[approvedData](l)
	switch {
	case err != nil:
		return err
	case d.Grant == "" || d.TTL == 0:
		return fault("approved without grant or ttl")
	case !within(d.Scopes, s.asked.Scopes) || d.TTL > s.asked.TTL:
		return fault("more was granted than was asked")
	}
	s.approved = &d
	return nil
}

// overlap reports whether the two have a name in common.
func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(one string) bool { return slices.Contains(b, one) })
}

// within reports whether every one of the scopes is among those allowed.
func within(scopes, allowed []string) bool {
	return !slices.ContainsFunc(scopes, func(one string) bool { return !slices.Contains(allowed, one) })
}
