package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeConfiguration loads the configuration that the README shows.
func TestReadmeConfiguration(t *testing.T) {
	t.Parallel()
	text := readme(t)
	_, rest, ok := strings.Cut(text, "```yaml\n   public_url:")
	sample, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("the README shows no configuration")
	}
	sample = "public_url:" + strings.ReplaceAll(sample, "\n   ", "\n")
	c, err := parseConfig([]byte(sample), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.directory(); err != nil {
		t.Error(err)
	}
	if len(c.rules()) != 1 || len(c.destinations()["approvals"]) != 1 {
		t.Errorf("%d rules, channels %v", len(c.rules()), c.destinations())
	}
}

// TestReadmeExitCodes holds the README's table to the program's constants.
func TestReadmeExitCodes(t *testing.T) {
	t.Parallel()
	text := readme(t)
	for code, words := range map[int]string{
		exitOK: "approved", exitError: "another error", exitUsage: "wrong usage", exitDeniedByPolicy: "denied by the policy",
		exitDeniedByPerson: "denied by a person", exitExpired: "expired", exitUndeliverable: "nobody could be asked",
		exitCancelled: "cancelled", exitRevoked: "revoked", exitUndecided: "no decision is known",
	} {
		if !regexp.MustCompile(fmt.Sprintf(`\| %d \| %s`, code, words)).MatchString(text) {
			t.Errorf("the README does not say that %d is %q", code, words)
		}
	}
}

// TestReadmeCommands runs --help of every command that the README names.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, m := range regexp.MustCompile("(?:bin/|`)countersign ((?:[a-z]+ ?){1,2})").FindAllStringSubmatch(readme(t), -1) {
		words := strings.Fields(m[1])
		cmd, _, err := newRoot(environment{getenv: os.Getenv}).Find(words)
		if err != nil || cmd.Name() == "countersign" {
			t.Errorf("there is no command %q: %v", m[1], err)
		}
		seen++
	}
	if seen < 8 {
		t.Errorf("only %d commands were found in the README", seen)
	}
}

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
