package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// finding is what one check of the doctor found.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"` // ok, warn or fail
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitzero"` // what to do about it
}

// doctor gathers findings about one installation.
type doctor struct {
	config   *config
	getenv   func(string) string
	now      func() time.Time
	findings []finding
}

func (d *doctor) ok(check, format string, args ...any) {
	d.findings = append(d.findings, finding{Check: check, Status: "ok", Detail: fmt.Sprintf(format, args...)})
}

func (d *doctor) warn(check, fix, format string, args ...any) {
	d.findings = append(d.findings, finding{check, "warn", fmt.Sprintf(format, args...), fix})
}

func (d *doctor) fail(check, fix, format string, args ...any) {
	d.findings = append(d.findings, finding{check, "fail", fmt.Sprintf(format, args...), fix})
}

// count is the number of findings with a status.
func (d *doctor) count(status string) int {
	n := 0
	for _, f := range d.findings {
		if f.Status == status {
			n++
		}
	}
	return n
}

func newDoctorCommand(env environment) *cobra.Command {
	var file string
	var online bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out what is wrong with an installation, and what to do about it",
		Long: `Check the configuration and everything that it names: secrets, keys, the state
folder, the database, the clock, the policy. With --online also Slack, the
issuers' key sets and the public address. Run it on the server's machine, as the
server's user; it changes nothing. The exit code is 1 if anything fails.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &doctor{getenv: env.getenv, now: time.Now}
			if err := d.examine(cmd.Context(), file, online); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				if err := writeJSON(env.stdout, d.findings); err != nil {
					return err
				}
			} else if err := d.print(env.stdout); err != nil {
				return err
			}
			if n := d.count("fail"); n > 0 {
				return fmt.Errorf("%d of %d checks failed", n, len(d.findings))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "countersign.yaml", "the configuration `file`")
	cmd.Flags().BoolVar(&online, "online", false, "check also what lies beyond this machine")
	return cmd
}

// examine runs all checks that make sense.
func (d *doctor) examine(ctx context.Context, file string, online bool) error {
	c, faults, err := checkConfig(ctx, file, d.getenv)
	if err != nil {
		return err
	}
	for _, f := range faults {
		d.fail("config", "edit "+file+"; countersign config sample shows a complete one", "%s", f)
	}
	if c == nil {
		return nil
	}
	if len(faults) == 0 {
		d.ok("config", "%s has no faults", file)
	}
	d.config = c
	d.checkPolicy(ctx)
	d.examineInstallation(ctx, online)
	return nil
}

// examineInstallation checks what the configuration names, beside the policy.
func (d *doctor) examineInstallation(ctx context.Context, online bool) {
	d.checkSecretFiles()
	d.checkPeople()
	d.checkTLS()
	d.checkState(ctx)
	d.checkAuditKey()
	d.checkTokenKeys()
	if online {
		d.checkOnline(ctx)
	}
}

func (d *doctor) print(w io.Writer) error {
	var b strings.Builder
	for _, f := range d.findings {
		fmt.Fprintf(&b, "%-4s  %s: %s\n", f.Status, f.Check, printable(f.Detail))
		if f.Fix != "" {
			fmt.Fprintf(&b, "      → %s\n", printable(f.Fix))
		}
	}
	fmt.Fprintf(&b, "%d ok, %d warnings, %d failures\n", d.count("ok"), d.count("warn"), d.count("fail"))
	_, err := io.WriteString(w, b.String())
	return err
}
