package main

import (
	"strings"
	"testing"
)

// A secret that somebody wrote into the file is not repeated.
func TestFaultsRepeatNoSecret(t *testing.T) {
	t.Parallel()
	_, err := parseConfig([]byte("state: state\nslack:\n  bot_token: xoxb-1-canary\n"), t.TempDir())
	if err == nil || strings.Contains(err.Error(), "xoxb") {
		t.Fatalf("%v", err)
	}
	if want := "line 3: a text cannot stand here: see countersign config sample"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// A configuration is a file that people write by hand: whatever stands in it,
// the answer is a configuration or faults with lines, never a crash.
func FuzzParseConfig(f *testing.F) {
	f.Add(sampleConfig)
	for _, s := range []string{
		"", "a", "[]", "public_url: [", "service_accounts: [{name: a}]", "channels: {a: {slack: C1}}", "people: [{accounts: [x]}]",
		"a: &a [*a]", "state: a\n---\nstate: b", "audit: {readers: [x]}", "tls: {}", "slack: {}", "verifiers: [{}]", "groups: {a: null}", "\t", "\x00",
		"audiences: [{name: a}, {name: a}]", "x: !!binary aGk=", "<<: {state: a}", "!000 00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseConfig([]byte(s), "/nowhere")
		if c == nil && err == nil {
			t.Fatal("neither a configuration nor a fault")
		}
		if err != nil && strings.Contains(err.Error(), "main.") && !strings.Contains(s, "main.") {
			t.Fatalf("a fault names our types: %v", err)
		}
		for _, fault := range splitFaults(err) {
			if fault.Detail == "" {
				t.Fatalf("a fault says nothing: %q", err)
			}
		}
	})
}
