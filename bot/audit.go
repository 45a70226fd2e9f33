package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/countersign/countersign/store"
)

// scanLimit bounds how many entries one audit query reads; a query that reaches
// it says where to go on.
const scanLimit = 5000

const filterNames = "actor: approver: action: account: outcome: type: env: request: since: until: before:"

// AuditQuery selects entries of the log, newest first. Empty fields select all.
type AuditQuery struct {
	Actor       string // machine, person, policy, clock, or the id of one
	Approver    string // a person's id or name: their reviews
	Action      string
	Account     string
	Outcome     string // the request's outcome, as in View
	Type        string
	Environment string
	Request     string // id or code
	Since       time.Time
	Until       time.Time
	Before      uint64 // only entries with a smaller sequence number; 0 is all
	Limit       int
}

// AuditEntry is an entry with what its request tells, for people and scripts.
type AuditEntry struct {
	store.Logged
	Code        string `json:"code,omitempty"`
	By          string `json:"by"`
	Action      string `json:"action,omitempty"`
	Environment string `json:"environment,omitempty"`
	Account     string `json:"account,omitempty"`
	Outcome     string `json:"outcome,omitempty"`
}

// AuditPage is one page of an answer; Next is the value of before: that goes on,
// or "".
type AuditPage struct {
	Entries []AuditEntry `json:"entries"`
	Next    string       `json:"next,omitempty"`
}

// What the filters outcome: and type: may ask for. "denied" is both denials.
var (
	outcomes = []string{"approved", "denied", "denied_by_policy", "denied_by_person", "expired", "undeliverable", "cancelled", "ended", "revoked"}
	types    = []string{"asked", "decided", "reviewed", "approved", "denied", "expired", "cancelled", "issued", "ended", "revoked"}
)

// words splits a line at spaces that stand in no double quotes, and drops those.
func words(line string) []string {
	quoted := false
	fields := strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return unicode.IsSpace(r) && !quoted
	})
	for i, f := range fields {
		fields[i] = strings.ReplaceAll(f, `"`, "")
	}
	return fields
}

// ParseAuditQuery reads filters of the form name:value, separated by spaces;
// what holds a space stands in double quotes. Times are RFC 3339, a date, or an
// age such as 24h or 30d.
func ParseAuditQuery(text string, now time.Time) (AuditQuery, error) {
	var q AuditQuery
	targets := map[string]*string{
		"actor": &q.Actor, "approver": &q.Approver, "action": &q.Action, "account": &q.Account, "outcome": &q.Outcome,
		"type": &q.Type, "env": &q.Environment, "request": &q.Request,
	}
	times := map[string]*time.Time{"since": &q.Since, "until": &q.Until}
	for _, word := range words(text) {
		name, value, ok := strings.Cut(word, ":")
		if !ok || value == "" {
			return q, fmt.Errorf("%q is no filter: write name:value, with a name out of %s", clip(word), filterNames)
		}
		if target := targets[name]; target != nil {
			*target = value
			if allowed := map[string][]string{"outcome": outcomes, "type": types}[name]; allowed != nil && !slices.Contains(allowed, value) {
				return q, fmt.Errorf("%s:%s finds nothing: there are %s", name, clip(value), strings.Join(allowed, ", "))
			}
			continue
		}
		if target := times[name]; target != nil {
			t, err := parseTime(value, now)
			if err != nil {
				return q, fmt.Errorf("%s:%s is no time: write 2026-11-20, 2026-11-20T12:00:00Z, 24h or 30d", name, clip(value))
			}
			*target = t
			continue
		}
		if name != "before" {
			return q, fmt.Errorf("there is no filter %q; there are %s", clip(name), filterNames)
		}
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil {
			return q, fmt.Errorf("before:%s is no sequence number", clip(value))
		}
		q.Before = n
	}
	return q, nil
}

func parseTime(s string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if age, err := time.ParseDuration(s); err == nil && age >= 0 {
		return now.Add(-age), nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	return time.Parse(time.RFC3339, s)
}

// Audit answers a query with a bounded number of reads.
func (b *Broker) Audit(ctx context.Context, q AuditQuery) (AuditPage, error) {
	page := AuditPage{Entries: []AuditEntry{}}
	_, size, err := b.Store.Checkpoint(ctx)
	if err != nil {
		return page, err
	}
	if q.Before > 0 {
		size = min(size, q.Before)
	}
	if size == 0 {
		return page, nil
	}
	from := size - 1
	requests := map[string]known{}
	for scanned := 0; scanned < scanLimit; {
		logged, err := b.Store.Log(ctx, from, 500, true)
		if err != nil {
			return page, err
		}
		for _, l := range logged {
			scanned++
			if !q.Since.IsZero() && l.Time.Before(q.Since) {
				return page, nil // the log's time never goes back
			}
			e, err := b.auditEntry(ctx, l, requests)
			if err != nil {
				return page, err
			}
			if q.matches(e) {
				page.Entries = append(page.Entries, e)
			}
			if l.Seq == 0 {
				return page, nil
			}
			if len(page.Entries) == q.Limit {
				page.Next = strconv.FormatUint(l.Seq, 10)
				return page, nil
			}
			from = l.Seq - 1
		}
		if len(logged) == 0 {
			return page, nil
		}
	}
	page.Next = strconv.FormatUint(from+1, 10)
	return page, nil
}

// known is what is read of a request once per query.
type known struct{ code, action, environment, account, outcome string }

func (b *Broker) auditEntry(ctx context.Context, l store.Logged, requests map[string]known) (AuditEntry, error) {
	k, ok := requests[l.Request]
	if !ok && l.Request != "" {
		r, err := b.Store.Get(ctx, l.Request)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return AuditEntry{}, err
		}
		if f, err := thaw(r); err == nil {
			k = known{r.Code, f.Action, f.Context.Environment, f.ServiceAccount, r.Outcome.Kind}
		}
		requests[l.Request] = k
	}
	e := AuditEntry{Logged: l, Code: k.code, Action: k.action, Environment: k.environment, Account: k.account, Outcome: k.outcome, By: l.Actor.Kind}
	switch {
	case l.Actor.Kind == "person":
		e.By = b.name(l.Actor.ID)
	case l.Actor.Kind == "policy":
		e.By = "policy " + shortRevision(l.Actor.ID)
	case l.Actor.ID != "":
		e.By = l.Actor.Kind + " " + l.Actor.ID
	}
	return e, nil
}

func (q AuditQuery) matches(e AuditEntry) bool {
	is := func(want string, got ...string) bool {
		return want == "" || slices.ContainsFunc(got, func(s string) bool { return strings.EqualFold(s, want) })
	}
	// A person is found by id, by name, or by one word of the name.
	names := append([]string{e.Actor.ID, e.By}, strings.Fields(e.By)...)
	if q.Approver != "" && (e.Type != "reviewed" || !is(q.Approver, names...)) {
		return false
	}
	return is(q.Actor, append(names, e.Actor.Kind)...) && is(q.Action, e.Action) && is(q.Account, e.Account) &&
		is(q.Outcome, e.Outcome, strings.Split(e.Outcome, "_")[0]) && is(q.Type, e.Type) && is(q.Environment, e.Environment) &&
		is(q.Request, e.Request, e.Code) && (q.Until.IsZero() || e.Time.Before(q.Until))
}
