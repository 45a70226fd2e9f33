// Package client is the Go client of Countersign's machines' API. It owns what
// every machine would otherwise write for itself: retries that ask no second
// time, a wait that outlives restarts and outages of the server, and a redemption
// that uses up no more than the issues that an approval has.
//
// Its rule: a lost answer is neither a yes nor a no. Whatever can be asked again
// is asked again; what cannot is told as an error. Tokens stand in no error, and
// a credential does not print itself.
//
//	c, err := client.New(client.Config{URL: "https://countersign.example.com", Token: token})
//	r, err := c.Submit(ctx, client.Ask{Action: "deploy", Resource: "payments", …})
//	r, err = c.Wait(ctx, r.ID)
//	if r.State == client.Approved {
//		credential, err := c.Redeem(ctx, r.ID)
//	}
package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Config says where the server is and who asks.
type Config struct {
	// URL is the server's public address, with https unless it is loopback.
	URL string
	// Token returns the machine's signed token for one call. It is called for
	// each call and each retry, because an assertion is good for one use. An
	// error ends the call.
	Token func(ctx context.Context) (string, error)

	// HTTPClient is http.DefaultClient if nil. Its time-out and redirect policy
	// are not used: calls have bounds of their own, and redirects are refused,
	// for a token goes to the configured server only.
	HTTPClient *http.Client
	// AllowHTTP permits plain http to other hosts, inside a mesh that encrypts.
	AllowHTTP bool
	// Patience is how long calls other than Wait and Changed go on through
	// outages: 2 minutes if zero.
	Patience time.Duration
	// MinDelay and MaxDelay bound the exponential delay between tries: 500 ms
	// and 15 s if zero.
	MinDelay, MaxDelay time.Duration
	// OnRetry, if not nil, is told why a call failed and when it is made again.
	OnRetry func(err error, next time.Duration)
}

// Client calls one server. It is safe for concurrent use.
type Client struct {
	config Config
	base   string // without a slash at the end
	http   http.Client
	// poll is how long one poll asks the server to wait, slack what one call may
	// take beside.
	poll, slack time.Duration
}

// New checks the configuration.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, errors.New("countersign: Config.URL must be an address such as https://countersign.example.com")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("countersign: Config.URL must have no user, query or fragment")
	}
	if u.Scheme == "http" && !c.AllowHTTP && !loopback(u.Hostname()) {
		return nil, errors.New("countersign: Config.URL must begin with https: tokens would cross the network in the clear; set AllowHTTP where something else encrypts")
	}
	if c.Token == nil {
		return nil, errors.New("countersign: Config.Token is missing")
	}
	c.Patience = orElse(c.Patience, 2*time.Minute)
	c.MinDelay = orElse(c.MinDelay, 500*time.Millisecond)
	c.MaxDelay = max(c.MinDelay, orElse(c.MaxDelay, 15*time.Second))
	cl := &Client{config: c, base: strings.TrimRight(u.String(), "/"), poll: 25 * time.Second, slack: 15 * time.Second}
	if c.HTTPClient != nil {
		cl.http = *c.HTTPClient
	}
	cl.http.Timeout = 0
	cl.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return cl, nil
}

func orElse(d, zero time.Duration) time.Duration {
	if d <= 0 {
		return zero
	}
	return d
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// Submit asks, under a new random idempotency key: a retry after a lost answer
// finds the same request. The request that it returns is approved or pending. A
// denial by the policy is a *Problem of type Denied, with the reasons.
func (c *Client) Submit(ctx context.Context, ask Ask) (Request, error) {
	return c.SubmitKeyed(ctx, rand.Text(), ask)
}

// SubmitKeyed is Submit under the caller's own key, of 1 to 255 visible ASCII
// characters: asking again within a day under the same key, even from another
// process, returns the same request as it stands.
func (c *Client) SubmitKeyed(ctx context.Context, key string, ask Ask) (Request, error) {
	return retry(ctx, c, c.config.Patience, func(*delays) (Request, error) {
		var r Request
		err := c.call(ctx, c.slack*2, request{method: "POST", path: "/v1/requests", key: key, body: ask}, &r)
		return r, err
	})
}

// Get returns the request as it stands.
func (c *Client) Get(ctx context.Context, id string) (Request, error) {
	return retry(ctx, c, c.config.Patience, func(*delays) (Request, error) {
		var r Request
		err := c.call(ctx, c.slack, request{method: "GET", path: at(id, "")}, &r)
		return r, err
	})
}

// Wait returns the request once it is no longer pending. It goes on through
// outages and restarts of the server until ctx ends; a time-out is never taken
// for a decision. An answer that tells of the caller's own fault (a token that
// is not accepted, a request that is not the caller's) ends it.
func (c *Client) Wait(ctx context.Context, id string) (Request, error) {
	r, err := c.Changed(ctx, id, 0)
	for err == nil && !r.Decided() {
		r, err = c.Changed(ctx, id, r.Version)
	}
	return r, err
}

// Changed returns the request once its version is greater than after, and goes
// on as Wait does.
func (c *Client) Changed(ctx context.Context, id string, after uint64) (Request, error) {
	path := at(id, "") + "?after=" + strconv.FormatUint(after, 10) + "&wait=" + c.poll.String()
	return retry(ctx, c, 0, func(d *delays) (Request, error) {
		for {
			begun := time.Now()
			var r Request
			err := c.call(ctx, c.poll+c.slack, request{method: "GET", path: path}, &r)
			if err != nil || r.Version > after {
				return r, err
			}
			d.Reset() // the server is well: the next outage is a new one
			if time.Since(begun) < c.poll/2 {
				return r, &again{cause: errEarly, after: r.retryAfter}
			}
		}
	})
}

// Cancel takes the request back: a pending one is cancelled, an approved one
// revoked. When an answer was lost, the retry finds the request in its end and
// returns that.
func (c *Client) Cancel(ctx context.Context, id string) (Request, error) {
	lost := false
	return retry(ctx, c, c.config.Patience, func(*delays) (Request, error) {
		var r Request
		err := c.call(ctx, c.slack, request{method: "POST", path: at(id, "/cancel")}, &r)
		if lost && IsProblem(err, WrongState) {
			err = c.call(ctx, c.slack, request{method: "GET", path: at(id, "")}, &r)
		}
		lost = lost || maybeDone(err)
		return r, err
	})
}

// Revoke gives a credential back before its time. A credential that is over
// already is no error.
func (c *Client) Revoke(ctx context.Context, token Secret) error {
	form := url.Values{"token": {token.Reveal()}}
	_, err := retry(ctx, c, c.config.Patience, func(*delays) (struct{}, error) {
		return struct{}{}, c.call(ctx, c.slack, request{method: "POST", path: "/v1/revoke", form: form}, nil)
	})
	return err
}

// What the server grants a machine whose answers get lost: so many issues, so
// long after the first, and then it revokes. The window here is shorter than the
// server's two minutes by more than a call may take.
const (
	maxIssues   = 3
	issueWindow = 95 * time.Second
)

// Redeem returns the credential of an approved request. A lost answer is asked
// for again, within what the server grants: after three answers that may have
// been credentials, or too long after the first, it gives up with ErrLost.
func (c *Client) Redeem(ctx context.Context, id string) (Credential, error) {
	issues, first := 0, time.Time{}
	return retry(ctx, c, c.config.Patience, func(*delays) (Credential, error) {
		begun := time.Now()
		if issues == maxIssues || issues > 0 && begun.Sub(first) > issueWindow {
			return Credential{}, ErrLost
		}
		var cred Credential
		err := c.call(ctx, c.slack, request{method: "POST", path: at(id, "/credential")}, &cred)
		if maybeDone(err) {
			if issues++; issues == 1 {
				first = begun
			}
		}
		return cred, err
	})
}

// at is the path of a request. An empty id would name another path.
func at(id, rest string) string {
	if id == "" {
		id = "-"
	}
	return "/v1/requests/" + url.PathEscape(id) + rest
}

// maybeDone reports whether a call failed in a way after which the server may
// have done what was asked. A connection that was never made, and an answer in
// which the server itself says that nothing was done, are none.
func maybeDone(err error) bool {
	var a *again
	if !errors.As(err, &a) {
		return false
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return false
	}
	var p *Problem
	if errors.As(err, &p) {
		return p.Type == "" || p.Type == OutcomeUnknown || p.Type == Internal
	}
	return true
}

// Errors of calls that did not come to an answer.
var (
	// ErrUnreachable: the server could not be reached, or gave no answer that
	// could be read, until the patience or the context ended.
	ErrUnreachable = errors.New("the server cannot be reached")
	// ErrLost: answers to Redeem got lost, and asking once more would revoke the
	// request.
	ErrLost = errors.New("countersign: a credential was issued but its answer got lost too often: submit a new request")

	errEarly = fmt.Errorf("%w: it ended the poll early", ErrUnreachable)
)
