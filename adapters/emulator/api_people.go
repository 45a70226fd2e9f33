package emulator

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

func (s *Slack) authTest(args) (reply, error) {
	return reply{
		"url": s.base + "/", "team": "Harbor", "team_id": s.opt.TeamID,
		"user": s.user(Bot).Name, "user_id": Bot, "bot_id": botID, "is_enterprise_install": false,
	}, nil
}

// wireUser is a user as users.info shows it. is_stranger is false for people of
// a workspace that shares a channel with the app, as on the real platform.
func (s *Slack) wireUser(u *User) reply {
	profile := reply{"real_name": u.RealName, "display_name": u.Name, "real_name_normalized": u.RealName, "team": u.Team}
	if slices.Contains(s.opt.Scopes, "users:read.email") && u.Email != "" {
		profile["email"] = u.Email
	}
	out := reply{
		"id": u.ID, "team_id": u.Team, "name": u.Name, "real_name": u.RealName, "profile": profile,
		"is_bot": u.Bot, "is_app_user": false, "is_restricted": u.Guest || u.SingleGuest, "is_ultra_restricted": u.SingleGuest,
		"is_email_confirmed": !u.Bot && !u.Invited, "deleted": u.Deactivated, "updated": 1,
	}
	if u.Team != s.opt.TeamID {
		out["is_stranger"] = false
	}
	if u.Invited {
		out["is_invited_user"] = true
	}
	if !u.Deactivated {
		out["tz"], out["tz_offset"] = "Etc/UTC", 0
	}
	return out
}

func (s *Slack) usersInfo(a args) (reply, error) {
	u := s.user(a["user"])
	switch {
	case u == nil:
		return nil, fail("user_not_found")
	case u.Hidden:
		return nil, fail("user_not_visible")
	}
	return reply{"user": s.wireUser(u)}, nil
}

func (s *Slack) usersLookupByEmail(a args) (reply, error) {
	for _, u := range s.users {
		if u.Email != "" && strings.EqualFold(u.Email, a["email"]) && !u.Deactivated && !u.Hidden && u.Team == s.opt.TeamID {
			return reply{"user": s.wireUser(u)}, nil
		}
	}
	return nil, fail("users_not_found")
}

func (s *Slack) usergroupsList(a args) (reply, error) {
	out := []reply{}
	for _, g := range s.groups {
		if g.Disabled && !a.bool("include_disabled") {
			continue
		}
		w := reply{"id": g.ID, "team_id": s.opt.TeamID, "is_usergroup": true, "name": g.Name, "handle": g.Handle, "user_count": len(g.Members), "date_delete": 0}
		if g.Disabled {
			w["date_delete"] = 1
		}
		if a.bool("include_users") {
			w["users"] = g.Members
		}
		out = append(out, w)
	}
	return reply{"usergroups": out}, nil
}

func (s *Slack) usergroupsUsersList(a args) (reply, error) {
	g := s.group(a["usergroup"])
	if g == nil || g.Disabled && !a.bool("include_disabled") {
		return nil, fail("no_such_subteam")
	}
	return reply{"users": append([]string{}, g.Members...)}, nil
}

func (s *Slack) conversationsOpen(a args) (reply, error) {
	if id := a["channel"]; id != "" {
		if c := s.channel(id); c != nil && c.IM != "" {
			return reply{"channel": reply{"id": c.ID}, "no_op": true, "already_open": true}, nil
		}
		return nil, fail("channel_not_found")
	}
	ids := strings.Split(a["users"], ",")
	if a["users"] == "" || len(ids) > 1 {
		return nil, fail("users_list_not_supplied") // group messages are not emulated
	}
	u := s.user(ids[0])
	switch {
	case u == nil:
		return nil, fail("user_not_found")
	case u.Hidden:
		return nil, fail("user_not_visible")
	case u.Deactivated:
		return nil, fail("user_disabled")
	case u.Bot:
		return nil, fail("cannot_dm_bot")
	}
	c := s.direct(u)
	return reply{"channel": s.wireChannel(c)}, nil
}

func (s *Slack) wireChannel(c *Channel) reply {
	if c.IM != "" {
		return reply{"id": c.ID, "is_im": true, "user": c.IM, "is_archived": c.Archived, "is_open": true}
	}
	return reply{
		"id": c.ID, "name": c.Name, "name_normalized": c.Name, "is_channel": !c.Private, "is_group": c.Private, "is_im": false, "is_mpim": false,
		"is_private": c.Private, "is_archived": c.Archived, "is_member": c.has(Bot), "is_shared": c.Shared, "is_ext_shared": c.Shared,
		"is_org_shared": false, "context_team_id": s.opt.TeamID, "topic": reply{"value": c.Topic},
	}
}

// known finds a channel that the app may know of.
func (s *Slack) known(id string) (*Channel, error) {
	c := s.channel(id)
	if c == nil || (c.Private || c.IM != "") && !c.has(Bot) {
		return nil, fail("channel_not_found")
	}
	return c, nil
}

func (s *Slack) conversationsInfo(a args) (reply, error) {
	c, err := s.known(a["channel"])
	if err != nil {
		return nil, err
	}
	if err := s.needScope(c, "read"); err != nil {
		return nil, err
	}
	w := s.wireChannel(c)
	if a.bool("include_num_members") {
		w["num_members"] = len(c.Members)
	}
	return reply{"channel": w}, nil
}

func (s *Slack) conversationsMembers(a args) (reply, error) {
	c, err := s.known(a["channel"])
	if err != nil {
		return nil, err
	}
	if err := s.needScope(c, "read"); err != nil {
		return nil, err
	}
	page, next, err := paged(c.Members, a, 100)
	if err != nil {
		return nil, err
	}
	return reply{"members": page, "response_metadata": reply{"next_cursor": next}}, nil
}

// paged returns one page and the cursor of the next, which is opaque to callers.
func paged[T any](list []T, a args, def int) ([]T, string, error) {
	from := 0
	if cursor := a["cursor"]; cursor != "" {
		raw, err := base64.StdEncoding.DecodeString(cursor)
		n, ok := strings.CutPrefix(string(raw), "next:")
		at, errAt := strconv.Atoi(n)
		if err != nil || !ok || errAt != nil || at < 0 || at > len(list) {
			return nil, "", fail("invalid_cursor")
		}
		from = at
	}
	to := min(len(list), from+a.int("limit", def, 999))
	next := ""
	if to < len(list) {
		next = base64.StdEncoding.EncodeToString([]byte("next:" + strconv.Itoa(to)))
	}
	return append([]T{}, list[from:to]...), next, nil
}

// readable finds a channel whose messages the app may read.
func (s *Slack) readable(id string) (*Channel, error) {
	c, err := s.known(id)
	if err != nil {
		return nil, err
	}
	if err := s.needScope(c, "history"); err != nil {
		return nil, err
	}
	if !c.has(Bot) {
		return nil, fail("not_in_channel")
	}
	return c, nil
}

func (s *Slack) conversationsHistory(a args) (reply, error) {
	c, err := s.readable(a["channel"])
	if err != nil {
		return nil, err
	}
	var found []*Message
	for _, m := range slices.Backward(s.messages) { // newest first
		if m.Channel == c.ID && m.Only == "" && !m.reply() && within(m.TS, a) {
			found = append(found, m)
		}
	}
	return s.history(found, a, 100)
}

func (s *Slack) conversationsReplies(a args) (reply, error) {
	c, err := s.readable(a["channel"])
	if err != nil {
		return nil, err
	}
	if s.message(c.ID, a["ts"], "") == nil {
		return nil, fail("thread_not_found")
	}
	var found []*Message
	for _, m := range s.messages { // oldest first, the parent always
		if m.Channel == c.ID && m.Only == "" && (m.TS == a["ts"] || m.ThreadTS == a["ts"] && within(m.TS, a)) {
			found = append(found, m)
		}
	}
	return s.history(found, a, 1000)
}

func (s *Slack) history(found []*Message, a args, def int) (reply, error) {
	page, next, err := paged(found, a, def)
	if err != nil {
		return nil, err
	}
	out := []reply{}
	for _, m := range page {
		out = append(out, s.wire(m, a.bool("include_all_metadata")))
	}
	return reply{"messages": out, "has_more": next != "", "response_metadata": reply{"next_cursor": next}}, nil
}

// within applies oldest and latest, both exclusive unless inclusive is set.
// Timestamps of equal length compare as text; "0" and whole seconds are padded.
func within(ts string, a args) bool {
	t := pad(ts)
	if o := a["oldest"]; o != "" {
		if p := pad(o); t < p || t == p && !a.bool("inclusive") {
			return false
		}
	}
	if l := a["latest"]; l != "" && l != "now" {
		if p := pad(l); t > p || t == p && !a.bool("inclusive") {
			return false
		}
	}
	return true
}

// pad writes a timestamp as 12 digits, a point and 6 digits.
func pad(ts string) string {
	whole, part, _ := strings.Cut(ts, ".")
	if len(whole) < 12 {
		whole = strings.Repeat("0", 12-len(whole)) + whole
	}
	return whole + "." + (part + "000000")[:6]
}
