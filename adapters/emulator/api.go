package emulator

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxBody is the most that a call or an upload may send, in bytes.
const maxBody = 16 << 20

// method is one Web API method. run is called with s.mu held: none of them
// waits for anything.
type method struct {
	scope     string // needed; "" is none. "a|b" needs either
	app       bool   // takes the app token, not the bot token
	perMinute int    // 0 is unlimited here
	run       func(*Slack, args) (reply, error)
}

// The rates are the lower bounds of the documented tiers.
var methods = map[string]method{
	"auth.test":                    {run: (*Slack).authTest},
	"api.test":                     {run: func(*Slack, args) (reply, error) { return reply{}, nil }},
	"chat.postMessage":             {scope: "chat:write", run: (*Slack).chatPostMessage},
	"chat.update":                  {scope: "chat:write", perMinute: 50, run: (*Slack).chatUpdate},
	"chat.delete":                  {scope: "chat:write", perMinute: 50, run: (*Slack).chatDelete},
	"chat.postEphemeral":           {scope: "chat:write", perMinute: 100, run: (*Slack).chatPostEphemeral},
	"chat.getPermalink":            {run: (*Slack).chatGetPermalink},
	"conversations.open":           {scope: "im:write", perMinute: 50, run: (*Slack).conversationsOpen},
	"conversations.info":           {scope: "channels:read|groups:read|im:read", perMinute: 50, run: (*Slack).conversationsInfo},
	"conversations.members":        {scope: "channels:read|groups:read|im:read", perMinute: 100, run: (*Slack).conversationsMembers},
	"conversations.history":        {scope: "channels:history|groups:history|im:history", perMinute: 50, run: (*Slack).conversationsHistory},
	"conversations.replies":        {scope: "channels:history|groups:history|im:history", perMinute: 50, run: (*Slack).conversationsReplies},
	"users.info":                   {scope: "users:read", perMinute: 100, run: (*Slack).usersInfo},
	"users.lookupByEmail":          {scope: "users:read.email", perMinute: 50, run: (*Slack).usersLookupByEmail},
	"usergroups.list":              {scope: "usergroups:read", perMinute: 20, run: (*Slack).usergroupsList},
	"usergroups.users.list":        {scope: "usergroups:read", perMinute: 20, run: (*Slack).usergroupsUsersList},
	"views.open":                   {perMinute: 100, run: (*Slack).viewsOpen},
	"views.push":                   {perMinute: 100, run: (*Slack).viewsPush},
	"views.update":                 {perMinute: 100, run: (*Slack).viewsUpdate},
	"reactions.add":                {scope: "reactions:write", perMinute: 50, run: (*Slack).reactionsAdd},
	"files.getUploadURLExternal":   {scope: "files:write", perMinute: 100, run: (*Slack).filesGetUploadURL},
	"files.completeUploadExternal": {scope: "files:write", perMinute: 100, run: (*Slack).filesCompleteUpload},
	"apps.connections.open":        {scope: "connections:write", app: true, perMinute: 50, run: (*Slack).appsConnectionsOpen},
}

// AllScopes are the scopes of a bot token that may do everything here.
func AllScopes() []string {
	return []string{
		"chat:write", "commands", "users:read", "users:read.email", "usergroups:read", "im:write", "reactions:write", "files:write",
		"channels:read", "groups:read", "im:read", "channels:history", "groups:history", "im:history", "app_mentions:read",
	}
}

// args are a call's arguments. What is no string in a JSON body stands here as
// its JSON text, as it would in a form.
type args map[string]string

func (a args) bool(name string) bool { return a[name] == "true" || a[name] == "1" }

// int returns a number between 1 and most, def when the argument is missing or bad.
func (a args) int(name string, def, most int) int {
	n, err := strconv.Atoi(a[name])
	if err != nil || n < 1 {
		return def
	}
	return min(n, most)
}

// reply is the body of a good answer, without "ok".
type reply map[string]any

// apiError is an answer with ok false.
type apiError struct {
	code       string
	messages   []string // response_metadata.messages
	more       reply
	retryAfter time.Duration // answers 429
}

func (e *apiError) Error() string { return e.code }

func fail(code string) error { return &apiError{code: code} }

// Call is a Web API call as the workspace received it, without its token.
type Call struct {
	At     time.Time         `json:"at"`
	Method string            `json:"method"`
	Args   map[string]string `json:"args"`
	// Error is the code that was answered, empty when ok. A call that met a
	// fault before anything was done is not recorded here.
	Error string `json:"error,omitempty"`
	// Reply is the answer's body, whether or not it arrived.
	Reply json.RawMessage `json:"reply"`
}

// Blocks returns the call's blocks, or a modal's, as JSON; nil where there are none.
func (c Call) Blocks() json.RawMessage {
	if b := c.Args["blocks"]; b != "" {
		return json.RawMessage(b)
	}
	var view struct {
		Blocks json.RawMessage `json:"blocks"`
	}
	if json.Unmarshal([]byte(c.Args["view"]), &view) == nil {
		return view.Blocks
	}
	return nil
}

// maxRecorded bounds what is remembered of calls and deliveries, so that a demo
// can run for days.
const maxRecorded = 10_000

func remember[T any](list []T, v T) []T {
	if len(list) >= maxRecorded {
		list = slices.Delete(list, 0, maxRecorded/10)
	}
	return append(list, v)
}

// Calls are the Web API calls so far, oldest first: those of one method, or all
// if it is empty.
func (s *Slack) Calls(method string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Call{}
	for _, c := range s.calls {
		if method == "" || c.Method == method {
			out = append(out, c)
		}
	}
	return out
}

// serveAPI answers POST and GET /api/<method>.
func (s *Slack) serveAPI(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("method")
	do := func(w http.ResponseWriter) { s.answerAPI(w, r, name) }
	if !s.misbehave(w, r, name, do) {
		do(w)
	}
}

func (s *Slack) answerAPI(w http.ResponseWriter, r *http.Request, name string) {
	a, token, err := readArgs(w, r)
	var out reply
	s.mu.Lock()
	if err == nil {
		out, err = s.call(name, token, a)
	}
	body := answer(out, err)
	code := ""
	if err != nil {
		code = err.Error()
	}
	s.calls = remember(s.calls, Call{At: s.opt.Now(), Method: name, Args: a, Error: code, Reply: body})
	scopes := strings.Join(s.opt.Scopes, ",")
	s.mu.Unlock()
	s.log.Info("web api call", "method", name, "error", code)

	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	if token == s.opt.BotToken {
		h.Set("X-OAuth-Scopes", scopes)
		h.Set("X-Accepted-OAuth-Scopes", strings.ReplaceAll(methods[name].scope, "|", ","))
	}
	if e := new(apiError); errors.As(err, &e) && e.retryAfter > 0 {
		h.Set("Retry-After", seconds(e.retryAfter))
		w.WriteHeader(http.StatusTooManyRequests)
	}
	_, _ = w.Write(body)
}

// call judges token, scope and rate, and runs the method. It needs s.mu.
func (s *Slack) call(name, token string, a args) (reply, error) {
	m, ok := methods[name]
	if !ok {
		return nil, &apiError{code: "unknown_method", more: reply{"req_method": name}}
	}
	if name == "api.test" {
		return m.run(s, a)
	}
	want, provided := s.opt.BotToken, s.opt.Scopes
	if m.app {
		want, provided = s.opt.AppToken, []string{"connections:write"}
	}
	switch token {
	case want:
	case "":
		return nil, fail("not_authed")
	case s.opt.BotToken, s.opt.AppToken:
		return nil, fail("not_allowed_token_type")
	default:
		return nil, fail("invalid_auth")
	}
	if needed := strings.Split(m.scope, "|"); m.scope != "" && !slices.ContainsFunc(needed, func(n string) bool { return slices.Contains(provided, n) }) {
		return nil, missingScope(needed[0], provided)
	}
	if err := s.limited(name); err != nil {
		return nil, err
	}
	return m.run(s, a)
}

func missingScope(needed string, provided []string) error {
	return &apiError{code: "missing_scope", more: reply{"needed": needed, "provided": strings.Join(provided, ",")}}
}

// needScope refuses a call about a channel of this kind without its scope:
// "history" or "read" of channels, groups or im.
func (s *Slack) needScope(c *Channel, what string) error {
	kind := "channels"
	if c.Private {
		kind = "groups"
	}
	if c.IM != "" {
		kind = "im"
	}
	if needed := kind + ":" + what; !slices.Contains(s.opt.Scopes, needed) {
		return missingScope(needed, s.opt.Scopes)
	}
	return nil
}

func answer(out reply, err error) []byte {
	body := reply{"ok": true}
	if err != nil {
		body = reply{"ok": false, "error": err.Error()}
		if e := new(apiError); errors.As(err, &e) {
			for k, v := range e.more {
				body[k] = v
			}
			if len(e.messages) > 0 {
				body["response_metadata"] = reply{"messages": e.messages}
			}
		}
	}
	for k, v := range out {
		body[k] = v
	}
	return encode(body)
}

// encode returns v as JSON, with & < > as they are: the platform does not
// write them as \u escapes.
func encode(v any) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("emulator: a value of its own making cannot be JSON: " + err.Error())
	}
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}

func writeJSON(w io.Writer, v any) { _, _ = w.Write(encode(v)) }

// seconds writes a duration as whole seconds, rounded up, as Retry-After wants.
func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }

// readArgs reads a call's arguments from its form, its JSON body or its query,
// and its token from the header or the form.
func readArgs(w http.ResponseWriter, r *http.Request) (args, string, error) {
	a := args{}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return a, "", fail("request_timeout")
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.Method == http.MethodGet:
		a.addForm(r.URL.Query())
	case len(raw) == 0: // whatever its media type
	case kind == "application/json":
		if err := a.addJSON(raw); err != nil {
			return args{}, "", err
		}
	case kind == "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(raw))
		if err != nil {
			return a, "", fail("invalid_form_data")
		}
		a.addForm(form)
	default:
		return a, "", fail("invalid_post_type")
	}
	token := a["token"]
	delete(a, "token")
	if r.Method == http.MethodGet || kind == "application/json" {
		token = "" // the platform reads a token from the header or a form only
	}
	if h, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		token = h
	}
	return a, token, nil
}

func (a args) addForm(form url.Values) {
	for k, v := range form {
		a[k] = v[len(v)-1]
	}
}

func (a args) addJSON(raw []byte) error {
	var body map[string]json.RawMessage
	if !json.Valid(raw) {
		return fail("invalid_json")
	}
	if json.Unmarshal(raw, &body) != nil {
		return fail("json_not_object")
	}
	for k, v := range body {
		var text string
		switch {
		case json.Unmarshal(v, &text) == nil && string(v) != "null":
			a[k] = text
		case string(v) != "null":
			a[k] = string(v)
		}
	}
	return nil
}
