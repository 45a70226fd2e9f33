// Package chat owns the words that the heart and the chat platforms share: the
// card that shows a request, the click and the command that come back, the
// reply, the Platform (out) and the Handler (in), and the classes of errors.
//
// It is shaped like no platform: a platform may answer a click with a private
// message, a form or a new card, and the Reply holds what each of them needs.
// Its rule: every text in a card is untrusted. Adapters show it where markup is
// dead, and never read meaning back out of it.
package chat

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Platform is a chat platform as the heart uses it. An implementation
// translates and classifies errors; it does not retry, sleep, decide or
// remember. Every error is Retry, Gone, Ambiguous or RateLimited in the sense
// of Class, and holds no secret.
type Platform interface {
	// Name is the platform's kind of account: "slack", "teams".
	Name() string
	// Post posts a card and returns its opaque reference.
	Post(ctx context.Context, channel string, c Card) (ref string, err error)
	// Find looks in a channel for cards already posted for a delivery since a
	// time, after a post whose outcome is unknown. A platform that cannot look
	// returns ErrUnsupported.
	Find(ctx context.Context, channel, delivery string, since time.Time) (refs []string, err error)
	// Update makes a posted card show c.
	Update(ctx context.Context, ref string, c Card) error
	// Note adds a line to the card's thread.
	Note(ctx context.Context, ref string, text string) error
	// Attach adds a file to the card's thread.
	Attach(ctx context.Context, ref string, f File) error
	// Member returns what the platform knows of an account now. An account that
	// it does not know is the zero Member and no error.
	Member(ctx context.Context, account Account) (Member, error)
	// Check reports whether the platform can be reached with the configured
	// credentials and, if channel is not empty, whether cards can be posted there.
	Check(ctx context.Context, channel string) error
}

// Handler is the heart as a platform calls it, once a delivery is authenticated.
// Both methods always answer; when ctx ends first, the adapter says that nothing
// is confirmed and that the card tells.
type Handler interface {
	Click(ctx context.Context, c Click) Reply
	Command(ctx context.Context, c Command) Reply
}

// Account is a chat account: unique only as a whole. An account with an empty
// part never equals anything.
type Account struct {
	Platform string // "slack"
	Space    string // the workspace or tenant
	ID       string
}

// Member is what a platform says of an account at this moment.
type Member struct {
	Known  bool   // the platform knows the account
	Human  bool   // not a bot, app or workflow
	Active bool   // neither deactivated nor merely invited
	Home   bool   // a full member of our own workspace or tenant: no guest, no stranger
	Name   string // for display only
}

// Verb is what a person does.
type Verb string

const (
	Approve Verb = "approve"
	Deny    Verb = "deny"
	Revoke  Verb = "revoke"
	// Details asks for the whole request, privately.
	Details Verb = "details"
)

// Click is a button that a person pressed, or a form that a person sent.
type Click struct {
	Account Account
	// Button is what the card's button carried: a key to look up, not a claim.
	Button string
	Verb   Verb
	// Reason is what the person wrote in the form; empty where none was shown.
	Reason string
	// Channel and Ref are where the button was pressed. Channel is empty where
	// the platform does not say (a form).
	Channel string
	Ref     string
	At      time.Time // when the platform signed the delivery
}

// Command is a line that a person typed after /approvals or the bot's name.
type Command struct {
	Account Account
	Text    string
	Channel string
	At      time.Time
}

// Reply answers a click or a command. What is set is shown only to the person
// who acted, but for Card after a click, which replaces the clicked card.
type Reply struct {
	// Text is one or a few sentences in plain text.
	Text string
	// Table is monospaced plain text, shown below Text.
	Table string
	// Card is the request as it stands now: after a command, a card to look at;
	// after a click, the new face of the card, for a platform whose answer to a
	// click is the card. Others leave it: the heart updates every copy by itself,
	// in order. Nil where there is none.
	Card *Card
	// Prompt asks for a text before the click counts; the platform shows a form
	// and sends the same click again with the text as Reason.
	Prompt *Prompt
	// Refused is true when the click or command changed nothing.
	Refused bool
}

// Prompt is a form with one text field.
type Prompt struct {
	// Button and Verb are those of the click that the form sends again.
	Button string
	Verb   Verb
	Title  string // at most 24 characters
	Label  string
	Submit string // at most 24 characters
	// Facts repeat what is being decided, so that the form cannot be mistaken.
	Facts     []Field
	MaxLength int // in characters
}

// Mood is the colour of a card's state, told in words and sign as well.
type Mood string

const (
	Waiting Mood = "waiting"
	Good    Mood = "good"
	Bad     Mood = "bad"
	Over    Mood = "over"
)

// Card is a request as people see it, drawn from the frozen request and the
// state of its record. Fields stand in a fixed order, the resource first.
type Card struct {
	// Delivery is what Find looks for. Button goes into the buttons and comes
	// back with a click: it names the delivery and the gate that the card shows.
	// Request, Version and Digest say what is shown.
	Delivery string
	Button   string
	Request  string
	Version  uint64
	Digest   string
	// Code is the short code that the machine's log shows as well.
	Code string

	Title   string // what is asked, in a few words
	State   string // in words: "Waiting for 1 of 2 approvals"
	Mood    Mood
	Summary string // one line for notifications; no caller's text but action and resource

	Fields []Field // what was proven and what will be granted
	Policy []string
	Says   []Field // the caller's own words, marked as such
	Checks []Check
	Diff   *Diff
	Links  []Link
	// Reviews tell who answered what, with their reasons.
	Reviews []string
	// Deadline is when the request expires; zero when it no longer can.
	Deadline time.Time
	// Mentions are asked to look; only a card with buttons has any.
	Mentions []Mention
	// Actions are the buttons; none once decided.
	Actions []Action
}

// Field is a label (ours) and a value (anybody's).
type Field struct {
	Label string
	Value string
}

// Check is one automatic check: status passed, failed, pending or skipped.
type Check struct {
	Name, Status, Value, Threshold string
}

// Diff is the preview of a change. Whole is false where Preview does not hold
// all of it; the rest then stands in the thread as a file.
type Diff struct {
	Stat    string // "3 files, +40 −2"
	Preview string
	Whole   bool
}

// Link is shown with its address in full; the title never hides it.
type Link struct {
	Title, URL string
}

// Mention names whom a card calls: exactly one of Group (the platform's own id
// of a user group) and Account is set.
type Mention struct {
	Group   string
	Account Account
}

// Action is a button.
type Action struct {
	Verb  Verb
	Label string
	// Input is true where the platform may show a text field beside the button;
	// a platform without one asks when the reply prompts.
	Input bool
}

// File is a text file for a thread.
type File struct {
	Name  string
	Title string
	Text  []byte
}

// ErrUnsupported: the platform cannot do this.
var ErrUnsupported = errors.New("the platform cannot do this")

// Class says what the heart does about a platform's error.
type Class int

const (
	// Retry: try again later; nothing happened.
	Retry Class = iota
	// Ambiguous: it may have happened; look before trying again.
	Ambiguous
	// Gone: the message or channel is no more, or forbidden for good.
	Gone
	// RateLimited: try again after Error.After.
	RateLimited
	// Misconfigured: a person has to mend it (token, scope, membership); tried
	// again slowly.
	Misconfigured
)

// String names the class, for logs.
func (c Class) String() string {
	return [...]string{"retry", "ambiguous", "gone", "rate_limited", "misconfigured"}[c]
}

// Error is a platform's error with its class. Code is the platform's own word
// ("channel_not_found"), Fix what a person can do about it, if anything.
type Error struct {
	Class Class
	Op    string
	Code  string
	Fix   string
	After time.Duration
}

// Error implements error.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s (%s)", e.Op, e.Code, e.Class)
	if e.Fix != "" {
		s += ": " + e.Fix
	}
	return s
}

// ClassOf returns the class of an error; an error that is no *Error may have
// happened.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Ambiguous
}
