package opa

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

func TestReport(t *testing.T) {
	t.Parallel()
	fsys := source(allow + fine + "unreached := 1 if {\n\tinput.now == \"\"\n}\n")
	fsys["main_test.rego"] = &fstest.MapFile{Data: []byte(`package countersign_test

import data.countersign

test_good if countersign.review.deny == false

test_bad if {
	print("it is", countersign.review.deny)
	countersign.review.deny
}

test_error if to_number("x") == 1

todo_test_later if true
`)}
	r, err := Test(t.Context(), fsys)
	if err != nil {
		t.Fatal(err)
	}
	if r.Pass() || len(r.Tests) != 4 {
		t.Fatalf("%+v", r)
	}
	byName := map[string]TestResult{}
	for _, test := range r.Tests {
		byName[strings.TrimPrefix(test.Name, "data.countersign_test.")] = test
	}
	if g := byName["test_good"]; !g.Pass || g.Location != "main_test.rego:5" {
		t.Errorf("%+v", g)
	}
	if b := byName["test_bad"]; b.Pass || b.Detail != "it is false" {
		t.Errorf("%+v", b)
	}
	if e := byName["test_error"]; e.Pass || !strings.Contains(e.Detail, "to_number") {
		t.Errorf("%+v", e)
	}
	if l := byName["todo_test_later"]; l.Pass || !strings.Contains(l.Detail, "todo_") {
		t.Errorf("%+v", l)
	}
	if r.Coverage <= 0 || r.Coverage >= 100 || len(r.Uncovered) == 0 {
		t.Errorf("coverage %v, not covered %v", r.Coverage, r.Uncovered)
	}
}

func TestNoTests(t *testing.T) {
	t.Parallel()
	if _, err := Test(t.Context(), source(allow+fine)); !errors.Is(err, ErrNoTests) {
		t.Errorf("error is %v", err)
	}
	fsys := source(allow + fine)
	fsys["main_test.rego"] = &fstest.MapFile{Data: []byte("package countersign_test\n\nhelper := 1\n")}
	if _, err := Test(t.Context(), fsys); !errors.Is(err, ErrNoTests) {
		t.Errorf("error is %v", err)
	}
	fsys["main_test.rego"] = &fstest.MapFile{Data: []byte("package countersign_test\n\ntest_a if input.reqest\n")}
	if _, err := Test(t.Context(), fsys); err == nil || !strings.Contains(err.Error(), "main_test.rego:3") {
		t.Errorf("error is %v", err)
	}
}
