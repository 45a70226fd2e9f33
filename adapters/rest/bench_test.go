package rest

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/countersign/countersign/bot"
	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/store"
)

// BenchmarkSubmit is what the door itself costs: routing, strict decoding, the
// view, the answer and its line in the log, over a broker that does nothing.
func BenchmarkSubmit(b *testing.B) {
	api, err := New(Config{
		Broker: &idleBroker{}, Tokens: fakeTokens{}, Minter: fakeMinter{}, Issuer: "x", InvalidToken: errInvalid, KeysUnavailable: errKeys,
		Ready: func(context.Context) []Problem { return nil }, Log: slog.New(slog.NewJSONHandler(io.Discard, nil)), NewID: func() string { return "call-1" },
	})
	if err != nil {
		b.Fatal(err)
	}
	mux := http.NewServeMux()
	api.Mount(mux)
	body := ask("allow")
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/v1/requests", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+canaryToken+".1.j")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code != http.StatusCreated {
			b.Fatal(w.Code, w.Body)
		}
	}
}

// idleBroker approves everything and keeps nothing.
type idleBroker struct{ fakeBroker }

func (*idleBroker) Submit(context.Context, identity.Evidence, string, bot.Ask) (store.Request, error) {
	return store.Request{ID: "req-1", State: store.Approved, Version: 1}, nil
}

func (*idleBroker) View(r store.Request) (bot.View, error) {
	return bot.View{ID: r.ID, State: string(r.State), Version: r.Version, Decision: bot.DecisionView{Effect: "allow", Reasons: []string{"routine"}}}, nil
}
