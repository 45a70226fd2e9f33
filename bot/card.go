package bot

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
)

// A diff longer than this is shown in part, and stands whole in the thread.
const (
	previewLines = 30
	previewRunes = 1500
	// longRequest is the size in bytes of a canonical request beyond which a
	// platform may have to cut a text: the whole then stands in the thread.
	longRequest = 2500
)

// draw draws a request for one delivery as it stands, with its diff.
func (b *Broker) draw(ctx context.Context, r store.Request, d store.Delivery) (chat.Card, error) {
	f, err := thaw(r)
	if err != nil {
		return chat.Card{}, err
	}
	diff, err := b.diff(ctx, f)
	if err != nil {
		return chat.Card{}, err
	}
	return b.card(r, f, d, diff), nil
}

// diff reads the request's diff; none is empty.
func (b *Broker) diff(ctx context.Context, f Frozen) ([]byte, error) {
	if f.Context.Diff == nil || f.Decision.Effect == policies.Deny { // a denied one is not kept
		return nil, nil
	}
	return b.Store.Blob(ctx, f.Context.Diff.SHA256)
}

// card draws from the frozen request, the state of its record and the diff
// under the frozen hash, and from nothing else.
func (b *Broker) card(r store.Request, f Frozen, d store.Delivery, diff []byte) chat.Card {
	c := chat.Card{
		Delivery: d.ID, Button: button(d, r), Request: r.ID, Version: r.Version, Digest: r.Digest, Code: r.Code,
		Title: f.Action, State: b.standing(r, f), Mood: mood(r.State),
		Fields: b.proven(f), Policy: policyLines(f), Says: says(f), Checks: checks(f), Links: links(f),
		Reviews: b.reviewLines(r),
	}
	if f.Context.Environment != "" {
		c.Title += " in " + f.Context.Environment
	}
	c.Summary = fmt.Sprintf("%s: %s, %s. %s Code %s.", f.ServiceAccount, c.Title, oneLine(f.Resource), c.State, r.Code)
	if fd := f.Context.Diff; fd != nil {
		c.Diff = &chat.Diff{Stat: diffStat(fd)}
		c.Diff.Preview, c.Diff.Whole = preview(string(diff))
	}
	if r.State == store.Pending {
		c.Deadline = r.Deadline
	}
	if d.Asks {
		c.Actions = actions(r)
		c.Mentions = b.mentions(r, f, d.Platform)
	}
	return c
}

func mood(s store.State) chat.Mood {
	switch s {
	case store.Pending:
		return chat.Waiting
	case store.Approved:
		return chat.Good
	case store.Denied, store.Revoked:
		return chat.Bad
	default:
		return chat.Over
	}
}

func actions(r store.Request) []chat.Action {
	switch r.State {
	case store.Pending:
		return []chat.Action{{Verb: chat.Approve, Label: "Approve"}, {Verb: chat.Deny, Label: "Deny", Input: true}, {Verb: chat.Details, Label: "Details"}}
	case store.Approved:
		return []chat.Action{{Verb: chat.Revoke, Label: "Revoke"}, {Verb: chat.Details, Label: "Details"}}
	}
	return nil
}

// proven are the fields of the card, the resource first: what will be granted,
// and what the machine's token proved of the run.
func (b *Broker) proven(f Frozen) []chat.Field {
	fields := []chat.Field{{Label: "Resource", Value: f.Resource}}
	add := func(label, value string) {
		if value != "" {
			fields = append(fields, chat.Field{Label: label, Value: value})
		}
	}
	if env := f.Context.Environment; env != "" && env != f.Facts["environment"] {
		add("Environment", env+" (as the caller says)")
	} else {
		add("Environment", env)
	}
	if f.Subject.Name == f.ServiceAccount {
		add("Asked by", f.ServiceAccount)
	} else {
		add("Asked by", f.ServiceAccount+" ("+f.Subject.Name+")")
	}
	add("Triggered by", b.triggerText(f))
	var excluded []string
	for _, id := range f.Excluded {
		excluded = append(excluded, b.name(id))
	}
	add("May not review", strings.Join(excluded, ", "))
	add("Risk", f.Decision.Risk)
	if len(f.Scopes) > 0 {
		add("Scopes", strings.Join(f.Scopes, " "))
		add("Audience", f.Audience)
	} else {
		add("Scopes", "none: a decision only, no credential")
	}
	add("Valid for", age(time.Duration(f.TTL)))
	for _, k := range []struct{ label, fact string }{
		{"Repository", "repository"}, {"Ref", "ref"}, {"Commit", "sha"}, {"Workflow", "workflow_ref"}, {"Run", "run_url"},
	} {
		add(k.label, f.Facts[k.fact])
	}
	return fields
}

func policyLines(f Frozen) []string {
	head := map[policies.Effect]string{
		policies.Allow:  "Pre-approved by policy",
		policies.Review: "Review required by policy",
		policies.Deny:   "Denied by policy",
	}[f.Decision.Effect]
	lines := []string{fmt.Sprintf("%s (revision %s)", head, shortRevision(f.Revision))}
	lines = append(lines, f.Decision.Reasons...)
	for _, s := range f.Decision.Stages {
		lines = append(lines, fmt.Sprintf("Stage %s: %d of %s", s.Name, s.Quorum, approverNames(s)))
	}
	return lines
}

// says are the caller's own words.
func says(f Frozen) []chat.Field {
	fields := []chat.Field{{Label: "Reason", Value: f.Reason}}
	if f.Context.Risk != "" {
		fields = append(fields, chat.Field{Label: "Risk", Value: f.Context.Risk})
	}
	if t := f.TriggeredBy; t != nil {
		fields = append(fields, chat.Field{Label: "Triggered by", Value: strings.TrimSpace(t.Name + " (" + t.Kind + ":" + t.ID + ") " + t.URL)})
	}
	if len(f.Context.Tickets) > 0 {
		fields = append(fields, chat.Field{Label: "Tickets", Value: strings.Join(f.Context.Tickets, ", ")})
	}
	var labels []string
	for _, k := range slices.Sorted(maps.Keys(f.Context.Labels)) {
		labels = append(labels, oneLine(k+": "+f.Context.Labels[k]))
	}
	if len(labels) > 0 {
		fields = append(fields, chat.Field{Label: "Labels", Value: strings.Join(labels, "\n")})
	}
	return fields
}

func checks(f Frozen) []chat.Check {
	var out []chat.Check
	for _, c := range f.Context.Checks {
		out = append(out, chat.Check{Name: c.Name, Status: c.Status, Value: c.Value, Threshold: c.Threshold})
	}
	return out
}

func links(f Frozen) []chat.Link {
	var out []chat.Link
	for _, l := range f.Context.Links {
		out = append(out, chat.Link{Title: l.Title, URL: l.URL})
	}
	for _, c := range f.Context.Checks {
		if c.URL != "" {
			out = append(out, chat.Link{Title: c.Name, URL: c.URL})
		}
	}
	return out
}

func diffStat(d *FrozenDiff) string {
	files := "files"
	if d.Files == 1 {
		files = "file"
	}
	return fmt.Sprintf("%d %s, +%d −%d", d.Files, files, d.Added, d.Removed)
}

// preview cuts a diff to what a card holds, on whole lines.
func preview(text string) (string, bool) {
	var out strings.Builder
	runes := 0
	for i, line := range strings.SplitAfter(text, "\n") {
		n := utf8.RuneCountInString(line)
		if i >= previewLines || runes+n > previewRunes {
			return out.String(), false
		}
		out.WriteString(line)
		runes += n
	}
	return out.String(), true
}

// files are what the card's thread holds beside it: the whole diff where the
// card shows a part, and the whole request where a platform may have to cut.
func files(r store.Request, f Frozen, diff []byte) []chat.File {
	var out []chat.File
	long := len(r.Canonical) > longRequest
	if _, whole := preview(string(diff)); len(diff) > 0 && (!whole || long) {
		out = append(out, chat.File{Name: r.Code + ".diff", Title: "The whole diff of " + r.Code + ": " + diffStat(f.Context.Diff), Text: diff})
	}
	if long {
		out = append(out, chat.File{Name: r.Code + ".json", Title: "The whole request " + r.Code, Text: r.Canonical})
	}
	return out
}

// mentions call the approvers of the open gate: a group by the platform's own
// group where it has one, otherwise its people one by one.
func (b *Broker) mentions(r store.Request, f Frozen, platform string) []chat.Mention {
	if r.State != store.Pending {
		return nil
	}
	var out []chat.Mention
	s := f.Decision.Stages[r.Stage]
	people := slices.Clone(s.Approvers.People)
	for _, name := range s.Approvers.Groups {
		g, _ := b.Directory.Group(name)
		if id := g.Mentions[platform]; id != "" {
			out = append(out, chat.Mention{Group: id})
			continue
		}
		people = append(people, g.People...)
	}
	slices.Sort(people)
	for _, id := range slices.Compact(people) {
		p, ok := b.Directory.Person(id)
		if !ok || slices.Contains(f.Excluded, id) || len(out) >= maxMentions {
			continue
		}
		for _, a := range p.Accounts {
			if a.Kind == platform {
				out = append(out, chat.Mention{Account: chat.Account{Platform: a.Kind, Space: a.Space, ID: a.ID}})
				break
			}
		}
	}
	return out
}

// maxMentions keeps a card from waking a whole company.
const maxMentions = 10
