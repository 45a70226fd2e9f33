package emulator

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

//go:embed page
var pageFiles embed.FS

// policyOfPage lets the page load its own files and nothing else, run no inline
// script, and be framed by nobody.
const policyOfPage = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// maxPreview is how much of a text file the page shows, in bytes.
const maxPreview = 4000

func (s *Slack) mountPage(mux *http.ServeMux) {
	files, err := fs.Sub(pageFiles, "page")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	static := http.FileServerFS(files)
	page := func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policyOfPage)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		static.ServeHTTP(w, r)
	}
	mux.HandleFunc("GET /{$}", page)
	mux.HandleFunc("GET /{file}", page)
	mux.HandleFunc("GET /emulator/state", s.pageState)
	mux.HandleFunc("GET /emulator/changes", s.pageChanges)
	mux.HandleFunc("GET /emulator/file/{id}", s.pageFile)
	mux.HandleFunc("GET /emulator/calls", func(w http.ResponseWriter, r *http.Request) { sendJSON(w, s.Calls(r.URL.Query().Get("method"))) })
	mux.HandleFunc("GET /emulator/deliveries", func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, s.Deliveries()) })
	mux.HandleFunc("GET /emulator/faults", func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, s.Faults()) })
	// Pages of other sites may send requests here; their Origin or
	// Sec-Fetch-Site gives them away.
	same := http.NewCrossOriginProtection()
	for path, do := range map[string]func(*http.Request, deed) (any, error){
		"POST /emulator/click": s.pageClick, "POST /emulator/submit": s.pageSubmit, "POST /emulator/close": s.pageClose,
		"POST /emulator/say": s.pageSay, "POST /emulator/faults": s.pageFault, "POST /emulator/sockets": s.pageSockets,
	} {
		mux.Handle(path, same.Handler(acting(do)))
	}
	mux.Handle("DELETE /emulator/faults", same.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		sendJSON(w, s.Faults())
	})))
}

func sendJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	writeJSON(w, v)
}

// deed is what the page asks for on behalf of a person.
type deed struct {
	User    string            `json:"user"`
	Channel string            `json:"channel"`
	Message string            `json:"message"` // its ts
	Thread  string            `json:"thread"`
	View    string            `json:"view"`
	Block   string            `json:"block"`
	Action  string            `json:"action"`
	Text    string            `json:"text"`
	Values  map[string]string `json:"values"`
	Fault   Fault             `json:"fault"`
}

// acting reads a deed and answers with what came of it: 200, or 409 for what
// the person cannot do.
func acting(do func(*http.Request, deed) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var d deed
		if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
			http.Error(w, "send application/json", http.StatusUnsupportedMediaType)
			return
		}
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&d); err != nil {
			http.Error(w, "send one JSON object with known members", http.StatusBadRequest)
			return
		}
		out, err := do(r, d)
		if err != nil {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusConflict)
			writeJSON(w, map[string]string{"error": err.Error()})
			return
		}
		sendJSON(w, out)
	})
}

func (s *Slack) pageClick(r *http.Request, d deed) (any, error) {
	ctx := context.WithoutCancel(r.Context()) // a press is made, whatever becomes of the page
	if d.View != "" {
		return s.ClickInView(ctx, d.User, d.View, d.Block+"/"+d.Action)
	}
	return s.Click(ctx, d.User, d.Channel, d.Message, d.Block+"/"+d.Action)
}

func (s *Slack) pageSubmit(r *http.Request, d deed) (any, error) {
	return s.SubmitView(context.WithoutCancel(r.Context()), d.User, d.View, d.Values)
}

func (s *Slack) pageClose(r *http.Request, d deed) (any, error) {
	return s.CloseView(context.WithoutCancel(r.Context()), d.User, d.View)
}

// pageSay takes a line from the composer: a slash command, or a message. A
// message stands at once; the page waits for the app to hear of it, but not for
// an event's later tries.
func (s *Slack) pageSay(r *http.Request, d deed) (any, error) {
	if strings.HasPrefix(d.Text, "/") && d.Thread == "" {
		return s.Command(context.WithoutCancel(r.Context()), d.User, d.Channel, d.Text)
	}
	type outcome struct {
		Answer
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		//nolint:contextcheck // an event's tries go on when the page's request has ended
		_, answers, err := s.Post(s.closed, d.User, d.Channel, d.Thread, d.Text)
		o := outcome{Answer{Status: http.StatusOK}, err}
		if len(answers) > 0 {
			o.Answer = answers[len(answers)-1]
		}
		done <- o
	}()
	select {
	case o := <-done:
		return Answer{Status: o.Status}, o.err
	case <-time.After(s.opt.AckWithin):
		return Answer{}, nil
	}
}

func (s *Slack) pageFault(_ *http.Request, d deed) (any, error) {
	if err := s.Inject(d.Fault); err != nil {
		return nil, err
	}
	return s.Faults(), nil
}

// pageSockets breaks the sockets, or sends a disconnect for the reason given.
func (s *Slack) pageSockets(_ *http.Request, d deed) (any, error) {
	switch d.Action {
	case "drop":
		s.DropSockets()
	case "warning", "refresh_requested", "link_disabled":
		s.Disconnect(d.Action)
	default:
		return nil, errors.New("say drop, warning, refresh_requested or link_disabled")
	}
	return map[string]int{"sockets": s.Sockets()}, nil
}

// place is a channel as one person sees it.
type place struct {
	Channel
	Member bool   `json:"member"`
	Last   string `json:"last"` // ts of its newest message
}

// line is a message as one person sees it.
type line struct {
	Message
	Previews map[string]string `json:"previews,omitempty"` // file id → its beginning
}

// modal is a person's view.
type modal struct {
	ID     string                     `json:"id"`
	Body   map[string]json.RawMessage `json:"body"`
	Errors map[string]string          `json:"errors"`
	Hash   string                     `json:"hash"`
}

// pageState answers everything that the page shows to ?user= in ?channel=.
func (s *Slack) pageState(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.mu.Lock()
	u := s.user(q.Get("user"))
	if u == nil || u.Bot {
		u = s.users[0]
	}
	places, lines := []place{}, []line{}
	for _, c := range s.channels {
		if s.sees(u, c) {
			places = append(places, place{Channel: *c, Member: c.has(u.ID)})
		}
	}
	for _, m := range s.messages {
		i := slices.IndexFunc(places, func(p place) bool { return p.ID == m.Channel })
		if i < 0 || m.Only != "" && m.Only != u.ID {
			continue
		}
		places[i].Last = m.TS
		if m.Channel == q.Get("channel") {
			lines = append(lines, line{m.copy(), previews(m.Files)})
		}
	}
	views := []modal{}
	for _, v := range s.views[u.ID] {
		views = append(views, modal{ID: v.ID, Body: v.Body, Errors: v.Errors, Hash: v.Hash})
	}
	out := map[string]any{
		"me": u.ID, "people": s.users, "groups": s.groups, "channels": places, "messages": lines, "views": views,
		"team": s.opt.TeamID, "app": s.opt.AppName, "command": s.opt.Command, "now": s.opt.Now().Format(time.RFC3339),
		"socket_mode": s.opt.SocketMode, "sockets": len(s.sockets), "faults": append([]*Fault{}, s.faults...),
	}
	raw := encode(out)
	s.mu.Unlock()
	sendJSON(w, json.RawMessage(raw))
}

// previews are the beginnings of text files.
func previews(files []File) map[string]string {
	out := map[string]string{}
	for _, f := range files {
		if utf8.Valid(f.Content) {
			out[f.ID] = strings.ToValidUTF8(string(f.Content[:min(len(f.Content), maxPreview)]), "")
		}
	}
	return out
}

// pageFile sends a file to save: as plain text, never to be shown as a page.
func (s *Slack) pageFile(w http.ResponseWriter, r *http.Request) {
	i := slices.IndexFunc(s.Files(), func(f File) bool { return f.ID == r.PathValue("id") })
	if i < 0 {
		http.NotFound(w, r)
		return
	}
	f := s.Files()[i]
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": f.Name}))
	_, _ = w.Write(f.Content)
}

// pageChanges tells by server-sent events that something changed; the page then
// asks for the state.
func (s *Slack) pageChanges(w http.ResponseWriter, r *http.Request) {
	ch := make(chan struct{}, 1)
	ch <- struct{}{}
	s.mu.Lock()
	s.watchers[ch] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, ch)
		s.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	alive := time.NewTicker(20 * time.Second)
	defer alive.Stop()
	for {
		text := "data: changed\n\n"
		select {
		case <-ch:
		case <-alive.C:
			text = ": still here\n\n"
		case <-r.Context().Done():
			return
		case <-s.closed.Done():
			return
		}
		if _, err := w.Write([]byte(text)); err != nil || out.Flush() != nil {
			return
		}
	}
}

// changed wakes those who watch. It needs s.mu.
func (s *Slack) changed() {
	for ch := range s.watchers {
		select {
		case ch <- struct{}{}:
		default: // it is awake already
		}
	}
}
