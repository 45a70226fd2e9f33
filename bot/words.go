package bot

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/store"
)

// standing tells in one sentence where a request stands.
func (b *Broker) standing(r store.Request, f Frozen) string {
	o := r.Outcome
	at := o.At.UTC().Format("15:04 UTC on 2 January")
	switch r.State {
	case store.Pending:
		s := f.Decision.Stages[r.Stage]
		text := fmt.Sprintf("Waiting for approval: %d of %d", approvals(r, r.Stage), s.Quorum)
		if len(f.Decision.Stages) > 1 {
			text += fmt.Sprintf(", stage %d of %d (%s)", r.Stage+1, len(f.Decision.Stages), s.Name)
		}
		return text + "."
	case store.Approved:
		text := fmt.Sprintf("Approved by %s at %s.", b.name(o.By), at)
		if n := len(r.Issues); n > 0 {
			text += " Credential issued, valid until " + r.Issues[n-1].Expires.UTC().Format("15:04:05 UTC") + "."
		}
		return text
	case store.Denied:
		return fmt.Sprintf("Denied by %s at %s.%s", b.name(o.By), at, because(o.Reason))
	case store.Expired:
		if o.Kind == "undeliverable" {
			return fmt.Sprintf("Expired at %s: it could be shown in no channel.", at)
		}
		return fmt.Sprintf("Expired at %s: nobody decided in time.", at)
	case store.Cancelled:
		return fmt.Sprintf("Cancelled at %s by the machine that asked.", at)
	case store.Revoked:
		return fmt.Sprintf("Revoked by %s at %s.%s", b.name(o.By), at, because(o.Reason))
	case store.Ended:
		if o.Reason == "unused" {
			return fmt.Sprintf("Ended at %s: the approval was never used.", at)
		}
		return fmt.Sprintf("Ended at %s: what was granted has expired.", at)
	}
	return string(r.State)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " Reason: " + reason
}

// name is an outcome's By as people read it.
func (b *Broker) name(by string) string {
	switch by {
	case "policy":
		return "policy"
	case "machine":
		return "the machine that asked"
	case "clock":
		return "the clock"
	}
	if p, ok := b.Directory.Person(by); ok && p.Name != "" {
		return p.Name
	}
	return by
}

func (b *Broker) reviewLines(r store.Request) []string {
	var lines []string
	for _, v := range r.Reviews {
		verb := map[string]string{"approve": "approved", "deny": "denied"}[v.Verdict]
		lines = append(lines, fmt.Sprintf("%s %s at %s.%s", b.name(v.Person), verb, v.At.UTC().Format("15:04 UTC"), because(v.Reason)))
	}
	return lines
}

// age writes a duration as people do: 10m, 1h30m.
func age(d time.Duration) string {
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (b *Broker) triggerText(f Frozen) string {
	t := f.Trigger
	switch t.Kind {
	case identity.TriggerPerson:
		if t.Again {
			return b.name(t.Person) + "; run again by somebody whom the token does not name: one more approval is needed"
		}
		return b.name(t.Person)
	case identity.TriggerUnmapped:
		return fmt.Sprintf("%s (%s), not in the directory: one more approval is needed", t.Name, t.Account)
	default:
		return "no person: the machine by itself"
	}
}

// shortRevision is a revision as people compare it.
func shortRevision(s string) string { return s[:min(len(s), 12)] }

// oneLine makes what others wrote safe to stand on a line of ours: what is no
// visible character is shown by its number.
func oneLine(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		}
	}
	return b.String()
}

// setOff shows a text of several lines so that none of them can pass for ours.
func setOff(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString("    | " + oneLine(strings.TrimRight(line, "\n")) + "\n")
	}
	return b.String()
}

// details is the whole request as plain text: what a card may have had to cut.
// What the caller says is set off, line by line.
func details(r store.Request, c chat.Card) string {
	var b strings.Builder
	line := func(label, value string) { fmt.Fprintf(&b, "%s: %s\n", label, oneLine(value)) }
	line("Request", r.ID)
	line("Code", r.Code)
	line("Digest", r.Digest)
	for _, f := range c.Fields {
		line(f.Label, f.Value)
	}
	for _, p := range c.Policy {
		line("Policy", p)
	}
	b.WriteString("The caller says (unverified):\n")
	for _, f := range c.Says {
		fmt.Fprintf(&b, "  %s:\n%s", f.Label, setOff(f.Value))
	}
	for _, k := range c.Checks {
		fmt.Fprintf(&b, "  Check:\n%s", setOff(oneLine(strings.TrimSpace(fmt.Sprintf("%s %s %s %s", k.Name, k.Status, k.Value, k.Threshold)))))
	}
	for _, l := range c.Links {
		fmt.Fprintf(&b, "  Link:\n%s", setOff(oneLine(l.Title+" "+l.URL)))
	}
	if c.Diff != nil {
		fmt.Fprintf(&b, "  Change, %s:\n%s", c.Diff.Stat, setOff(c.Diff.Preview))
		if !c.Diff.Whole {
			b.WriteString("  This is only its beginning: all of it stands in the card's thread as a file.\n")
		}
	}
	return b.String()
}

// note is one event as a thread tells it, with the code: where the thread is
// lost, a platform may show it in the channel.
func (b *Broker) note(code string, p store.Progress) string { return code + ": " + b.progressLine(p) }

func (b *Broker) progressLine(p store.Progress) string {
	switch p.Kind {
	case "stage":
		return fmt.Sprintf("%s completed a stage. Next: %s.", b.name(p.By), p.Text)
	case "issued":
		until, err := time.Parse(time.RFC3339, p.Text)
		if err != nil {
			return "Credential issued."
		}
		return "Credential issued, valid until " + until.UTC().Format("15:04:05 UTC") + "."
	case "approved":
		return fmt.Sprintf("Approved by %s.", b.name(p.By))
	case "denied_by_policy", "denied_by_person":
		return fmt.Sprintf("Denied by %s.%s", b.name(p.By), because(p.Text))
	case "expired":
		return "Expired: nobody decided in time."
	case "undeliverable":
		return "Expired: it could be shown in no channel."
	case "cancelled":
		return "Cancelled by the machine that asked."
	case "revoked":
		return fmt.Sprintf("Revoked by %s.%s", b.name(p.By), because(p.Text))
	case "ended":
		if p.Text == "unused" {
			return "Ended: the approval was never used."
		}
		return "Ended: the credential has expired."
	}
	return p.Kind
}
