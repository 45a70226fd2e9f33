package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/countersign/countersign/identity/token"
)

//go:embed sample.yaml
var sampleConfig string

func newConfigCommand(env environment) *cobra.Command {
	sample := &cobra.Command{
		Use:   "sample",
		Short: "Print a complete configuration with comments",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(env.stdout, sampleConfig)
			return err
		},
	}
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Report everything that is wrong with a configuration, by line",
		Long:  "Report everything that is wrong with a configuration, by line. Keys, secrets and\nthe policy are read as the server would read them; nothing is contacted.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runConfigCheck(cmd, env, args[0])
		},
	}
	return group("config", "Print a sample configuration, or check one", sample, check)
}

// configFault is one fault; Line is 0 where it belongs to no line.
type configFault struct {
	Line   int    `json:"line,omitzero"`
	Detail string `json:"detail"`
}

func runConfigCheck(cmd *cobra.Command, env environment, file string) error {
	_, faults, err := checkConfig(cmd.Context(), file, env.getenv)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		if err := writeJSON(env.stdout, struct {
			OK     bool          `json:"ok"`
			Faults []configFault `json:"faults"`
		}{len(faults) == 0, append([]configFault{}, faults...)}); err != nil {
			return err
		}
	}
	switch {
	case len(faults) > 0:
		var lines []string
		for _, f := range faults {
			lines = append(lines, f.String())
		}
		return fmt.Errorf("%s has faults:\n%s", file, strings.Join(lines, "\n"))
	case !wantsJSON(cmd):
		_, err = fmt.Fprintf(env.stdout, "%s: ok\n", file)
	}
	return err
}

// String is the fault for people.
func (f configFault) String() string {
	if f.Line == 0 {
		return f.Detail
	}
	return fmt.Sprintf("line %d: %s", f.Line, f.Detail)
}

// checkConfig reads a configuration and everything that it names, and returns
// all faults in the order of their lines. The configuration is nil where it
// cannot be read as one; the error is for a file that cannot be read at all.
func checkConfig(ctx context.Context, file string, getenv func(string) string) (*config, []configFault, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, nil, err
	}
	c, err := parseConfig(raw, filepath.Dir(abs))
	faults := splitFaults(err)
	if c != nil {
		var root yaml.Node
		if err := yaml.Unmarshal(raw, &root); err != nil {
			return nil, nil, err // parseConfig has read it
		}
		f := &configFaults{root: &root}
		c.checkSecrets(f, getenv)
		c.checkRules(ctx, f)
		if _, err := c.directory(); err != nil {
			f.add(at("people"), "%s", inline(err))
		}
		if _, err := c.policy(ctx, slog.New(slog.DiscardHandler)); err != nil {
			f.add(at("policy"), "%s", inline(err))
		}
		faults = append(faults, splitFaults(errors.Join(f.errs...))...)
	}
	slices.SortStableFunc(faults, func(a, b configFault) int { return a.Line - b.Line })
	return c, faults, nil
}

// checkSecrets reads every secret that the file names.
func (c *config) checkSecrets(f *configFaults, getenv func(string) string) {
	for _, s := range c.secrets() {
		if _, err := c.resolve(s.ref, getenv); err != nil {
			f.add(s.at, "%s", err)
		}
	}
}

// namedSecret is a secret reference with its place in the file.
type namedSecret struct {
	at  []any
	ref secretRef
}

// secrets lists the references to secrets that the file has.
func (c *config) secrets() []namedSecret {
	var all []namedSecret
	for i, v := range c.Verifiers {
		all = append(all, namedSecret{at("verifiers", i, "secret"), v.Secret})
	}
	if s := c.Slack; s != nil {
		all = append(all,
			namedSecret{at("slack", "bot_token"), s.BotToken},
			namedSecret{at("slack", "app_token"), s.AppToken},
			namedSecret{at("slack", "signing_secret"), s.SigningSecret})
	}
	return slices.DeleteFunc(all, func(s namedSecret) bool { return s.ref.isZero() })
}

// checkRules has the verifier judge each service account by itself, so that a
// fault has a line, and then all together.
func (c *config) checkRules(ctx context.Context, f *configFaults) {
	rules, before := c.rules(), len(f.errs)
	for i, r := range rules {
		if _, err := token.NewVerifier(ctx, []token.Rule{r}, token.Options{}); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				f.add(at("service_accounts", i), "%s", line)
			}
		}
	}
	if len(f.errs) > before || len(rules) == 0 {
		return
	}
	if _, err := token.NewVerifier(ctx, rules, token.Options{}); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			f.add(at("service_accounts"), "%s", line)
		}
	}
}

// inline is an error of several lines in one, without the indented ones: those
// repeat the source that a position names.
func inline(err error) string {
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line != "" && line == strings.TrimLeft(line, " \t") {
			lines = append(lines, line)
		}
	}
	return strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ")
}

var faultLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// splitFaults makes faults of a configuration's error, one line each.
func splitFaults(err error) []configFault {
	if err == nil {
		return nil
	}
	var out []configFault
	for text := range strings.SplitSeq(err.Error(), "\n") {
		m := faultLine.FindStringSubmatch(text)
		if m == nil {
			out = append(out, configFault{Detail: text})
			continue
		}
		line, err := strconv.Atoi(m[1])
		if err != nil {
			line = 0
		}
		out = append(out, configFault{line, m[2]})
	}
	return out
}

// What the decoder says names our types, which mean nothing to who writes the
// file, and repeats values, which may be a secret in the wrong place.
var (
	unknownMember = regexp.MustCompile(`(?s)field (.*) not found in type \S+$`)
	wrongKind     = regexp.MustCompile(`(?s)cannot unmarshal (?:!!)?(\S*).* into \S+$`)
	kinds         = map[string]string{"str": "a text", "seq": "a list", "map": "a group of settings", "int": "a number", "float": "a number", "bool": "true or false"}
)

// plainFaults says what the decoder says in the words of the file, a line each.
func plainFaults(faults []string) string {
	var lines []string
	for _, text := range faults {
		text = unknownMember.ReplaceAllString(text, "there is no setting $1 here")
		text = wrongKind.ReplaceAllStringFunc(text, func(s string) string {
			kind := kinds[wrongKind.FindStringSubmatch(s)[1]]
			if kind == "" {
				kind = "this"
			}
			return kind + " cannot stand here: see countersign config sample"
		})
		lines = append(lines, strings.ReplaceAll(text, "\n", " "))
	}
	return strings.Join(lines, "\n")
}
