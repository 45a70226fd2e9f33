package emulator

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Kind is one of the three addresses that an app listens at.
type Kind string

const (
	Interactions Kind = "interactions"
	Commands     Kind = "commands"
	Events       Kind = "events"
)

// What a person is shown when the app did not answer well.
const (
	TimedOut    = "operation_timeout" // no answer in time
	Undelivered = "dispatch_failed"   // nobody there, or a status other than 200
)

// Answer is how the app answered a delivery.
type Answer struct {
	// Status is the HTTP status, or 200 for a socket's acknowledgement; zero
	// when no answer came.
	Status int `json:"status"`
	// Body is the answer's body, or the payload of the acknowledgement.
	Body []byte `json:"-"`
	// Shown is the error that the person sees: TimedOut, Undelivered, or empty.
	Shown string `json:"shown,omitempty"`

	noRetry bool // the app asked for no further try (x-slack-no-retry)
}

// Delivery is what the workspace sent to the app.
type Delivery struct {
	At   time.Time `json:"at"`
	Kind Kind      `json:"kind"`
	Type string    `json:"type"` // "block_actions", "/approvals", "app_mention"
	// Body is the signed body, or the payload of a socket's envelope.
	Body   []byte `json:"-"`
	Socket bool   `json:"socket"`
	Retry  int    `json:"retry"` // 0 is the first try
	Answer Answer `json:"answer"`
}

// Deliveries are all deliveries so far, oldest first.
func (s *Slack) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Delivery{}, s.sent...)
}

// Sign returns the X-Slack-Signature of a body: v0= and the hex HMAC-SHA256 of
// "v0:<timestamp>:<body>" (Slack, verifying requests).
func Sign(secret string, timestamp int64, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("v0:" + strconv.FormatInt(timestamp, 10) + ":"))
	mac.Write(body)
	return "v0=" + hex.EncodeToString(mac.Sum(nil))
}

// Request builds a signed delivery as it would be sent now, for tests that
// change it before they send it themselves.
func (s *Slack) Request(ctx context.Context, kind Kind, body []byte) (*http.Request, error) {
	s.mu.Lock()
	to, now := s.urls[kind], s.opt.Now()
	s.mu.Unlock()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	mediaType := "application/x-www-form-urlencoded"
	if kind == Events {
		mediaType = "application/json"
	}
	r.Header.Set("Content-Type", mediaType)
	r.Header.Set("User-Agent", "Slackbot 1.0 (emulator)")
	r.Header.Set("X-Slack-Request-Timestamp", strconv.FormatInt(now.Unix(), 10))
	r.Header.Set("X-Slack-Signature", Sign(s.opt.SigningSecret, now.Unix(), body))
	return r, nil
}

// letter is something to deliver.
type letter struct {
	kind    Kind
	typ     string
	payload map[string]any
	retry   int
	reason  string // why the try before failed
}

// form is the letter's body over HTTP.
func (l letter) form() []byte {
	switch l.kind {
	case Events:
		return encode(l.payload)
	case Commands:
		form := url.Values{}
		for k, v := range l.payload {
			text, _ := v.(string)
			form.Set(k, text)
		}
		return []byte(form.Encode())
	default:
		return []byte(url.Values{"payload": {string(encode(l.payload))}}.Encode())
	}
}

// deliver sends a letter, by socket or HTTP, and waits for the answer. It is
// called without s.mu.
func (s *Slack) deliver(ctx context.Context, l letter) Answer {
	if s.opt.Payload != nil && l.retry == 0 {
		s.opt.Payload(l.typ, l.payload)
	}
	slow, f := s.fault(string(l.kind))
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
		}
	}
	answer := s.deliverOnce(ctx, l)
	if f.Kind == Twice {
		s.deliverOnce(ctx, l)
	}
	return answer
}

func (s *Slack) deliverOnce(ctx context.Context, l letter) Answer {
	ctx, cancel := context.WithTimeout(ctx, s.opt.AckWithin)
	defer cancel()
	var answer Answer
	var body []byte
	if s.opt.SocketMode {
		body = encode(l.payload)
		answer = s.deliverSocket(ctx, l)
	} else {
		body = l.form()
		answer = s.deliverHTTP(ctx, l, body)
	}
	s.log.Info("delivered", "kind", string(l.kind), "type", l.typ, "status", answer.Status, "shown", answer.Shown)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = remember(s.sent, Delivery{At: s.opt.Now(), Kind: l.kind, Type: l.typ, Body: body, Socket: s.opt.SocketMode, Retry: l.retry, Answer: answer})
	return answer
}

func (s *Slack) deliverHTTP(ctx context.Context, l letter, body []byte) Answer {
	r, err := s.Request(ctx, l.kind, body)
	if err != nil || r.URL.Host == "" {
		return Answer{Shown: Undelivered}
	}
	if l.retry > 0 {
		r.Header.Set("X-Slack-Retry-Num", strconv.Itoa(l.retry))
		r.Header.Set("X-Slack-Retry-Reason", l.reason)
	}
	res, err := s.opt.Client.Do(r)
	if err != nil {
		return failed(ctx)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return failed(ctx)
	}
	a := Answer{Status: res.StatusCode, Body: out}
	if res.StatusCode != http.StatusOK {
		a.Shown = Undelivered
	}
	a.noRetry = res.Header.Get("X-Slack-No-Retry") == "1"
	return a
}

func failed(ctx context.Context) Answer {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Answer{Shown: TimedOut}
	}
	return Answer{Shown: Undelivered}
}

// VerifyURL does the handshake of the events address: the app must echo the
// challenge, bare or as JSON.
func (s *Slack) VerifyURL(ctx context.Context) (Answer, error) {
	challenge := s.opt.NewID()
	a := s.deliverOnce(ctx, letter{kind: Events, typ: "url_verification", payload: map[string]any{"token": "deprecated", "challenge": challenge, "type": "url_verification"}})
	var echo struct {
		Challenge string `json:"challenge"`
	}
	if json.Unmarshal(a.Body, &echo) != nil {
		echo.Challenge = string(bytes.TrimSpace(a.Body))
	}
	if a.Status != http.StatusOK || echo.Challenge != challenge {
		return a, errors.New("the app did not echo the challenge")
	}
	return a, nil
}

// Event sends an event to the app, whether or not it is subscribed, and sends
// it again when the app does not answer well. It returns each try's answer.
func (s *Slack) Event(ctx context.Context, event map[string]any) []Answer {
	s.mu.Lock()
	now := s.opt.Now()
	typ, _ := event["type"].(string)
	l := letter{kind: Events, typ: typ, payload: map[string]any{
		"token": "deprecated", "team_id": s.opt.TeamID, "api_app_id": s.opt.AppID, "event": event,
		"type": "event_callback", "event_id": s.id("Ev0"), "event_time": now.Unix(), "is_ext_shared_channel": false,
		"event_context":  s.id("EC"),
		"authorizations": []any{map[string]any{"enterprise_id": nil, "team_id": s.opt.TeamID, "user_id": Bot, "is_bot": true, "is_enterprise_install": false}},
	}}
	s.mu.Unlock()
	var all []Answer
	for {
		a := s.deliver(ctx, l)
		all = append(all, a)
		if a.Status >= 200 && a.Status < 300 || a.noRetry || l.retry >= len(s.opt.EventRetries) {
			return all
		}
		l.reason = retryReason(a)
		select {
		case <-time.After(s.opt.EventRetries[l.retry]):
		case <-ctx.Done():
			return all
		case <-s.closed.Done():
			return all
		}
		l.retry++
	}
}

func retryReason(a Answer) string {
	switch {
	case a.Shown == TimedOut:
		return "http_timeout"
	case a.Status >= 300 && a.Status < 400:
		return "too_many_redirects"
	case a.Status == 0:
		return "connection_failed"
	default:
		return "http_error"
	}
}
