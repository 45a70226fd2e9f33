package emulator_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/countersign/countersign/adapters/emulator"
)

// FuzzWebAPI sends anything to any method: the answer is always one JSON object
// that says ok or names an error.
func FuzzWebAPI(f *testing.F) {
	s := emulator.New(emulator.Options{Limits: &emulator.Limits{}, SocketMode: true})
	f.Cleanup(s.Close)
	f.Add("chat.postMessage", "application/x-www-form-urlencoded", "channel=C0DEPLOYS&text=x&thread_ts=1")
	f.Add("chat.update", "application/json", `{"channel":"C0DEPLOYS","ts":"1.000001","blocks":[{"type":"divider"}],"metadata":{"event_type":"x","event_payload":{}}}`)
	f.Add("conversations.history", "application/json", `{"channel":"C0DEPLOYS","oldest":"-1","latest":"9.9.9","limit":"0","cursor":"bmV4dDotMQ=="}`)
	f.Add("views.open", "application/json", `{"trigger_id":"x","view":{"type":"modal","blocks":[null],"title":null}}`)
	f.Add("files.completeUploadExternal", "application/x-www-form-urlencoded", "files=[{}]&channel_id=%ff")
	f.Add("apps.connections.open", "text/plain", "")
	f.Fuzz(func(t *testing.T, method, kind, body string) {
		if method == "" || strings.ContainsAny(method, "/%?#") || method == "." || method == ".." {
			return // no method's address
		}
		r := httptest.NewRequest(http.MethodPost, "/api/x", strings.NewReader(body))
		r.URL.Path = "/api/" + method
		r.RemoteAddr, r.Host = "127.0.0.1:1", "127.0.0.1"
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Authorization", "Bearer "+s.BotToken())
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code == http.StatusMovedPermanently || w.Code == http.StatusTemporaryRedirect {
			return // an address that the mux cleans
		}
		var out struct {
			OK    *bool
			Error string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &out); w.Code != 200 || err != nil || out.OK == nil || *out.OK != (out.Error == "") {
			t.Errorf("%s %s %q: %d %s", method, kind, body, w.Code, w.Body)
		}
	})
}

// FuzzAck answers a form with anything: the modal is either still there or
// gone, and what stays open can be shown.
func FuzzAck(f *testing.F) {
	f.Add("")
	f.Add("{}")
	f.Add(`{"response_action":"clear"}`)
	f.Add(`{"response_action":"errors","errors":{"why":"x"}}`)
	f.Add(`{"response_action":"update","view":` + modalJSON("Done", "") + `}`)
	f.Add(`{"response_action":"push","view":{"type":"modal","title":{"type":"plain_text","text":"x"},"blocks":[]}}`)
	var body string
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
	f.Cleanup(app.Close)
	f.Fuzz(func(t *testing.T, ack string) {
		s := emulator.New(emulator.Options{Limits: &emulator.Limits{}})
		defer s.Close()
		s.SetRequestURLs(app.URL, app.URL, app.URL)
		body = ack
		id := emulator.OpenFor(s, emulator.Ada, modalJSON("Deny", ""))
		if _, err := s.SubmitView(t.Context(), emulator.Ada, id, map[string]string{"why": "late"}); err != nil {
			t.Fatal(err)
		}
		for _, v := range s.OpenViews(emulator.Ada) {
			if v.Title() == "" || !json.Valid(v.Blocks()) {
				t.Errorf("%q leaves a modal that cannot be shown: %+v", ack, v)
			}
		}
	})
}
