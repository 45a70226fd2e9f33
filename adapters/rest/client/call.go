package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 8 << 20

// maxRetryAfter bounds what a Retry-After may ask for.
const maxRetryAfter = 5 * time.Minute

// request is one call: with a JSON body, a form, or neither.
type request struct {
	method, path, key string
	body              any
	form              url.Values
}

// encode returns the body with its type.
func (q request) encode() ([]byte, string, error) {
	switch {
	case q.form != nil:
		return []byte(q.form.Encode()), "application/x-www-form-urlencoded", nil
	case q.body != nil:
		b, err := json.Marshal(q.body)
		return b, "application/json", err
	}
	return nil, "", nil
}

// call makes one try, with a token of its own, and decodes the answer. What may
// be tried again comes back as *again.
func (c *Client) call(ctx context.Context, timeout time.Duration, q request, into any) error {
	token, err := c.config.Token(ctx)
	if err != nil {
		return fmt.Errorf("countersign: get a token: %w", err)
	}
	body, kind, err := q.encode()
	if err != nil {
		return fmt.Errorf("countersign: encode the request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, q.method, c.base+q.path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("countersign: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json, application/problem+json")
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if q.key != "" {
		req.Header.Set("Idempotency-Key", q.key)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return unreachable(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return unreachable(err)
	}
	if res.StatusCode >= 300 {
		return explain(res, answer, token)
	}
	return decode(res, answer, into)
}

// decode reads a good answer. One that cannot be read was cut or changed on its
// way: it is as good as lost.
func decode(res *http.Response, answer []byte, into any) error {
	if into == nil {
		return nil
	}
	if len(answer) > maxAnswer || json.Unmarshal(answer, into) != nil {
		return &again{cause: fmt.Errorf("%w: its answer cannot be read", ErrUnreachable)}
	}
	if r, ok := into.(*Request); ok {
		r.retryAfter = retryAfter(res.Header)
	}
	return nil
}

// explain makes an error of an answer that is one. Whatever answered may have
// repeated the token; the error does not.
func explain(res *http.Response, answer []byte, token string) error {
	p := &Problem{}
	text := strings.ReplaceAll(string(answer), token, "[redacted]")
	if json.Unmarshal([]byte(text), p) != nil || p.Title == "" {
		*p = Problem{Title: http.StatusText(res.StatusCode)}
		var oauth struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		if json.Unmarshal([]byte(text), &oauth) == nil && oauth.Error != "" {
			p.Title, p.Detail = oauth.Error, oauth.Description
		}
	}
	p.Status = res.StatusCode
	if p.Type == "about:blank" {
		p.Type = ""
	}
	if res.StatusCode < 400 {
		p.Detail = "The server redirects, which is not followed: put its final address into the configuration."
	}
	if res.StatusCode >= 500 || res.StatusCode == http.StatusRequestTimeout || res.StatusCode == http.StatusTooManyRequests {
		return &again{cause: p, after: retryAfter(res.Header)}
	}
	return p
}

// unreachable classifies a call that got no answer. A certificate that does not
// verify is not mended by trying again.
func unreachable(err error) error {
	err = fmt.Errorf("countersign: %w: %w", ErrUnreachable, err)
	var certificate *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	if errors.As(err, &certificate) || errors.As(err, &notTLS) {
		return err
	}
	return &again{cause: err}
}

// retryAfter reads RFC 9110 section 10.2.3: seconds, or a date.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n > 0 {
		return min(time.Duration(min(n, 3600))*time.Second, maxRetryAfter)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(t), 0), maxRetryAfter)
	}
	return 0
}

// again is a failure after which the same call may be made again, no sooner than
// after.
type again struct {
	cause error
	after time.Duration
}

// Error implements error.
func (a *again) Error() string { return a.cause.Error() }

// Unwrap gives the cause, and tells backoff how long to wait.
func (a *again) Unwrap() []error {
	if a.after > 0 {
		return []error{a.cause, &backoff.RetryAfterError{Duration: a.after}}
	}
	return []error{a.cause}
}

// delays are the delays between the tries of one call.
type delays = backoff.ExponentialBackOff

// retry makes a call until it comes to an answer, the patience is over (zero is
// never), or ctx ends. The error that it returns is the cause of the newest
// failure; when ctx ended, that of ctx as well.
func retry[T any](ctx context.Context, c *Client, patience time.Duration, try func(*delays) (T, error)) (T, error) {
	d := backoff.NewExponentialBackOff()
	d.InitialInterval, d.MaxInterval = c.config.MinDelay, c.config.MaxDelay
	var newest error // that ctx's end did not cause
	result, err := backoff.Retry(ctx, func() (T, error) {
		r, err := try(d)
		var a *again
		if err != nil && !errors.As(err, &a) {
			err = backoff.Permanent(err)
		}
		if ctx.Err() == nil {
			newest = err
		}
		return r, err
	}, backoff.WithBackOff(d), backoff.WithMaxElapsedTime(patience), backoff.WithNotify(func(err error, next time.Duration) {
		var a *again
		if c.config.OnRetry != nil && errors.As(err, &a) && !errors.Is(err, errEarly) {
			c.config.OnRetry(a.cause, next)
		}
	}))
	if err == nil {
		return result, nil
	}
	var a *again
	if errors.As(err, &a) {
		err = a.cause
	}
	telling := errors.As(newest, &a) && !errors.Is(newest, errEarly)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, cause) && telling {
		err = fmt.Errorf("%w: %w", cause, a.cause)
	}
	var zero T
	return zero, err
}
