package token

import (
	"context"
	"errors"
	"slices"
)

// PeerRule names a platform whose tokens authenticate a delivery to us, and not
// a machine that asks: the Bot Connector of Microsoft Teams, for one.
type PeerRule struct {
	Issuer   string
	Audience string // our id at the platform; "aud" must be this one string
	Keys     KeySource
	// Algorithms are the accepted "alg"; there is no default.
	Algorithms []string
}

// Peer verifies the tokens of one platform by the same strict reading and key
// policy as a Verifier. It is safe for concurrent use.
type Peer struct{ issuer *issuer }

// Proof is what a platform's token proved.
type Proof struct {
	// Claims are the claims that are strings, numbers or booleans, by exact
	// name, as text.
	Claims map[string]string
	// Endorsements are the channels for which the platform endorsed the key
	// that signed; none if its key set says nothing.
	Endorsements []string
}

// NewPeer builds a verifier for a platform's tokens, and reports every fault of
// the rule at once. An empty issuer or audience is refused.
func NewPeer(ctx context.Context, r PeerRule, o Options) (*Peer, error) {
	o = o.fill()
	var faults []error
	if !plain.MatchString(r.Issuer) || !plain.MatchString(r.Audience) {
		faults = append(faults, errors.New("issuer and audience must be 1 to 255 printable ASCII characters without space"))
	}
	if len(r.Algorithms) != 1 || !slices.Contains(algorithms, r.Algorithms[0]) {
		faults = append(faults, errors.New("exactly one algorithm with public keys must be listed"))
	}
	k, err := newKeys(ctx, r.Keys, o)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	is := &issuer{
		name: r.Issuer, profile: peer, keys: k,
		rules: []Rule{{Issuer: r.Issuer, Audience: r.Audience, Algorithms: r.Algorithms}},
	}
	if err := is.arm(o); err != nil {
		return nil, err
	}
	return &Peer{is}, nil
}

// Verify returns what a token of the platform proves. It fails with ErrInvalid
// or ErrKeysUnavailable. Such tokens may repeat, and are not bound to what they
// are delivered with.
func (p *Peer) Verify(ctx context.Context, raw string) (Proof, error) {
	d, err := dissect(raw)
	if err != nil {
		return Proof{}, err
	}
	if _, err := p.issuer.verify(ctx, d, raw); err != nil {
		return Proof{}, err
	}
	proof := Proof{Claims: map[string]string{}, Endorsements: p.issuer.keys.endorsements(d.kid)}
	for name := range d.claims {
		if v, ok := d.claims.text(name); ok {
			proof.Claims[name] = v
		}
	}
	return proof, nil
}
