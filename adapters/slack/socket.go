package slack

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"
	"golang.org/x/sync/errgroup"

	"github.com/countersign/countersign/bot/chat"
)

const (
	// sockets is how many connections are kept: Slack may give a delivery to any
	// of them, and closes each every few hours.
	sockets = 2
	// maxEnvelope bounds one message of the socket.
	maxEnvelope = 4 << 20
	// maxAtOnce bounds how many deliveries of one socket are answered at a time.
	maxAtOnce = 32
	// maxBackoff bounds the wait before a socket is opened again.
	maxBackoff = time.Minute
	// lastAcks is how long a closing socket is kept for acknowledgements that
	// stand in its queue.
	lastAcks = 200 * time.Millisecond
)

// kinds are the kinds of delivery by the type of their envelope.
var kinds = map[string]kind{
	socketmode.RequestTypeInteractive:   interactive,
	socketmode.RequestTypeSlashCommands: command,
	socketmode.RequestTypeEventsAPI:     event,
}

// Run receives over Socket Mode until ctx ends, and then returns nil once what
// has begun is answered; or until Slack refuses the app-level token for good,
// which is an error. Without Socket Mode it waits for the end of ctx.
func (s *Slack) Run(ctx context.Context, h chat.Handler) error {
	if !s.cfg.SocketMode {
		<-ctx.Done()
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	for n := range sockets {
		g.Go(func() error { return s.supervise(ctx, h, s.log.With(slog.Int("socket", n))) })
	}
	return g.Wait()
}

// supervise keeps one connection open.
func (s *Slack) supervise(ctx context.Context, h chat.Handler, log *slog.Logger) error {
	wait := s.backoff
	for {
		begun := time.Now()
		err := s.connect(ctx, h, log)
		select {
		case <-ctx.Done():
			return nil
		default:
		}
		if err = classify(opConnect, err); chat.ClassOf(err) == chat.Misconfigured {
			return err
		}
		log.WarnContext(ctx, "slack socket ended", slog.String("code", code(err)))
		if time.Since(begun) > maxBackoff {
			wait = s.backoff
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, maxBackoff)
	}
}

// socket is one client of the library, which reconnects by itself when Slack
// refreshes the connection.
type socket struct {
	*Slack
	client *socketmode.Client
	h      chat.Handler
	log    *slog.Logger
	free   chan struct{}
	busy   sync.WaitGroup
	fatal  chan error
}

// connect serves one client until ctx or the client ends. The client lives a
// little longer than ctx, to take the acknowledgements of what has begun.
func (s *Slack) connect(ctx context.Context, h chat.Handler, log *slog.Logger) error {
	api := slack.New("", slack.OptionAPIURL(s.cfg.APIURL), slack.OptionHTTPClient(s.client),
		slack.OptionAppLevelToken(s.cfg.AppToken), slack.OptionLog(quiet{}))
	k := &socket{
		Slack: s, h: h, log: log, free: make(chan struct{}, maxAtOnce), fatal: make(chan error, 1),
		client: socketmode.New(api, socketmode.OptionPingInterval(s.ping),
			socketmode.OptionReadLimit(maxEnvelope), socketmode.OptionLog(quiet{})),
	}
	live, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() {
		defer func() {
			if recover() != nil {
				ended <- errMalformed // the library panics on a socket that keeps failing
			}
		}()
		ended <- k.client.RunContext(live)
	}()
	for {
		select {
		case e := <-k.client.Events:
			k.event(live, e)
		case err := <-k.fatal:
			return err
		case err := <-ended:
			k.busy.Wait()
			return err
		case <-ctx.Done():
			k.drain(live, stop, ended)
			return nil
		}
	}
}

// drain waits for the answers under way and throws away what still arrives: it
// is not acknowledged, so that the person who acted is told.
func (k *socket) drain(ctx context.Context, stop context.CancelFunc, ended <-chan error) {
	done := make(chan struct{})
	go func() {
		k.busy.Wait()
		select {
		case <-time.After(lastAcks):
		case <-ctx.Done():
		}
		stop()
		close(done)
	}()
	for {
		select {
		case <-k.client.Events:
		case err := <-ended:
			<-done
			k.log.DebugContext(ctx, "slack socket closed", slog.String("code", code(classify(opConnect, err))))
			return
		}
	}
}

// event sorts what the library tells. It must never wait for an answer: the
// library stops reading when nobody takes its events.
func (k *socket) event(ctx context.Context, e socketmode.Event) {
	switch e.Type {
	case socketmode.EventTypeInteractive, socketmode.EventTypeSlashCommand, socketmode.EventTypeEventsAPI:
		if e.Request != nil {
			k.take(ctx, *e.Request)
		}
	case socketmode.EventTypeErrorBadMessage:
		// The library could not read it with its own types; ours want less.
		bad, _ := e.Data.(*socketmode.ErrorBadMessage)
		var request socketmode.Request
		if bad == nil || json.Unmarshal(bad.Message, &request) != nil {
			k.log.WarnContext(ctx, "slack envelope cannot be read")
			return
		}
		k.take(ctx, request)
	case socketmode.EventTypeConnectionError:
		failed, _ := e.Data.(*slack.ConnectionErrorEvent)
		if failed == nil {
			return
		}
		err := classify(opConnect, failed.ErrorObj)
		k.log.WarnContext(ctx, "slack socket cannot be opened", slog.String("code", code(err)))
		if chat.ClassOf(err) == chat.Misconfigured {
			select {
			case k.fatal <- err:
			default:
			}
		}
	case socketmode.EventTypeConnected:
		k.log.InfoContext(ctx, "slack socket open")
	case socketmode.EventTypeErrorWriteFailed:
		k.log.WarnContext(ctx, "slack acknowledgement could not be written")
	}
}

// take answers one envelope beside the others. When too many are under way it
// is left unacknowledged: the person who acted sees that nothing happened.
func (k *socket) take(ctx context.Context, r socketmode.Request) {
	if r.EnvelopeID == "" {
		return
	}
	select {
	case k.free <- struct{}{}:
	default:
		k.log.ErrorContext(ctx, "slack delivery dropped: too many at once")
		return
	}
	at := k.cfg.Now()
	k.busy.Go(func() {
		defer func() { <-k.free }()
		k.safely(ctx, func(ctx context.Context) { k.answer(ctx, r, at) })
	})
}

func (k *socket) answer(ctx context.Context, r socketmode.Request, at time.Time) {
	kind, known := kinds[r.Type]
	var out outcome
	if known {
		var err error
		out, err = k.receive(ctx, k.h, delivery{kind: kind, payload: r.Payload, at: at})
		if err != nil && kind != event {
			k.log.ErrorContext(ctx, "slack delivery refused", slog.String("kind", string(kind)), slog.String("reason", err.Error()))
			return
		}
	}
	after := out.after
	var payload any
	switch {
	case len(out.ack) == 0:
	case len(out.ack) > maxAck, !r.AcceptsResponsePayload:
		after = out.instead
	default:
		payload = json.RawMessage(out.ack)
	}
	if err := k.client.AckCtx(ctx, r.EnvelopeID, payload); err != nil {
		k.log.WarnContext(ctx, "slack delivery not acknowledged")
	}
	if after != nil {
		bounded, cancel := background(ctx)
		defer cancel()
		after(bounded)
	}
}
