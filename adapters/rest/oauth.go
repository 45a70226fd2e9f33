package rest

import (
	"net/http"
	"net/url"
	"strings"
)

// writeOAuth tells a problem in the form of RFC 6749 section 5.2.
func writeOAuth(c *call, p problem) {
	code := p.oauth
	switch {
	case p.Status == http.StatusUnauthorized:
		code = "invalid_client"
	case code == "":
		code = "invalid_request"
	}
	body := struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{code, quotable(p.Title + ". " + p.Detail)}
	if writeAs(c, "application/json", p.Status, body) != nil {
		c.WriteHeader(p.Status)
	}
}

// introspection is the answer of RFC 7662 section 2.2. Of a credential that is
// not active nothing but that is told.
type introspection struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope,omitempty"`
	ClientID  string `json:"client_id,omitempty"`
	TokenType string `json:"token_type,omitempty"`
	Subject   string `json:"sub,omitempty"`
	Audience  string `json:"aud,omitempty"`
	Issuer    string `json:"iss,omitempty"`
	Expires   int64  `json:"exp,omitzero"`
	Issued    int64  `json:"iat,omitzero"`
	ID        string `json:"jti,omitempty"`
	Request   string `json:"txn,omitempty"`
	Digest    string `json:"apd,omitempty"`
}

// introspect answers POST /v1/introspect. Unknown, forged, expired, revoked and
// another audience's all look the same.
func (a *API) introspect(c *call, r *http.Request) error {
	c.oauth = true
	v, err := a.verifiers.of(r)
	if err != nil {
		return err
	}
	c.account = v.Name
	raw, err := a.formToken(c, r)
	if err != nil {
		return err
	}
	g, err := a.Minter.Parse(raw)
	if err != nil || g.Audience != v.Audience {
		return writeJSON(c, http.StatusOK, introspection{})
	}
	c.request = g.Request
	active, err := a.Broker.Active(r.Context(), g)
	if err != nil {
		return err
	}
	if !active {
		return writeJSON(c, http.StatusOK, introspection{})
	}
	return writeJSON(c, http.StatusOK, introspection{
		Active: true, Scope: strings.Join(g.Scopes, " "), ClientID: g.ServiceAccount, TokenType: "Bearer", Subject: g.Subject,
		Audience: g.Audience, Issuer: a.Issuer, Expires: g.Expires.Unix(), Issued: g.Issued.Unix(), ID: g.ID,
		Request: g.Request, Digest: g.Digest,
	})
}

// revoke answers POST /v1/revoke. A token that is not ours, or no longer valid,
// is as good as revoked (RFC 7009 section 2.2).
func (a *API) revoke(c *call, r *http.Request) error {
	c.oauth = true
	ev, err := a.authenticate(c, r, a.others)
	if err != nil {
		return err
	}
	raw, err := a.formToken(c, r)
	if err != nil {
		return err
	}
	if g, err := a.Minter.Parse(raw); err == nil {
		c.request = g.Request
		if err := a.Broker.RevokeCredential(r.Context(), ev.Caller(), g); err != nil {
			return err
		}
	}
	c.WriteHeader(http.StatusOK)
	return nil
}

// formToken reads the form's token. token_type_hint changes nothing here, as
// both RFCs allow; parameters that we do not know are ignored, as RFC 6749
// section 3.2 asks, but none may stand twice, and none in the query, where
// proxies would log it.
func (a *API) formToken(c *call, r *http.Request) (string, error) {
	if _, err := query(r); err != nil {
		return "", err
	}
	if err := contentType(r, "application/x-www-form-urlencoded"); err != nil {
		return "", err
	}
	body, err := a.readBody(c, r, maxForm)
	if err != nil {
		return "", err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", badForm("The form cannot be parsed.")
	}
	for _, values := range form {
		if len(values) > 1 {
			return "", badForm("A parameter stands twice.")
		}
	}
	if form.Get("token") == "" {
		return "", badForm("The parameter token is missing.")
	}
	return form.Get("token"), nil
}

func badForm(detail string) error {
	return &problem{Name: "invalid-form", Status: http.StatusBadRequest, Title: "The form is not valid", Detail: detail, oauth: "invalid_request"}
}
