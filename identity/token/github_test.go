package token

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/identity"
)

const githubIssuer = "https://token.actions.githubusercontent.com"

func githubRule(t testing.TB, match map[string][]string) Rule {
	return Rule{
		ServiceAccount: identity.ServiceAccount{Name: "ci", Owners: []string{"p_12345678"}},
		Profile:        "github", Issuer: githubIssuer, Audience: audience,
		Keys:  KeySource{JWKSFile: write(t, set(jwk(rsaKey().Public()).with("alg", "RS256")))},
		Match: match,
	}
}

// jobClaims are shaped like those of a job of GitHub Actions.
func jobClaims() fields {
	return fields{
		"iss": githubIssuer, "aud": audience, "jti": "canary-job", "sub": "repo:canary/canary:environment:canary",
		"iat": noon.Unix(), "nbf": noon.Add(-10 * time.Minute).Unix(), "exp": noon.Add(10 * time.Minute).Unix(),
		"repository": "acme/shop", "repository_id": "4711", "repository_owner": "acme", "repository_owner_id": "77",
		"repository_visibility": "private", "ref": "refs/heads/main", "ref_type": "branch", "ref_protected": "true",
		"sha": "0123456789abcdef0123456789abcdef01234567", "workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
		"job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main", "event_name": "push",
		"environment": "production", "run_id": "9127", "run_number": "10", "run_attempt": "2",
		"runner_environment": "github-hosted", "actor": "octavia", "actor_id": "583231", "head_ref": "", "base_ref": "",
	}
}

func job(claims fields) string {
	k := rsaKey()
	return seal("RS256", k.raw(), fields{"alg": "RS256", "kid": k.KID(), "typ": "JWT", "x5t": "canary"}.json(), claims.json())
}

var byRepository = map[string][]string{"repository_id": {"4711"}}

func TestGitHub(t *testing.T) {
	t.Parallel()
	got := accepted(t, verifier(t, githubRule(t, byRepository)), job(jobClaims()))
	want := identity.Evidence{
		Subject:        identity.Subject{Issuer: githubIssuer, Name: "repo:4711"},
		ServiceAccount: "ci",
		Binding:        "run:9127/attempt:2",
		Trigger: identity.Trigger{
			Kind: identity.TriggerUnmapped, Name: "octavia", Again: true,
			Account: identity.Account{Kind: "github", Space: "-", ID: "583231"},
		},
		Token: identity.OneTime{Issuer: githubIssuer, ID: "canary-job", Expires: noon.Add(11 * time.Minute)},
		Facts: map[string]string{
			"repository": "acme/shop", "repository_id": "4711", "repository_owner_id": "77", "repository_visibility": "private",
			"ref": "refs/heads/main", "ref_type": "branch", "sha": "0123456789abcdef0123456789abcdef01234567",
			"workflow_ref":     "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
			"job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
			"event_name":       "push", "environment": "production", "run_id": "9127", "run_attempt": "2",
			"runner_environment": "github-hosted", "actor": "octavia", "actor_id": "583231",
			"run_url": "https://github.com/acme/shop/actions/runs/9127",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestGitHubClaims(t *testing.T) {
	t.Parallel()
	v := verifier(t, githubRule(t, byRepository))
	good := jobClaims()
	for name, f := range map[string]fields{
		"no environment":   good.with("environment", nil),
		"numbers as such":  good.with("run_id", 9127).with("repository_id", 4711),
		"another sub":      good.with("sub", "canary"),
		"no sub":           good.with("sub", nil),
		"longest":          good.with("exp", noon.Add(15*time.Minute).Unix()),
		"renamed":          good.with("repository", "new/name"),
		"another workflow": good.with("job_workflow_ref", nil),
	} {
		t.Run(name, func(t *testing.T) { accepted(t, v, job(f)) })
	}
	for name, c := range map[string]struct {
		claims fields
		reason string
	}{
		"another repository":  {good.with("repository_id", "4712"), "no service account matches"},
		"no repository_id":    {good.with("repository_id", nil), "repository_id must be a number"},
		"no owner id":         {good.with("repository_owner_id", nil), "repository_owner_id must be a number"},
		"run_id with a slash": {good.with("run_id", "1/attempt:2"), "run_id must be a number"},
		"fraction":            {good.with("run_id", 1.5), "run_id must be a number"},
		"no attempt":          {good.with("run_attempt", nil), "run_attempt must be a number"},
		"no actor_id":         {good.with("actor_id", nil), "actor_id must be a number"},
		"bad actor_id":        {good.with("actor_id", "canary"), "actor_id must be a number"},
		"no event":            {good.with("event_name", nil), "event_name"},
		"path as repository":  {good.with("repository", "canary/../../x"), "owner/name"},
		"no repository":       {good.with("repository", nil), "owner/name"},
		"list as repository":  {good.with("repository", []string{"acme/shop"}), "owner/name"},
		"no jti":              {good.with("jti", nil), "jti"},
		"owner as aud":        {good.with("aud", "https://github.com/canary"), "aud is not"},
		"several auds":        {good.with("aud", []string{audience, "canary"}), "aud must be"},
		"too long a life":     {good.with("exp", noon.Add(time.Hour).Unix()), "lives too long"},
		"another issuer":      {good.with("iss", githubIssuer+"/canary"), "no service account trusts"},
		"issuer with a slash": {good.with("iss", githubIssuer+"/"), "no service account trusts"},
		"foreign code":        {good.with("event_name", "pull_request_target"), "pull_request_target must be listed"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, v, job(c.claims), c.reason) })
	}
	k := rsaKey()
	h := fields{"alg": "RS256", "kid": k.KID()}
	accepted(t, v, seal("RS256", k.raw(), h.json(), good.json()))
	refused(t, v, seal("RS256", k.raw(), h.with("typ", "at+jwt").json(), good.json()), "another kind")
	refused(t, v, seal("RS256", k.raw(), h.with("x5c", []string{"canary"}).json(), good.json()), "x5c")
	refused(t, v, seal("PS256", k.raw(), h.with("alg", "PS256").json(), good.json()), "its alg")
	refused(t, v, seal("RS256", rsaOther().raw(), h.json(), good.json()), "the signature is wrong")
}

func TestGitHubForeignCode(t *testing.T) {
	t.Parallel()
	match := func(events ...string) map[string][]string {
		return map[string][]string{"repository_id": {"4711"}, "event_name": events}
	}
	raw := job(jobClaims().with("event_name", "pull_request_target"))
	accepted(t, verifier(t, githubRule(t, match("push", "pull_request_target"))), raw)
	refused(t, verifier(t, githubRule(t, match("pull_request*"))), raw, "pull_request_target must be listed")
	refused(t, verifier(t, githubRule(t, match("*"))), raw, "pull_request_target must be listed")
}

func TestGitHubTrigger(t *testing.T) {
	t.Parallel()
	v := verifier(t, githubRule(t, byRepository))
	octavia := identity.Trigger{
		Kind: identity.TriggerUnmapped, Name: "octavia",
		Account: identity.Account{Kind: "github", Space: "-", ID: "583231"},
	}
	again := octavia
	again.Again = true
	for _, c := range []struct {
		event, attempt string
		want           identity.Trigger
	}{
		{"push", "1", octavia},
		{"push", "3", again},
		{"workflow_dispatch", "1", octavia},
		{"schedule", "1", identity.Trigger{Kind: identity.TriggerNone}},
		{"schedule", "2", identity.Trigger{Kind: identity.TriggerUnmapped}},
		{"Schedule", "1", octavia},
	} {
		got := accepted(t, v, job(jobClaims().with("event_name", c.event).with("run_attempt", c.attempt))).Trigger
		if got != c.want {
			t.Errorf("%s, attempt %s: %+v; want %+v", c.event, c.attempt, got, c.want)
		}
	}
}

func TestGitHubWeb(t *testing.T) {
	t.Parallel()
	for issuer, want := range map[string]string{
		githubIssuer:                                       "https://github.com",
		githubIssuer + "/acme":                             "https://github.com",
		"https://token.actions.acme.ghe.com":               "https://acme.ghe.com",
		"https://git.example.com/_services/token":          "https://git.example.com",
		"https://git.example.com/_services/token/acme":     "https://git.example.com",
		"http://127.0.0.1:1/_services/token":               "http://127.0.0.1:1",
		"https://token.actions.githubusercontent.com.evil": "",
		"https://example.com":                              "",
		"https://example.com/_services/tokens":             "",
	} {
		if got := githubWeb(issuer); got != want {
			t.Errorf("%s: %q; want %q", issuer, got, want)
		}
	}
}

// TestChoose has several rules of one issuer.
func TestChoose(t *testing.T) {
	t.Parallel()
	production := githubRule(t, map[string][]string{"repository_id": {"4711"}, "environment": {"production"}})
	staging := githubRule(t, map[string][]string{"repository_id": {"4711"}, "environment": {"staging"}})
	release := githubRule(t, map[string][]string{"repository_owner_id": {"77"}, "ref": {"refs/tags/v*"}})
	release.Require = []string{"environment"}
	staging.Keys, release.Keys = production.Keys, production.Keys
	production.Name, staging.Name, release.Name = "production", "staging", "release"
	v := verifier(t, production, staging, release)
	good := jobClaims()
	tag := good.with("ref", "refs/tags/v1.2")
	for want, f := range map[string]fields{
		"production": good,
		"staging":    good.with("environment", "staging"),
		"release":    tag.with("environment", "lab"),
	} {
		if got := accepted(t, v, job(f)).ServiceAccount; got != want {
			t.Errorf("got %q; want %q", got, want)
		}
	}
	refused(t, v, job(tag), `"production" and "release" both match`)
	refused(t, v, job(tag.with("environment", nil)), `for "production" not environment; for "staging" not environment; for "release" not environment`)
	refused(t, v, job(good.with("environment", "canary")), `for "release" not ref`)
	_, err := v.Verify(t.Context(), job(good.with("repository_id", "1").with("repository_owner_id", "2")))
	if err == nil || strings.Contains(err.Error(), "production") {
		t.Errorf("a stranger learned of the rules: %v", err)
	}
}
