package emulator

import "encoding/json"

// CheckBlocks lets the fuzzer reach the checker of a message's blocks.
func CheckBlocks(s *Slack, blocks string) (json.RawMessage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checkBlocks(blocks, inMessage)
}
