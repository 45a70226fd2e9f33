package rest

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/go-json-experiment/json"

	"github.com/countersign/countersign/bot"
)

// document is openapi.json, loaded and found valid once.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openAPI31)
	if err != nil {
		return nil, err
	}
	return doc, nil
})

var router = sync.OnceValues(func() (routers.Router, error) {
	doc, err := document()
	if err != nil {
		return nil, err
	}
	return legacy.NewRouter(doc)
})

// conform holds an answer to openapi.json. What no route of it knows must be a
// problem.
func conform(t *testing.T, req *http.Request, res *http.Response, body []byte) {
	t.Helper()
	rt, err := router()
	if err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	if req.Method == http.MethodHead {
		return
	}
	route, params, err := rt.FindRoute(req)
	if err != nil || res.StatusCode == http.StatusMethodNotAllowed {
		conformTo(t, "Problem", body)
		return
	}
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 res.StatusCode, Header: res.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	if err := openapi3filter.ValidateResponse(t.Context(), in.SetBodyBytes(body)); err != nil {
		t.Errorf("%s %s %s does not conform to openapi.json: %v\n%s", req.Method, req.URL.Path, res.Status, err, body)
	}
}

// conformTo holds JSON to a schema of openapi.json.
func conformTo(t *testing.T, schema string, body []byte) {
	t.Helper()
	if err := visit(t, schema, body); err != nil {
		t.Errorf("not a %s: %v\n%s", schema, err, body)
	}
}

func visit(t *testing.T, schema string, body []byte) error {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return doc.Components.Schemas[schema].Value.VisitJSON(v, openapi3.EnableJSONSchema2020())
}

func TestOpenAPIIsValid(t *testing.T) {
	t.Parallel()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("version %s", doc.OpenAPI)
	}
}

// The mux and the document must know the same routes.
func TestOpenAPIHoldsEveryRoute(t *testing.T) {
	t.Parallel()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	var served, described []string
	for _, r := range (&API{}).routes() {
		served = append(served, r.method+" "+r.path)
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Errorf("served %v\ndescribed %v", served, described)
	}
}

// The schemas must name exactly the members that the Go types have.
func TestOpenAPINamesEveryMember(t *testing.T) {
	t.Parallel()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	for schema, v := range map[string]any{
		"Ask": bot.Ask{}, "TriggeredBy": bot.TriggeredBy{}, "Context": bot.Context{}, "Check": bot.Check{}, "Link": bot.Link{},
		"Request": bot.View{}, "Outcome": bot.OutcomeView{}, "Decision": bot.DecisionView{}, "Stage": bot.StageView{}, "Review": bot.ReviewView{},
		"Credential": credential{}, "Introspection": introspection{}, "Problem": problem{}, "Health": health{},
	} {
		var described []string
		for name := range doc.Components.Schemas[schema].Value.Properties {
			described = append(described, name)
		}
		members := members(reflect.TypeOf(v))
		slices.Sort(described)
		if !slices.Equal(members, described) {
			t.Errorf("%s: the type has %v, the schema %v", schema, members, described)
		}
	}
}

// members are the JSON names of a struct's fields, sorted.
func members(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "-" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// What the strict decoder refuses, the schema refuses as well, and the other way
// round where a schema can say it.
func TestOpenAPIAgreesWithTheDecoder(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		body string
		ok   bool
	}{
		{ask("deploy"), true},
		{strings.Replace(ask("deploy"), `"5m"`, `"1h30m"`, 1), true},
		{strings.Replace(ask("deploy"), `"5m"`, `"5"`, 1), false},
		{strings.Replace(ask("deploy"), `"5m"`, `5`, 1), false},
		{strings.Replace(ask("deploy"), `"reason"`, `"Reason"`, 1), false},
		{strings.Replace(ask("deploy"), `["db:write"]`, `null`, 1), false},
		{strings.Replace(ask("deploy"), `["db:write"]`, `"db:write"`, 1), false},
	} {
		_, err := decodeAsk([]byte(tc.body))
		if (err == nil) != tc.ok {
			t.Errorf("decoder: %v: %s", err, tc.body)
		}
		if err := visit(t, "Ask", []byte(tc.body)); (err == nil) != tc.ok {
			t.Errorf("schema: %v: %s", err, tc.body)
		}
	}
}
