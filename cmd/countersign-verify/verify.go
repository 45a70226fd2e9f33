package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/countersign/countersign/store/audit"
)

// maxReceipt bounds a receipt's file in bytes: a leaf, escaped, and a proof.
const maxReceipt = 8 << 20

// verifyExport checks the tree, the signatures and every request's story in one
// pass. Memory: what audit.Verification keeps, and the stories that are open.
func verifyExport(ctx context.Context, a arguments) result {
	export, err := audit.OpenExport(a.target)
	if err != nil {
		return failed(err)
	}
	told := newStories()
	v := audit.Verification{Key: a.key, Newest: export.Newest, Older: export.Older, Each: told.add}
	report, err := v.Run(ctx, export.Entries())
	if err == nil {
		err = told.end()
	}
	if err != nil {
		return failed(err)
	}
	r := result{
		OK: true, Origin: report.Checkpoint.Origin, Entries: &report.Size, Root: report.Checkpoint.Root.String(),
		Requests: &counts{Finished: told.finished, Open: uint64(len(told.open))}, Older: &report.Older, Opened: &report.Opened,
		code: exitHolds,
	}
	if report.Size > 0 {
		r.First, r.Last = report.First.Format(time.RFC3339Nano), report.Last.Format(time.RFC3339Nano)
	}
	r.NotChecked = notChecked(report, told)
	return r
}

// notChecked lists what the answer "holds" does not cover.
func notChecked(report audit.Report, told *stories) []string {
	var list []string
	if report.Erased > 0 {
		list = append(list, fmt.Sprintf("%d private texts that are not in the export (erased, or left out): only their commitments are there", report.Erased))
	}
	if report.Older == 0 {
		list = append(list, "whether the log was rewritten as a whole: no older checkpoint was given; put copies from elsewhere into checkpoints/")
	} else {
		list = append(list, "whether the older checkpoints come from elsewhere: copies that came with the export say nothing against whoever made it")
	}
	if told.other > 0 {
		list = append(list, fmt.Sprintf("what %d entries that belong to no request tell", told.other))
	}
	return append(list,
		"whether private texts are true, and whether person ids and digests stand for whom and what they should",
		"credential ids across requests, and whether the eligible people were the right ones")
}

// verifyReceipt checks one entry.
func verifyReceipt(a arguments, stdin io.Reader) result {
	text, err := readReceipt(a.target, stdin)
	if err != nil {
		return failed(err)
	}
	var receipt audit.Receipt
	if err := json.Unmarshal(text, &receipt); err != nil {
		return failed(fmt.Errorf("%w: %w", audit.ErrReceipt, err))
	}
	_, c, err := audit.VerifyReceipt(receipt, a.key)
	if err != nil {
		return failed(err)
	}
	return result{
		OK: true, Origin: c.Origin, Entries: &c.Size, Root: c.Root.String(), Entry: jsontext.Value(receipt.Leaf), code: exitHolds,
		NotChecked: []string{
			"the rest of the log and of the request's story: an export shows it",
			"whether the log was rewritten since: compare with a newer checkpoint",
		},
	}
}

func readReceipt(name string, stdin io.Reader) ([]byte, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // only read
		stdin = f
	}
	text, err := io.ReadAll(io.LimitReader(stdin, maxReceipt+1))
	if err == nil && len(text) > maxReceipt {
		err = fmt.Errorf("%w: it is longer than %d bytes", audit.ErrReceipt, maxReceipt)
	}
	return text, err
}
