package rest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/countersign/countersign/bot"
)

// Bounds of bodies, in bytes.
const (
	maxBody = 4 << 20  // of a request with its diff
	maxForm = 64 << 10 // of introspection, revocation, and calls that need no body
)

// readBody returns the whole body, of which it reads at most limit bytes within
// the body time-out. It is called after authentication: strangers send no
// bodies that we keep.
func (a *API) readBody(c *call, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errTooLarge
	}
	c.deadlines(a.BodyTimeout, a.BodyTimeout+writeTimeout)
	var b bytes.Buffer
	b.Grow(int(min(max(r.ContentLength, 0), 64<<10)) + bytes.MinRead)
	_, err := b.ReadFrom(http.MaxBytesReader(c, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.Header().Set("Connection", "close")
		return nil, errSlow
	case err != nil:
		return nil, errBroken
	}
	c.deadlines(0, writeTimeout)
	return b.Bytes(), nil
}

// contentType refuses a body of another kind, encoding or charset.
func contentType(r *http.Request, want string) error {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err == nil && kind == want && (charset == "" || strings.EqualFold(charset, "utf-8")) &&
		r.Header.Get("Content-Encoding") == "" && len(r.Header.Values("Content-Type")) == 1 {
		return nil
	}
	return &problem{Name: "wrong-content-type", Status: http.StatusUnsupportedMediaType, Title: "The body has another type than this call takes",
		Detail: "Send Content-Type: " + want + ", in UTF-8 and without Content-Encoding.", oauth: "invalid_request"}
}

// badJSON is a body that is not the one JSON object that it should be.
func badJSON(pointer, detail string) error {
	return &problem{Name: "invalid-json", Status: http.StatusBadRequest, Title: "The body is not the JSON that this call takes",
		Detail: "Mend what errors names, and send it again.", Errors: []bot.Fault{{Pointer: pointer, Detail: detail}}}
}

// decodeAsk reads the body of a submission. It refuses what another parser could
// read in another way, or could overlook: duplicate and unknown members, names
// in another case, nulls, bad UTF-8, and anything after the object.
func decodeAsk(body []byte) (bot.Ask, error) {
	var ask bot.Ask
	if err := decode(body, &ask); err != nil {
		return bot.Ask{}, err
	}
	return ask, nil
}

func decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into, json.RejectUnknownMembers(true)); err != nil {
		return explainJSON(err)
	}
	if bytes.Contains(body, []byte("null")) {
		return refuseNull(body)
	}
	return nil
}

// refuseNull finds a null in JSON that is known to be well formed.
func refuseNull(body []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	for {
		t, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return explainJSON(err)
		}
		if t.Kind() == 'n' {
			return badJSON(pointer(d.StackPointer()), "must not be null: leave the member out")
		}
	}
}

// explainJSON says in plain words what the decoder found.
func explainJSON(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return badJSON(pointer(syntax.JSONPointer), "this member stands twice")
		}
		return badJSON(pointer(syntax.JSONPointer), short(fmt.Sprintf("not well-formed JSON in UTF-8, at byte %d: %v", syntax.ByteOffset, syntax.Err)))
	}
	var meaning *json.SemanticError
	if !errors.As(err, &meaning) {
		return badJSON("", "not a JSON object")
	}
	at := pointer(meaning.JSONPointer)
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return badJSON(at, "there is no such member here")
	case meaning.Err != nil:
		return badJSON(at, short(meaning.Err.Error()))
	}
	return badJSON(at, "must be "+wanted(meaning.GoType))
}

// wanted names the JSON kind that a Go type is read from.
func wanted(t reflect.Type) string {
	if t == nil {
		return "of another type"
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return "an object"
	case reflect.Slice:
		return "an array"
	case reflect.Bool:
		return "true or false"
	}
	return "a string"
}

// pointer is p, or the whole document where p is longer than anybody reads.
func pointer(p jsontext.Pointer) string {
	if len(p) > 256 || !utf8.ValidString(string(p)) {
		return ""
	}
	return string(p)
}

// short cuts a text on a rune, at most 200 bytes of it.
func short(s string) string {
	if len(s) <= 200 {
		return s
	}
	cut := 200
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// noBody reads and refuses a body where the call takes none; an empty object,
// which many clients cannot help but send, is none.
func (a *API) noBody(c *call, r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	body, err := a.readBody(c, r, maxForm)
	if err != nil || len(body) == 0 {
		return err
	}
	if err := contentType(r, "application/json"); err != nil {
		return err
	}
	return decode(body, &struct{}{})
}

// query returns the query's members, each of which must be one of the known and
// stand once.
func query(r *http.Request, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badQuery("The query cannot be parsed.")
	}
	for name, values := range q {
		if !slices.Contains(known, name) {
			return nil, badQuery("The query has a member that this call does not know. It knows: " + list(known) + ".")
		}
		if len(values) != 1 {
			return nil, badQuery("The query has the member " + name + " more than once.")
		}
	}
	return q, nil
}

func badQuery(detail string) error {
	return &problem{Name: "invalid-query", Status: http.StatusBadRequest, Title: "The query is not valid", Detail: detail, oauth: "invalid_request"}
}

func list(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
