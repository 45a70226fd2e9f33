package opa

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/countersign/countersign/policies"
)

// The entry points of a bundle. faults is optional: texts that say what is wrong
// with the data, asked once at load.
const (
	decisionPoint = "data.countersign.decision"
	reviewPoint   = "data.countersign.review"
	faultsPoint   = "data.countersign.faults"
)

const (
	dataFile = "data.json"
	// maxFile bounds a file of a bundle, in bytes.
	maxFile = 32 << 20
)

// files is a bundle as read: sources by path, and data as merged.
type files struct {
	modules   map[string]string
	tests     map[string]string
	data      ast.Object
	canonical []byte // data in RFC 8785 form
}

func read(fsys fs.FS, patch map[string]any) (*files, error) {
	b := &files{modules: map[string]string{}, tests: map[string]string{}}
	document := []byte("{}")
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if name != "." && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		case strings.HasPrefix(d.Name(), "."):
			return nil
		case path.Ext(name) == ".rego":
			text, err := readFile(fsys, name)
			if strings.HasSuffix(name, "_test.rego") {
				b.tests[name] = string(text)
			} else {
				b.modules[name] = string(text)
			}
			return err
		case name == dataFile:
			document, err = readFile(fsys, name)
			return err
		case slices.Contains([]string{"data.json", "data.yaml", "data.yml"}, d.Name()):
			return fmt.Errorf("%s would not be read: put the bundle's data into %s at its root", name, dataFile)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the policy bundle: %w", err)
	}
	if len(b.modules) == 0 {
		return nil, errors.New("the policy bundle has no .rego file: begin from a copy of the default bundle")
	}
	return b, b.setData(document, patch)
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes; at most %d are read", name, info.Size(), maxFile)
	}
	return fs.ReadFile(fsys, name)
}

// setData lays patch over the document, and keeps the outcome for evaluation
// and for the revision.
func (b *files) setData(document []byte, patch map[string]any) error {
	var base map[string]any
	if err := json.Unmarshal(document, &base); err != nil {
		return fmt.Errorf("%s: must be one JSON object: %w", dataFile, err)
	}
	if err := b.merge(base, patch); err != nil {
		return fmt.Errorf("the policy's data must be JSON: %w", err)
	}
	return nil
}

// merge takes the patch through JSON first, so that it is made of maps of any,
// and the outcome as well, so that it is hashed as it is evaluated.
func (b *files) merge(base, patch map[string]any) error {
	raw, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	var plain map[string]any
	if err := json.Unmarshal(raw, &plain); err != nil {
		return err
	}
	canonical, err := json.Marshal(mergePatch(base, plain))
	if err != nil {
		return err
	}
	if err := (*jsontext.Value)(&canonical).Canonicalize(); err != nil {
		return err
	}
	var merged map[string]any
	if err := json.Unmarshal(canonical, &merged); err != nil {
		return err
	}
	value, err := ast.InterfaceToValue(merged)
	if err != nil {
		return err
	}
	b.data, b.canonical = value.(ast.Object), canonical // of a map: always an object
	return nil
}

// mergePatch is RFC 7396 section 2 for two objects; it changes neither.
func mergePatch(target, patch map[string]any) map[string]any {
	out := make(map[string]any, len(target)+len(patch))
	maps.Copy(out, target)
	for k, v := range patch {
		if v == nil {
			delete(out, k)
			continue
		}
		if p, ok := v.(map[string]any); ok {
			t, _ := out[k].(map[string]any)
			v = mergePatch(t, p)
		}
		out[k] = v
	}
	return out
}

// revision hashes names, sources and data, each preceded by its length, so that
// no two bundles hash alike. Tests decide nothing and are left out.
func (b *files) revision() string {
	h := sha256.New()
	hashPart(h, "countersign/policy/v1")
	for _, name := range slices.Sorted(maps.Keys(b.modules)) {
		hashPart(h, name)
		hashPart(h, b.modules[name])
	}
	hashPart(h, dataFile)
	hashPart(h, string(b.canonical))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func hashPart(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}

// compile parses and compiles sources against the input's schema, with OPA's
// strict checks.
func (b *files) compile(sources map[string]string) (*ast.Compiler, error) {
	modules := make(map[string]*ast.Module, len(sources))
	var faults ast.Errors
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		m, err := ast.ParseModuleWithOpts(name, sources[name], ast.ParserOptions{
			ProcessAnnotation: true, RegoVersion: ast.RegoV1, Capabilities: capabilities(),
		})
		var errs ast.Errors
		switch {
		case errors.As(err, &errs):
			faults = append(faults, errs...)
		case err != nil:
			return nil, fmt.Errorf("%w: begin %s with package countersign, or remove it", err, name)
		default:
			modules[name] = m
		}
	}
	if len(faults) > 0 {
		return nil, compileError(faults)
	}
	c, err := b.compiler()
	if err != nil {
		return nil, err
	}
	if c.Compile(modules); c.Failed() {
		return nil, compileError(c.Errors)
	}
	return c, nil
}

func (b *files) compiler() (*ast.Compiler, error) {
	var schema any
	if err := json.Unmarshal(policies.InputSchema, &schema); err != nil {
		return nil, fmt.Errorf("read the input schema: %w", err)
	}
	schemas := ast.NewSchemaSet()
	schemas.Put(ast.SchemaRootRef, schema)
	return ast.NewCompiler().
		WithCapabilities(capabilities()).
		WithDefaultRegoVersion(ast.RegoV1).
		WithSchemas(schemas).
		WithUseTypeCheckAnnotations(true).
		WithStrict(true).
		WithPathConflictsCheck(b.holds), nil
}

// holds reports whether the data has something at path, where a rule of that
// name would hide it.
func (b *files) holds(path []string) (bool, error) {
	var v ast.Value = b.data
	for _, key := range path {
		o, ok := v.(ast.Object)
		if !ok {
			return false, nil
		}
		t := o.Get(ast.StringTerm(key))
		if t == nil {
			return false, nil
		}
		v = t.Value
	}
	return true, nil
}

// compileError shows OPA's errors line by line, each with its file and line,
// and a hint where the reason is not in the policy's text.
func compileError(errs ast.Errors) error {
	lines := []string{"the policy bundle does not compile:"}
	for _, e := range errs {
		line := e.Error()
		if e.Code == ast.TypeErr && strings.Contains(e.Message, "undefined function") {
			line += ": a policy may use its input and data only; network, clock, random numbers and environment are not available"
		}
		if e.Code == ast.TypeErr && strings.Contains(e.Message, "input.") {
			line += "\n\tinput.schema.json lists what the input has"
		}
		lines = append(lines, line)
	}
	return errors.New(strings.Join(lines, "\n"))
}

// entryPoints makes sure that there is something to ask.
func entryPoints(c *ast.Compiler) error {
	var faults []error
	for _, point := range []string{decisionPoint, reviewPoint} {
		if len(c.GetRulesExact(ast.MustParseRef(point))) == 0 {
			faults = append(faults, fmt.Errorf("the policy bundle has no rule %s: in package countersign, write one named %s",
				point, point[strings.LastIndexByte(point, '.')+1:]))
		}
	}
	return errors.Join(faults...)
}

// configFaults asks the bundle what is wrong with its data.
func configFaults(ctx context.Context, c *ast.Compiler, db storage.Store) error {
	if len(c.GetRulesExact(ast.MustParseRef(faultsPoint))) == 0 {
		return nil
	}
	q, err := prepare(ctx, c, db, faultsPoint)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	rs, err := q.Eval(limited, rego.EvalGenerateJSON(asTerm))
	if err != nil {
		if topdown.IsCancel(err) {
			return fmt.Errorf("%s took longer than %s", faultsPoint, loadLimit)
		}
		return fmt.Errorf("%s: %w", faultsPoint, err)
	}
	if len(rs) != 1 || len(rs[0].Expressions) != 1 {
		return fmt.Errorf("%s is undefined: it must be a set of texts, empty where nothing is wrong", faultsPoint)
	}
	term, ok := rs[0].Expressions[0].Value.(*ast.Term)
	if !ok {
		return fmt.Errorf("%s is not a document", faultsPoint)
	}
	texts, err := texts(faultsPoint, term.Value)
	if err != nil {
		return err
	}
	if len(texts) > 0 {
		return fmt.Errorf("the policy's data is wrong:\n%s", strings.Join(texts, "\n"))
	}
	return nil
}
