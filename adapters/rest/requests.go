package rest

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/countersign/countersign/bot"
	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/store"
)

// maxWait is the longest poll: short of what proxies and clients commonly bear.
const maxWait = 30 * time.Second

// maxKey is the longest Idempotency-Key, in bytes.
const maxKey = 255

// submit answers POST /v1/requests: 201 approved, 202 pending, 403 denied by the
// policy, each when the request is made and when the call is repeated. A repeated
// call may also find that the request has come to another end: 200.
func (a *API) submit(c *call, r *http.Request) error {
	ev, err := a.authenticate(c, r, a.submits)
	if err != nil {
		return err
	}
	if _, err := query(r); err != nil {
		return err
	}
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	if err := contentType(r, "application/json"); err != nil {
		return err
	}
	body, err := a.readBody(c, r, maxBody)
	if err != nil {
		return err
	}
	ask, err := decodeAsk(body)
	if err != nil {
		return err
	}
	record, err := a.Broker.Submit(r.Context(), ev, key, ask)
	if errors.Is(err, bot.ErrNotFound) {
		return errNoAccount // there is no request yet that could be missing
	}
	if err != nil {
		return err
	}
	return a.submitted(c, record)
}

// submitted tells what became of a submission.
func (a *API) submitted(c *call, record store.Request) error {
	c.request = record.ID
	v, err := a.Broker.View(record)
	if err != nil {
		return err
	}
	c.Header().Set("Location", "/v1/requests/"+url.PathEscape(v.ID))
	switch {
	case v.Decision.Effect == policies.Deny:
		return denied(v)
	case record.State == store.Pending:
		return writeView(c, http.StatusAccepted, v)
	case record.State == store.Approved:
		return writeView(c, http.StatusCreated, v)
	}
	return writeView(c, http.StatusOK, v)
}

// denied is the policy's answer no. The request exists, and can be read.
func denied(v bot.View) error {
	return &problem{Name: "denied", Status: http.StatusForbidden, Title: "Denied by policy",
		Detail:    "The policy does not allow this: see reasons.",
		RequestID: v.ID, Code: v.Code, Reasons: v.Decision.Reasons}
}

// get answers GET /v1/requests/{id}. With wait it is a long poll, which ends
// when the version is greater than after, or when the wait is over: then with
// the request as it stands, never with a decision that nobody made.
func (a *API) get(c *call, r *http.Request) error {
	ev, err := a.authenticate(c, r, a.others)
	if err != nil {
		return err
	}
	after, wait, err := waitFor(r)
	if err != nil {
		return err
	}
	record, err := a.poll(c, r, ev.Caller(), after, wait)
	if err != nil {
		return err
	}
	return a.show(c, record)
}

// poll waits in the server's own goroutine, so that a waiter costs no more than
// its connection.
func (a *API) poll(c *call, r *http.Request, who identity.Caller, after uint64, wait time.Duration) (store.Request, error) {
	id := r.PathValue("id")
	if wait == 0 {
		return a.Broker.Get(r.Context(), who, id)
	}
	select {
	case a.waiters <- struct{}{}:
		defer func() { <-a.waiters }()
	default:
		c.Header().Set("Retry-After", "5")
		return a.Broker.Get(r.Context(), who, id)
	}
	c.deadlines(0, wait+writeTimeout)
	defer c.deadlines(a.BodyTimeout, writeTimeout)
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	defer context.AfterFunc(a.draining, cancel)()
	record, err := a.Broker.Wait(ctx, who, id, after)
	if err != nil && ctx.Err() != nil && r.Context().Err() == nil {
		// The wait was over before the broker had looked at all.
		return a.Broker.Get(r.Context(), who, id)
	}
	return record, err
}

// waitFor reads after (a version) and wait (a duration such as 25s, at most 30s).
func waitFor(r *http.Request) (after uint64, wait time.Duration, err error) {
	q, err := query(r, "after", "wait")
	if err != nil {
		return 0, 0, err
	}
	if q.Has("after") {
		if after, err = strconv.ParseUint(q.Get("after"), 10, 64); err != nil {
			return 0, 0, badQuery("after must be a version: a whole number.")
		}
	}
	if q.Has("wait") {
		wait, err = time.ParseDuration(q.Get("wait"))
		if err != nil || wait < 0 || wait > maxWait {
			return 0, 0, badQuery("wait must be a duration from 0s to 30s, such as 25s.")
		}
	}
	return after, wait, nil
}

// cancel answers POST /v1/requests/{id}/cancel.
func (a *API) cancel(c *call, r *http.Request) error {
	ev, err := a.bare(c, r)
	if err != nil {
		return err
	}
	record, err := a.Broker.Cancel(r.Context(), ev.Caller(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return a.show(c, record)
}

// credential is what redeeming answers.
type credential struct {
	Token     string    `json:"token"`
	TokenType string    `json:"token_type"`
	ExpiresAt time.Time `json:"expires_at"`
	Scopes    []string  `json:"scopes"`
	Audience  string    `json:"audience"`
	Receipt   receipt   `json:"receipt"`
}

// receipt proves that the issue stands in the audit log. Both members are
// base64 of exactly the bytes: the log's leaf, and a C2SP tlog-proof.
type receipt struct {
	Leaf  []byte `json:"leaf"`
	Proof []byte `json:"proof"`
}

// redeem answers POST /v1/requests/{id}/credential.
func (a *API) redeem(c *call, r *http.Request) error {
	ev, err := a.bare(c, r)
	if err != nil {
		return err
	}
	cred, proof, err := a.Broker.Redeem(r.Context(), ev.Caller(), r.PathValue("id"))
	if err != nil {
		return err
	}
	c.request = cred.Request
	return writeJSON(c, http.StatusOK, credential{
		Token: cred.Token.Reveal(), TokenType: "Bearer", ExpiresAt: cred.Expires.UTC(), Scopes: cred.Scopes, Audience: cred.Audience,
		Receipt: receipt{Leaf: proof.Leaf, Proof: proof.Proof},
	})
}

// bare authenticates a call that has neither query nor body.
func (a *API) bare(c *call, r *http.Request) (identity.Evidence, error) {
	ev, err := a.authenticate(c, r, a.others)
	if err != nil {
		return identity.Evidence{}, err
	}
	if _, err := query(r); err != nil {
		return identity.Evidence{}, err
	}
	return ev, a.noBody(c, r)
}

// show answers with the request.
func (a *API) show(c *call, record store.Request) error {
	c.request = record.ID
	v, err := a.Broker.View(record)
	if err != nil {
		return err
	}
	return writeView(c, http.StatusOK, v)
}

func writeView(c *call, status int, v bot.View) error {
	c.Header().Set("ETag", `"`+strconv.FormatUint(v.Version, 10)+`"`)
	return writeJSON(c, status, v)
}

// idempotencyKey returns the call's Idempotency-Key, or "" without one.
func idempotencyKey(r *http.Request) (string, error) {
	h := r.Header.Values("Idempotency-Key")
	if len(h) == 0 {
		return "", nil
	}
	ok := len(h) == 1 && len(h[0]) > 0 && len(h[0]) <= maxKey
	for i := 0; ok && i < len(h[0]); i++ {
		ok = h[0][i] > ' ' && h[0][i] <= '~'
	}
	if !ok {
		return "", &problem{Name: "invalid-key", Status: http.StatusBadRequest, Title: "The Idempotency-Key is not valid",
			Detail: "Send it once, with 1 to 255 visible ASCII characters: a random UUID, for example."}
	}
	return h[0], nil
}
