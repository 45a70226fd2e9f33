package token

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/identity"
)

// Rule is a trust rule: it says which tokens speak for a service account.
type Rule struct {
	identity.ServiceAccount

	// Profile is how the token is read: "assertion" for one that the machine
	// signs with its own key (RFC 7523 section 3), "github" for the OIDC token
	// of a GitHub Actions job.
	Profile string
	// Issuer is the exact "iss". For an assertion it is the machine's own name,
	// which stands in "sub" as well.
	Issuer string
	// Audience is the one string that "aud" must be: a list that holds it does
	// not do, since whoever else stands in the list could replay the token here.
	Audience string
	Keys     KeySource
	// Algorithms are the accepted "alg"; empty is the profile's: ES256, EdDSA
	// and PS256 for an assertion, RS256 for GitHub. A key is only ever used
	// with an algorithm of its kind.
	Algorithms []string
	// Match maps a claim to its allowed values. Each listed claim must be
	// present and match one value: exactly, or with * for any characters of one
	// path segment.
	Match map[string][]string
	// Require lists claims that must be present with any value.
	Require []string
	// MaxLife is the longest time from "iat" to "exp", and from now to "exp".
	// Zero is the profile's: 5 minutes for an assertion, 15 for GitHub.
	MaxLife time.Duration
}

// Names that go into credentials and reports. A colon would make a credential's
// subject (account:environment:action) ambiguous.
var accountName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$`)

// plain are the strings that may be an issuer's name or an audience.
var plain = regexp.MustCompile(`^[\x21-\x7e]{1,255}$`)

// fill puts the profile's defaults where the rule is silent.
func (r Rule) fill() Rule {
	p := profiles[r.Profile]
	if len(r.Algorithms) == 0 {
		r.Algorithms = p.algorithms
	}
	if r.MaxLife == 0 {
		r.MaxLife = p.life
	}
	return r
}

// faults returns everything that is wrong with a filled rule by itself.
func (r Rule) faults() []error {
	var out []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			out = append(out, fmt.Errorf(format, args...))
		}
	}
	fault(!accountName.MatchString(r.Name), "the name must be 1 to 64 of letters, digits, dot, dash, underscore and slash")
	fault(!plain.MatchString(r.Issuer), "the issuer must be 1 to 255 printable ASCII characters without space")
	fault(!plain.MatchString(r.Audience), "the audience must be 1 to 255 printable ASCII characters without space")
	p, known := profiles[r.Profile]
	if !known {
		return append(out, fmt.Errorf("the profile %q is unknown; there are assertion and github", r.Profile))
	}
	rsa := 0
	for _, alg := range r.Algorithms {
		fault(!slices.Contains(algorithms, alg), "the algorithm %q is unknown or not allowed; allowed are %s", alg, strings.Join(algorithms, ", "))
		if strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS") {
			rsa++
		}
	}
	// RFC 8725 section 3.1: a key is for one algorithm. Keys of the other kinds
	// fit only one anyhow.
	fault(rsa > 1, "list one algorithm for RSA keys, not several")
	fault(r.MaxLife < 0 || r.MaxLife > p.longest, "max_life must be positive and at most %s", p.longest)
	for _, claim := range slices.Sorted(maps.Keys(r.Match)) {
		out = append(out, matchFaults(claim, r.Match[claim])...)
	}
	fault(slices.Contains(r.Require, ""), "a required claim has no name")
	return append(out, p.faults(r)...)
}

// settled are claims that are checked in their own way, or that say nothing
// stable (GitHub lets the repository choose what "sub" holds).
var settled = []string{"", "iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// matchFaults checks one line of Match.
func matchFaults(claim string, values []string) []error {
	var out []error
	if slices.Contains(settled, claim) {
		out = append(out, fmt.Errorf("match: the claim %q cannot be matched; use stable claims such as repository_id", claim))
	}
	if len(values) == 0 {
		out = append(out, fmt.Errorf("match: the claim %q has no allowed values, so nothing could match", claim))
	}
	for _, v := range values {
		if v == "" || strings.Contains(v, "**") {
			out = append(out, fmt.Errorf("match: the claim %q has an empty value or **; * stands for characters of one path segment", claim))
		}
	}
	return out
}

// matchGlob reports whether a value matches a pattern: segment by segment
// between slashes, where * stands for any characters, but a * alone for at
// least one.
func matchGlob(pattern, value string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == value
	}
	patterns, values := strings.Split(pattern, "/"), strings.Split(value, "/")
	if len(patterns) != len(values) {
		return false
	}
	for i, p := range patterns {
		if !matchSegment(p, values[i]) {
			return false
		}
	}
	return true
}

// matchSegment matches one path segment. Each part between stars is taken at
// its first place, which cannot miss a match.
func matchSegment(pattern, value string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == value
	}
	if value == "" || !strings.HasPrefix(value, parts[0]) {
		return false
	}
	value = value[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(value, part)
		if !found {
			return false
		}
		value = after
	}
	return strings.HasSuffix(value, last)
}

// mismatches returns the names of the claims that keep a token from matching.
func (r Rule) mismatches(claims members) []string {
	var out []string
	for _, claim := range slices.Sorted(maps.Keys(r.Match)) {
		value, ok := claims.text(claim)
		if !ok || !slices.ContainsFunc(r.Match[claim], func(p string) bool { return matchGlob(p, value) }) {
			out = append(out, claim)
		}
	}
	for _, claim := range r.Require {
		if _, ok := claims.text(claim); !ok {
			out = append(out, claim)
		}
	}
	return append(out, profiles[r.Profile].mismatches(r, claims)...)
}

// covers reports whether every token that matches b matches r as well, so that
// b could never be the only one to match.
func (r Rule) covers(b Rule) bool {
	if r.Issuer != b.Issuer || r.Audience != b.Audience || allowsForeignCode(b) && !allowsForeignCode(r) {
		return false
	}
	for claim, patterns := range r.Match {
		if len(b.Match[claim]) == 0 {
			return false
		}
		for _, v := range b.Match[claim] {
			// A * in v can only be met by a * in p, which takes whatever v's does.
			if !slices.ContainsFunc(patterns, func(p string) bool { return matchGlob(p, v) }) {
				return false
			}
		}
	}
	for _, claim := range r.Require {
		if len(b.Match[claim]) == 0 && !slices.Contains(b.Require, claim) {
			return false
		}
	}
	return true
}

// issuerURL refuses an issuer that is no plain https URL, or http at a loopback
// address.
func issuerURL(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(issuer, "/") ||
		u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return errors.New("the issuer must be an https URL (or http at a loopback address) without user, query, fragment and trailing slash")
	}
	return nil
}
