package token

import (
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/identity"
)

func TestRuleFaults(t *testing.T) {
	t.Parallel()
	k := es256Key()
	pem := keyFile(t, k)
	good := machineRule(t, k)
	good.Keys = KeySource{PublicKeyFile: pem}
	github := githubRule(t, byRepository)
	change := func(r Rule, f func(*Rule)) []Rule { f(&r); return []Rule{r} }
	match := func(m map[string][]string) []Rule { return change(github, func(r *Rule) { r.Match = m }) }
	narrow := github
	narrow.Name, narrow.Match = "narrow", map[string][]string{"repository_id": {"4711"}, "environment": {"x"}}
	for name, c := range map[string]struct {
		rules  []Rule
		reason string
	}{
		"no name":                     {change(good, func(r *Rule) { r.Name = "" }), "the name must be"},
		"colon in the name":           {change(good, func(r *Rule) { r.Name = "a:b" }), "the name must be"},
		"unknown profile":             {change(good, func(r *Rule) { r.Profile = "gitlub" }), `"gitlub" is unknown`},
		"no profile":                  {change(good, func(r *Rule) { r.Profile = "" }), "is unknown"},
		"no issuer":                   {change(good, func(r *Rule) { r.Issuer = "" }), "the issuer must be"},
		"issuer with space":           {change(good, func(r *Rule) { r.Issuer = "a b" }), "the issuer must be"},
		"no audience":                 {change(good, func(r *Rule) { r.Audience = "" }), "the audience must be"},
		"symmetric":                   {change(good, func(r *Rule) { r.Algorithms = []string{"HS256"} }), `"HS256" is unknown`},
		"none":                        {change(good, func(r *Rule) { r.Algorithms = []string{"none"} }), `"none" is unknown`},
		"key fits nothing":            {change(good, func(r *Rule) { r.Algorithms = []string{"EdDSA", "PS256"} }), "fits none"},
		"two for RSA":                 {change(good, func(r *Rule) { r.Algorithms = []string{"ES256", "PS256", "RS256"} }), "one algorithm for RSA"},
		"long life":                   {change(good, func(r *Rule) { r.MaxLife = 6 * time.Minute }), "max_life"},
		"negative life":               {change(good, func(r *Rule) { r.MaxLife = -1 }), "max_life"},
		"own word":                    {change(good, func(r *Rule) { r.Match = map[string][]string{"team": {"a"}} }), "machine's own word"},
		"own presence":                {change(good, func(r *Rule) { r.Require = []string{"team"} }), "machine's own word"},
		"no keys":                     {change(good, func(r *Rule) { r.Keys = KeySource{} }), "exactly one"},
		"twice":                       {[]Rule{good, good}, "stands twice"},
		"same rule":                   {append(change(good, func(r *Rule) { r.Name = "b" }), good), "never be told apart"},
		"two machines, a key":         {append(change(good, func(r *Rule) { r.Name, r.Issuer = "b", "b"; r.Keys.PublicKeyFile = keyFile(t, k, edKey()) }), good), "each machine needs its own"},
		"narrower after":              {[]Rule{github, narrow}, "\"narrow\": every token"},
		"narrower before":             {[]Rule{narrow, github}, "\"narrow\": every token"},
		"a machine with GitHub's key": {append(change(good, func(r *Rule) { r.Keys, r.Algorithms = github.Keys, []string{"RS256"} }), github), "each machine needs its own"},
		"a machine with GitHub's key, listed first": {append(change(good, func(r *Rule) { r.Issuer, r.Keys, r.Algorithms = "zed", github.Keys, []string{"RS256"} }), github), "each machine needs its own"},
		"two machines, a URL": {append(change(good, func(r *Rule) { r.Name, r.Issuer, r.Keys = "b", "b", KeySource{JWKSURL: "https://a.example"} }),
			change(good, func(r *Rule) { r.Keys = KeySource{JWKSURL: "https://a.example"} })...), "each machine needs its own"},
		"other keys":         {append(change(good, func(r *Rule) { r.Name, r.Audience, r.Keys.PublicKeyFile = "b", "b", keyFile(t, edKey()) }), good), "must be the same"},
		"other algorithms":   {append(change(good, func(r *Rule) { r.Name, r.Audience, r.Algorithms = "b", "b", []string{"ES256"} }), good), "must be the same"},
		"anybody":            {match(nil), "any GitHub user"},
		"by name only":       {match(map[string][]string{"repository": {"acme/shop"}}), "any GitHub user"},
		"by star":            {match(map[string][]string{"repository_id": {"*"}}), "any GitHub user"},
		"one of two by star": {match(map[string][]string{"repository_owner_id": {"77", "8*"}}), "any GitHub user"},
		"by sub":             {match(map[string][]string{"repository_id": {"1"}, "sub": {"repo:*"}}), `"sub" cannot be matched`},
		"no values":          {match(map[string][]string{"repository_id": {}}), "no allowed values"},
		"empty value":        {match(map[string][]string{"repository_id": {"1"}, "ref": {""}}), "empty value"},
		"two stars":          {match(map[string][]string{"repository_id": {"1"}, "ref": {"refs/**"}}), "empty value or **"},
		"nameless claim":     {match(map[string][]string{"repository_id": {"1"}, "": {"x"}}), "cannot be matched"},
		"nameless required":  {change(github, func(r *Rule) { r.Require = []string{""} }), "has no name"},
		"http issuer":        {change(github, func(r *Rule) { r.Issuer = "http://github.example" }), "must be an https URL"},
		"trailing slash":     {change(github, func(r *Rule) { r.Issuer += "/" }), "trailing slash"},
		"issuer no URL":      {change(github, func(r *Rule) { r.Issuer = "github" }), "must be an https URL"},
		"long github life":   {change(github, func(r *Rule) { r.MaxLife = 2 * time.Hour }), "max_life"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := NewVerifier(t.Context(), c.rules, Options{})
			if err == nil || v != nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("error %v; want %q", err, c.reason)
			}
		})
	}
	t.Run("good ones", func(t *testing.T) {
		t.Parallel()
		second := good
		second.Name, second.Issuer, second.Keys = "second", "second", KeySource{PublicKeyFile: keyFile(t, edKey())}
		second.Algorithms, second.MaxLife = []string{"EdDSA"}, time.Minute
		verifier(t, good, second, github)
		verifier(t)
		wide := github
		wide.Match = map[string][]string{"repository_owner_id": {"77"}, "ref": {"refs/heads/*"}, "environment": {"*"}}
		wide.Issuer = "http://127.0.0.1:9/_services/token"
		verifier(t, wide)
	})
}

func TestAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := NewVerifier(t.Context(), []Rule{
		{ServiceAccount: identity.ServiceAccount{Name: "one"}, Profile: "github"},
		{ServiceAccount: identity.ServiceAccount{Name: "two"}, Profile: "assertion", Issuer: "two", Keys: KeySource{JWKSURL: "http://two.example"}},
	}, Options{})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`"one": the issuer`, `"one": the audience`, `"one": match must pin`, `"one": keys`, `"two": the audience`, `"two": keys: the JWKS URL must be https`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	rule := func(match map[string][]string, require ...string) Rule {
		return Rule{Profile: "github", Issuer: githubIssuer, Audience: audience, Match: match, Require: require}
	}
	type m = map[string][]string
	wide := rule(m{"repository_id": {"1"}})
	for name, c := range map[string]struct {
		a, b Rule
		want bool
	}{
		"same":                 {wide, wide, true},
		"narrower":             {wide, rule(m{"repository_id": {"1"}, "environment": {"prod"}}), true},
		"wider":                {rule(m{"repository_id": {"1"}, "environment": {"prod"}}), wide, false},
		"other value":          {wide, rule(m{"repository_id": {"2"}}), false},
		"one of its values":    {rule(m{"repository_id": {"1", "2"}}), wide, true},
		"a value more":         {wide, rule(m{"repository_id": {"1", "2"}}), false},
		"glob over exact":      {rule(m{"repository_id": {"1"}, "ref": {"refs/heads/*"}}), rule(m{"repository_id": {"1"}, "ref": {"refs/heads/main"}}), true},
		"glob beside exact":    {rule(m{"repository_id": {"1"}, "ref": {"refs/tags/*"}}), rule(m{"repository_id": {"1"}, "ref": {"refs/heads/main"}}), false},
		"exact under glob":     {rule(m{"repository_id": {"1"}, "ref": {"refs/heads/main"}}), rule(m{"repository_id": {"1"}, "ref": {"refs/heads/*"}}), false},
		"glob over glob":       {rule(m{"repository_id": {"1"}, "ref": {"refs/*/v*"}}), rule(m{"repository_id": {"1"}, "ref": {"refs/tags/v1*"}}), true},
		"glob under glob":      {rule(m{"repository_id": {"1"}, "ref": {"refs/tags/v1*"}}), rule(m{"repository_id": {"1"}, "ref": {"refs/*/v*"}}), false},
		"same glob":            {rule(m{"repository_id": {"1"}, "ref": {"*"}}), rule(m{"repository_id": {"1"}, "ref": {"*"}}), true},
		"required":             {rule(m{"repository_id": {"1"}}, "environment"), wide, false},
		"required and matched": {rule(m{"repository_id": {"1"}}, "environment"), rule(m{"repository_id": {"1"}, "environment": {"x"}}), true},
		"foreign code":         {wide, rule(m{"repository_id": {"1"}, "event_name": {"pull_request_target"}}), false},
	} {
		if got := c.a.covers(c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	other := wide
	other.Audience = "other"
	if wide.covers(other) {
		t.Error("a rule covers one of another audience")
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, value string
		want           bool
	}{
		{"refs/heads/main", "refs/heads/main", true},
		{"refs/heads/main", "refs/heads/Main", false},
		{"refs/heads/main", "refs/heads/main2", false},
		{"refs/heads/*", "refs/heads/main", true},
		{"refs/heads/*", "refs/heads/", false},
		{"refs/heads/*", "refs/heads/a/b", false},
		{"refs/heads/*", "refs/heads", false},
		{"refs/*/main", "refs/heads/main", true},
		{"refs/heads/release-*", "refs/heads/release-1", true},
		{"refs/heads/release-*", "refs/heads/release-", true},
		{"refs/heads/release-*", "refs/heads/prerelease-1", false},
		{"*-ok", "x-ok", true},
		{"*-ok", "x-ok/y", false},
		{"a*b*c", "abc", true},
		{"a*b*c", "axbybzc", true},
		{"a*b*c", "acb", false},
		{"a*a", "a", false},
		{"a*ab*b", "aabb", true},
		{"a*ab*b", "aab", false},
		{"*", "anything", true},
		{"*", "", false},
		{"*", "a/b", false},
		{"a.c", "abc", false},
		{"[a]", "a", false},
		{"?", "a", false},
		{"", "", true},
	} {
		if got := matchGlob(c.pattern, c.value); got != c.want {
			t.Errorf("matchGlob(%q, %q) = %v", c.pattern, c.value, got)
		}
	}
}

func TestAccount(t *testing.T) {
	t.Parallel()
	v := verifier(t, githubRule(t, byRepository))
	if a, ok := v.Account("ci"); !ok || a.Owners[0] != "p_12345678" {
		t.Errorf("got %+v, %v", a, ok)
	}
	if _, ok := v.Account(""); ok {
		t.Error("an empty name finds an account")
	}
}
