package chattest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/bot/chat"
)

// Harness is one platform under test, fresh for each test, with all that is
// particular to it.
type Harness struct {
	Platform chat.Platform
	World    World

	// Channel is where cards can be posted.
	Channel string
	// Person and Other are full members who can see Channel.
	Person, Other chat.Account
	// Mention is one that the platform makes live.
	Mention chat.Mention
	// Escaped is how the platform shows a character that could not be seen.
	Escaped func(rune) string
	// Marker stands where a text was cut.
	Marker string
	// AnswersWithCard is true where the answer to a click is the new card. It is
	// false where a card is only ever changed by Update, so that an older answer
	// cannot overtake a newer card.
	AnswersWithCard bool
	// MaxText is the most that a card may show, in bytes.
	MaxText int

	Members   []MemberCase
	Faults    []FaultCase
	Forgeries []Forgery
	// Canaries are secrets that must stand in no error and no log: tokens,
	// signing secrets, addresses that carry a right.
	Canaries []string
	// Log is all that was logged so far.
	Log func() string
}

// World is the other side of the platform: what people do and what they see.
// What is shown may come a moment after what was done.
type World interface {
	// Listen connects the Handler; the tests call it at most once.
	Listen(t testing.TB, h chat.Handler)
	// Press presses a button of a card; Repeat does so and has the platform
	// deliver the very same twice.
	Press(t testing.TB, who chat.Account, ref string, v chat.Verb)
	Repeat(t testing.TB, who chat.Account, ref string, v chat.Verb)
	// Form is what the form shows that is open for who, empty if there is none;
	// Send fills it in and sends it.
	Form(t testing.TB, who chat.Account) string
	Send(t testing.TB, who chat.Account, reason string)
	// Type types a command.
	Type(t testing.TB, who chat.Account, channel, line string)
	// Face is the card as everybody sees it; Thread is what stands below it,
	// files by their content.
	Face(t testing.TB, ref string) Face
	Thread(t testing.TB, ref string) []string
	// Private is what only who was shown so far.
	Private(t testing.TB, who chat.Account) []string
}

// Face is a card as people see it.
type Face struct {
	Text    string
	Buttons []chat.Verb
	// Live is all that the platform makes more of than text: mentions, and links
	// that show something else than where they lead.
	Live []string
}

// MemberCase is an account and what the platform must say of it; names are not
// compared.
type MemberCase struct {
	Name    string
	Account chat.Account
	Want    chat.Member
}

// FaultCase is something that goes wrong in the next call of Op, which is
// OpPost, OpUpdate, OpNote, OpMember or OpCheck.
type FaultCase struct {
	Name string
	Op   Op
	Arm  func(t testing.TB)
	Want chat.Class
	// After is compared if Want is chat.RateLimited.
	After time.Duration
	// Happened tells that the call was done all the same.
	Happened bool
}

// Forgery is a delivery that the platform's side never sent like this: unsigned,
// changed, stale, too large, for another app. Genuine ones are the twins: what
// was changed is put right, and they must reach the Handler.
type Forgery struct {
	Name    string
	Send    func(t testing.TB, ref string)
	Genuine bool
}

// Ear is a chat.Handler that remembers what it was asked and answers as told.
// The zero value answers with nothing.
type Ear struct {
	OnClick   func(ctx context.Context, c chat.Click) chat.Reply
	OnCommand func(ctx context.Context, c chat.Command) chat.Reply

	mu       sync.Mutex
	clicks   []chat.Click
	commands []chat.Command
}

// Click implements chat.Handler.
func (e *Ear) Click(ctx context.Context, c chat.Click) chat.Reply {
	e.mu.Lock()
	e.clicks = append(e.clicks, c)
	e.mu.Unlock()
	if e.OnClick == nil {
		return chat.Reply{}
	}
	return e.OnClick(ctx, c)
}

// Command implements chat.Handler.
func (e *Ear) Command(ctx context.Context, c chat.Command) chat.Reply {
	e.mu.Lock()
	e.commands = append(e.commands, c)
	e.mu.Unlock()
	if e.OnCommand == nil {
		return chat.Reply{}
	}
	return e.OnCommand(ctx, c)
}

// Clicks are those heard so far.
func (e *Ear) Clicks() []chat.Click {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.clicks)
}

// Commands are those heard so far.
func (e *Ear) Commands() []chat.Command {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.commands)
}

// Eventually fails the test unless the condition holds within a few seconds.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("this did not come: %s", what)
}

// clean fails the test if a text or the log holds a canary.
func (h *Harness) clean(t testing.TB, texts ...string) {
	t.Helper()
	for _, text := range append(texts, h.Log()) {
		for _, canary := range h.Canaries {
			if canary != "" && strings.Contains(text, canary) {
				t.Errorf("a secret stands in %.300q", strings.ReplaceAll(text, canary, "[the secret]"))
			}
		}
	}
}

func anyContains(texts []string, part string) bool {
	return slices.ContainsFunc(texts, func(s string) bool {
		return strings.Contains(strings.ToLower(s), strings.ToLower(part))
	})
}
