package identity

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

var (
	slackAnn  = Account{Kind: "slack", Space: "T1", ID: "U1"}
	teamsAnn  = Account{Kind: "teams", Space: "tenant", ID: "U1"}
	githubBob = Account{Kind: "github", Space: "-", ID: "583231"}
	ann       = Person{ID: "p_annaaaaa", Name: "Ann", Email: "ann@example.com", Accounts: []Account{slackAnn, teamsAnn}}
	bob       = Person{ID: "p_bobbbbbb", Name: "Bob", Accounts: []Account{githubBob}}
)

func directory(t *testing.T) *Directory {
	t.Helper()
	d, err := NewDirectory([]Person{ann, bob}, []Group{
		{Name: "sre", People: []string{bob.ID, ann.ID}, Mentions: map[string]string{"slack": "S1"}},
		{Name: "leads", People: []string{ann.ID}},
		{Name: "nobody"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestByAccount(t *testing.T) {
	t.Parallel()
	d := directory(t)
	for account, want := range map[Account]string{slackAnn: ann.ID, teamsAnn: ann.ID, githubBob: bob.ID} {
		if p, ok := d.ByAccount(account); !ok || p.ID != want {
			t.Errorf("%s is %q, %v; want %q", account, p.ID, ok, want)
		}
	}
	for name, account := range map[string]Account{
		"another space":       {Kind: "slack", Space: "T2", ID: "U1"},
		"another kind":        {Kind: "github", Space: "T1", ID: "U1"},
		"another case":        {Kind: "slack", Space: "T1", ID: "u1"},
		"no space":            {Kind: "slack", ID: "U1"},
		"no kind":             {Space: "T1", ID: "U1"},
		"no id":               {Kind: "slack", Space: "T1"},
		"nothing":             {},
		"the parts displaced": {Kind: "slack:T1", Space: "U1", ID: "x"},
	} {
		if p, ok := d.ByAccount(account); ok || p.ID != "" {
			t.Errorf("%s finds %q", name, p.ID)
		}
	}
}

// TestIncompleteFindsNobody puts an incomplete account where only a fault in
// the directory could: it must not be found even then.
func TestIncompleteFindsNobody(t *testing.T) {
	t.Parallel()
	d := directory(t)
	d.accounts[Account{Kind: "slack"}] = ann.ID
	if _, ok := d.ByAccount(Account{Kind: "slack"}); ok {
		t.Error("an incomplete account finds somebody")
	}
	if _, ok := d.ByAccount(slackAnn); !ok {
		t.Error("a complete one finds nobody")
	}
}

func TestNewDirectoryFaults(t *testing.T) {
	t.Parallel()
	_, err := NewDirectory([]Person{
		ann, ann,
		{ID: "ann@example.com"},
		{ID: "p_short"},
		{ID: "p_UPPERCASE"},
		{ID: "p_eveeeeee", Accounts: []Account{slackAnn, {Kind: "slack", ID: "U2"}}},
	}, []Group{{Name: "sre"}, {Name: "sre"}, {}, {Name: "leads", People: []string{"p_unknown1"}}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`person "p_annaaaaa" stands twice`,
		`person "ann@example.com": the id must be`, `person "p_short": the id must be`, `person "p_UPPERCASE": the id must be`,
		`slack:T1/U1 belongs to both "p_annaaaaa" and "p_eveeeeee"`, `"p_eveeeeee": the account slack:/U2 is incomplete`,
		`group "sre" stands twice`, `group "" stands twice or has no name`, `group "leads" names "p_unknown1"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	if _, err := NewDirectory(nil, nil); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	d := directory(t)
	for _, c := range []struct {
		groups, people, want []string
	}{
		{[]string{"sre"}, nil, []string{ann.ID, bob.ID}},
		{[]string{"sre", "leads"}, []string{ann.ID}, []string{ann.ID, bob.ID}},
		{[]string{"leads"}, []string{bob.ID, bob.ID}, []string{ann.ID, bob.ID}},
		{[]string{"nobody"}, nil, nil},
		{[]string{"unknown", "SRE", ""}, []string{"p_unknown1", ""}, nil},
		{nil, nil, nil},
	} {
		if got := d.Members(c.groups, c.people); !slices.Equal(got, c.want) {
			t.Errorf("%v and %v: %v; want %v", c.groups, c.people, got, c.want)
		}
	}
	if g, ok := d.Group("sre"); !ok || !slices.Equal(g.People, []string{bob.ID, ann.ID}) {
		t.Errorf("asking for members changed the group: %+v", g)
	}
	if _, ok := d.Group("unknown"); ok {
		t.Error("an unknown group is found")
	}
	if _, ok := d.Person("p_unknown1"); ok {
		t.Error("an unknown person is found")
	}
}

// TestSecretDoesNotPrint plants a secret and looks for it in everything that
// prints, logs or marshals.
func TestSecretDoesNotPrint(t *testing.T) {
	t.Parallel()
	c := Credential{Grant: Grant{ID: "c1"}, Token: "canary"}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&out, verb+"\n", c.Token)
		fmt.Fprintf(&out, verb+"\n", c)
	}
	for _, v := range []any{c, c.Token, map[string]Secret{"k": c.Token}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "token", c.Token, "credential", c)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "token", c.Token, "credential", c)
	if strings.Contains(out.String(), "canary") {
		t.Errorf("the secret stands in:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "c1") || c.Token.Reveal() != "canary" {
		t.Error("nothing was printed, or the secret is lost")
	}
}

func TestCaller(t *testing.T) {
	t.Parallel()
	e := Evidence{
		Subject: Subject{Issuer: "i", Name: "n"}, ServiceAccount: "s", Binding: "run:1/attempt:1",
		Trigger: Trigger{Kind: TriggerNone}, Token: OneTime{ID: "j"}, Facts: map[string]string{"a": "b"},
	}
	same := e
	same.Token.ID, same.Trigger = "k", Trigger{Kind: TriggerUnmapped}
	if e.Caller() != same.Caller() {
		t.Error("another token of the same run is another caller")
	}
	for name, change := range map[string]func(*Evidence){
		"run":     func(e *Evidence) { e.Binding = "run:1/attempt:2" },
		"issuer":  func(e *Evidence) { e.Subject.Issuer = "x" },
		"subject": func(e *Evidence) { e.Subject.Name = "x" },
		"account": func(e *Evidence) { e.ServiceAccount = "x" },
	} {
		other := e
		change(&other)
		if e.Caller() == other.Caller() {
			t.Errorf("another %s is the same caller", name)
		}
	}
}
