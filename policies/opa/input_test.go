package opa

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/countersign/countersign/policies"
)

// fill sets everything below v to something that is not zero: each text is
// different, so that a mix-up shows.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for _, k := range []string{"b", "a"} {
			e := reflect.New(v.Type().Elem()).Elem()
			fill(e, n)
			v.SetMapIndex(reflect.ValueOf(k), e)
		}
	case reflect.String:
		v.SetString(strings.Repeat("x", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) * 1_000_000_007)
	default:
		panic("a kind that the input does not have: " + v.Kind().String())
	}
}

func filled() policies.Input {
	var in policies.Input
	n := 0
	fill(reflect.ValueOf(&in).Elem(), &n)
	return in
}

// worded is filled with the words that the schema asks for.
func worded() policies.Input {
	in := filled()
	in.Trigger.Kind = "person"
	in.Request.Context.Risk = "low"
	for i := range in.Request.Context.Checks {
		in.Request.Context.Checks[i].Status = "passed"
	}
	for i := range in.Reviews {
		in.Reviews[i].Verdict = "approve"
	}
	return in
}

// What OPA sees is what the JSON of the input says, member by member.
func TestInputIsItsJSON(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]policies.Input{"filled": filled(), "zero": {}, "usual": deploy()} {
		raw, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		want, err := ast.ValueFromReader(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if got := inputValue(in); got.Compare(want) != 0 {
			t.Errorf("%s:\ngot  %v\nwant %v", name, got, want)
		}
	}
}

func schema(t *testing.T) (*jsonschema.Schema, map[string]any) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(policies.InputSchema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	if err := c.AddResource("input.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("input.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s, doc.(map[string]any)
}

func instance(t *testing.T, in policies.Input) map[string]any {
	t.Helper()
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return doc.(map[string]any)
}

func TestSchemaAcceptsTheInput(t *testing.T) {
	t.Parallel()
	s, _ := schema(t)
	for name, in := range map[string]policies.Input{"full": worded(), "usual": deploy()} {
		if err := s.Validate(instance(t, in)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, spoil := range map[string]func(map[string]any){
		"missing": func(m map[string]any) { delete(m, "facts") },
		"unknown": func(m map[string]any) { m["fact"] = "x" },
		"type":    func(m map[string]any) { m["now"] = 3 },
		"word":    func(m map[string]any) { m["trigger"].(map[string]any)["kind"] = "ghost" },
		"nested":  func(m map[string]any) { m["request"].(map[string]any)["context"].(map[string]any)["env"] = "x" },
	} {
		m := instance(t, worded())
		spoil(m)
		if s.Validate(m) == nil {
			t.Errorf("%s: the schema accepts it", name)
		}
	}
}

// The schema and the Go type name the same members, all the way down.
func TestSchemaIsTheType(t *testing.T) {
	t.Parallel()
	_, doc := schema(t)
	sameMembers(t, "input", doc, reflect.TypeFor[policies.Input]())
}

func sameMembers(t *testing.T, at string, schema map[string]any, typ reflect.Type) {
	t.Helper()
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		if typ.Kind() == reflect.Slice {
			schema = schema["items"].(map[string]any)
		}
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return
	}
	properties, _ := schema["properties"].(map[string]any)
	required := map[string]bool{}
	for _, r := range schema["required"].([]any) {
		required[r.(string)] = true
	}
	for i := range typ.NumField() {
		name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		p, ok := properties[name].(map[string]any)
		if !ok {
			t.Errorf("%s.%s is not in the schema", at, name)
			continue
		}
		if required[name] == strings.Contains(options, "omitempty") {
			t.Errorf("%s.%s: required in the schema must mean always present in Go", at, name)
		}
		delete(properties, name)
		sameMembers(t, at+"."+name, p, typ.Field(i).Type)
	}
	for name := range properties {
		t.Errorf("%s.%s is in the schema only", at, name)
	}
}
