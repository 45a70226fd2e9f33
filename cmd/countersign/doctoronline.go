package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/countersign/countersign/adapters/slack"
	"github.com/countersign/countersign/bot/chat"
	"github.com/countersign/countersign/identity/token"
)

// onlineTimeout bounds each call of the online checks.
const onlineTimeout = 15 * time.Second

// slackAPI is where Slack lives unless the configuration says otherwise.
const slackAPI = "https://slack.com/api/"

func (d *doctor) checkOnline(ctx context.Context) {
	d.checkIssuers(ctx)
	d.checkAddress(ctx)
	if d.config.Slack != nil {
		d.checkSlack(ctx)
		d.checkClock(ctx)
	}
}

// checkIssuers fetches the key sets of all issuers.
func (d *doctor) checkIssuers(ctx context.Context) {
	v, err := token.NewVerifier(ctx, d.config.rules(), token.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return // told with the configuration
	}
	if err := v.Check(ctx); err != nil {
		d.fail("issuers", "check keys.jwks_url and the way out of this network", "%s", inline(err))
		return
	}
	d.ok("issuers", "the keys of every service account are at hand")
}

// checkAddress asks the server by the address that machines use.
func (d *doctor) checkAddress(ctx context.Context) {
	res, err := ask(ctx, d.config.PublicURL+"/healthz")
	switch {
	case err != nil:
		d.fail("public address", "start the server, and check DNS, the proxy and the certificate", "%s cannot be reached: %s", d.config.PublicURL, netCause(err))
	case res.code != http.StatusOK:
		d.fail("public address", "check that the proxy leads to this server", "%s/healthz answers %s", d.config.PublicURL, res.status)
	default:
		d.ok("public address", "%s answers", d.config.PublicURL)
	}
}

// heard is what an address answers, without the body.
type heard struct {
	code   int
	status string
	date   string // of the Date header
}

func ask(ctx context.Context, address string) (heard, error) {
	ctx, cancel := context.WithTimeout(ctx, onlineTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return heard{}, err
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return heard{}, err
	}
	return heard{res.StatusCode, res.Status, res.Header.Get("Date")}, res.Body.Close()
}

// checkSlack checks the app, and each channel that cards go to.
func (d *doctor) checkSlack(ctx context.Context) {
	cfg, err := d.config.slackApp(d.getenv, slog.New(slog.DiscardHandler))
	if err != nil {
		return // told with the configuration
	}
	app, err := slack.New(cfg)
	if err != nil {
		d.fail("slack", "correct slack in the configuration", "%s", inline(err))
		return
	}
	if err := app.Check(ctx, ""); err != nil {
		d.platformFailed("slack", err)
		return
	}
	d.ok("slack", "the token is good, with every scope, and for a configured workspace")
	for _, name := range slices.Sorted(maps.Keys(d.config.Channels)) {
		id := d.config.Channels[name]["slack"]
		if id == "" {
			continue
		}
		if err := app.Check(ctx, id); err != nil {
			d.platformFailed("slack channel "+name, err)
			continue
		}
		d.ok("slack channel "+name, "cards can be posted to %s", id)
	}
	d.checkMembers(ctx, app)
}

// checkMembers asks whether each account is one whose reviews count.
func (d *doctor) checkMembers(ctx context.Context, app chat.Platform) {
	good := 0
	for _, p := range d.config.People {
		for _, text := range p.Accounts {
			a, err := parseAccount(text)
			if err != nil || a.Kind != app.Name() {
				continue
			}
			m, err := app.Member(ctx, chat.Account{Platform: a.Kind, Space: a.Space, ID: a.ID})
			if err != nil {
				d.platformFailed("slack people", err)
				return
			}
			switch {
			case !m.Known:
				d.warn("slack people", "correct the account in people", "Slack does not know %s, the account of %s", text, p.ID)
			case !m.Human || !m.Active || !m.Home:
				d.warn("slack people", "name an active, full member of the workspace", "%s, the account of %s, is a bot, a guest, deactivated or of another workspace: their reviews do not count", text, p.ID)
			default:
				good++
			}
		}
	}
	if good > 0 {
		d.ok("slack people", "%d accounts belong to full members", good)
	}
}

func (d *doctor) platformFailed(check string, err error) {
	fix := "see the troubleshooting table of adapters/slack/README.md"
	var e *chat.Error
	if errors.As(err, &e) && e.Fix != "" {
		fix = e.Fix
	}
	d.fail(check, fix, "%s", inline(err))
}

// checkClock compares the clock with Slack's, which every HTTP answer tells to
// the second (RFC 9110 section 6.6.1).
func (d *doctor) checkClock(ctx context.Context) {
	address := slackAPI
	if d.config.Slack.APIURL != "" {
		address = d.config.Slack.APIURL
	}
	before := d.now()
	res, err := ask(ctx, address+"api.test")
	if err != nil {
		d.warn("clock", "check the way out of this network", "Slack's clock cannot be asked: %s", netCause(err))
		return
	}
	theirs, err := http.ParseTime(res.date)
	if err != nil {
		d.warn("clock", "", "Slack's answer tells no time")
		return
	}
	// Somewhere between both readings, Slack wrote a time cut to the second.
	off := before.Add(d.now().Sub(before) / 2).Sub(theirs.Add(500 * time.Millisecond))
	if off.Abs() > clockTolerance {
		d.fail("clock", "set the clock, and keep it set (NTP): deliveries and tokens are refused when it is off", "this machine's clock is %s off Slack's", off.Round(time.Second))
		return
	}
	d.ok("clock", "agrees with Slack's")
}
