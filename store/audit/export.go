package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"

	"github.com/go-json-experiment/json"
)

// ErrExport: the folder is no export, or a line of it is malformed.
var ErrExport = errors.New("bad audit export")

// Names in an export's folder. Entries holds one JSON object per line; the
// checkpoint covers exactly these entries; checkpoints holds older ones, one
// per file.
const (
	fileEntries    = "entries.jsonl"
	fileCheckpoint = "checkpoint"
	dirOlder       = "checkpoints"
)

// maxLine bounds a line of an export: a leaf, and the texts beside it, escaped.
const maxLine = 64 << 20

// line is an entry in an export. The leaf is a string, so that its exact bytes
// survive every JSON tool.
type line struct {
	Seq  uint64             `json:"seq"`
	Leaf string             `json:"leaf"`
	Side map[string]Opening `json:"side,omitempty"`
}

// WriteExport writes the log under a signed checkpoint, and older checkpoints
// beside it, into a new folder that only its owner can read: it holds the
// private texts. Entries beyond the checkpoint are not read.
func WriteExport(ctx context.Context, folder string, entries iter.Seq2[Entry, error], newest []byte, older [][]byte) (err error) {
	c, err := PeekCheckpoint(newest)
	if err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(folder, fileEntries), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := errors.Join(writeEntries(ctx, f, entries, c.Size), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	for i, signed := range older {
		if err := os.MkdirAll(filepath.Join(folder, dirOlder), 0o700); err != nil {
			return fmt.Errorf("export: %w", err)
		}
		if err := os.WriteFile(filepath.Join(folder, dirOlder, strconv.Itoa(i+1)), signed, 0o600); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	// Last, so that a folder with a checkpoint is a complete one.
	if err := os.WriteFile(filepath.Join(folder, fileCheckpoint), newest, 0o600); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func writeEntries(ctx context.Context, w io.Writer, entries iter.Seq2[Entry, error], size uint64) error {
	b := bufio.NewWriterSize(w, 1<<20)
	n := uint64(0)
	if size > 0 {
		for e, err := range entries {
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := WriteEntry(b, e); err != nil {
				return err
			}
			if n++; n == size {
				break
			}
		}
	}
	if n != size {
		return fmt.Errorf("the log has %d entries, its checkpoint %d", n, size)
	}
	return b.Flush()
}

// WriteEntry writes one entry as a line of an export, which ReadEntries reads.
func WriteEntry(w io.Writer, e Entry) error {
	text, err := json.Marshal(line{e.Seq, string(e.Leaf), e.Side}, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.Seq, err)
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// Export is a folder that WriteExport made, or that says so.
type Export struct {
	// Newest and Older are signed notes, not verified.
	Newest []byte
	Older  [][]byte
	path   string
}

// OpenExport reads an export's checkpoints.
func OpenExport(folder string) (*Export, error) {
	newest, err := readSmall(filepath.Join(folder, fileCheckpoint))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrExport, err)
	}
	e := &Export{Newest: []byte(newest), path: filepath.Join(folder, fileEntries)}
	older, err := os.ReadDir(filepath.Join(folder, dirOlder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrExport, err)
	}
	for _, file := range older {
		signed, err := readSmall(filepath.Join(folder, dirOlder, file.Name()))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrExport, err)
		}
		e.Older = append(e.Older, []byte(signed))
	}
	return e, nil
}

// Entries reads the entries, one line at a time.
func (e *Export) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		f, err := os.Open(e.path)
		if err != nil {
			yield(Entry{}, fmt.Errorf("%w: %w", ErrExport, err))
			return
		}
		defer f.Close() //nolint:errcheck // only read
		ReadEntries(f)(yield)
	}
}

// ReadEntries reads entries in the form of an export from r. After an error it
// ends.
func ReadEntries(r io.Reader) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 1<<20), maxLine)
		lines.Split(scanLines)
		n := 0
		for lines.Scan() {
			n++
			var one line
			err := json.Unmarshal(lines.Bytes(), &one, json.RejectUnknownMembers(true))
			if err != nil {
				yield(Entry{}, fmt.Errorf("%w: line %d of %s: %w", ErrExport, n, fileEntries, err))
				return
			}
			if !yield(Entry{Seq: one.Seq, Leaf: []byte(one.Leaf), Side: one.Side}, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Entry{}, fmt.Errorf("%w: after line %d of %s: %w", ErrExport, n, fileEntries, err))
		}
	}
}

// scanLines is bufio.ScanLines without its leniency: every line ends in one
// newline, the last one too, so that a file that was cut is noticed.
func scanLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}

// receiptJSON is a receipt as it stands in a file or an answer.
type receiptJSON struct {
	Leaf  string `json:"leaf"`
	Proof string `json:"proof"`
}

// MarshalJSON writes {"leaf": "…", "proof": "…"}, both with their exact bytes.
func (r Receipt) MarshalJSON() ([]byte, error) {
	return json.Marshal(receiptJSON{string(r.Leaf), string(r.Proof)})
}

// UnmarshalJSON reads what MarshalJSON writes and refuses other members.
func (r *Receipt) UnmarshalJSON(b []byte) error {
	var raw receiptJSON
	if err := json.Unmarshal(b, &raw, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	r.Leaf, r.Proof = []byte(raw.Leaf), []byte(raw.Proof)
	return nil
}
