package emulator_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/countersign/countersign/adapters/emulator"
)

func TestListenIsLoopbackOnly(t *testing.T) {
	t.Parallel()
	s := emulator.New(emulator.Options{})
	t.Cleanup(s.Close)
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:80", "127.0.0.1", "localhost.example:0", ""} {
		if ln, err := s.Listen(addr); !errors.Is(err, emulator.ErrNotLoopback) {
			t.Errorf("%q: %v", addr, err)
			if err == nil {
				ln.Close()
			}
		}
	}
	ln, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	s := emulator.New(emulator.Options{})
	t.Cleanup(s.Close)
	for _, c := range []struct {
		from, host string
		want       int
	}{
		{"127.0.0.1:1", "127.0.0.1:4000", 200},
		{"127.0.0.1:1", "localhost", 200},
		{"[::1]:1", "[::1]:4000", 200},
		{"[::ffff:127.0.0.1]:1", "LOCALHOST:1", 200},
		{"192.0.2.1:1", "127.0.0.1:4000", 403},
		{"", "127.0.0.1:4000", 403},
		{"127.0.0.1:1", "attacker.example:4000", 421},
		{"127.0.0.1:1", "127.0.0.1.attacker.example", 421},
		{"127.0.0.1:1", "localhost.attacker.example", 421},
		{"127.0.0.1:1", "", 421},
	} {
		for _, path := range []string{"/", "/api/api.test", "/emulator/state"} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.RemoteAddr, r.Host = c.from, c.host
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			if w.Code != c.want {
				t.Errorf("from %q for %q %s: %d, want %d", c.from, c.host, path, w.Code, c.want)
			}
		}
	}
}

func TestOtherSitesCannotAct(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, c := range []struct {
		name, method, path, body string
	}{
		{"say", "POST", "/emulator/say", `{"user":"U0ADA","channel":"C0DEPLOYS","text":"hi"}`},
		{"faults", "POST", "/emulator/faults", `{"fault":{"method":"upload","kind":"drop"}}`},
		{"clear", "DELETE", "/emulator/faults", ``},
	} {
		for _, h := range []struct {
			name, value, kind string
			want              int
		}{
			{"Origin", l.url, "application/json", 200},
			{"Sec-Fetch-Site", "same-origin", "application/json", 200},
			{"Origin", "http://attacker.example", "application/json", 403},
			{"Origin", "null", "application/json", 403},
			{"Sec-Fetch-Site", "cross-site", "application/json", 403},
			{"Sec-Fetch-Site", "same-site", "application/json", 403},
		} {
			r, _ := http.NewRequestWithContext(t.Context(), c.method, l.url+c.path, strings.NewReader(c.body))
			r.Header.Set("Content-Type", h.kind)
			r.Header.Set(h.name, h.value)
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			raw, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != h.want {
				t.Errorf("%s with %s: %s: %d %s, want %d", c.name, h.name, h.value, res.StatusCode, raw, h.want)
			}
		}
	}
	if n := len(l.Messages(emulator.Deploys)); n != 2 {
		t.Errorf("%d messages were said, want the 2 of the same origin", n)
	}
}

func TestThePageItself(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for path, want := range map[string]string{"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css", "/blocks.js": "text/javascript", "/dialogs.js": "text/javascript"} {
		res, err := http.Get(l.url + path)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := io.ReadAll(res.Body)
		res.Body.Close()
		csp := res.Header.Get("Content-Security-Policy")
		if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), want) || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %d %s %s", path, res.StatusCode, res.Header.Get("Content-Type"), csp)
		}
		for _, sink := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https://"} {
			if strings.Contains(string(raw), sink) {
				t.Errorf("%s holds %q", path, sink)
			}
		}
		if strings.Contains(string(raw), l.BotToken()) {
			t.Errorf("%s holds the bot token", path)
		}
	}
	res, err := http.Get(l.url + "/emulator/state?user=U0TIM&channel=C0SECURITY")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	for _, secret := range []string{l.BotToken(), l.AppToken(), l.SigningSecret(), "C0SECURITY"} {
		if strings.Contains(string(raw), secret) {
			t.Errorf("what Tim sees holds %s", secret)
		}
	}
}
