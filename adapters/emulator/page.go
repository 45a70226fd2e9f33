package emulator

import "net/http"

func (s *Slack) mountPage(mux *http.ServeMux) {}

// changed wakes those who watch. It needs s.mu.
func (s *Slack) changed() {
	for ch := range s.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
