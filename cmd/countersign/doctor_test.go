package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/adapters/emulator"
	"github.com/countersign/countersign/identity/token"
)

const doctorConfig = `
public_url: %[1]s
listen: 127.0.0.1:8080
state: state
service_accounts:
  - name: bot
    profile: assertion
    issuer: bot
    keys: {public_key_file: bot.pub.pem}
people:
  - {id: p_ana7k2m9x, name: Ana, accounts: ["slack:%[3]s/%[4]s"]}
groups:
  release: {people: [p_ana7k2m9x]}
channels:
  approvals: {slack: %[5]s}
slack:
  api_url: %[2]s/api/
  app_id: %[6]s
  team_ids: [%[3]s]
  bot_token: {file: bot-token}
  signing_secret: {file: signing-secret}
`

// patient is an installation beside a chat workspace on loopback.
type patient struct {
	dir   string
	slack *emulator.Slack
	chat  *httptest.Server
}

func newPatient(t *testing.T, o emulator.Options) *patient {
	t.Helper()
	p := &patient{dir: shortDir(t), slack: emulator.New(o)}
	p.chat = httptest.NewServer(p.slack.Handler())
	t.Cleanup(p.chat.Close)
	t.Cleanup(p.slack.Close)
	key, err := token.GenerateKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	public, err := token.PublicPEM(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "bot.pub.pem", string(public))
	p.write(t, "bot-token", p.slack.BotToken())
	p.write(t, "signing-secret", p.slack.SigningSecret())
	p.configure(t, newStub(t, t.TempDir()).URL, emulator.Ada, emulator.Deploys)
	return p
}

func (p *patient) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *patient) configure(t *testing.T, publicURL, user, channel string) {
	t.Helper()
	p.write(t, "countersign.yaml", fmt.Sprintf(doctorConfig, publicURL, p.chat.URL, p.slack.TeamID(), user, channel, p.slack.AppID()))
}

// examine returns the findings about the installation as text.
func (p *patient) examine(t *testing.T, now time.Time) string {
	t.Helper()
	c, err := loadConfig(filepath.Join(p.dir, "countersign.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	d := &doctor{config: c, getenv: func(string) string { return "" }, now: func() time.Time { return now }}
	d.examineInstallation(t.Context(), true)
	return p.text(t, d)
}

// text is what is printed; it holds no secret.
func (p *patient) text(t *testing.T, d *doctor) string {
	t.Helper()
	var out strings.Builder
	if err := d.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{p.slack.BotToken(), p.slack.SigningSecret()} {
		if strings.Contains(out.String(), secret) {
			t.Error("a secret stands in the findings")
		}
	}
	return out.String()
}

func want(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("not found: %q in\n%s", w, text)
		}
	}
}

func TestDoctorFindsNothing(t *testing.T) {
	t.Parallel()
	p := newPatient(t, emulator.Options{})
	d := &doctor{getenv: func(string) string { return "" }, now: time.Now}
	if err := d.examine(t.Context(), filepath.Join(p.dir, "countersign.yaml"), true); err != nil {
		t.Fatal(err)
	}
	want(t, p.text(t, d), "ok    config", "ok    secrets: 2", "ok    people", "ok    policy", "ok    issuers", "ok    public address", "ok    slack: ",
		"ok    slack channel approvals", "ok    slack people: 1", "ok    clock", " 0 failures")
}

func TestDoctorFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options emulator.Options
		spoil   func(t *testing.T, p *patient)
		skew    time.Duration
		want    []string
	}{
		"a scope is missing": {options: emulator.Options{Scopes: []string{"commands", "users:read"}}, want: []string{"fail  slack: ", "→ add the scopes chat:write"}},
		"a token is wrong": {spoil: func(t *testing.T, p *patient) { p.write(t, "bot-token", "xoxb-0-wrong") },
			want: []string{"fail  slack: ", "invalid_auth", "→ check bot_token"}},
		"the app is not in the channel": {spoil: func(t *testing.T, p *patient) { p.configure(t, p.chat.URL, emulator.Ada, emulator.General) },
			want: []string{"ok    slack: ", "fail  slack channel approvals", "→ invite the bot"}},
		"a guest is to review": {spoil: func(t *testing.T, p *patient) { p.configure(t, p.chat.URL, emulator.Gus, emulator.Deploys) },
			want: []string{"warn  slack people", "their reviews do not count"}},
		"nobody is to review": {spoil: func(t *testing.T, p *patient) { p.configure(t, p.chat.URL, "U0NOBODY", emulator.Deploys) },
			want: []string{"warn  slack people", "does not know slack:"}},
		"the server is down": {spoil: func(t *testing.T, p *patient) {
			p.configure(t, "http://127.0.0.1:1", emulator.Ada, emulator.Deploys)
		}, want: []string{"fail  public address", "cannot be reached", "start the server"}},
		"another server answers": {spoil: func(t *testing.T, p *patient) {
			other := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(other.Close)
			p.configure(t, other.URL, emulator.Ada, emulator.Deploys)
		}, want: []string{"fail  public address", "404"}},
		"the clock is slow": {skew: -210 * time.Second, want: []string{"fail  clock: this machine's clock is -3m", "→ set the clock"}},
		"the clock is fast": {skew: 210 * time.Second, want: []string{"fail  clock: this machine's clock is 3m"}},
		"a secret is open": {spoil: func(t *testing.T, p *patient) {
			if err := os.Chmod(filepath.Join(p.dir, "signing-secret"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, want: []string{"warn  secrets: ", "mode 0644", "→ chmod 600"}},
		"the state is a file": {spoil: func(t *testing.T, p *patient) { p.write(t, "state", "") }, want: []string{"fail  state"}},
		"the database is none": {spoil: func(t *testing.T, p *patient) {
			if err := os.Mkdir(filepath.Join(p.dir, "state"), 0o755); err != nil {
				t.Fatal(err)
			}
			p.write(t, "state/countersign.db", strings.Repeat("garbage ", 4096))
		}, want: []string{"warn  state: ", "→ chmod 700", "fail  database", "fail  audit key", "restore it from its backup"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t, test.options)
			if test.spoil != nil {
				test.spoil(t, p)
			}
			want(t, p.examine(t, time.Now().Add(test.skew)), test.want...)
		})
	}
}

// The newest entry of the log is a clock as well.
func TestDoctorAndTheLogsClock(t *testing.T) {
	t.Parallel()
	c, db := stateWithLog(t, 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for skew, status := range map[time.Duration]string{0: "ok", -time.Hour: "fail"} {
		d := &doctor{config: c, now: func() time.Time { return time.Now().Add(skew) }}
		d.checkState(t.Context())
		found := ""
		for _, f := range d.findings {
			if f.Check == "clock" {
				found = f.Status
			}
		}
		if found != status {
			t.Errorf("%s off: the clock is %q, want %q: %v", skew, found, status, d.findings)
		}
	}
}

// The sample's people and channels are all that the default policy names, and
// taking one away is told.
func TestDoctorAndThePolicysNames(t *testing.T) {
	t.Parallel()
	c, err := parseConfig([]byte(sampleConfig), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bundle, o := c.policySource(slog.New(slog.DiscardHandler))
	d := &doctor{config: c}
	d.checkPolicyNames(bundle, o.Data)
	if len(d.findings) > 0 {
		t.Errorf("the sample: %v", d.findings)
	}
	delete(c.Groups, "security")
	delete(c.Channels, "approvals")
	d.checkPolicyNames(bundle, o.Data)
	if len(d.findings) != 2 || !strings.Contains(d.findings[0].Detail, "(security)") || !strings.Contains(d.findings[1].Detail, "(approvals)") {
		t.Errorf("without them: %v", d.findings)
	}
	d.findings = nil
	d.checkPolicyNames(bundle, map[string]any{"config": map[string]any{
		"defaults": map[string]any{"channels": []any{"elsewhere"}}, "rules": map[string]any{"rotate": nil},
	}})
	if len(d.findings) != 1 || !strings.Contains(d.findings[0].Detail, "(elsewhere)") {
		t.Errorf("with other data: %v", d.findings)
	}
}
