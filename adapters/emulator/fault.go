package emulator

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// FaultKind is what goes wrong.
type FaultKind string

const (
	// Slow answers after Fault.Delay.
	Slow FaultKind = "slow"
	// LoseAnswer does what was asked, then drops the connection.
	LoseAnswer FaultKind = "lose_answer"
	// Drop drops the connection before anything is done.
	Drop FaultKind = "drop"
	// RateLimited answers 429 with Retry-After, RateLimitedBare without.
	RateLimited     FaultKind = "rate_limited"
	RateLimitedBare FaultKind = "rate_limited_bare"
	// Broken answers 500 with a page of HTML.
	Broken FaultKind = "broken"
	// EmptyReply answers 200 with {} and does nothing; EmptyReplyDone does it.
	EmptyReply     FaultKind = "empty_reply"
	EmptyReplyDone FaultKind = "empty_reply_done"
	// Refuse answers with the error code in Fault.Code.
	Refuse FaultKind = "refuse"
	// Twice delivers the same bytes two times. It is for deliveries only; Slow
	// is the one other fault that deliveries know.
	Twice FaultKind = "twice"
)

var faultKinds = []FaultKind{Slow, LoseAnswer, Drop, RateLimited, RateLimitedBare, Broken, EmptyReply, EmptyReplyDone, Refuse, Twice}

// Fault is something that the workspace is told to get wrong.
type Fault struct {
	// Method is a Web API method, "upload", "hook" (response URLs), "*" for all of
	// these, or a Kind of delivery.
	Method string    `json:"method"`
	Kind   FaultKind `json:"kind"`
	// Delay is for Slow, and for RateLimited the Retry-After (zero means 1 s).
	Delay time.Duration `json:"delay"`
	// Code is for Refuse: the error to answer.
	Code string `json:"code,omitempty"`
	// Times is how often it happens; zero means until the faults are cleared.
	Times int `json:"times"`
}

// ErrBadFault is a fault that the workspace does not know.
var ErrBadFault = errors.New("no such fault")

// Inject adds a fault; several for one method happen in their order, Slow
// together with the next. It refuses an unknown kind or method.
func (s *Slack) Inject(f Fault) error {
	_, known := methods[f.Method]
	delivery := isDelivery(f.Method)
	switch {
	case !slices.Contains(faultKinds, f.Kind):
		return fmt.Errorf("%w: kind %q is none of %v", ErrBadFault, f.Kind, faultKinds)
	case delivery && f.Kind != Twice && f.Kind != Slow:
		return fmt.Errorf("%w: a delivery can be slow or sent twice, not %q", ErrBadFault, f.Kind)
	case !delivery && f.Kind == Twice:
		return fmt.Errorf("%w: only deliveries are sent twice, %q is none", ErrBadFault, f.Method)
	case !known && !delivery && !slices.Contains([]string{"*", "upload", "hook"}, f.Method):
		return fmt.Errorf("%w: method %q", ErrBadFault, f.Method)
	case f.Kind == Refuse && f.Code == "":
		return fmt.Errorf("%w: refuse needs a code", ErrBadFault)
	case f.Delay < 0 || f.Times < 0:
		return fmt.Errorf("%w: delay and times cannot be negative", ErrBadFault)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
	s.changed()
	return nil
}

func isDelivery(method string) bool {
	return slices.Contains([]Kind{Interactions, Commands, Events}, Kind(method))
}

// ClearFaults forgets all faults.
func (s *Slack) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	s.changed()
}

// Faults are those that are still to happen.
func (s *Slack) Faults() []Fault { return snapshot(s, func() []*Fault { return s.faults }) }

// fault takes what happens to this call: at most one delay and one other
// fault. The zero Fault is none.
func (s *Slack) fault(method string) (slow time.Duration, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.faults {
		if x.Method != method && (x.Method != "*" || isDelivery(method)) {
			continue
		}
		if x.Kind == Slow {
			if slow > 0 {
				continue
			}
			slow = x.Delay
		} else {
			if f.Kind != "" {
				continue
			}
			f = *x
		}
		if x.Times > 0 {
			if x.Times--; x.Times == 0 {
				x.Times = -1
			}
		}
	}
	s.faults = slices.DeleteFunc(s.faults, func(x *Fault) bool { return x.Times < 0 })
	return slow, f
}

// misbehave plays a fault over an HTTP exchange: do does the work and returns
// the answer. It returns false when there is nothing to play.
func (s *Slack) misbehave(w http.ResponseWriter, r *http.Request, method string, do func(http.ResponseWriter)) bool {
	slow, f := s.fault(method)
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-r.Context().Done():
		case <-s.closed.Done():
		}
	}
	if f.Kind == "" {
		return false
	}
	s.log.Info("fault played", "method", method, "kind", string(f.Kind))
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	switch f.Kind {
	case LoseAnswer:
		do(&discard{})
		hangUp(w)
	case Drop:
		hangUp(w)
	case RateLimited:
		w.Header().Set("Retry-After", seconds(max(f.Delay, time.Second)))
		w.WriteHeader(http.StatusTooManyRequests)
		writeJSON(w, map[string]any{"ok": false, "error": "ratelimited"})
	case RateLimitedBare:
		w.WriteHeader(http.StatusTooManyRequests)
	case Broken:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte("<html><body>Server Error</body></html>"))
	case EmptyReplyDone:
		do(&discard{})
		writeJSON(w, map[string]any{})
	case EmptyReply:
		writeJSON(w, map[string]any{})
	case Refuse:
		writeJSON(w, map[string]any{"ok": false, "error": f.Code})
	}
	return true
}

// hangUp ends the connection without an answer; net/http knows this panic.
func hangUp(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// discard is an answer that nobody gets.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header {
	if d.h == nil {
		d.h = http.Header{}
	}
	return d.h
}
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}
