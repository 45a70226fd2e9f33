package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/agnivade/levenshtein"

	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/store"
)

// pageSize is how many lines a command answers with.
const pageSize = 20

// verb is one word of the command grammar.
type verb struct {
	name  string
	usage string
	help  string
	run   func(b *Broker, ctx context.Context, p reviewer, args string) chat.Reply
}

// grammar is the same on every platform. It is a function because help, one of
// its verbs, lists it.
func grammar() []verb {
	return []verb{
		{"pending", "pending", "requests that wait, the ones for you marked", (*Broker).pending},
		{"mine", "mine", "requests that you triggered or reviewed", (*Broker).mine},
		{"show", "show ID", "one request as it stands", (*Broker).show1},
		{"approve", "approve ID [reason]", "approve a request", (*Broker).approveCommand},
		{"deny", "deny ID reason", "deny a request", (*Broker).denyCommand},
		{"revoke", "revoke ID [reason]", "take an approval back", (*Broker).revokeCommand},
		{"audit", "audit [filters]", "search the audit log; filters: " + filterNames, (*Broker).audit},
		{"help", "help", "this list", (*Broker).help},
	}
}

// Command implements chat.Handler. Its answers are for the person who asked.
func (b *Broker) Command(ctx context.Context, c chat.Command) chat.Reply {
	p, err := b.who(ctx, c.Account)
	if err != nil {
		return refuse(err.Error())
	}
	word, args, _ := strings.Cut(strings.TrimSpace(c.Text), " ")
	if word == "" {
		word = "help"
	}
	for _, v := range grammar() {
		if strings.EqualFold(v.name, word) {
			return v.run(b, ctx, p, strings.TrimSpace(args))
		}
	}
	if near := nearest(word); near != "" {
		return refuse(fmt.Sprintf("There is no command %q. Did you mean %q? \"help\" lists them all.", clip(word), near))
	}
	return refuse(fmt.Sprintf("There is no command %q. \"help\" lists them all.", clip(word)))
}

// nearest is the verb that differs least from word, if it is near at all.
func nearest(word string) string {
	best, least := "", 3
	for _, v := range grammar() {
		if d := levenshtein.ComputeDistance(strings.ToLower(clip(word)), v.name); d < least {
			best, least = v.name, d
		}
	}
	return best
}

// clip keeps what a person typed short enough to repeat.
func clip(s string) string {
	r := []rune(s)
	if len(r) > 32 {
		return string(r[:32]) + "…"
	}
	return s
}

func (b *Broker) help(context.Context, reviewer, string) chat.Reply {
	return chat.Reply{Text: "ID is a request's code or its whole id.", Table: table(func(row func(...string)) {
		for _, v := range grammar() {
			row(v.usage, v.help)
		}
	})}
}

// table lays out rows of plain text.
func table(fill func(row func(cells ...string))) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 4, 2, ' ', 0)
	fill(func(cells ...string) {
		for i, c := range cells {
			cells[i] = strings.Join(strings.FieldsFunc(c, func(r rune) bool { return r < ' ' }), " ")
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	})
	_ = w.Flush() // a strings.Builder does not fail
	return out.String()
}

func (b *Broker) pending(ctx context.Context, p reviewer, args string) chat.Reply {
	page, err := b.Store.Find(ctx, store.Query{State: store.Pending, Before: args, Limit: 200})
	if err != nil {
		return b.unsure("list pending requests", err)
	}
	return b.listed(page, "Nothing waits.", func(r store.Request, f Frozen) (string, bool) {
		if b.mayAnswer(p.ID, r, f) {
			return "for you", true
		}
		return "", b.concerns(p.ID, r, f) || b.readsAudit(p.ID)
	})
}

// mayAnswer reports whether the open gate of the request waits for the person.
func (b *Broker) mayAnswer(id string, r store.Request, f Frozen) bool {
	return r.State == store.Pending && !reviewed(r, id, r.Stage) && slices.Contains(b.approvers(f.Decision.Stages[r.Stage], f), id)
}

func (b *Broker) mine(ctx context.Context, p reviewer, args string) chat.Reply {
	page, err := b.Store.Find(ctx, store.Query{Person: p.ID, Before: args, Limit: pageSize})
	if err != nil {
		return b.unsure("list requests", err)
	}
	return b.listed(page, "There is no request that you triggered or reviewed.", func(store.Request, Frozen) (string, bool) { return "", true })
}

func (b *Broker) listed(page store.Page, none string, mark func(store.Request, Frozen) (string, bool)) chat.Reply {
	n, next := 0, page.Next
	text := table(func(row func(...string)) {
		row("CODE", "STATE", "ACTION", "ENVIRONMENT", "RESOURCE", "ASKED BY", "ASKED (UTC)", "")
		for _, r := range page.Requests {
			f, err := thaw(r)
			if err != nil {
				continue
			}
			note, ok := mark(r, f)
			if !ok {
				continue
			}
			if n == pageSize {
				next = r.ID
				return
			}
			n++
			row(r.Code, string(r.State), f.Action, f.Context.Environment, clip(f.Resource), f.ServiceAccount, r.Created.UTC().Format("2 Jan 15:04"), note)
		}
	})
	if n == 0 {
		return chat.Reply{Text: none}
	}
	reply := chat.Reply{Table: text, Text: fmt.Sprintf("%d requests.", n)}
	if n == 1 {
		reply.Text = "1 request."
	}
	if next != "" {
		reply.Text += " There are more; the same command with " + next + " goes on."
	}
	return reply
}

// find returns the request with the given code or id that the person may see.
func (b *Broker) find(ctx context.Context, p reviewer, id string) (store.Request, Frozen, error) {
	unknown := notAllowed(fmt.Sprintf("There is no request %q that you may see. \"pending\" lists what waits.", clip(id)))
	if id == "" {
		return store.Request{}, Frozen{}, notAllowed("Name a request by its code or id, for example: show K7Q2MX")
	}
	var candidates []store.Request
	if strings.HasPrefix(id, "req_") {
		r, err := b.Store.Get(ctx, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return store.Request{}, Frozen{}, err
		}
		if err == nil {
			candidates = append(candidates, r)
		}
	} else {
		page, err := b.Store.Find(ctx, store.Query{Code: typedCode.Replace(strings.ToUpper(id)), Limit: pageSize})
		if err != nil {
			return store.Request{}, Frozen{}, err
		}
		candidates = page.Requests
	}
	var seen []store.Request
	for _, r := range candidates {
		f, err := thaw(r)
		if err == nil && (b.concerns(p.ID, r, f) || b.readsAudit(p.ID)) {
			seen = append(seen, r)
		}
	}
	switch len(seen) {
	case 0:
		return store.Request{}, Frozen{}, unknown
	case 1:
		f, err := thaw(seen[0])
		return seen[0], f, err
	}
	return store.Request{}, Frozen{}, notAllowed(fmt.Sprintf("Several requests have the code %s: use the whole id, for example %s.", strings.ToUpper(id), seen[0].ID))
}

func (b *Broker) show1(ctx context.Context, p reviewer, args string) chat.Reply {
	r, _, err := b.find(ctx, p, args)
	if err != nil {
		return b.found(err)
	}
	card, err := b.draw(ctx, r, store.Delivery{Request: r.ID})
	if err != nil {
		return b.unsure("draw card", err)
	}
	return chat.Reply{Text: "Request " + r.ID + ":", Card: &card}
}

// typedCode reads a code as people type it: the letters that Crockford's base 32
// leaves out stand for the digits that they look like.
var typedCode = strings.NewReplacer("O", "0", "I", "1", "L", "1")

// found answers a failed find: a refusal in words, or an honest "unsure".
func (b *Broker) found(err error) chat.Reply {
	var no notAllowed
	if errors.As(err, &no) {
		return refuse(string(no))
	}
	return b.unsure("find request", err)
}

func (b *Broker) approveCommand(ctx context.Context, p reviewer, args string) chat.Reply {
	return b.onRequest(ctx, p, args, chat.Approve)
}

func (b *Broker) denyCommand(ctx context.Context, p reviewer, args string) chat.Reply {
	return b.onRequest(ctx, p, args, chat.Deny)
}

func (b *Broker) revokeCommand(ctx context.Context, p reviewer, args string) chat.Reply {
	return b.onRequest(ctx, p, args, chat.Revoke)
}

// onRequest acts on a request that a command names. The code in the command is
// the short form of the digest, so that what is answered is what was shown.
func (b *Broker) onRequest(ctx context.Context, p reviewer, args string, v chat.Verb) chat.Reply {
	id, reason, _ := strings.Cut(args, " ")
	r, _, err := b.find(ctx, p, id)
	if err != nil {
		return b.found(err)
	}
	reply := b.act(ctx, p, r, chat.Click{Verb: v, Reason: reason})
	if reply.Prompt != nil {
		return refuse(fmt.Sprintf("Say why: deny %s REASON. The one who asked will read it.", id))
	}
	return reply
}

// readsAudit reports whether the person may query the log.
func (b *Broker) readsAudit(id string) bool {
	return slices.Contains(b.Directory.Members(b.AuditReaders, nil), id)
}

func (b *Broker) audit(ctx context.Context, p reviewer, args string) chat.Reply {
	if !b.readsAudit(p.ID) {
		return refuse("The audit log is open to its readers only; the operator names them in audit.readers.")
	}
	q, err := ParseAuditQuery(args, b.Now())
	if err != nil {
		return refuse(err.Error())
	}
	q.Limit = pageSize
	page, err := b.Audit(ctx, q)
	if err != nil {
		return b.unsure("read audit log", err)
	}
	reply := chat.Reply{Text: fmt.Sprintf("%d entries, newest first.", len(page.Entries))}
	if len(page.Entries) == 0 {
		reply.Text = "No entry matches."
	} else {
		reply.Table = AuditTable(page.Entries)
	}
	if page.Next != "" {
		reply.Text += " Older ones: add before:" + page.Next
	}
	return reply
}

// AuditTable lays entries out for people.
func AuditTable(entries []AuditEntry) string {
	return table(func(row func(...string)) {
		row("SEQ", "TIME (UTC)", "ENTRY", "CODE", "BY", "ACTION", "ENVIRONMENT", "ACCOUNT")
		for _, e := range entries {
			row(fmt.Sprint(e.Seq), e.Time.UTC().Format(time.DateTime), e.Type, e.Code, e.By, e.Action, e.Environment, e.Account)
		}
	})
}
