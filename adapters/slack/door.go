package slack

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/countersign/countersign/bot/chat"
)

const (
	// maxBody bounds a request from Slack.
	maxBody = 1 << 20
	// maxSkew is how far the clocks may be apart, either way.
	maxSkew = 300 * time.Second

	headerStamp     = "X-Slack-Request-Timestamp"
	headerSignature = "X-Slack-Signature"
	signatureStart  = "v0="
)

var (
	errSignature = errors.New("the signature does not match")
	errStale     = errors.New("the signature is too old or too young")
)

// Mount adds the three paths that Slack calls. Without a signing secret, which
// only Socket Mode allows, it adds none.
func (s *Slack) Mount(mux *http.ServeMux, h chat.Handler) {
	if s.cfg.SigningSecret == "" {
		return
	}
	mux.HandleFunc("POST /slack/interactions", s.door(h, interactive, formPayload))
	mux.HandleFunc("POST /slack/commands", s.door(h, command, formCommand))
	mux.HandleFunc("POST /slack/events", s.door(h, event, func(body []byte) ([]byte, error) { return body, nil }))
}

// door reads a body once, verifies its bytes, and parses only those.
func (s *Slack) door(h chat.Handler, k kind, unwrap func([]byte) ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// The signature does not cover the address, so nothing may stand in it.
		if r.URL.RawQuery != "" || r.URL.ForceQuery {
			s.refuse(w, r, http.StatusBadRequest, "query")
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			s.refuse(w, r, http.StatusRequestEntityTooLarge, "body")
			return
		}
		at, err := s.verify(r.Header, body)
		if err != nil {
			s.refuse(w, r, http.StatusUnauthorized, err.Error())
			return
		}
		if k == command && isProbe(body) {
			return
		}
		payload, err := unwrap(body)
		var out outcome
		if err == nil {
			out, err = s.receive(r.Context(), h, delivery{kind: k, payload: payload, at: at})
		}
		switch {
		case errors.Is(err, errWrongApp):
			s.refuse(w, r, http.StatusForbidden, err.Error())
		case err != nil:
			s.refuse(w, r, http.StatusBadRequest, errMalformed.Error())
		default:
			s.acknowledge(w, r, out)
		}
	}
}

// verify checks the signature of Slack over the raw body and returns when it was
// made.
func (s *Slack) verify(header http.Header, body []byte) (time.Time, error) {
	stamps, signatures := header.Values(headerStamp), header.Values(headerSignature)
	if s.cfg.SigningSecret == "" || len(stamps) != 1 || len(signatures) != 1 {
		return time.Time{}, errSignature
	}
	digest, ok := strings.CutPrefix(signatures[0], signatureStart)
	if !ok {
		return time.Time{}, errSignature
	}
	given, err := hex.DecodeString(digest)
	if err != nil || len(given) != sha256.Size {
		return time.Time{}, errSignature
	}
	seconds, err := strconv.ParseInt(stamps[0], 10, 64)
	if err != nil || len(stamps[0]) > 12 {
		return time.Time{}, errSignature
	}
	mac := hmac.New(sha256.New, []byte(s.cfg.SigningSecret))
	io.WriteString(mac, "v0:"+stamps[0]+":")
	mac.Write(body)
	if !hmac.Equal(mac.Sum(nil), given) {
		return time.Time{}, errSignature
	}
	at := time.Unix(seconds, 0)
	if s.cfg.Now().Sub(at).Abs() > maxSkew {
		return time.Time{}, errStale
	}
	return at, nil
}

// isProbe reports whether Slack only tries the certificate of a command's path.
func isProbe(body []byte) bool {
	form, err := formCommand(body)
	if err != nil {
		return false
	}
	var probe struct {
		Check string `json:"ssl_check"`
	}
	return parse(form, &probe) == nil && probe.Check == "1"
}

// refuse answers without a word that would help to guess.
func (s *Slack) refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	s.log.WarnContext(r.Context(), "slack delivery refused", slog.String("path", r.URL.Path), slog.String("reason", why))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Slack-No-Retry", "1")
	w.WriteHeader(status)
	io.WriteString(w, http.StatusText(status)+"\n")
}

// acknowledge sends the answer on its way and then does what follows: a server
// that shuts down waits for it.
func (s *Slack) acknowledge(w http.ResponseWriter, r *http.Request, out outcome) {
	body, after := out.ack, out.after
	if len(body) > maxAck {
		body, after = nil, out.instead
	}
	switch {
	case out.text != "":
		body = []byte(out.text)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	case body != nil:
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	w.Write(body)
	if after == nil {
		return
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		s.log.WarnContext(r.Context(), "slack acknowledgement waits for what follows it")
	}
	ctx, cancel := background(r.Context())
	defer cancel()
	s.safely(ctx, after)
}

// safely runs what follows an acknowledgement; the delivery has been answered,
// so that a panic in it must not reach the server.
func (s *Slack) safely(ctx context.Context, after func(context.Context)) {
	defer func() {
		if recover() != nil {
			s.log.ErrorContext(ctx, "slack: work after an acknowledgement panicked")
		}
	}()
	after(ctx)
}
