package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/countersign/countersign/adapters/emulator"
)

// startApp runs an app that posts two cards shaped like Countersign's and answers
// their buttons and the slash command. It verifies nothing and decides nothing.
func startApp(ctx context.Context, s *emulator.Slack, apiURL string) (stop func(), err error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &app{api: slack.New(s.BotToken(), slack.OptionAPIURL(apiURL))}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /interactions", a.interact)
	mux.HandleFunc("POST /commands", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"response_type":"ephemeral","text":"1 request is waiting. You typed %s."}`, url.QueryEscape(r.FormValue("text")))
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(ln) }()
	base := "http://" + ln.Addr().String()
	s.SetRequestURLs(base+"/interactions", base+"/commands", base+"/events")
	go a.post(ctx)
	return func() { _ = srv.Close() }, nil
}

type app struct{ api *slack.Client }

// post posts the cards as soon as the workspace answers.
func (a *app) post(ctx context.Context) {
	for n := 0; n < 2 && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		_, ts, err := a.api.PostMessageContext(ctx, emulator.Deploys, card("")...)
		if err != nil {
			continue
		}
		n++
		_, _ = a.api.UploadFileContext(ctx, slack.UploadFileParameters{Filename: "change.diff", Title: "The whole change", Content: "--- a\n+++ b\n-1\n+2\n", FileSize: 18, Channel: emulator.Deploys, ThreadTimestamp: ts})
	}
}

func plain(text string) *slack.TextBlockObject {
	return slack.NewTextBlockObject(slack.PlainTextType, text, false, false)
}

func pre(text string) slack.RichTextElement {
	return &slack.RichTextPreformatted{Type: slack.RTEPreformatted, Elements: []slack.RichTextSectionElement{slack.NewRichTextSectionTextElement(text, nil)}}
}

// card is the card; decided is empty while it waits.
func card(decided string) []slack.MsgOption {
	state := "Waiting for 1 of 1 approvals"
	if decided != "" {
		state = decided
	}
	blocks := []slack.Block{
		slack.NewHeaderBlock(plain("Deploy billing-api 2.14.0 to production")),
		slack.NewSectionBlock(plain(state), nil, nil),
		slack.NewSectionBlock(nil, []*slack.TextBlockObject{
			plain("Resource\nk8s://prod/billing-api"), plain("Environment\nproduction"),
			plain("Scopes\ndeploy:write, config:read"), plain("Credential\n15 minutes for https://deploy.example"),
			plain("Started by\nTim Trigger"), plain("Risk\nhigh"),
		}, nil),
		slack.NewRichTextBlock("says", &slack.RichTextSection{Type: slack.RTESection, Elements: []slack.RichTextSectionElement{
			slack.NewRichTextSectionTextElement("Caller says (unverified)", &slack.RichTextSectionTextStyle{Bold: true}),
		}}, pre("Rolls out the tax fix. <!channel> *not bold* & <b>not html</b>")),
		slack.NewContextBlock("code", plain("Code 7QK-2F4M"), plain("Expires 14:30 UTC")),
	}
	if decided == "" {
		deny := slack.NewButtonBlockElement("deny", "d1", plain("Deny")).WithStyle(slack.StyleDanger)
		blocks = append(blocks,
			slack.NewSectionBlock(slack.NewTextBlockObject(slack.MarkdownType, "<!subteam^"+emulator.Release+">", false, true), nil, nil),
			slack.NewActionBlock("act", slack.NewButtonBlockElement("approve", "d1", plain("Approve")).WithStyle(slack.StylePrimary), deny,
				slack.NewButtonBlockElement("details", "d1", plain("Details"))))
	}
	return []slack.MsgOption{slack.MsgOptionText("Deploy billing-api to production: "+state, false), slack.MsgOptionBlocks(blocks...)}
}

func (a *app) interact(_ http.ResponseWriter, r *http.Request) {
	var p slack.InteractionCallback
	if json.Unmarshal([]byte(r.FormValue("payload")), &p) != nil {
		return
	}
	ctx := context.WithoutCancel(r.Context())
	switch {
	case p.Type == slack.InteractionTypeViewSubmission:
		channel, ts, _ := strings.Cut(p.View.PrivateMetadata, ":")
		a.decide(ctx, channel, ts, "Denied by "+p.User.Name+": "+p.View.State.Values["why"]["reason"].Value)
	case len(p.ActionCallback.BlockActions) == 0:
	case p.ActionCallback.BlockActions[0].ActionID == "approve":
		a.decide(ctx, p.Container.ChannelID, p.Container.MessageTs, "Approved by "+p.User.Name)
	case p.ActionCallback.BlockActions[0].ActionID == "details":
		_, _ = a.api.PostEphemeralContext(ctx, p.Container.ChannelID, p.User.ID, slack.MsgOptionText("The request in full: *bold*, `code`, <https://example.com|a link>.", false))
	default:
		_, _ = a.api.OpenViewContext(ctx, p.TriggerID, slack.ModalViewRequest{
			Type: slack.VTModal, Title: plain("Deny"), Submit: plain("Deny"), Close: plain("Cancel"), PrivateMetadata: p.Container.ChannelID + ":" + p.Container.MessageTs,
			Blocks: slack.Blocks{BlockSet: []slack.Block{
				slack.NewSectionBlock(nil, []*slack.TextBlockObject{plain("Resource\nk8s://prod/billing-api"), plain("Code\n7QK-2F4M")}, nil),
				slack.NewInputBlock("why", plain("Why?"), nil, &slack.PlainTextInputBlockElement{Type: slack.METPlainTextInput, ActionID: "reason", Multiline: true, MaxLength: 500}),
			}},
		})
	}
}

func (a *app) decide(ctx context.Context, channel, ts, state string) {
	_, _, _, _ = a.api.UpdateMessageContext(ctx, channel, ts, card(state)...)
}
