package opa

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	Want map[string]jsontext.Value `json:"want"`
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
		if err := e.trySample(ctx, fsys, entry.Name()); err != nil {
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
	switch ttl := time.Duration(s.Input.Request.TTL); {
	case len(s.Want) == 0:
		return errors.New("want is empty: say at least which effect")
	case s.Input.Request.TTLSeconds != int64(ttl/time.Second):
		return fmt.Errorf("ttl_seconds is %d, and ttl is %s: they must say the same", s.Input.Request.TTLSeconds, ttl)
	}
	var answer any
	switch s.Entry {
	case "", "decision":
		answer, err = e.Decide(ctx, s.Input)
	case "review":
		answer, err = e.Review(ctx, s.Input)
	default:
		return fmt.Errorf("entry must be decision or review, not %q", s.Entry)
	}
	if err != nil {
		return err
	}
	return differs(answer, s.Want)
}

// differs compares what the answer and want both say, in RFC 8785 form.
func differs(answer any, want map[string]jsontext.Value) error {
	raw, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	var got map[string]jsontext.Value
	if err := json.Unmarshal(raw, &got); err != nil {
		return err
	}
	var faults []error
	for key, w := range want {
		g, ok := got[key]
		switch {
		case !ok:
			faults = append(faults, fmt.Errorf("want %s %s, and the policy gives none", key, w))
		case key == "reasons":
			faults = append(faults, unsaid(g, w))
		default:
			if err := errors.Join(g.Canonicalize(), w.Canonicalize()); err != nil {
				return err
			}
			if string(g) != string(w) {
				faults = append(faults, fmt.Errorf("want %s %s, the policy gives %s (%s)", key, w, g, got["reasons"]))
			}
		}
	}
	return errors.Join(faults...)
}

func unsaid(got, want jsontext.Value) error {
	var given, wanted []string
	if err := errors.Join(json.Unmarshal(got, &given), json.Unmarshal(want, &wanted)); err != nil {
		return fmt.Errorf("reasons: %w", err)
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(given, func(g string) bool { return strings.Contains(g, w) }) {
			return fmt.Errorf("want the reason %q, the policy gives %q", w, given)
		}
	}
	return nil
}
