package main

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/countersign/countersign/store/audit"
)

// What each type of entry says in the clear. Other members are a fault: what
// this program does not know, it cannot judge.
type (
	askedData struct {
		Account     string   `json:"account"`
		Action      string   `json:"action"`
		Environment string   `json:"environment"`
		Audience    string   `json:"audience"`
		Scopes      []string `json:"scopes"`
		TTL         duration `json:"ttl"`
		Digest      digest   `json:"digest"`
		Trigger     string   `json:"trigger"` // none, unmapped or a person's id
	}
	decidedData struct {
		Effect   string    `json:"effect"`
		Revision string    `json:"revision"`
		Stages   []stage   `json:"stages"`
		Deadline time.Time `json:"deadline"`
		Excluded []string  `json:"excluded"` // who may review in no stage
	}
	stage struct {
		Name     string   `json:"name"`
		Quorum   int      `json:"quorum"`
		Distinct bool     `json:"distinct"`
		Groups   []string `json:"groups"`
		Eligible []string `json:"eligible"` // at creation; groups are live
	}
	reviewedData struct {
		Verdict  string   `json:"verdict"`
		Stage    int      `json:"stage"`
		Digest   digest   `json:"digest"`
		Platform string   `json:"platform"`
		Groups   []string `json:"groups"` // of the stage, that held the person then
	}
	approvedData struct {
		Grant  digest   `json:"grant"`
		Scopes []string `json:"scopes"`
		TTL    duration `json:"ttl"`
	}
	issuedData struct {
		JTI      string    `json:"jti"`
		SHA256   digest    `json:"sha256"`
		Grant    digest    `json:"grant"`
		Audience string    `json:"audience"`
		Scopes   []string  `json:"scopes"`
		Expires  time.Time `json:"expires"`
		Replaces string    `json:"replaces"`
	}
	endData struct {
		Cause string `json:"cause"`
		JTI   string `json:"jti"`
	}
)

// duration is a time.Duration as Go writes it, above zero.
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v <= 0 {
		return fmt.Errorf("%q is not a duration above zero", b)
	}
	*d = duration(v)
	return nil
}

// digest is a SHA-256 in lower-case hex.
type digest string

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *digest) UnmarshalText(b []byte) error {
	raw, err := hex.DecodeString(string(b))
	if err != nil || len(raw) != 32 || hex.EncodeToString(raw) != string(b) {
		return fmt.Errorf("%q is not a SHA-256 in hex", b)
	}
	*d = digest(b)
	return nil
}

// data decodes what a leaf says in the clear.
func data[T any](l audit.Leaf) (T, error) {
	var v T
	if l.Data == nil {
		return v, nil
	}
	if err := json.Unmarshal(l.Data, &v, json.RejectUnknownMembers(true)); err != nil {
		return v, fault("the data of %q: %w", l.Type, err)
	}
	return v, nil
}
