package slack

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/countersign/countersign/bot/chat"
)

// What can be wrong with a delivery that Slack did send.
var (
	errMalformed = errors.New("the delivery cannot be read")
	errWrongApp  = errors.New("the delivery is for another app")
)

// kind is what a delivery is. Each has its own path, for a signature covers the
// body only.
type kind string

const (
	interactive kind = "interactive"
	command     kind = "command"
	event       kind = "event"
)

// delivery is what Slack sent, with its authenticity proven by a signature or
// the socket that it came through.
type delivery struct {
	kind kind
	// payload is JSON. A slash command that came as a form was turned into it.
	payload []byte
	// at is when Slack signed it, or when it came through the socket.
	at time.Time
}

// verbs are what a button can mean.
var verbs = map[string]chat.Verb{
	actionPrefix + string(chat.Approve): chat.Approve,
	actionPrefix + string(chat.Deny):    chat.Deny,
	actionPrefix + string(chat.Revoke):  chat.Revoke,
	actionPrefix + string(chat.Details): chat.Details,
}

// deliveryPattern is the shape of the ids that our buttons carry.
var deliveryPattern = regexp.MustCompile(`^[A-Za-z0-9._~:-]{1,255}$`)

// named is an object of which only the id matters. Slack may send null instead.
type named struct {
	ID string `json:"id"`
}

// interaction is what we read of an interaction's payload; the message in it,
// which other people may have shaped, is not among it.
type interaction struct {
	Type       string `json:"type"`
	App        string `json:"api_app_id"`
	Team       named  `json:"team"`
	Enterprise named  `json:"enterprise"`
	User       struct {
		ID   string `json:"id"`
		Team string `json:"team_id"`
	} `json:"user"`
	TriggerID   string `json:"trigger_id"`
	ResponseURL string `json:"response_url"`
	Channel     named  `json:"channel"`
	Container   struct {
		Type      string `json:"type"`
		Channel   string `json:"channel_id"`
		Stamp     string `json:"message_ts"`
		Ephemeral bool   `json:"is_ephemeral"`
	} `json:"container"`
	Actions []struct {
		Type  string `json:"type"`
		ID    string `json:"action_id"`
		Value string `json:"value"`
	} `json:"actions"`
	View struct {
		Callback string `json:"callback_id"`
		Metadata string `json:"private_metadata"`
		State    struct {
			Values map[string]map[string]struct {
				Value string `json:"value"`
			} `json:"values"`
		} `json:"state"`
	} `json:"view"`
}

// slash is what we read of a slash command.
type slash struct {
	App         string `json:"api_app_id"`
	Team        string `json:"team_id"`
	Enterprise  string `json:"enterprise_id"`
	User        string `json:"user_id"`
	Channel     string `json:"channel_id"`
	Command     string `json:"command"`
	Text        string `json:"text"`
	TriggerID   string `json:"trigger_id"`
	ResponseURL string `json:"response_url"`
}

// notice is what we read of an event.
type notice struct {
	Type       string `json:"type"`
	App        string `json:"api_app_id"`
	Team       string `json:"team_id"`
	Enterprise string `json:"enterprise_id"`
	Challenge  string `json:"challenge"`
	Event      struct {
		Type string `json:"type"`
	} `json:"event"`
}

// parse reads a payload strictly: duplicate members, bad UTF-8, other cases of a
// name and values of another type are refused. Members that we do not know are
// not, for Slack adds some as it likes.
func parse(payload []byte, into any) error {
	if err := json.Unmarshal(payload, into); err != nil {
		return errMalformed // the error of the parser would quote the payload
	}
	return nil
}

// formPayload returns the one payload of an interaction's body.
func formPayload(body []byte) ([]byte, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form) != 1 || len(form["payload"]) != 1 {
		return nil, errMalformed
	}
	return []byte(form["payload"][0]), nil
}

// formCommand turns a slash command's body into the JSON that Socket Mode sends.
func formCommand(body []byte) ([]byte, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errMalformed
	}
	fields := make(map[string]string, len(form))
	for name, values := range form {
		if len(values) != 1 {
			return nil, errMalformed
		}
		fields[name] = values[0]
	}
	if _, mixed := fields["payload"]; mixed {
		return nil, errMalformed
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		return nil, errMalformed
	}
	return raw, nil
}

// account names who acted. The user's own workspace counts; the one in which
// they act stands for it only where Slack names no other.
func (i *interaction) account() chat.Account {
	team := i.User.Team
	if team == "" {
		team = i.Team.ID
	}
	return chat.Account{Platform: "slack", Space: team, ID: i.User.ID}
}

// place is where a button was pressed, or nothing where it cannot be a place.
func (i *interaction) place() (channel, stamp string) {
	channel = i.Container.Channel
	if channel == "" {
		channel = i.Channel.ID
	}
	if !channelPattern.MatchString(channel) {
		return "", ""
	}
	if !stampPattern.MatchString(i.Container.Stamp) {
		return channel, ""
	}
	return channel, i.Container.Stamp
}

// click reads the pressed button. A button that is not ours is nil.
func (i *interaction) click(at time.Time) *chat.Click {
	if len(i.Actions) != 1 || i.Actions[0].Type != "button" {
		return nil
	}
	verb, known := verbs[i.Actions[0].ID]
	if !known || !deliveryPattern.MatchString(i.Actions[0].Value) {
		return nil
	}
	c := &chat.Click{Account: i.account(), Button: i.Actions[0].Value, Verb: verb, At: at}
	channel, stamp := i.place()
	c.Channel = channel
	if stamp != "" && !i.Container.Ephemeral {
		c.Ref = channel + ":" + stamp
	}
	return c
}

// form is what a modal of ours remembers between its opening and its sending:
// ids only. It came back signed, but is a key to look up all the same.
type form struct {
	Delivery string    `json:"d"`
	Verb     chat.Verb `json:"v"`
	Channel  string    `json:"c,omitempty"`
	Ref      string    `json:"r,omitempty"`
}

// submission reads a sent form. A form that is not ours is nil.
func (i *interaction) submission(at time.Time) *chat.Click {
	var f form
	if i.View.Callback != formCallback ||
		json.Unmarshal([]byte(i.View.Metadata), &f, json.RejectUnknownMembers(true)) != nil {
		return nil
	}
	if _, known := verbs[actionPrefix+string(f.Verb)]; !known || !deliveryPattern.MatchString(f.Delivery) {
		return nil
	}
	if f.Channel != "" && !channelPattern.MatchString(f.Channel) {
		return nil
	}
	if channel, stamp, both := strings.Cut(f.Ref, ":"); f.Ref != "" &&
		(!both || channel != f.Channel || !stampPattern.MatchString(stamp)) {
		return nil
	}
	return &chat.Click{
		Account: i.account(), Button: f.Delivery, Verb: f.Verb, Channel: f.Channel, Ref: f.Ref, At: at,
		Reason: i.View.State.Values[inputBlock][inputAction].Value,
	}
}
