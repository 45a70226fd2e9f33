package emulator

import "encoding/json"

// CheckBlocks lets the fuzzer reach the checker of a message's blocks.
func CheckBlocks(s *Slack, blocks string) (json.RawMessage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checkBlocks(blocks, inMessage)
}

// OpenFor opens a modal for a user without a trigger id, and returns its id.
func OpenFor(s *Slack, user, view string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := s.viewsOpen(args{"view": view, "trigger_id": s.newTrigger(user, "")})
	if err != nil {
		panic(err)
	}
	id, _ := out["view"].(reply)["id"].(string)
	return id
}
