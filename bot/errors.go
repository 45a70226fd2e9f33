package bot

import (
	"errors"
	"fmt"
	"strings"
)

// Errors of the use cases. Doors map them, each in one place.
var (
	// ErrNotFound: there is no such request, or it is somebody else's.
	ErrNotFound = errors.New("not found")
	// ErrKeyMismatch: the idempotency key was used for another request.
	ErrKeyMismatch = errors.New("this idempotency key was used for a different request: use a new key")
	// ErrPending: the request is not decided yet.
	ErrPending = errors.New("the request is not decided yet")
	// ErrInvalidGrant: there is no right to a credential, or no longer.
	ErrInvalidGrant = errors.New("the grant is not valid")
	// ErrNoCredential: the request asked for a decision only.
	ErrNoCredential = errors.New("the request asked for a decision without scopes: there is no credential to redeem")
	// ErrUnavailable: something that must be asked cannot be reached; nothing
	// was decided, and the same call may be made again.
	ErrUnavailable = errors.New("temporarily unavailable")
	// ErrState: the request's state does not allow this.
	ErrState = errors.New("the request's state does not allow this")
)

// InvalidError says everything that is wrong with what a machine asked.
type InvalidError struct{ Faults []Fault }

// Fault is one thing that is wrong: Pointer is a JSON pointer (RFC 6901) into
// the request, Detail what to do about it.
type Fault struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

// Error implements error.
func (e *InvalidError) Error() string {
	var b strings.Builder
	b.WriteString("invalid request")
	for _, f := range e.Faults {
		fmt.Fprintf(&b, "; %s: %s", f.Pointer, f.Detail)
	}
	return b.String()
}

// RefusedError says why the policy or the rules of review no longer allow what
// was approved.
type RefusedError struct{ Reasons []string }

// Error implements error.
func (e *RefusedError) Error() string { return "refused: " + strings.Join(e.Reasons, "; ") }
