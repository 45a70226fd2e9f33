package emulator

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Handler serves the whole workspace: the Web API below /api/, uploads, response
// URLs and web sockets at the addresses it hands out, the page at / and what the
// page asks for below /emulator/. It answers loopback callers only.
func (s *Slack) Handler() http.Handler { return s.handler }

func (s *Slack) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/{method}", s.serveAPI)
	mux.HandleFunc("POST /upload/{file}", s.serveUpload)
	mux.HandleFunc("POST /hook/{hook}", s.serveHook)
	mux.HandleFunc("GET /link/{key}", s.serveSocket)
	s.mountPage(mux)
	return s.guard(mux)
}

// guard keeps strangers out: callers on other machines, and pages of other
// sites whose name was made to resolve to this machine (DNS rebinding), which
// the Host header gives away.
func (s *Slack) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() {
			http.Error(w, "the emulator answers this machine only", http.StatusForbidden)
			return
		}
		if !loopback(hostOnly(r.Host)) {
			http.Error(w, "the emulator answers to a loopback name only", http.StatusMisdirectedRequest)
			return
		}
		s.mu.Lock()
		if s.base == "" {
			s.base = "http://" + r.Host
		}
		s.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// hostOnly cuts the port off a Host header.
func hostOnly(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return strings.Trim(hostport, "[]")
}

// loopback reports whether host is localhost or a loopback address. A name
// below localhost is refused: not every resolver keeps it on the machine.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
