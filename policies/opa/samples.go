package opa

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/countersign/countersign/policies"
)

// sample is a request with the answer that the policy must give.
type sample struct {
	Name string `json:"name"`
	// Entry is decision, also where it is absent, or review.
	Entry string         `json:"entry,omitempty"`
	Input policies.Input `json:"input"`
	// Want has the members of the answer that matter. Each must be equal, but
	// for reasons: each of those must be part of one that was given.
	Want jsontext.Value `json:"want"`
}

// trySamples evaluates every *.json file of fsys, and returns how many there are.
func (e *Engine) trySamples(ctx context.Context, fsys fs.FS) (int, error) {
	if fsys == nil {
		return 0, nil
	}
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return 0, fmt.Errorf("read the policy's samples: %w", err)
	}
	var faults []error
	n := 0
	for _, entry := range entries {
		if entry.IsDir() || path.Ext(entry.Name()) != ".json" {
			continue
		}
		n++
		err := e.trySample(ctx, fsys, entry.Name())
		for range 3 { // a busy machine is no fault of the policy
			if errors.Is(err, ErrTooSlow) {
				err = e.trySample(ctx, fsys, entry.Name())
			}
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("sample %s: %w", entry.Name(), err))
		}
	}
	return n, errors.Join(faults...)
}

func (e *Engine) trySample(ctx context.Context, fsys fs.FS, name string) error {
	raw, err := readFile(fsys, name)
	if err != nil {
		return err
	}
	var s sample
	if err := json.Unmarshal(raw, &s, json.RejectUnknownMembers(true)); err != nil {
		return err
	}
	if ttl := time.Duration(s.Input.Request.TTL); s.Input.Request.TTLSeconds != int64(ttl/time.Second) {
		return fmt.Errorf("ttl_seconds is %d, and ttl is %s: they must say the same", s.Input.Request.TTLSeconds, ttl)
	}
	switch s.Entry {
	case "", "decision":
		d, err := e.Decide(ctx, s.Input)
		if err != nil {
			return err
		}
		return differs(d, d.Reasons, s.Want)
	case "review":
		v, err := e.Review(ctx, s.Input)
		if err != nil {
			return err
		}
		return differs(v, v.Reasons, s.Want)
	default:
		return fmt.Errorf("entry must be decision or review, not %q", s.Entry)
	}
}

// differs compares the members that want names, as T writes them: 10m is 10m0s.
func differs[T any](answer T, reasons []string, want jsontext.Value) error {
	var typed T
	if err := json.Unmarshal(want, &typed, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("want: %w", err)
	}
	named, err := membersOf(want)
	if err != nil {
		return fmt.Errorf("want: %w", err)
	}
	if len(named) == 0 {
		return errors.New("want is empty: say at least which effect")
	}
	wanted, err := membersOf(typed)
	if err != nil {
		return err
	}
	got, err := membersOf(answer)
	if err != nil {
		return err
	}
	var faults []error
	for _, key := range slices.Sorted(maps.Keys(named)) {
		if key == "reasons" {
			faults = append(faults, unsaid(reasons, wanted[key]))
		} else if w, g := string(wanted[key]), string(got[key]); w != g {
			faults = append(faults, fmt.Errorf("want %s %s, the policy gives %s: %s", key, w, cmp.Or(g, "none"), strings.Join(reasons, "; ")))
		}
	}
	return errors.Join(faults...)
}

// membersOf returns v's members in RFC 8785 form.
func membersOf(v any) (map[string]jsontext.Value, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var m map[string]jsontext.Value
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	for key, value := range m {
		if err := value.Canonicalize(); err != nil {
			return nil, err
		}
		m[key] = value
	}
	return m, nil
}

func unsaid(given []string, want jsontext.Value) error {
	var wanted []string
	if err := json.Unmarshal(want, &wanted); err != nil {
		return fmt.Errorf("want.reasons: %w", err)
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(given, func(g string) bool { return strings.Contains(g, w) }) {
			return fmt.Errorf("want the reason %q, the policy gives %q", w, given)
		}
	}
	return nil
}
