package identity

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// Account is one account of a human at one platform. Kind is the platform
// ("slack", "teams", "github"), Space the tenant in which ID is unique (a Slack
// team id, a Teams tenant id; "-" where ids are globally unique, as at GitHub).
// An account with an empty part equals nothing and finds nobody.
type Account struct {
	Kind  string `json:"kind"`
	Space string `json:"space"`
	ID    string `json:"id"`
}

// Complete reports whether every part of the account is present.
func (a Account) Complete() bool { return a.Kind != "" && a.Space != "" && a.ID != "" }

// String returns "kind:space/id", for logs and side records.
func (a Account) String() string { return a.Kind + ":" + a.Space + "/" + a.ID }

// Person is one human, with every account by which that human is known.
type Person struct {
	// ID is opaque and random ("p_" and at least eight of a-z, 0-9): it stands
	// in the audit log, so it must mean nothing outside the directory.
	ID       string
	Name     string
	Email    string
	Accounts []Account
}

// Group is a named set of people. Mentions maps a platform to the id by which
// a card mentions the group there (a Slack user group id).
type Group struct {
	Name     string
	People   []string // person ids
	Mentions map[string]string
}

// Directory answers who an account belongs to and who is in a group. It is
// immutable; a changed configuration makes a new one.
type Directory struct {
	people   map[string]Person
	accounts map[Account]string
	groups   map[string]Group
}

var personID = regexp.MustCompile(`^p_[a-z0-9]{8,40}$`)

// NewDirectory builds a directory and reports every fault it finds: malformed
// or repeated person ids, accounts that are incomplete or claimed by two
// people, and groups that name somebody unknown.
func NewDirectory(people []Person, groups []Group) (*Directory, error) {
	d := &Directory{people: map[string]Person{}, accounts: map[Account]string{}, groups: map[string]Group{}}
	var faults []error
	for _, p := range people {
		if !personID.MatchString(p.ID) {
			faults = append(faults, fmt.Errorf("person %q: the id must be p_ and 8 to 40 of a-z and 0-9, random and meaning nothing", p.ID))
		}
		if _, ok := d.people[p.ID]; ok {
			faults = append(faults, fmt.Errorf("person %q stands twice", p.ID))
		}
		d.people[p.ID] = p
		for _, a := range p.Accounts {
			if !a.Complete() {
				faults = append(faults, fmt.Errorf("person %q: the account %s is incomplete", p.ID, a))
			}
			if other, ok := d.accounts[a]; ok {
				faults = append(faults, fmt.Errorf("the account %s belongs to both %q and %q", a, other, p.ID))
			}
			d.accounts[a] = p.ID
		}
	}
	for _, g := range groups {
		if _, ok := d.groups[g.Name]; ok || g.Name == "" {
			faults = append(faults, fmt.Errorf("group %q stands twice or has no name", g.Name))
		}
		for _, id := range g.People {
			if _, ok := d.people[id]; !ok {
				faults = append(faults, fmt.Errorf("group %q names %q, who is not among people", g.Name, id))
			}
		}
		d.groups[g.Name] = g
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return d, nil
}

// ByAccount returns the person to whom the account belongs. An incomplete
// account finds nobody.
func (d *Directory) ByAccount(a Account) (Person, bool) {
	if !a.Complete() {
		return Person{}, false
	}
	id, ok := d.accounts[a]
	if !ok {
		return Person{}, false
	}
	return d.Person(id)
}

// Person returns the person with the given id.
func (d *Directory) Person(id string) (Person, bool) {
	p, ok := d.people[id]
	return p, ok
}

// Group returns the named group.
func (d *Directory) Group(name string) (Group, bool) {
	g, ok := d.groups[name]
	return g, ok
}

// Members returns the distinct person ids of the named groups and people, in a
// stable order. Unknown names add nobody.
func (d *Directory) Members(groups, people []string) []string {
	var ids []string
	for _, name := range groups {
		ids = append(ids, d.groups[name].People...)
	}
	for _, id := range people {
		if _, ok := d.people[id]; ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// GroupsOf returns the names of the groups that hold the person, sorted.
func (d *Directory) GroupsOf(id string) []string {
	names := []string{}
	for name, g := range d.groups {
		if slices.Contains(g.People, id) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
