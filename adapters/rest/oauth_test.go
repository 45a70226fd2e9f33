package rest

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/countersign/countersign/bot"
)

const (
	asDB    = "Bearer " + canarySecret + "-db"
	asOther = "Bearer " + canarySecret + "-other"
)

// redeemed makes a credential and returns its request and token.
func (d *door) redeemed() (id, token string) {
	d.t.Helper()
	id = d.submit("allow")
	var c credential
	if err := json.Unmarshal([]byte(d.call("POST", "/v1/requests/"+id+"/credential", "").body), &c); err != nil {
		d.t.Fatal(err)
	}
	return id, c.Token
}

func (d *door) form(path, body, authorization string) answer {
	d.t.Helper()
	return d.call("POST", path, body, "Content-Type", "application/x-www-form-urlencoded", "Authorization", authorization)
}

func TestIntrospect(t *testing.T) {
	t.Parallel()
	d := open(t)
	id, token := d.redeemed()
	basic := func(user, secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret))
	}
	const inactive = `{"active":false}`
	for name, tc := range map[string]struct {
		token, auth string
		active      bool
	}{
		"active":           {token, asDB, true},
		"active, basic":    {token, basic("db", canarySecret+"-db"), true},
		"encoded basic":    {token, basic("%64b", canarySecret+"%2Ddb"), true},
		"another audience": {token, asOther, false},
		"unknown":          {canaryMinted + ".req-9.0", asDB, false},
		"forged":           {"forged", asDB, false},
	} {
		a := d.form("/v1/introspect", "token="+tc.token+"&token_type_hint=access_token&extension=ignored", tc.auth)
		if a.StatusCode != 200 || tc.active == (a.body == inactive) || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s: %s", name, a.Status, a.body)
		}
	}
	var got introspection
	if err := json.Unmarshal([]byte(d.form("/v1/introspect", "token="+token, asDB).body), &got, json.RejectUnknownMembers(true)); err != nil {
		t.Fatal(err)
	}
	want := introspection{Active: true, Scope: "db:write db:read", ClientID: "deployer", TokenType: "Bearer", Subject: "deployer:prod:deploy",
		Audience: "https://db.example", Issuer: "https://cs.example", Expires: 1_800_000_300, Issued: 1_800_000_000, ID: id + ".0", Request: id, Digest: "d1"}
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	d.broker.active = ""
	if a := d.form("/v1/introspect", "token="+token, asDB); a.body != inactive {
		t.Errorf("revoked: %s", a.body)
	}
}

func TestIntrospectAuthenticates(t *testing.T) {
	t.Parallel()
	d := open(t)
	_, token := d.redeemed()
	for name, auth := range map[string]string{
		"nobody":        "",
		"wrong secret":  "Bearer guess",
		"a machine":     "Bearer " + d.token("1"),
		"other's name":  "Basic " + base64.StdEncoding.EncodeToString([]byte("other:"+canarySecret+"-db")),
		"no name":       "Basic " + base64.StdEncoding.EncodeToString([]byte(":"+canarySecret+"-db")),
		"broken basic":  "Basic ???",
		"broken escape": "Basic " + base64.StdEncoding.EncodeToString([]byte("db:%zz")),
		"empty secret":  "Basic " + base64.StdEncoding.EncodeToString([]byte("db:")),
	} {
		a := d.form("/v1/introspect", "token="+token, auth)
		if a.StatusCode != 401 || !strings.Contains(a.body, `"error":"invalid_client"`) || a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %s: %s", name, a.Status, a.body)
		}
	}
	if a := d.form("/v1/introspect", "token="+token, asDB); a.StatusCode != 200 {
		t.Errorf("the verifier itself: %s", a.Status)
	}
}

// Errors of the OAuth kind have RFC 6749's form, at both addresses.
func TestOAuthErrors(t *testing.T) {
	t.Parallel()
	d := open(t)
	_, token := d.redeemed()
	for path, auth := range map[string]string{"/v1/introspect": asDB, "/v1/revoke": "Bearer " + canaryToken + ".1.j"} {
		for name, tc := range map[string]struct {
			body, query, kind string
			status            int
			code              string
		}{
			"good":          {body: "token=" + token, status: 200},
			"no token":      {body: "token_type_hint=x", status: 400, code: "invalid_request"},
			"empty":         {body: "", status: 400, code: "invalid_request"},
			"twice":         {body: "token=a&token=b", status: 400, code: "invalid_request"},
			"not a form":    {body: "token=%zz", status: 400, code: "invalid_request"},
			"in the query":  {body: "token=a", query: "?token=a", status: 400, code: "invalid_request"},
			"JSON":          {body: `{"token":"a"}`, kind: "application/json", status: 415, code: "invalid_request"},
			"over 64 KiB":   {body: "token=" + strings.Repeat("x", maxForm), status: 413, code: "invalid_request"},
			"another hint":  {body: "token=" + token + "&token_type_hint=refresh_token", status: 200},
			"charset utf-8": {body: "token=" + token, kind: "application/x-www-form-urlencoded; charset=utf-8", status: 200},
		} {
			kind := tc.kind
			if kind == "" {
				kind = "application/x-www-form-urlencoded"
			}
			a := d.call("POST", path+tc.query, tc.body, "Authorization", auth, "Content-Type", kind)
			if a.StatusCode != tc.status || tc.code != "" && !strings.Contains(a.body, `"error":"`+tc.code+`"`) {
				t.Errorf("%s %s: %s: %s", path, name, a.Status, a.body)
			}
		}
		d.broker.err = bot.ErrUnavailable
		if a := d.form(path, "token="+token, auth); a.StatusCode != 503 || !strings.Contains(a.body, `"error":"temporarily_unavailable"`) || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s unavailable: %s: %s", path, a.Status, a.body)
		}
		d.broker.err = nil
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	d := open(t)
	id, token := d.redeemed()
	if a := d.form("/v1/revoke", "token="+token, "Bearer "+d.token("2")); a.StatusCode != 200 || len(d.broker.revoked) != 0 {
		t.Errorf("another run: %s, revoked %v", a.Status, d.broker.revoked)
	}
	for _, unknown := range []string{"forged", canaryMinted + ".req-9.0"} {
		if a := d.form("/v1/revoke", "token="+unknown, "Bearer "+d.token("1")); a.StatusCode != 200 || a.body != "" || len(d.broker.revoked) != 0 {
			t.Errorf("unknown: %s, revoked %v", a.Status, d.broker.revoked)
		}
	}
	if a := d.form("/v1/revoke", "token="+token, "Bearer forged"); a.StatusCode != 401 || !strings.Contains(a.body, `"error":"invalid_client"`) {
		t.Errorf("not authenticated: %s: %s", a.Status, a.body)
	}
	if a := d.form("/v1/revoke", "token="+token, "Bearer "+d.token("1")); a.StatusCode != 200 || a.body != "" ||
		len(d.broker.revoked) != 1 || d.broker.revoked[0] != id+".0" {
		t.Errorf("own: %s, revoked %v", a.Status, d.broker.revoked)
	}
}
