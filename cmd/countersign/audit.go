package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/countersign/countersign/bot"
	"github.com/countersign/countersign/store/audit"
)

func newAuditCommand(env environment) *cobra.Command {
	cmd := group("audit", "Query, export and verify the audit log",
		newAuditQueryCommand(env), newAuditExportCommand(env), newAuditVerifyCommand(env), newAuditCheckpointCommand(env))
	cmd.PersistentFlags().StringP("config", "c", "countersign.yaml", "the server's configuration `file`")
	cmd.Long = "Query, export and verify the audit log: through the running server, or in the\ndatabase when none runs. Run it on the server's machine, as the server's user."
	return cmd
}

// withLog runs f on the log of the command's configuration.
func withLog(cmd *cobra.Command, f func(c *config, l logSource) error) (err error) {
	c, err := loadConfig(cmd.Flag("config").Value.String())
	if err != nil {
		return err
	}
	l, err := c.openLog(cmd.Context())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return f(c, l)
}

func newAuditQueryCommand(env environment) *cobra.Command {
	limit := 50
	cmd := &cobra.Command{
		Use:   "query [FILTER…]",
		Short: "List entries, newest first",
		Long: `List entries, newest first. Filters are the same as in chat, and all must hold:

  actor:NAME approver:NAME action:deploy account:NAME outcome:approved
  type:reviewed env:production request:ID-OR-CODE since:24h until:2026-11-20
  before:SEQ`,
		Example: "  countersign audit query type:reviewed env:production since:30d",
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > maxAuditPage {
				return usageError("--limit must be 1 to %d", maxAuditPage)
			}
			for i, a := range args {
				args[i] = `"` + a + `"` // one argument is one filter
			}
			filters := strings.Join(args, " ")
			if _, err := bot.ParseAuditQuery(filters, time.Now()); err != nil {
				return usageError("%w", err)
			}
			return withLog(cmd, func(_ *config, l logSource) error {
				page, err := l.query(cmd.Context(), filters, limit)
				if err != nil {
					return err
				}
				return printPage(cmd, env, page)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "how many entries at most")
	return cmd
}

func printPage(cmd *cobra.Command, env environment, page bot.AuditPage) error {
	if wantsJSON(cmd) {
		return writeJSON(env.stdout, page)
	}
	if len(page.Entries) > 0 {
		fmt.Fprintln(env.stdout, strings.TrimRight(printableLines(bot.AuditTable(page.Entries)), "\n "))
	} else {
		fmt.Fprintln(env.stderr, "no entries")
	}
	if page.Next != "" {
		fmt.Fprintf(env.stderr, "there is more: add before:%s\n", page.Next)
	}
	return nil
}

func newAuditCheckpointCommand(env environment) *cobra.Command {
	return &cobra.Command{
		Use:   "checkpoint",
		Short: "Print the newest signed checkpoint (C2SP tlog-checkpoint)",
		Long:  "Print the newest signed checkpoint. Keep it elsewhere: a later\n\"countersign audit verify --seen FILE\" then notices if the log was cut or rewritten.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withLog(cmd, func(_ *config, l logSource) error {
				note, err := l.checkpoint(cmd.Context())
				if err != nil {
					return err
				}
				_, err = env.stdout.Write(note)
				return err
			})
		},
	}
}

// exported is what audit export prints.
type exported struct {
	Folder  string `json:"folder"`
	Entries uint64 `json:"entries"`
	Root    string `json:"root"` // base64, as in the checkpoint
}

func newAuditExportCommand(env environment) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "export --out DIR",
		Short: "Write the whole log into a folder that countersign-verify reads",
		Long:  "Write the whole log, with the private texts that were not erased, into a new\nfolder that countersign-verify reads. DIR must not exist or be empty.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withLog(cmd, func(_ *config, l logSource) error {
				x, err := exportLog(cmd.Context(), l, out)
				if err != nil {
					return err
				}
				if wantsJSON(cmd) {
					return writeJSON(env.stdout, x)
				}
				_, err = fmt.Fprintf(env.stdout, "%d entries in %s; verify them elsewhere with: countersign-verify --key VKEYFILE %s\n", x.Entries, x.Folder, x.Folder)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the `folder`")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag stands two lines above
	}
	return cmd
}

// exportLog writes the export beside its place and then renames it, so that the
// folder is there whole or not at all.
func exportLog(ctx context.Context, l logSource, out string) (x exported, err error) {
	if err := emptyFolder(out); err != nil {
		return x, usageError("--out: %w", err)
	}
	// The checkpoint first: the log only grows.
	newest, err := l.checkpoint(ctx)
	if err != nil {
		return x, err
	}
	c, err := audit.PeekCheckpoint(newest)
	if err != nil {
		return x, err
	}
	out = filepath.Clean(out)
	temporary, err := os.MkdirTemp(filepath.Dir(out), "."+filepath.Base(out)+".part-")
	if err != nil {
		return x, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	inner := filepath.Join(temporary, "export") // WriteExport makes its own folder
	if err := audit.WriteExport(ctx, inner, l.entries(ctx, c.Size), newest, nil); err != nil {
		return x, err
	}
	// An empty folder makes way; one that was filled meanwhile does not.
	if err := os.Remove(out); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return x, err
	}
	if err := os.Rename(inner, out); err != nil {
		return x, err
	}
	return exported{Folder: out, Entries: c.Size, Root: c.Root.String()}, nil
}

func emptyFolder(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: name a new folder", path)
	}
	return nil
}

// verified is what audit verify prints.
type verified struct {
	Origin     string     `json:"origin"`
	Entries    uint64     `json:"entries"`
	Root       string     `json:"root"` // base64, as in the checkpoint
	First      *time.Time `json:"first,omitzero"`
	Last       *time.Time `json:"last,omitzero"`
	Seen       int        `json:"seen"` // older checkpoints that the log contains
	Opened     uint64     `json:"opened"`
	Erased     uint64     `json:"erased"`
	NotChecked []string   `json:"not_checked"`
}

func newAuditVerifyCommand(env environment) *cobra.Command {
	var key string
	var seen []string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that the log is whole and unchanged",
		Long: `Read the whole log and check: the checkpoint's signature; that the entries have
the signed root; that no number is missing; that time never goes back; that each
request's entries are chained; and that private texts are those committed to.
The first bad entry is named.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withLog(cmd, func(c *config, l logSource) error {
				v, err := verifyLog(cmd.Context(), c, l, key, seen)
				if err != nil {
					return fmt.Errorf("the log does not verify: %w", err)
				}
				if wantsJSON(cmd) {
					return writeJSON(env.stdout, v)
				}
				return v.print(env.stdout)
			})
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "the log's public key: a `VKEY` file, kept where the server cannot change it")
	cmd.Flags().StringArrayVar(&seen, "seen", nil, "a checkpoint `file` kept from before, which the log must contain (repeatable)")
	return cmd
}

func verifyLog(ctx context.Context, c *config, l logSource, key string, seen []string) (verified, error) {
	v := verified{NotChecked: []string{"that each request's story is legal: export the log and run countersign-verify"}}
	keyFile := key
	if keyFile == "" {
		keyFile = c.statePath(auditVerifierKey)
		v.NotChecked = append(v.NotChecked, "that the key is the log's own: it was taken from the state folder; give --key with a copy kept elsewhere")
	}
	verifier, err := audit.LoadVerifier(keyFile)
	if err != nil {
		return v, err
	}
	check := audit.Verification{Key: verifier}
	for _, file := range seen {
		note, err := os.ReadFile(file)
		if err != nil {
			return v, err
		}
		check.Older = append(check.Older, note)
	}
	if len(seen) == 0 {
		v.NotChecked = append(v.NotChecked, "that entries were not cut off and the rest signed anew: give --seen with a checkpoint kept elsewhere")
	}
	if check.Newest, err = l.checkpoint(ctx); err != nil {
		return v, err
	}
	size, err := audit.OpenCheckpoint(check.Newest, verifier)
	if err != nil {
		return v, err
	}
	report, err := check.Run(ctx, l.entries(ctx, size.Size))
	if err != nil {
		return v, err
	}
	v.Origin, v.Entries, v.Root = report.Checkpoint.Origin, report.Size, report.Checkpoint.Root.String()
	v.Seen, v.Opened, v.Erased = report.Older, report.Opened, report.Erased
	if report.Size > 0 {
		v.First, v.Last = &report.First, &report.Last
	}
	if report.Erased > 0 {
		v.NotChecked = append(v.NotChecked, fmt.Sprintf("%d private texts that were erased", report.Erased))
	}
	return v, nil
}

func (v verified) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "the log verifies: %s, %d entries, root %s\n", v.Origin, v.Entries, v.Root)
	if v.First != nil {
		fmt.Fprintf(&b, "from %s to %s\n", v.First.Format(time.RFC3339), v.Last.Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "%d private texts match their commitments; %d older checkpoints are contained\nnot checked:\n", v.Opened, v.Seen)
	for _, s := range v.NotChecked {
		fmt.Fprintf(&b, "- %s\n", s)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
