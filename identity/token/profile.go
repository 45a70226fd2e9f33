package token

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/identity"
)

// profile is what one kind of token looks like.
type profile struct {
	algorithms []string      // accepted where a rule lists none
	life       time.Duration // longest life where a rule says nothing
	longest    time.Duration // the most that a rule may say
	header     []string      // header members that may stand there
	types      []string      // values of "typ", beside none at all
	// faults checks what only this profile wants of a rule.
	faults func(Rule) []error
	// mismatches are claims that are matched without the rule's asking.
	mismatches func(Rule, members) []string
	// evidence reads the verified claims: subject, binding, trigger and facts.
	evidence func(issuer string, c members) (identity.Evidence, error)
}

// peer is the kind of token that Peer verifies. It is no profile of a rule.
var peer = profile{
	// The Bot Connector names its certificate and the content's type.
	header: []string{"alg", "kid", "typ", "x5t", "x5t#S256", "cty"},
	types:  []string{"JWT"},
}

var profiles = map[string]profile{
	"assertion": {
		algorithms: []string{"ES256", "EdDSA", "PS256"},
		life:       5 * time.Minute, longest: 5 * time.Minute,
		header: []string{"alg", "kid", "typ"},
		// RFC 10070 names the type; clients of before say JWT or nothing. Any
		// other type is a token made for another purpose.
		types:      []string{"JWT", assertionType},
		faults:     assertionFaults,
		mismatches: func(Rule, members) []string { return nil },
		evidence:   assertionEvidence,
	},
	"github": {
		algorithms: []string{"RS256"},
		life:       15 * time.Minute, longest: time.Hour,
		// GitHub names its certificate's thumbprint; we do not look at it.
		header:     []string{"alg", "kid", "typ", "x5t", "x5t#S256"},
		types:      []string{"JWT"},
		faults:     githubFaults,
		mismatches: githubMismatches,
		evidence:   githubEvidence,
	},
}

const assertionType = "client-authentication+jwt"

// assertionFaults refuses matchers: what an assertion claims is the machine's
// own word and cannot choose a service account.
func assertionFaults(r Rule) []error {
	if len(r.Match)+len(r.Require) > 0 {
		return []error{errors.New("match and require have no place in an assertion rule: its claims are the machine's own word")}
	}
	return nil
}

// assertionEvidence reads a self-signed assertion. The verifier adds the
// binding, which is the key.
func assertionEvidence(issuer string, c members) (identity.Evidence, error) {
	if sub, ok := c.str("sub"); !ok || sub != issuer {
		return identity.Evidence{}, invalid("sub must be the same string as iss")
	}
	return identity.Evidence{
		Subject: identity.Subject{Issuer: issuer, Name: issuer},
		Trigger: identity.Trigger{Kind: identity.TriggerNone},
		Facts:   map[string]string{},
	}, nil
}

// foreignCode is the event whose jobs may run a stranger's code with the
// repository's own rights.
const foreignCode = "pull_request_target"

// allowsForeignCode reports whether a rule names that event in so many letters.
func allowsForeignCode(r Rule) bool { return slices.Contains(r.Match["event_name"], foreignCode) }

func githubMismatches(r Rule, c members) []string {
	if event, _ := c.str("event_name"); event == foreignCode && !allowsForeignCode(r) {
		return []string{"event_name (pull_request_target must be listed by name)"}
	}
	return nil
}

var digits = regexp.MustCompile(`^[0-9]{1,20}$`)

// githubFaults wants a rule to pin a repository or its owner by numeric id:
// anybody on GitHub can get a token with our audience, and names change hands.
func githubFaults(r Rule) []error {
	var out []error
	if err := issuerURL(r.Issuer); err != nil {
		out = append(out, err)
	}
	if !pinned(r.Match["repository_id"]) && !pinned(r.Match["repository_owner_id"]) {
		out = append(out, errors.New("match must pin repository_id or repository_owner_id by exact numbers: any GitHub user can get a token for our audience"))
	}
	return out
}

func pinned(values []string) bool {
	return len(values) > 0 && !slices.ContainsFunc(values, func(v string) bool { return !digits.MatchString(v) })
}

// githubFacts are the claims that become facts where present. Most are names
// or texts that a repository chooses; the ids are GitHub's.
var githubFacts = []string{
	"repository", "repository_id", "repository_owner_id", "repository_visibility", "ref", "ref_type", "sha",
	"workflow_ref", "job_workflow_ref", "event_name", "environment", "run_id", "run_attempt", "runner_environment", "actor", "actor_id",
}

var repositoryName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$`)

// githubEvidence reads the token of a GitHub Actions job. Stable ids make the
// subject and the binding; "sub" is never read, since a repository chooses its
// form.
func githubEvidence(issuer string, c members) (identity.Evidence, error) {
	facts := map[string]string{}
	for _, name := range githubFacts {
		if v, ok := c.text(name); ok && v != "" {
			facts[name] = v
		}
	}
	for _, name := range []string{"repository_id", "repository_owner_id", "run_id", "run_attempt", "actor_id"} {
		if !digits.MatchString(facts[name]) {
			return identity.Evidence{}, invalid("the claim " + name + " must be a number")
		}
	}
	if !repositoryName.MatchString(facts["repository"]) {
		return identity.Evidence{}, invalid("the claim repository must be owner/name")
	}
	if facts["event_name"] == "" {
		return identity.Evidence{}, invalid("the claim event_name is missing")
	}
	if web := githubWeb(issuer); web != "" {
		facts["run_url"] = web + "/" + facts["repository"] + "/actions/runs/" + facts["run_id"]
	}
	return identity.Evidence{
		Subject: identity.Subject{Issuer: issuer, Name: "repo:" + facts["repository_id"]},
		Binding: identity.Binding("run:" + facts["run_id"] + "/attempt:" + facts["run_attempt"]),
		Trigger: githubTrigger(facts),
		Facts:   facts,
	}, nil
}

// githubTrigger returns the human behind the run. "actor" is who caused the
// event, and stays so when somebody else runs it again: the code and the inputs
// are still the actor's, and whoever ran it again is not named. A schedule has
// no human; its actor is merely who last touched the workflow. But a schedule
// that runs again was started by a human whom the token does not name.
func githubTrigger(facts map[string]string) identity.Trigger {
	if facts["event_name"] != "schedule" {
		return identity.Trigger{
			Kind:    identity.TriggerUnmapped,
			Account: identity.Account{Kind: "github", Space: "-", ID: facts["actor_id"]},
			Name:    facts["actor"],
			Again:   facts["run_attempt"] != "1",
		}
	}
	if facts["run_attempt"] == "1" {
		return identity.Trigger{Kind: identity.TriggerNone}
	}
	return identity.Trigger{Kind: identity.TriggerUnmapped}
}

// githubWeb returns where people look at runs, or nothing if the issuer's form
// is unknown: github.com, an enterprise at ghe.com, or a GitHub Enterprise
// Server, whose issuer is HOST/_services/token.
func githubWeb(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	const actions = "token.actions."
	switch {
	case u.Host == actions+"githubusercontent.com":
		return "https://github.com"
	case strings.HasPrefix(u.Host, actions) && strings.HasSuffix(u.Host, ".ghe.com"):
		return "https://" + strings.TrimPrefix(u.Host, actions)
	case u.Path == "/_services/token" || strings.HasPrefix(u.Path, "/_services/token/"):
		return u.Scheme + "://" + u.Host
	}
	return ""
}
