package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/countersign/countersign/adapters/rest/client"
)

// progress tells people how a request stands: on a terminal one line that is
// drawn anew each second, elsewhere one plain line for each change.
type progress struct {
	w     io.Writer
	now   func() time.Time
	width func() int // of the terminal in columns; nil where there is none

	mu    sync.Mutex
	last  string          // the newest state, in words
	until time.Time       // when the request expires; zero is unknown
	fault string          // why the server does not answer, for the live line
	drawn bool            // a live line stands in the terminal
	told  map[string]bool // faults that were told since the server last answered
	stop  chan struct{}
	done  chan struct{}
}

// newProgress looks whether w is a terminal that somebody watches.
func newProgress(w io.Writer, getenv func(string) string) *progress {
	p := &progress{w: w, now: time.Now, told: map[string]bool{}}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && getenv("CI") == "" && getenv("TERM") != "dumb" {
		p.width = func() int {
			columns, _, err := term.GetSize(int(f.Fd()))
			if err != nil || columns < 20 {
				return 80
			}
			return columns
		}
	}
	return p
}

// line prints a line of its own.
func (p *progress) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	fmt.Fprintln(p.w, printable(fmt.Sprintf(format, args...)))
	p.draw()
}

// show takes over what the request's newest answer tells.
func (p *progress) show(r client.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := r.Code + "  " + describe(r)
	p.until, p.fault = time.Time{}, ""
	clear(p.told)
	if r.ExpiresAt != nil && r.State == client.Pending {
		p.until = *r.ExpiresAt
	}
	if p.width == nil && state != p.last {
		fmt.Fprintln(p.w, printable(state))
	}
	p.last = state
	p.draw()
}

// outage is told that a call failed and will be made again; each cause is
// printed once per outage.
func (p *progress) outage(err error, _ time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = said(err)
	if p.width == nil && !p.told[p.fault] {
		fmt.Fprintln(p.w, printable("no answer, trying again: "+p.fault))
		p.told[p.fault] = true
	}
	p.draw()
}

// start draws the live line each second until end.
func (p *progress) start() {
	if p.width == nil {
		return
	}
	p.stop, p.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(p.done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				p.mu.Lock()
				p.draw()
				p.mu.Unlock()
			}
		}
	}()
}

// end takes the live line away.
func (p *progress) end() {
	if p.stop == nil {
		return
	}
	close(p.stop)
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	p.stop, p.last = nil, ""
}

// settle ends the live line with the newest state as a line that stays.
func (p *progress) settle() {
	text := p.last
	live := p.stop != nil
	p.end()
	if live && text != "" {
		p.line("%s", text)
	}
}

func (p *progress) erase() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

func (p *progress) draw() {
	if p.width == nil || p.stop == nil || p.last == "" {
		return
	}
	text := p.last
	if left := p.until.Sub(p.now()); !p.until.IsZero() {
		text += "  " + remaining(left)
	}
	if p.fault != "" {
		text += "  (no answer, trying again: " + p.fault + ")"
	}
	fmt.Fprint(p.w, "\r"+clipLine(printable(text), p.width()-1)+"\x1b[K")
	p.drawn = true
}

// said is what an error of the client says, in one line that is safe to print:
// the server's words may stand in it.
func said(err error) string { return printable(strings.TrimPrefix(err.Error(), "countersign: ")) }

// clipLine cuts a line to so many characters, with a mark.
func clipLine(s string, columns int) string {
	if utf8.RuneCountInString(s) <= columns {
		return s
	}
	return string([]rune(s)[:max(0, columns-1)]) + "…"
}

// remaining is a time to go in words.
func remaining(d time.Duration) string {
	switch {
	case d <= 0:
		return "expiring"
	case d < time.Hour:
		return fmt.Sprintf("%d:%02d left", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm left", int(d.Hours()), int(d.Minutes())%60)
}

// describe is a request's state in words, in one line that is safe to print.
func describe(r client.Request) string { return printable(describeRaw(r)) }

func describeRaw(r client.Request) string {
	if r.State == client.Pending {
		return "waiting for people" + gates(r)
	}
	s := string(r.State)
	if r.Outcome == nil {
		return s
	}
	words := map[string]string{
		"approved": "approved", "denied_by_policy": "denied by the policy", "denied_by_person": "denied", "expired": "expired: nobody decided in time",
		"undeliverable": "undeliverable: nobody could be asked", "cancelled": "cancelled", "ended": "over: the approval ran out", "revoked": "revoked",
	}
	if w, ok := words[r.Outcome.Kind]; ok {
		s = w
	}
	// Of the other ends, the kind says who brought them about.
	if by := r.Outcome.By; by != "" && slices.Contains([]string{"approved", "denied_by_person", "revoked"}, r.Outcome.Kind) {
		s += " by " + by
	}
	if r.Outcome.Reason != "" {
		s += ": " + r.Outcome.Reason
	}
	return s
}

// gates tells how far each stage is.
func gates(r client.Request) string {
	var parts []string
	for _, s := range r.Stages {
		parts = append(parts, fmt.Sprintf("%s %d of %d", s.Name, s.Approved, s.Quorum))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
