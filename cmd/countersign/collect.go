package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/countersign/countersign/adapters/rest/client"
)

// Bounds that the server holds what was collected to: what is too long is cut,
// for nobody typed it and nobody could mend it.
const (
	maxLabels    = 32
	maxLabelText = 256 // characters
	maxLinks     = 20
)

// collector adds to an ask what the place where it runs can tell: the git work
// tree and the GitHub Actions job. What the command line says comes first.
type collector struct {
	getenv func(string) string
	tree   gitTree
	warn   func(text string)
}

// add completes the ask. diff is auto, none, or a file.
func (c collector) add(ctx context.Context, ask *client.Ask, diff string) error {
	facts := c.tree.facts(ctx)
	labels := map[string]string{"commit": facts.commit, "author": facts.author, "branch": facts.branch}
	if c.getenv("GITHUB_ACTIONS") == "true" {
		c.addActions(ask, labels)
	}
	switch diff {
	case "none":
	case "auto":
		if facts.commit != "" {
			c.addDiff(ctx, ask, labels)
		}
	default:
		text, err := readDiff(diff)
		if err != nil {
			return err
		}
		ask.Context.Diff = text
	}
	c.addLabels(ask, labels)
	return c.fit(ask, diff == "auto")
}

// addActions reads the variables of a GitHub Actions job.
func (c collector) addActions(ask *client.Ask, labels map[string]string) {
	env := c.getenv
	branch := env("GITHUB_HEAD_REF") // of a pull request
	if branch == "" {
		branch = env("GITHUB_REF_NAME")
	}
	for name, value := range map[string]string{
		"commit": env("GITHUB_SHA"), "branch": branch, "repository": env("GITHUB_REPOSITORY"), "workflow": env("GITHUB_WORKFLOW"), "job": env("GITHUB_JOB"),
	} {
		if value != "" {
			labels[name] = value
		}
	}
	server := env("GITHUB_SERVER_URL")
	if run := env("GITHUB_RUN_ID"); run != "" && isWebAddress(server) && len(ask.Context.Links) < maxLinks {
		address := server + "/" + env("GITHUB_REPOSITORY") + "/actions/runs/" + run
		if attempt := env("GITHUB_RUN_ATTEMPT"); attempt != "" {
			address += "/attempts/" + attempt
		}
		ask.Context.Links = append(ask.Context.Links, client.Link{Title: "Run", URL: address})
	}
	// A schedule names whoever last changed the workflow; nobody started the run.
	if actor := env("GITHUB_ACTOR_ID"); ask.TriggeredBy == nil && actor != "" && env("GITHUB_EVENT_NAME") != "schedule" {
		ask.TriggeredBy = &client.TriggeredBy{Kind: "github", ID: actor, Name: cut(env("GITHUB_ACTOR"))}
	}
}

// addDiff collects the change, or a label that says why there is none.
func (c collector) addDiff(ctx context.Context, ask *client.Ask, labels map[string]string) {
	base := ""
	if c.getenv("GITHUB_ACTIONS") == "true" {
		base = c.getenv("GITHUB_BASE_REF")
	}
	text, err := c.tree.diff(ctx, base)
	if err != nil {
		why := "git could not be asked for it"
		for _, known := range []error{errDiffTooLong, errDiffShallow, errDiffNone} {
			if errors.Is(err, known) {
				why = known.Error()
			}
		}
		labels["diff"] = "left out: " + why
		c.warn("the change is not shown to reviewers: " + why)
	}
	ask.Context.Diff = text
}

// addLabels adds labels that are not there yet, in a stable order, as long as
// there is room.
func (c collector) addLabels(ask *client.Ask, labels map[string]string) {
	if ask.Context.Labels == nil {
		ask.Context.Labels = map[string]string{}
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if _, ok := ask.Context.Labels[name]; !ok && labels[name] != "" && len(ask.Context.Labels) < maxLabels {
			ask.Context.Labels[name] = cut(labels[name])
		}
	}
}

// fit holds the whole request to what the server takes: JSON writes some
// characters longer than they are. An automatic diff makes way, one that was
// given does not.
func (c collector) fit(ask *client.Ask, automatic bool) error {
	body, err := json.Marshal(ask) // as the client encodes it
	if err != nil {
		return err
	}
	if len(body) <= maxAsk || ask.Context.Diff == "" {
		return nil
	}
	if !automatic {
		return usageError("--diff: with it the request has %d bytes, and at most %d can be sent: cut the diff to what matters, or use --diff none with a --link to the change", len(body), maxAsk)
	}
	ask.Context.Diff = ""
	c.addLabels(ask, map[string]string{"diff": "left out: " + errDiffTooLong.Error()})
	c.warn("the change is not shown to reviewers: " + errDiffTooLong.Error())
	return nil
}

// cut shortens a text to what a label may hold, with a mark.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	n := utf8.RuneCountInString(s)
	if n <= maxLabelText {
		return s
	}
	mark := fmt.Sprintf("… (%d more characters)", n)
	keep := maxLabelText - utf8.RuneCountInString(mark)
	return string([]rune(s)[:keep]) + fmt.Sprintf("… (%d more characters)", n-keep)
}
