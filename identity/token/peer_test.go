package token

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

const connector = "https://api.botframework.example"

func connectorClaims() fields {
	return fields{
		"iss": connector, "aud": "our-app", "serviceurl": "https://smba.example/teams/", "nbf": noon.Add(-time.Minute).Unix(),
		"exp": noon.Add(time.Hour).Unix(), "tid": 7, "list": []string{"canary"},
	}
}

func newPeer(t *testing.T, r PeerRule, c *clock) *Peer {
	t.Helper()
	p, err := NewPeer(t.Context(), r, Options{Now: c.Now, Leeway: 5 * time.Minute, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPeer(t *testing.T) {
	t.Parallel()
	k, c := rsaKey(), newClock()
	s := newKeyServer(t)
	s.answer(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, set(jwk(k.Public()).with("endorsements", []string{"msteams"}), jwk(rsaOther().Public())))
	})
	r := PeerRule{Issuer: connector, Audience: "our-app", Keys: KeySource{JWKSURL: s.URL}, Algorithms: []string{"RS256"}}
	p := newPeer(t, r, c)
	header, claims := fields{"alg": "RS256", "kid": k.KID(), "typ": "JWT", "x5t": "canary", "cty": "JWT"}, connectorClaims()
	try := func(h, c fields) (Proof, error) {
		return p.Verify(t.Context(), seal("RS256", k.raw(), h.json(), c.json()))
	}
	got, err := try(header, claims)
	if err != nil || got.Claims["serviceurl"] != "https://smba.example/teams/" || got.Claims["tid"] != "7" || !slices.Equal(got.Endorsements, []string{"msteams"}) {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, there := got.Claims["list"]; there {
		t.Error("a list became text")
	}
	if _, err := try(header, claims.with("exp", noon.Add(-4*time.Minute).Unix())); err != nil {
		t.Errorf("in leeway: %v", err)
	}
	other, err := p.Verify(t.Context(), seal("RS256", rsaOther().raw(), header.with("kid", rsaOther().KID()).json(), claims.json()))
	if err != nil || len(other.Endorsements) != 0 {
		t.Errorf("a key without endorsements: %+v, %v", other, err)
	}
	for name, f := range map[string][2]fields{
		"expired":        {header, claims.with("exp", noon.Add(-5*time.Minute).Unix())},
		"no exp":         {header, claims.with("exp", nil)},
		"another issuer": {header, claims.with("iss", "https://canary.example")},
		"no issuer":      {header, claims.with("iss", nil)},
		"another app":    {header, claims.with("aud", "canary")},
		"aud in a list":  {header, claims.with("aud", []string{"our-app"})},
		"no aud":         {header, claims.with("aud", nil)},
		"two cases":      {header, claims.with("ServiceUrl", "https://canary.example")},
		"type":           {header.with("typ", "at+jwt"), claims},
		"own key":        {header.with("jku", "https://canary.example"), claims},
		"other alg":      {header.with("alg", "PS256"), claims},
		"other kid":      {header.with("kid", rsaOther().KID()), claims},
		"no kid":         {header.with("kid", nil), claims},
	} {
		got, err := try(f[0], f[1])
		if !errors.Is(err, ErrInvalid) || got.Claims != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
			continue
		}
		noLeak(t, err, "")
	}
	s.fail()
	c.turn(fetchEvery)
	if _, err := try(header.with("kid", "new"), claims); !errors.Is(err, ErrKeysUnavailable) {
		t.Errorf("the platform is down: %v", err)
	}
}

func TestPeerFaults(t *testing.T) {
	t.Parallel()
	good := PeerRule{Issuer: connector, Audience: "our-app", Keys: KeySource{PublicKeyFile: keyFile(t, rsaKey())}, Algorithms: []string{"RS256"}}
	newPeer(t, good, newClock())
	for reason, change := range map[string]func(*PeerRule){
		"issuer and audience must": func(r *PeerRule) { r.Audience = "" },
		"without space":            func(r *PeerRule) { r.Issuer = "" },
		"exactly one algorithm":    func(r *PeerRule) { r.Algorithms = nil },
		"one algorithm":            func(r *PeerRule) { r.Algorithms = []string{"ES256", "RS256"} },
		"with public keys":         func(r *PeerRule) { r.Algorithms = []string{"HS256"} },
		"exactly one of a JWKS":    func(r *PeerRule) { r.Keys = KeySource{} },
	} {
		r := good
		change(&r)
		if p, err := NewPeer(t.Context(), r, Options{}); err == nil || p != nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("error %v; want %q", err, reason)
		}
	}
}
