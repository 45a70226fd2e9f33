package main

import (
	"errors"
	"time"

	"github.com/countersign/countersign/store/audit"
)

func (s *story) issue(l audit.Leaf) error {
	d, err := data[issuedData](l)
	if err = errors.Join(err, s.byMachine(l)); err != nil {
		return err
	}
	switch {
	case d.JTI == "" || d.SHA256 == "" || d.Audience == "" || len(d.Scopes) == 0 || d.Expires.IsZero():
		return fault("issued without jti, sha256, audience, scopes or expires")
	case d.Grant != s.approved.Grant:
		return fault("issued under another grant than was approved")
	case !within(d.Scopes, s.approved.Scopes):
		return fault("issued with scopes that were not granted")
	case s.asked.Audience != "" && d.Audience != s.asked.Audience:
		return fault("issued for the audience %q, asked for %q", d.Audience, s.asked.Audience)
	case d.Expires.After(l.Time.Add(time.Duration(s.approved.TTL) + second)):
		return fault("issued for longer than was granted")
	}
	if len(s.issues) == 0 {
		s.first = l.Time
	}
	if err := s.again(l, d); err != nil {
		return err
	}
	s.issues = append(s.issues, d)
	return nil
}

// again judges what an issue has to do with those before.
func (s *story) again(l audit.Leaf, d issuedData) error {
	if len(s.issues) == 0 {
		if d.Replaces != "" {
			return fault("the first issue replaces %q", d.Replaces)
		}
		return nil
	}
	switch {
	case len(s.issues) == maxIssues:
		return fault("issued more than %d times", maxIssues)
	case l.Time.Sub(s.first) > reissueWindow:
		return fault("issued again more than %s after the first time", reissueWindow)
	case d.Replaces != s.issues[len(s.issues)-1].JTI:
		return fault("issued again without replacing the credential before")
	case d.Expires.After(s.issues[0].Expires):
		return fault("issued again with a later expiry")
	}
	for _, before := range s.issues {
		if before.JTI == d.JTI || before.SHA256 == d.SHA256 {
			return fault("the same credential was issued twice")
		}
	}
	return nil
}

func (s *story) expire(l audit.Leaf) error {
	d, err := data[endData](l)
	if err = errors.Join(err, byClock(l)); err != nil {
		return err
	}
	switch {
	case d.JTI != "", d.Cause != "deadline" && d.Cause != "undeliverable":
		return fault("expired with the cause %q", d.Cause)
	case d.Cause == "deadline" && l.Time.Before(s.decided.Deadline):
		return fault("expired before the deadline")
	}
	return nil
}

func (s *story) finish(l audit.Leaf) error {
	d, err := data[endData](l)
	if err = errors.Join(err, byClock(l)); err != nil {
		return err
	}
	switch {
	case d.JTI != "", d.Cause != "expired" && d.Cause != "unused":
		return fault("ended with the cause %q", d.Cause)
	case d.Cause == "unused" && len(s.issues) > 0:
		return fault("ended as unused, and a credential was issued")
	case d.Cause == "expired" && len(s.issues) > 0 && l.Time.Before(s.issues[len(s.issues)-1].Expires):
		return fault("ended before the credential expired")
	}
	return nil
}

func (s *story) revoke(l audit.Leaf) error {
	d, err := data[endData](l)
	if err != nil {
		return err
	}
	switch d.Cause {
	case "person":
		if l.Actor.Kind != "person" || l.Actor.ID == "" {
			return fault("revoked by a person, and the actor is %s %q", l.Actor.Kind, l.Actor.ID)
		}
	case "machine", "reuse":
		if err := s.byMachine(l); err != nil {
			return err
		}
	default:
		return fault("revoked with the cause %q", d.Cause)
	}
	newest := ""
	if n := len(s.issues); n > 0 {
		newest = s.issues[n-1].JTI
	}
	if d.JTI != newest {
		return fault("revoked the credential %q, the newest is %q", d.JTI, newest)
	}
	return nil
}
