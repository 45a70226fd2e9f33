package bot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sourcegraph/go-diff/diff"

	"github.com/countersign/countersign/policies"
)

// Bounds of what a machine may ask, in characters unless said.
const (
	maxReason   = 2000
	maxResource = 512
	maxScopes   = 32
	maxChecks   = 50
	maxLinks    = 20
	maxTickets  = 20
	maxLabels   = 32
	maxText     = 256
	maxURL      = 2000
	maxPaths    = 100
	// MaxDiff is the largest diff that a request may carry, in bytes.
	MaxDiff = 3_500_000
)

var (
	actionForm      = regexp.MustCompile(`^[a-z][a-z0-9._:-]{0,63}$`)
	environmentForm = regexp.MustCompile(`^([a-z0-9][a-z0-9._-]{0,31})?$`)
	// scopeForm is RFC 6749 section 3.3's scope-token.
	scopeForm = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]{1,128}$`)
	// audienceForm keeps audiences to one visible ASCII word.
	audienceForm = regexp.MustCompile(`^[\x21-\x7E]{0,256}$`)
)

var (
	risks    = []string{"", "low", "medium", "high", "critical"}
	statuses = []string{"passed", "failed", "pending", "skipped"}
)

// faults gathers what is wrong with an ask.
type faults []Fault

func (f *faults) add(pointer, format string, args ...any) {
	*f = append(*f, Fault{Pointer: pointer, Detail: fmt.Sprintf(format, args...)})
}

func (f *faults) length(pointer, s string, least, most int) {
	if n := utf8.RuneCountInString(s); n < least || n > most {
		f.add(pointer, "must have %d to %d characters, has %d", least, most, n)
	}
}

func (f *faults) address(pointer, s string, optional bool) {
	if s == "" && optional {
		return
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || len(s) > maxURL {
		f.add(pointer, "must be an http or https address of at most %d bytes", maxURL)
	}
}

// validate reports everything that is wrong with the ask, and reads its diff.
func validate(a Ask) (*FrozenDiff, error) {
	var f faults
	if !actionForm.MatchString(a.Action) {
		f.add("/action", "must begin with a-z and go on with at most 63 of a-z 0-9 . _ : -")
	}
	f.length("/resource", a.Resource, 1, maxResource)
	if a.Resource != "" && (strings.TrimSpace(a.Resource) == "" || strings.ContainsFunc(a.Resource, invisible)) {
		f.add("/resource", "must not be blank or hold control or invisible characters")
	}
	f.length("/reason", a.Reason, 1, maxReason)
	if strings.TrimSpace(a.Reason) == "" {
		f.add("/reason", "must say why")
	}
	if !audienceForm.MatchString(a.Audience) {
		f.add("/audience", "must be one word of visible ASCII, at most 256 characters")
	}
	validateScopes(&f, a.Scopes)
	if ttl := time.Duration(a.TTL); ttl < time.Second || ttl > policies.MaxTTL {
		f.add("/ttl", "must be 1s to %s, is %s", policies.MaxTTL, ttl)
	}
	if t := a.TriggeredBy; t != nil {
		f.length("/triggered_by/kind", t.Kind, 1, 32)
		f.length("/triggered_by/id", t.ID, 1, maxText)
		f.length("/triggered_by/name", t.Name, 0, maxText)
		f.address("/triggered_by/url", t.URL, true)
	}
	validateContext(&f, a.Context)
	d, err := readDiff(a.Context.Diff)
	if err != nil {
		f.add("/context/diff", "%s", err)
	}
	if len(f) > 0 {
		return nil, &InvalidError{Faults: f}
	}
	return d, nil
}

func validateScopes(f *faults, scopes []string) {
	if len(scopes) > maxScopes {
		f.add("/scopes", "at most %d scopes", maxScopes)
		return
	}
	for i, s := range scopes {
		at := fmt.Sprintf("/scopes/%d", i)
		if !scopeForm.MatchString(s) {
			f.add(at, "must be 1 to 128 visible ASCII characters without quote or backslash (RFC 6749 section 3.3)")
		}
		if slices.Contains(scopes[:i], s) {
			f.add(at, "stands twice")
		}
	}
}

func validateContext(f *faults, c Context) {
	if !environmentForm.MatchString(c.Environment) {
		f.add("/context/environment", "must be at most 32 of a-z 0-9 . _ -")
	}
	if !slices.Contains(risks, c.Risk) {
		f.add("/context/risk", "must be low, medium, high or critical")
	}
	if len(c.Checks) > maxChecks || len(c.Links) > maxLinks || len(c.Tickets) > maxTickets || len(c.Labels) > maxLabels {
		f.add("/context", "at most %d checks, %d links, %d tickets and %d labels", maxChecks, maxLinks, maxTickets, maxLabels)
		return
	}
	for i, k := range c.Checks {
		at := fmt.Sprintf("/context/checks/%d", i)
		f.length(at+"/name", k.Name, 1, maxText)
		f.length(at+"/value", k.Value, 0, maxText)
		f.length(at+"/threshold", k.Threshold, 0, maxText)
		f.address(at+"/url", k.URL, true)
		if !slices.Contains(statuses, k.Status) {
			f.add(at+"/status", "must be passed, failed, pending or skipped")
		}
	}
	for i, l := range c.Links {
		at := fmt.Sprintf("/context/links/%d", i)
		f.length(at+"/title", l.Title, 0, maxText)
		f.address(at+"/url", l.URL, false)
	}
	for i, t := range c.Tickets {
		f.length(fmt.Sprintf("/context/tickets/%d", i), t, 1, maxText)
	}
	for k, v := range c.Labels {
		f.length("/context/labels", k, 1, 64)
		f.length("/context/labels/"+escapePointer(k), v, 0, maxText)
	}
}

// invisible reports whether a character shows nothing, or changes how others
// are shown: controls, format characters such as bidi marks, odd spaces.
func invisible(r rune) bool { return !unicode.IsPrint(r) }

// escapePointer writes a member name as RFC 6901 section 3 asks.
func escapePointer(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}

// readDiff summarises a unified diff; an empty one is no diff.
func readDiff(text string) (*FrozenDiff, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > MaxDiff {
		return nil, fmt.Errorf("has %d bytes; at most %d: send a smaller diff, or a link to it", len(text), MaxDiff)
	}
	files, err := diff.ParseMultiFileDiff([]byte(text))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("is not a unified diff (as from git diff)")
	}
	sum := sha256.Sum256([]byte(text))
	d := &FrozenDiff{SHA256: hex.EncodeToString(sum[:]), Bytes: len(text), Files: len(files), Paths: []string{}}
	for _, file := range files {
		s := file.Stat()
		d.Added += int(s.Added + s.Changed)
		d.Removed += int(s.Deleted + s.Changed)
		if name := []rune(diffPath(file)); len(d.Paths) < maxPaths {
			d.Paths = append(d.Paths, string(name[:min(len(name), maxText)]))
		}
	}
	return d, nil
}

// diffPath is the file's new path, or its old one where it was removed, without
// git's a/ and b/.
func diffPath(f *diff.FileDiff) string {
	name := strings.TrimPrefix(f.NewName, "b/")
	if name == "/dev/null" || name == "" {
		name = strings.TrimPrefix(f.OrigName, "a/")
	}
	return name
}
