package token

import (
	"errors"
	"strings"
	"testing"

	"github.com/countersign/countersign/identity"
)

// FuzzDissect holds the strict parser to what it promises of anything that it
// lets through.
func FuzzDissect(f *testing.F) {
	k := edKey()
	good := seal("EdDSA", k.raw(), goodHeader("EdDSA", k).json(), goodClaims().json())
	for _, seed := range []string{good, good + "\n", good + "=", "..", "e30.e30.AA", "e30.e30.AB", "bnVsbA.e30.AA", strings.Replace(good, ".", "\r\n.", 1)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		d, err := dissect(raw)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if len(raw) > maxToken || strings.Count(raw, ".") != 2 || strings.Trim(raw, ".ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Fatalf("let through %q", raw)
		}
		if d.header == nil || d.claims == nil {
			t.Fatal("no header or no claims")
		}
		for name := range d.claims {
			// Whatever is in there, reading it must neither fail badly nor lie.
			if s, ok := d.claims.text(name); ok && s == "" && string(d.claims[name]) != `""` {
				t.Fatalf("%q reads as nothing", d.claims[name])
			}
			d.claims.date(name)
		}
		if d.restrict("alg", "kid", "typ") == nil && (d.alg == "" || d.kid == "") {
			t.Fatal("a header without alg or kid passed")
		}
	})
}

// FuzzVerify signs whatever header and payload come up, with a registered key:
// what is accepted must be what the rule says.
func FuzzVerify(f *testing.F) {
	k := edKey()
	v := verifier(f, machineRule(f, k))
	h, c := goodHeader("EdDSA", k), goodClaims()
	f.Add(h.json(), c.json())
	f.Add(h.with("typ", "at+jwt").json(), c.json())
	f.Add(h.with("crit", []string{"b64"}).json(), c.json())
	f.Add(h.json(), c.with("aud", []string{audience}).json())
	f.Add(h.json(), c.with("AUD", "x").json())
	f.Add(h.json(), `{"iss":"deploy-bot","iss":"x"}`)
	f.Fuzz(func(t *testing.T, header, payload string) {
		raw := seal("EdDSA", k.raw(), header, payload)
		e, err := v.Verify(t.Context(), raw)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || e.ServiceAccount != "" {
				t.Fatalf("error %v beside %+v", err, e)
			}
			return
		}
		if e.Subject != (identity.Subject{Issuer: machine, Name: machine}) || e.ServiceAccount != "deploy" || e.Token.ID == "" ||
			e.Binding != identity.Binding("key:"+k.KID()) || !e.Token.Expires.After(noon) || e.Token.Expires.Sub(noon).Minutes() > 7 {
			t.Fatalf("accepted as %+v", e)
		}
	})
}

// FuzzCredential throws text at the parser of our own credentials.
func FuzzCredential(f *testing.F) {
	k := edKey()
	m := minter(f, ourKeys()...)
	g := goodGrant()
	g.Audience = "ed"
	c, err := m.Mint(g)
	if err != nil {
		f.Fatal(err)
	}
	d, err := dissect(c.Token.Reveal())
	if err != nil {
		f.Fatal(err)
	}
	body := fields{}
	for name, value := range d.claims {
		body[name] = value
	}
	header := fields{"alg": "EdDSA", "kid": k.KID(), "typ": "at+jwt"}
	f.Add(header.json(), body.json())
	f.Add(header.json(), body.with("scope", "a  b").json())
	f.Add(header.with("typ", "JWT").json(), body.json())
	f.Fuzz(func(t *testing.T, header, payload string) {
		got, err := m.Parse(seal("EdDSA", k.raw(), header, payload))
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("error %v", err)
			}
			return
		}
		// What parses can be minted again, so nothing was lost.
		if again, err := m.Mint(got); err != nil || !again.Expires.After(noon) {
			t.Fatalf("%+v: %v", got, err)
		}
	})
}
