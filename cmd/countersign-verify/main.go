// Command countersign-verify is the auditor's program: it proves an audit
// export or a receipt against a key, offline, on any machine.
//
// Its rule: it shares nothing with the server but package store/audit, the form
// of the log. What a request may go through is stated here a second time, in
// story.go, on purpose: a mistake in the server's transitions is not repeated in
// the program that judges them. The key comes from the command line, never from
// what is verified.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/mod/sumdb/note"

	"github.com/countersign/countersign/store/audit"
)

// Exit codes.
const (
	exitHolds  = 0 // everything that was checked is in order
	exitFault  = 1 // something is not as it should be
	exitFailed = 2 // nothing could be said: wrong arguments, unreadable files
)

const usage = `countersign-verify proves a Countersign audit log, offline.

  countersign-verify --key FILE [--output text|json] FOLDER
        checks an export: entries.jsonl, checkpoint, and older checkpoints in checkpoints/
  countersign-verify receipt --key FILE [--output text|json] FILE
        checks the receipt of one entry, {"leaf": "…", "proof": "…"}; - is standard input

The key is the verifier's key, <name>+<hash>+<key>, which you have from somebody
else than whoever gave you the log. Exit status: 0 it holds, 1 it does not,
2 it could not be checked.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// arguments are what the command line says.
type arguments struct {
	key    note.Verifier
	json   bool
	target string
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	check := verifyExport
	if len(args) > 0 && args[0] == "receipt" {
		args = args[1:]
		check = func(_ context.Context, a arguments) result { return verifyReceipt(a, stdin) }
	}
	a, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitHolds
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "countersign-verify: %s\n", err)
		return exitFailed
	}
	r := check(ctx, a)
	if err := r.write(stdout, a.json); err != nil {
		_, _ = fmt.Fprintf(stderr, "countersign-verify: %s\n", err)
		return exitFailed
	}
	return r.code
}

func parse(args []string, stderr io.Writer) (arguments, error) {
	flags := flag.NewFlagSet("countersign-verify", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { _, _ = io.WriteString(stderr, usage) }
	key := flags.String("key", "", "file with the verifier's key")
	output := flags.String("output", "text", "text or json")
	if err := flags.Parse(args); err != nil {
		return arguments{}, err
	}
	switch {
	case *key == "":
		return arguments{}, errors.New("--key is required: the file with the verifier's key that you trust")
	case *output != "text" && *output != "json":
		return arguments{}, errors.New("--output must be text or json")
	case flags.NArg() != 1:
		return arguments{}, errors.New("name one export's folder, or after receipt one file; flags come first")
	}
	v, err := audit.LoadVerifier(*key)
	if err != nil {
		return arguments{}, err
	}
	return arguments{key: v, json: *output == "json", target: flags.Arg(0)}, nil
}

// result is what was found, in the form of --output json.
type result struct {
	OK bool `json:"ok"`
	// Seq is the first bad entry, or the first of those among which it is.
	Seq   *uint64 `json:"seq,omitzero"`
	Fault string  `json:"fault,omitzero"`

	Origin   string         `json:"origin,omitzero"`
	Entries  *uint64        `json:"entries,omitzero"` // under the newest checkpoint
	Root     string         `json:"root,omitzero"`
	First    string         `json:"first,omitzero"`
	Last     string         `json:"last,omitzero"`
	Requests *counts        `json:"requests,omitzero"`
	Older    *int           `json:"older_checkpoints,omitzero"`
	Opened   *uint64        `json:"texts_opened,omitzero"`
	Entry    jsontext.Value `json:"entry,omitzero"` // of a receipt
	// NotChecked says what nobody should believe to have been checked.
	NotChecked []string `json:"not_checked,omitempty"`

	code int
}

// counts are requests by how far their stories have come.
type counts struct {
	Finished uint64 `json:"finished"`
	Open     uint64 `json:"open"`
}

// failed is the result of an error.
func failed(err error) result {
	r := result{Fault: err.Error(), code: exitFailed}
	var f *audit.Fault
	if errors.As(err, &f) {
		r.Seq, r.Fault = &f.Seq, f.Err.Error()
	}
	for _, fault := range []error{
		errStory, audit.ErrLeaf, audit.ErrCheckpoint, audit.ErrReceipt, audit.ErrSequence, audit.ErrChain,
		audit.ErrTime, audit.ErrCommitment, audit.ErrRoot, audit.ErrCut, audit.ErrExport,
	} {
		if errors.Is(err, fault) && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			r.code = exitFault
		}
	}
	return r
}

// write prints the result.
func (r result) write(w io.Writer, asJSON bool) error {
	if asJSON {
		if err := json.MarshalWrite(w, r, jsontext.WithIndent("  ")); err != nil {
			return err
		}
		_, err := io.WriteString(w, "\n")
		return err
	}
	_, err := io.WriteString(w, r.text())
	return err
}

func (r result) text() string {
	if !r.OK {
		if r.Seq != nil {
			return fmt.Sprintf("NOT in order, first at entry %d: %s\n", *r.Seq, r.Fault)
		}
		return fmt.Sprintf("NOT in order: %s\n", r.Fault)
	}
	var s string
	if r.Entry != nil {
		s = fmt.Sprintf("holds: this entry stands in the log %s of %d entries\n  %s\n", r.Origin, *r.Entries, r.Entry)
	} else {
		s = fmt.Sprintf("holds: %d entries of the log %s\n  from %s to %s\n  root %s\n  requests: %d finished, %d open\n  older checkpoints contained: %d\n  private texts that match their commitments: %d\n",
			*r.Entries, r.Origin, orNone(r.First), orNone(r.Last), r.Root, r.Requests.Finished, r.Requests.Open, *r.Older, *r.Opened)
	}
	s += "not checked:\n"
	for _, line := range r.NotChecked {
		s += "  - " + line + "\n"
	}
	return s
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
