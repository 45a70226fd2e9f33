package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/countersign/countersign/identity"
)

// config is the one YAML file. Paths in it are relative to the file itself.
type config struct {
	PublicURL string `yaml:"public_url"`
	Listen    string `yaml:"listen"`
	TLS       *struct {
		CertFile    string `yaml:"cert_file"`
		KeyFile     string `yaml:"key_file"`
		BehindProxy bool   `yaml:"behind_proxy"`
	} `yaml:"tls"`
	State           string                   `yaml:"state"`
	ServiceAccounts []accountConfig          `yaml:"service_accounts"`
	Audiences       []audienceConfig         `yaml:"audiences"`
	Verifiers       []verifierConfig         `yaml:"verifiers"`
	People          []personConfig           `yaml:"people"`
	Groups          map[string]groupConfig   `yaml:"groups"`
	Channels        map[string]channelConfig `yaml:"channels"`
	Slack           *slackConfig             `yaml:"slack"`
	Policy          policyConfig             `yaml:"policy"`
	Audit           auditConfig              `yaml:"audit"`

	dir string // of the file
}

type accountConfig struct {
	Name     string `yaml:"name"`
	Profile  string `yaml:"profile"`
	Issuer   string `yaml:"issuer"`
	Audience string `yaml:"audience"`
	Keys     struct {
		JWKSURL       string `yaml:"jwks_url"`
		JWKSFile      string `yaml:"jwks_file"`
		PublicKeyFile string `yaml:"public_key_file"`
	} `yaml:"keys"`
	Match     map[string][]string `yaml:"match"`
	Owners    []string            `yaml:"owners"`
	Actions   []string            `yaml:"actions"`
	Audiences []string            `yaml:"audiences"`
	Scopes    []string            `yaml:"scopes"`
	Labels    map[string]string   `yaml:"labels"`
}

type audienceConfig struct {
	Name      string `yaml:"name"`
	Algorithm string `yaml:"algorithm"` // ES256 (default), RS256 or EdDSA
}

type verifierConfig struct {
	Name     string    `yaml:"name"`
	Audience string    `yaml:"audience"`
	Secret   secretRef `yaml:"secret"`
}

type personConfig struct {
	ID       string   `yaml:"id"`
	Name     string   `yaml:"name"`
	Email    string   `yaml:"email"`
	Accounts []string `yaml:"accounts"` // slack:TEAM/USER, github:NUMBER
}

type groupConfig struct {
	People   []string          `yaml:"people"`
	Mentions map[string]string `yaml:"mentions"` // platform: its id of the group
}

// channelConfig is platform: channel id.
type channelConfig map[string]string

type slackConfig struct {
	BotToken      secretRef `yaml:"bot_token"`
	AppToken      secretRef `yaml:"app_token"`
	SigningSecret secretRef `yaml:"signing_secret"`
	AppID         string    `yaml:"app_id"`
	TeamIDs       []string  `yaml:"team_ids"`
	EnterpriseID  string    `yaml:"enterprise_id"`
	SocketMode    bool      `yaml:"socket_mode"`
	APIURL        string    `yaml:"api_url"`
}

type policyConfig struct {
	// Bundle is a folder of Rego; the embedded default bundle when empty.
	Bundle string `yaml:"bundle"`
	// Data is laid over the bundle's own data document.
	Data map[string]any `yaml:"data"`
}

type auditConfig struct {
	// Origin names the log in its checkpoints; by default made of public_url.
	Origin  string   `yaml:"origin"`
	Readers []string `yaml:"readers"` // groups that may query the log in chat
}

// secretRef says where a secret stands: never in the file itself.
type secretRef struct {
	File string `yaml:"file"`
	Env  string `yaml:"env"`
}

func (r secretRef) isZero() bool { return r == secretRef{} }

// resolve reads the secret. An unset reference is an empty secret.
func (c *config) resolve(r secretRef, getenv func(string) string) (identity.Secret, error) {
	switch {
	case r.isZero():
		return "", nil
	case r.File != "" && r.Env != "":
		return "", errors.New("name a file or an environment variable, not both")
	case r.Env != "":
		v := getenv(r.Env)
		if v == "" {
			return "", fmt.Errorf("the environment variable %s is not set", r.Env)
		}
		return identity.Secret(v), nil
	}
	raw, err := os.ReadFile(c.path(r.File))
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(raw))
	if secret == "" {
		return "", fmt.Errorf("%s is empty", r.File)
	}
	return identity.Secret(secret), nil
}

// path resolves a path of the file.
func (c *config) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.dir, p)
}

// loadConfig reads a configuration and reports all its faults at once, each
// with the line that it stands on.
func loadConfig(file string) (*config, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(raw, filepath.Dir(abs))
	if err != nil {
		return nil, fmt.Errorf("%s:\n%w", file, err)
	}
	return c, nil
}

func parseConfig(raw []byte, dir string) (*config, error) {
	c := &config{dir: dir}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		var many *yaml.TypeError
		if errors.As(err, &many) {
			return nil, errors.New(plainFaults(many.Errors))
		}
		return nil, err
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("the file must hold one YAML document")
	}
	var root yaml.Node
	if err := yaml.Unmarshal(raw, &root); err != nil {
		return nil, err
	}
	f := &configFaults{root: &root}
	c.check(f)
	return c, errors.Join(f.errs...)
}

// configFaults gathers faults with their lines.
type configFaults struct {
	root *yaml.Node
	errs []error
}

// add reports a fault at a path of member names and list indexes, or at the
// nearest part of it that the file has.
func (f *configFaults) add(path []any, format string, args ...any) {
	line, where := 1, ""
	node := f.root
	if node.Kind == yaml.DocumentNode && len(node.Content) > 0 {
		node = node.Content[0]
	}
	for _, p := range path {
		switch p := p.(type) {
		case string:
			where += "." + p
		case int:
			where += fmt.Sprintf("[%d]", p)
		}
		if next := child(node, p); next != nil {
			node, line = next, next.Line
		} else {
			node = &yaml.Node{}
		}
	}
	f.errs = append(f.errs, fmt.Errorf("line %d: %s: %s", line, strings.TrimPrefix(where, "."), fmt.Sprintf(format, args...)))
}

func child(n *yaml.Node, p any) *yaml.Node {
	switch p := p.(type) {
	case string:
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == p {
				return n.Content[i+1]
			}
		}
	case int:
		if n.Kind == yaml.SequenceNode && p < len(n.Content) {
			return n.Content[p]
		}
	}
	return nil
}

func at(path ...any) []any { return path }

// check holds the rules that concern the file alone; keys, tokens and policy
// are judged by the packages that own them.
func (c *config) check(f *configFaults) {
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname()))) || u.RawQuery != "" || strings.HasSuffix(c.PublicURL, "/") {
		f.add(at("public_url"), "must be the https address that machines use, without a final slash (http only on loopback)")
	}
	host, _, err := net.SplitHostPort(c.Listen)
	switch {
	case err != nil:
		f.add(at("listen"), "must be host:port, for example 127.0.0.1:8080")
	case c.TLS == nil && !isLoopback(host):
		f.add(at("listen"), "is not a loopback address: set tls.cert_file and tls.key_file, or tls.behind_proxy: true")
	}
	if c.TLS != nil && !c.TLS.BehindProxy && (c.TLS.CertFile == "" || c.TLS.KeyFile == "") {
		f.add(at("tls"), "needs cert_file and key_file, or behind_proxy: true")
	}
	if c.State == "" {
		f.add(at("state"), "must be a folder for the database and the keys")
	}
	if len(c.ServiceAccounts) == 0 {
		f.add(at("service_accounts"), "nobody may ask: add a service account")
	}
	c.checkNames(f)
	c.checkSlack(f)
}

// checkNames holds every name that one part of the file uses of another.
func (c *config) checkNames(f *configFaults) {
	var people, audiences []string
	for _, p := range c.People {
		people = append(people, p.ID)
	}
	for i, a := range c.Audiences {
		if a.Name == "" || slices.Contains(audiences, a.Name) {
			f.add(at("audiences", i, "name"), "is empty or stands twice")
		}
		if !slices.Contains(algorithms, a.Algorithm) {
			f.add(at("audiences", i, "algorithm"), "%q signs nothing here: ES256, RS256 or EdDSA", a.Algorithm)
		}
		audiences = append(audiences, a.Name)
	}
	for i, p := range c.People {
		for j, text := range p.Accounts {
			a, err := parseAccount(text)
			switch {
			case err != nil:
				f.add(at("people", i, "accounts", j), "%s", err)
			case a.Kind == "slack" && c.Slack != nil && c.Slack.EnterpriseID == "" && !slices.Contains(c.Slack.TeamIDs, a.Space):
				f.add(at("people", i, "accounts", j), "is of a workspace that slack.team_ids does not name: it could never review")
			}
		}
	}
	for i, a := range c.ServiceAccounts {
		for j, name := range a.Audiences {
			if !slices.Contains(audiences, name) {
				f.add(at("service_accounts", i, "audiences", j), "%q is not among audiences", name)
			}
		}
		for j, id := range a.Owners {
			if !slices.Contains(people, id) {
				f.add(at("service_accounts", i, "owners", j), "%q is not among people", id)
			}
		}
	}
	for i, v := range c.Verifiers {
		if !slices.Contains(audiences, v.Audience) {
			f.add(at("verifiers", i, "audience"), "%q is not among audiences", v.Audience)
		}
		if v.Secret.isZero() || v.Name == "" {
			f.add(at("verifiers", i), "needs a name and a secret")
		}
	}
	for name, ch := range c.Channels {
		for platform, id := range ch {
			if platform == "slack" && !channelForm.MatchString(id) {
				f.add(at("channels", name, platform), "%q is no channel id: it begins with C, D or G and stands at the end of the channel's details", id)
			}
			if platform != "slack" || c.Slack == nil {
				f.add(at("channels", name, platform), "the platform %q is not configured", platform)
			}
		}
	}
	for i, g := range c.Audit.Readers {
		if _, ok := c.Groups[g]; !ok {
			f.add(at("audit", "readers", i), "%q is not among groups", g)
		}
	}
}

func (c *config) checkSlack(f *configFaults) {
	s := c.Slack
	if s == nil {
		return
	}
	if s.BotToken.isZero() {
		f.add(at("slack", "bot_token"), "is missing: {file: PATH} or {env: NAME}")
	}
	if s.SocketMode && s.AppToken.isZero() {
		f.add(at("slack", "app_token"), "is needed for socket_mode")
	}
	if !s.SocketMode && s.SigningSecret.isZero() {
		f.add(at("slack", "signing_secret"), "is missing: without it no delivery can be told from a forged one")
	}
	if s.AppID == "" || len(s.TeamIDs) == 0 {
		f.add(at("slack"), "needs app_id and team_ids")
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// What the ids of a platform look like: a name in their place would never match.
var (
	accountForms = map[string]*regexp.Regexp{
		"slack":  regexp.MustCompile(`^T[A-Z0-9]+/[UW][A-Z0-9]+$`),
		"github": regexp.MustCompile(`^[0-9]+$`),
	}
	channelForm = regexp.MustCompile(`^[CDG][A-Z0-9]+$`)
	algorithms  = []string{"", "ES256", "RS256", "EdDSA"}
)

// parseAccount reads kind:space/id, or kind:id where ids are globally unique.
func parseAccount(text string) (identity.Account, error) {
	kind, rest, ok := strings.Cut(text, ":")
	space, id, spaced := strings.Cut(rest, "/")
	if !spaced {
		space, id = "-", rest
	}
	a := identity.Account{Kind: kind, Space: space, ID: id}
	if form := accountForms[kind]; !ok || !a.Complete() || form == nil || !form.MatchString(rest) {
		return a, fmt.Errorf("%q is no account: write slack:TEAM/USER (T…/U…) or github:NUMBER, ids and not names", text)
	}
	return a, nil
}

// directory builds the directory of people and groups.
func (c *config) directory() (*identity.Directory, error) {
	var people []identity.Person
	for _, p := range c.People {
		person := identity.Person{ID: p.ID, Name: p.Name, Email: p.Email}
		for _, text := range p.Accounts {
			a, err := parseAccount(text)
			if err != nil {
				return nil, err
			}
			person.Accounts = append(person.Accounts, a)
		}
		people = append(people, person)
	}
	var groups []identity.Group
	for name, g := range c.Groups {
		groups = append(groups, identity.Group{Name: name, People: g.People, Mentions: g.Mentions})
	}
	return identity.NewDirectory(people, groups)
}
