package chattest

import (
	"context"
	"time"

	"github.com/countersign/countersign/bot/chat"
)

// Op is a method of chat.Platform, as faults and calls name it.
type Op string

// The methods that can fail.
const (
	OpPost   Op = "post"
	OpFind   Op = "find"
	OpUpdate Op = "update"
	OpNote   Op = "note"
	OpAttach Op = "attach"
	OpMember Op = "member"
	OpCheck  Op = "check"
)

// Fault is what a call meets instead of success.
type Fault struct {
	Err error
	// Happened is true where the platform did what it was asked and only the
	// answer was lost.
	Happened bool
	// Times is how many calls meet the fault; zero means one, below zero means
	// every call until Heal.
	Times int
}

// RateLimited is the fault of a platform that asks to wait.
func RateLimited(after time.Duration) Fault {
	return Fault{Err: &chat.Error{Class: chat.RateLimited, Op: "fake", Code: "rate_limited", After: after}}
}

// Lost is the fault of an answer that never arrives although it was done.
func Lost() Fault {
	return Fault{Err: &chat.Error{Class: chat.Ambiguous, Op: "fake", Code: "answer_lost"}, Happened: true}
}

// Dropped looks to the caller like Lost, but nothing was done.
func Dropped() Fault {
	return Fault{Err: &chat.Error{Class: chat.Ambiguous, Op: "fake", Code: "answer_lost"}}
}

// Gone is the fault of a channel or message that is no more.
func Gone() Fault {
	return Fault{Err: &chat.Error{Class: chat.Gone, Op: "fake", Code: "no_such_channel"}}
}

// Misconfigured is the fault of a credential or membership that a person must mend.
func Misconfigured() Fault {
	return Fault{Err: &chat.Error{Class: chat.Misconfigured, Op: "fake", Code: "not_in_channel", Fix: "invite the bot"}}
}

// Down is the fault of a platform that cannot be reached, until Heal.
func Down() Fault {
	return Fault{Err: &chat.Error{Class: chat.Retry, Op: "fake", Code: "unreachable"}, Times: -1}
}

// Unsupported is the fault of a platform that cannot do this, until Heal.
func Unsupported() Fault { return Fault{Err: chat.ErrUnsupported, Times: -1} }

// Fail makes the next calls of op meet the fault, after the faults that wait
// already.
func (f *Fake) Fail(op Op, ft Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ft.Times == 0 {
		ft.Times = 1
	}
	f.faults[op] = append(f.faults[op], ft)
}

// Heal takes every waiting fault away.
func (f *Fake) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.faults)
}

// call records a call and runs do, unless a fault or a cancelled context stands
// in the way. f.mu is held.
func call[T any](ctx context.Context, f *Fake, op Op, target string, do func() (T, error)) (T, error) {
	var zero T
	f.calls = append(f.calls, string(op)+" "+target)
	if ctx.Err() != nil {
		return zero, &chat.Error{Class: chat.Retry, Op: string(op), Code: "cancelled"}
	}
	ft, ok := f.nextFault(op)
	if !ok {
		return do()
	}
	if ft.Happened {
		if _, err := do(); err != nil {
			return zero, err
		}
	}
	return zero, ft.Err
}

func (f *Fake) nextFault(op Op) (Fault, bool) {
	waiting := f.faults[op]
	if len(waiting) == 0 {
		return Fault{}, false
	}
	ft := waiting[0]
	if waiting[0].Times > 0 {
		waiting[0].Times--
	}
	if waiting[0].Times == 0 {
		f.faults[op] = waiting[1:]
	}
	return ft, true
}
