package emulator

import (
	"slices"
	"strings"
)

// The default workspace. The ids are fixed, so that a configuration can name
// them; the secrets are not.
const (
	DefaultTeam = "T0HARBOR"
	PartnerTeam = "T0PARTNER" // another company's workspace, which shares Deploys
	DefaultApp  = "A0COUNTERSIGN"

	Bot   = "U0BOT"   // the app's own user
	Ada   = "U0ADA"   // a member, in the group Release
	Grace = "U0GRACE" // a member, in the group Release
	Tim   = "U0TIM"   // a member
	Gus   = "U0GUS"   // a guest (is_restricted), in Deploys
	Sam   = "U0SAM"   // of the partner's workspace, in Deploys
	Dora  = "U0DORA"  // deactivated

	Deploys  = "C0DEPLOYS"  // public, shared with the partner; the app is in it
	Security = "C0SECURITY" // private: Ada, Grace and the app
	General  = "C0GENERAL"  // public; the app is not in it

	Release = "S0RELEASE" // the user group @release: Ada and Grace

	botID = "B0BOT"
)

// User is an account, of this workspace or another.
type User struct {
	ID       string `json:"id"`
	Team     string `json:"team"`
	Name     string `json:"name"` // the handle, lower case
	RealName string `json:"real_name"`
	Email    string `json:"email"`
	Title    string `json:"title"` // what the person does, for the page

	Guest       bool `json:"guest"`        // is_restricted
	SingleGuest bool `json:"single_guest"` // is_ultra_restricted as well
	Invited     bool `json:"invited"`      // has not signed in yet
	Bot         bool `json:"bot"`
	Deactivated bool `json:"deactivated"`
	Hidden      bool `json:"hidden"` // users.info answers user_not_visible
}

// Channel is a channel or, with IM set, the app's direct messages with one user.
type Channel struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Topic    string   `json:"topic"`
	Private  bool     `json:"private"`
	Archived bool     `json:"archived"`
	Shared   bool     `json:"shared"` // with another workspace
	IM       string   `json:"im"`     // the other user's id
	Members  []string `json:"members"`
}

// Group is a user group.
type Group struct {
	ID       string   `json:"id"`
	Handle   string   `json:"handle"`
	Name     string   `json:"name"`
	Members  []string `json:"members"`
	Disabled bool     `json:"disabled"`
}

// settle makes the default people, channels and group.
func (s *Slack) settle() {
	team := s.opt.TeamID
	person := func(id, real, title string) *User {
		name := strings.ToLower(strings.Fields(real)[0])
		return &User{ID: id, Team: team, Name: name, RealName: real, Title: title, Email: name + "@harbor.example"}
	}
	gus, sam, dora := person(Gus, "Gus Guest", "Contractor, guest"), person(Sam, "Sam Stranger", "Partner company"), person(Dora, "Dora Departed", "Deactivated")
	gus.Guest, dora.Deactivated = true, true
	sam.Team, sam.Email = PartnerTeam, "sam@partner.example"
	s.users = []*User{
		person(Ada, "Ada Approver", "Release approver"),
		person(Grace, "Grace Guardian", "Release approver"),
		person(Tim, "Tim Trigger", "Developer"),
		gus, sam, dora,
		{ID: Bot, Team: team, Name: strings.ToLower(s.opt.AppName), RealName: s.opt.AppName, Bot: true, Title: "App"},
		{ID: "USLACKBOT", Team: team, Name: "slackbot", RealName: "Slackbot", Title: "Built in"},
	}
	s.channels = []*Channel{
		{ID: Deploys, Name: "deploys", Topic: "What goes to production, and who said so", Shared: true, Members: []string{Ada, Grace, Tim, Gus, Sam, Bot}},
		{ID: Security, Name: "security", Topic: "Access and keys", Private: true, Members: []string{Ada, Grace, Bot}},
		{ID: General, Name: "general", Topic: "Everything else; the app is not a member", Members: []string{Ada, Grace, Tim}},
	}
	s.groups = []*Group{{ID: Release, Handle: "release", Name: "Release approvers", Members: []string{Ada, Grace}}}
	for _, id := range []string{Ada, Grace, Tim} {
		s.direct(s.user(id))
	}
}

// PutUser adds a user or replaces the one of the same id.
func (s *Slack) PutUser(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users = put(s.users, &u, func(x *User) string { return x.ID })
	s.changed()
}

// PutChannel adds a channel or replaces the one of the same id.
func (s *Slack) PutChannel(c Channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Members = slices.Clone(c.Members)
	s.channels = put(s.channels, &c, func(x *Channel) string { return x.ID })
	s.changed()
}

// PutGroup adds a user group or replaces the one of the same id.
func (s *Slack) PutGroup(g Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.Members = slices.Clone(g.Members)
	s.groups = put(s.groups, &g, func(x *Group) string { return x.ID })
	s.changed()
}

func put[T any](list []*T, v *T, key func(*T) string) []*T {
	if i := slices.IndexFunc(list, func(x *T) bool { return key(x) == key(v) }); i >= 0 {
		list[i] = v
		return list
	}
	return append(list, v)
}

// Users are all accounts, the app's own among them.
func (s *Slack) Users() []User { return snapshot(s, func() []*User { return s.users }) }

// Channels are all channels and direct messages.
func (s *Slack) Channels() []Channel { return snapshot(s, func() []*Channel { return s.channels }) }

// Groups are all user groups.
func (s *Slack) Groups() []Group { return snapshot(s, func() []*Group { return s.groups }) }

func snapshot[T any](s *Slack, list func() []*T) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]T, 0, len(list()))
	for _, v := range list() {
		out = append(out, *v)
	}
	return out
}

// The finders below need s.mu and return nil for what is not there.

func (s *Slack) user(id string) *User {
	i := slices.IndexFunc(s.users, func(u *User) bool { return u.ID == id })
	if i < 0 {
		return nil
	}
	return s.users[i]
}

func (s *Slack) channel(id string) *Channel {
	i := slices.IndexFunc(s.channels, func(c *Channel) bool { return c.ID == id })
	if i < 0 {
		return nil
	}
	return s.channels[i]
}

func (s *Slack) group(id string) *Group {
	i := slices.IndexFunc(s.groups, func(g *Group) bool { return g.ID == id })
	if i < 0 {
		return nil
	}
	return s.groups[i]
}

func (c *Channel) has(user string) bool { return slices.Contains(c.Members, user) }

// sees reports whether a user may read the channel: members, and for a public
// channel every full member of the workspace.
func (s *Slack) sees(u *User, c *Channel) bool {
	if c.has(u.ID) {
		return true
	}
	return c.IM == "" && !c.Private && u.Team == s.opt.TeamID && !u.Guest
}

// direct returns the app's direct messages with a user, made if need be.
func (s *Slack) direct(u *User) *Channel {
	for _, c := range s.channels {
		if c.IM == u.ID {
			return c
		}
	}
	c := &Channel{ID: "D0" + strings.TrimPrefix(u.ID, "U0"), IM: u.ID, Members: []string{u.ID, Bot}}
	s.channels = append(s.channels, c)
	s.changed()
	return c
}

// id makes an id such as "F" + 10 random letters and digits.
func (s *Slack) id(prefix string) string { return prefix + strings.ToUpper(s.opt.NewID())[:10] }
