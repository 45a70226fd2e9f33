package rest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/countersign/countersign/bot"
	"github.com/countersign/countersign/store"
)

// typePrefix makes the name of a problem its stable RFC 9457 type.
const typePrefix = "urn:countersign:problem:"

// problem is an RFC 9457 document. Name is the end of its type. Title says what
// is wrong in words that never change for a type, Detail what to do this time.
type problem struct {
	Name   string `json:"-"`
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Instance names the call, as the server's log does.
	Instance string      `json:"instance,omitempty"`
	Errors   []bot.Fault `json:"errors,omitempty"`
	// RequestID, Code and Reasons tell of a request that was refused.
	RequestID string   `json:"request_id,omitempty"`
	Code      string   `json:"code,omitempty"`
	Reasons   []string `json:"reasons,omitempty"`

	// retry is the answer's Retry-After; zero is none.
	retry time.Duration
	// oauth is the code of RFC 6749 section 5.2, RFC 6750 section 3.1 or RFC 7009
	// that says the same.
	oauth string
}

// Error implements error: a problem may be returned as it is.
func (p *problem) Error() string { return p.Name }

// Problems that the door itself finds.
var (
	errNoRoute = &problem{Name: "not-found", Status: http.StatusNotFound, Title: "Not found",
		Detail: "There is no such address in this API: see /openapi.json."}
	errWrongMethod = &problem{Name: "wrong-method", Status: http.StatusMethodNotAllowed, Title: "The address does not know this method",
		Detail: "The Allow header names the method that it knows.", oauth: "invalid_request"}
	errPanic   = &problem{Name: "internal", Status: http.StatusInternalServerError, Title: "Internal error", oauth: "server_error"}
	errNoToken = &problem{Name: "unauthenticated", Status: http.StatusUnauthorized, Title: "No bearer token",
		Detail: "Send one header: Authorization: Bearer, and the machine's signed token.", oauth: "invalid_client"}
	errNoAccount = &problem{Name: "unknown-account", Status: http.StatusForbidden, Title: "The service account is not configured",
		Detail: "The token is good, but the service account that it stands for is no longer configured: ask the operators."}
	errLimited = &problem{Name: "rate-limited", Status: http.StatusTooManyRequests, Title: "Too many calls",
		Detail: "This service account calls more often than it may. Call again after the time in Retry-After.", retry: time.Second,
		oauth: "temporarily_unavailable"}
	errTooLarge = &problem{Name: "too-large", Status: http.StatusRequestEntityTooLarge, Title: "The body is too large",
		Detail: "A request has at most 4 MiB. Send a smaller diff, or leave it out and link to it.", oauth: "invalid_request"}
	errSlow = &problem{Name: "body-timeout", Status: http.StatusRequestTimeout, Title: "The body did not arrive in time",
		Detail: "Send the whole body at once, with its Content-Length.", oauth: "invalid_request"}
	errBroken = &problem{Name: "body-broken", Status: http.StatusBadRequest, Title: "The body broke off",
		Detail: "The connection ended before the whole body arrived.", oauth: "invalid_request"}
)

// sentinels are the errors of the heart and the store, with their problems. The first
// that matches tells.
var sentinels = []struct {
	is   error
	tell problem
}{
	{bot.ErrNotFound, problem{Name: "not-found", Status: http.StatusNotFound, Title: "Not found",
		Detail: "There is no such request, or another run asked it: only the run that asked may read, redeem and cancel."}},
	{bot.ErrKeyMismatch, problem{Name: "key-mismatch", Status: http.StatusUnprocessableEntity, Title: "The idempotency key was used for a different request",
		Detail: "Send a new Idempotency-Key with each new request, and the same one only when repeating a call."}},
	{store.ErrReplayed, problem{Name: "token-replayed", Status: http.StatusUnauthorized, Title: "The bearer token was used before",
		Detail: "Sign a fresh assertion for each request: its jti may be used once.", oauth: "invalid_token"}},
	{bot.ErrPending, problem{Name: "pending", Status: http.StatusConflict, Title: "The request is not decided yet",
		Detail: "Wait until its state is approved, then ask again."}},
	{bot.ErrInvalidGrant, problem{Name: "invalid-grant", Status: http.StatusConflict, Title: "There is no right to a credential",
		Detail: "The request was not approved, or its approval is used up or over: read the request, and ask anew."}},
	{bot.ErrNoCredential, problem{Name: "no-credential", Status: http.StatusConflict, Title: "The request asked for a decision only",
		Detail: "The approval is the answer. Ask with scopes to get a credential."}},
	{bot.ErrState, problem{Name: "wrong-state", Status: http.StatusConflict, Title: "The request's state does not allow this",
		Detail: "Read the request: it has come to an end already."}},
	{store.ErrUnknown, problem{Name: "outcome-unknown", Status: http.StatusServiceUnavailable, Title: "It is not known whether the call took effect",
		Detail: "Repeat the same call: a submission with the same Idempotency-Key, anything else as it was.", retry: time.Second, oauth: "temporarily_unavailable"}},
	{store.ErrReadOnly, problem{Name: "read-only", Status: http.StatusServiceUnavailable, Title: "The server accepts no changes now",
		Detail: "Its operators have to look after the audit log first. Nothing was changed.", retry: 30 * time.Second, oauth: "temporarily_unavailable"}},
	{bot.ErrUnavailable, problem{Name: "unavailable", Status: http.StatusServiceUnavailable, Title: "Temporarily unavailable",
		Detail: "Nothing was decided. Make the same call again.", retry: 2 * time.Second, oauth: "temporarily_unavailable"}},
	{context.DeadlineExceeded, problem{Name: "unavailable", Status: http.StatusServiceUnavailable, Title: "Temporarily unavailable",
		Detail: "The server did not come to an answer in time. Make the same call again.", retry: 2 * time.Second, oauth: "temporarily_unavailable"}},
}

// explain maps every error of this API to its problem. It is the only place
// that does; what it does not know is internal, and only the log tells it.
func (a *API) explain(err error) problem {
	var own *problem
	if errors.As(err, &own) {
		return *own
	}
	var invalid *bot.InvalidError
	if errors.As(err, &invalid) {
		return problem{Name: "invalid-request", Status: http.StatusUnprocessableEntity, Title: "The request is not valid",
			Detail: "Mend what errors names, and send it again.", Errors: invalid.Faults}
	}
	var refused *bot.RefusedError
	if errors.As(err, &refused) {
		return problem{Name: "refused", Status: http.StatusForbidden, Title: "What was approved is no longer allowed",
			Detail: strings.Join(refused.Reasons, "; "), Reasons: refused.Reasons}
	}
	switch {
	case errors.Is(err, a.InvalidToken):
		return problem{Name: "invalid-token", Status: http.StatusUnauthorized, Title: "The bearer token is not accepted", Detail: err.Error(), oauth: "invalid_token"}
	case errors.Is(err, a.KeysUnavailable):
		return problem{Name: "keys-unavailable", Status: http.StatusServiceUnavailable, Title: "The issuer's keys cannot be fetched now",
			Detail: "The token could not be checked. Make the same call again.", retry: 5 * time.Second, oauth: "temporarily_unavailable"}
	}
	for _, k := range sentinels {
		if errors.Is(err, k.is) {
			return k.tell
		}
	}
	return problem{Name: "internal", Status: http.StatusInternalServerError, Title: "Internal error", oauth: "server_error"}
}

// tell answers a call with the problem behind err. When an answer has begun, or
// the caller has gone, there is nobody left to tell.
func (a *API) tell(c *call, r *http.Request, err error) {
	if c.status != 0 {
		return
	}
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		c.status = statusGone
		return
	}
	p := a.explain(err)
	if p.Status >= http.StatusInternalServerError {
		c.fault = err
	}
	p.Type, p.Instance = typePrefix+p.Name, "urn:countersign:call:"+c.id
	if p.Name == "internal" {
		p.Detail = "The server's log tells more, under the call's id in instance."
	}
	h := c.Header()
	if p.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(p.retry/time.Second)))
	}
	if p.Status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "" {
		h.Set("WWW-Authenticate", challenge(p))
	}
	if c.oauth {
		writeOAuth(c, p)
		return
	}
	if writeAs(c, "application/problem+json", p.Status, p) != nil {
		c.WriteHeader(p.Status)
	}
}

// challenge is RFC 6750 section 3: without a token it names no error.
func challenge(p problem) string {
	if p.Name == errNoToken.Name {
		return `Bearer realm="countersign"`
	}
	return `Bearer realm="countersign", error="invalid_token", error_description="` + quotable(p.Detail) + `"`
}

// quotable keeps what RFC 6750 section 3 allows in an error_description, and at
// most 200 of it.
func quotable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() == 200 {
			break
		}
		if r < 0x20 || r > 0x7E || r == '"' || r == '\\' {
			r = '\''
		}
		b.WriteByte(byte(r))
	}
	return b.String()
}
