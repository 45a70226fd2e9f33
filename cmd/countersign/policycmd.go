package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/countersign/countersign/policies"
	"github.com/countersign/countersign/policies/opa"
)

// policySource is the bundle that the server loads, with its data and with the
// samples that it must pass before it serves: the default bundle's own while its
// data is unchanged, or those in the folder samples of an operator's bundle.
func (c *config) policySource(log *slog.Logger) (fs.FS, opa.Options) {
	o := opa.Options{Data: c.Policy.Data, Log: log}
	if c.Policy.Bundle == "" {
		if len(o.Data) == 0 {
			o.Samples = policies.Samples()
		}
		return policies.Bundle(), o
	}
	folder := c.path(c.Policy.Bundle)
	if samples := filepath.Join(folder, "samples"); isFolder(samples) {
		o.Samples = os.DirFS(samples)
	}
	return os.DirFS(folder), o
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func newPolicyCommand(env environment) *cobra.Command {
	cmd := group("policy", "Check, test and try out the policy", newPolicyCheckCommand(env), newPolicyTestCommand(env), newPolicyEvalCommand(env))
	cmd.PersistentFlags().StringP("config", "c", "countersign.yaml", "the server's configuration `file`, which names the bundle and its data")
	return cmd
}

// withPolicy reads the command's configuration.
func withPolicy(cmd *cobra.Command) (fs.FS, opa.Options, error) {
	c, err := loadConfig(cmd.Flag("config").Value.String())
	if err != nil {
		return nil, opa.Options{}, err
	}
	bundle, o := c.policySource(slog.New(slog.DiscardHandler))
	return bundle, o, nil
}

func newPolicyCheckCommand(env environment) *cobra.Command {
	var samples string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Load the policy as the server does, and hold it to its samples",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			bundle, o, err := withPolicy(cmd)
			if err != nil {
				return err
			}
			if samples != "" {
				if !isFolder(samples) {
					return usageError("--samples: %s is no folder", samples)
				}
				o.Samples = os.DirFS(samples)
			}
			engine, err := opa.Load(cmd.Context(), bundle, o)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return writeJSON(env.stdout, map[string]any{"revision": engine.Revision(), "samples": o.Samples != nil})
			}
			text := "the policy loads, revision %s\n"
			if o.Samples != nil {
				text = "the policy loads and gives its samples' answers, revision %s\n"
			}
			_, err = fmt.Fprintf(env.stdout, text, engine.Revision())
			return err
		},
	}
	cmd.Flags().StringVar(&samples, "samples", "", "a `folder` of samples; the bundle's folder samples by default")
	return cmd
}

func newPolicyTestCommand(env environment) *cobra.Command {
	return &cobra.Command{
		Use:   "test [FOLDER]",
		Short: "Run the tests of a bundle: FOLDER, or the configuration's",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			bundle, err := bundleOf(cmd, args)
			if err != nil {
				return err
			}
			report, err := opa.Test(cmd.Context(), bundle)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				err = writeJSON(env.stdout, report)
			} else {
				err = printTests(env.stdout, report)
			}
			if err == nil && !report.Pass() {
				err = fmt.Errorf("tests of the policy fail")
			}
			return err
		},
	}
}

func bundleOf(cmd *cobra.Command, args []string) (fs.FS, error) {
	if len(args) == 0 {
		bundle, _, err := withPolicy(cmd)
		return bundle, err
	}
	if !isFolder(args[0]) {
		return nil, usageError("%s is no folder", args[0])
	}
	return os.DirFS(args[0]), nil
}

func printTests(w io.Writer, r opa.Report) error {
	var b strings.Builder
	passed := 0
	for _, t := range r.Tests {
		if t.Pass {
			passed++
			continue
		}
		fmt.Fprintf(&b, "FAIL  %s (%s)\n", t.Name, t.Location)
		if t.Detail != "" {
			fmt.Fprintf(&b, "      %s\n", strings.ReplaceAll(printableLines(t.Detail), "\n", "\n      "))
		}
	}
	fmt.Fprintf(&b, "%d of %d tests pass, %.1f %% of the lines are covered\n", passed, len(r.Tests), r.Coverage)
	_, err := io.WriteString(w, b.String())
	return err
}

func newPolicyEvalCommand(env environment) *cobra.Command {
	var review bool
	cmd := &cobra.Command{
		Use:   "eval FILE",
		Short: "Print what the policy decides about an input, a JSON file or - for standard input",
		Long:  "Print, as JSON, what the policy decides about an input. The input has the form of\na sample's (policies/README.md); members that are not known are refused. The exit\ncode tells only whether the policy could be asked.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			bundle, o, err := withPolicy(cmd)
			if err != nil {
				return err
			}
			in, err := readInput(env, args[0])
			if err != nil {
				return err
			}
			engine, err := opa.Load(cmd.Context(), bundle, o)
			if err != nil {
				return err
			}
			answer, err := evaluate(cmd.Context(), engine, in, review)
			if err != nil {
				return err
			}
			return writeJSON(env.stdout, answer)
		},
	}
	cmd.Flags().BoolVar(&review, "review", false, "ask data.countersign.review instead of data.countersign.decision")
	return cmd
}

func evaluate(ctx context.Context, engine *opa.Engine, in policies.Input, review bool) (any, error) {
	if review {
		return engine.Review(ctx, in)
	}
	return engine.Decide(ctx, in)
}

// maxInput bounds a policy input, in bytes.
const maxInput = 8 << 20

func readInput(env environment, path string) (policies.Input, error) {
	var in policies.Input
	from := env.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return in, err
		}
		defer func() { _ = f.Close() }() // only read
		from = f
	}
	if err := json.UnmarshalRead(io.LimitReader(from, maxInput), &in, json.RejectUnknownMembers(true)); err != nil {
		return in, usageError("%s is no input of a policy: %w", path, err)
	}
	return in, nil
}
