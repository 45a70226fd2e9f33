package emulator

import (
	"math"
	"time"
)

// Limits are rate limits, each a bucket that fills evenly. Zero is unlimited.
type Limits struct {
	// PerMinute holds the calls per minute of each method; a minute's worth may
	// come at once.
	PerMinute map[string]int
	// PostsPerSecond limits new messages in one channel, after PostBurst at once.
	PostsPerSecond float64
	PostBurst      int
}

// SlackLimits are the documented limits of the platform, at their lower bounds.
// It promises one message per second and channel and tolerates "short bursts"
// of unsaid length; three is assumed.
func SlackLimits() *Limits {
	per := map[string]int{}
	for name, m := range methods {
		per[name] = m.perMinute
	}
	return &Limits{PerMinute: per, PostsPerSecond: 1, PostBurst: 3}
}

type bucket struct {
	tokens float64
	at     time.Time
}

// take counts a call against the bucket named key, which holds at most burst
// and fills at perSecond. It returns how long to wait, zero when the call may
// go on. It needs s.mu.
func (s *Slack) take(key string, perSecond float64, burst int) time.Duration {
	if perSecond <= 0 {
		return 0
	}
	now := s.opt.Now()
	b := s.buckets[key]
	if b == nil {
		b = &bucket{tokens: float64(burst), at: now}
		s.buckets[key] = b
	}
	b.tokens = math.Min(float64(burst), b.tokens+now.Sub(b.at).Seconds()*perSecond)
	b.at = now
	if b.tokens >= 1 {
		b.tokens--
		return 0
	}
	return time.Duration(math.Ceil((1-b.tokens)/perSecond)) * time.Second
}

// limited returns the error for a method called too often, nil if it may go on.
func (s *Slack) limited(name string) error {
	n := s.opt.Limits.PerMinute[name]
	if wait := s.take("method "+name, float64(n)/60, n); wait > 0 {
		return &apiError{code: "ratelimited", retryAfter: wait}
	}
	return nil
}

// crowded is limited for new messages in one channel.
func (s *Slack) crowded(channel string) error {
	l := s.opt.Limits
	if wait := s.take("posts "+channel, l.PostsPerSecond, max(1, l.PostBurst)); wait > 0 {
		return &apiError{code: "ratelimited", retryAfter: wait}
	}
	return nil
}
