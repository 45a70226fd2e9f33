package token

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/countersign/countersign/identity"
)

// Options are what a verifier needs of the world. The zero value does.
type Options struct {
	// Client fetches key sets; http.DefaultClient if nil. Its redirect policy
	// and cookies are not used.
	Client *http.Client
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Leeway is how far the clocks of issuers may be off; one minute if zero.
	Leeway time.Duration
	// Log is told of failing fetches; slog.Default if nil.
	Log *slog.Logger
}

// fill puts defaults where the options are silent.
func (o Options) fill() Options {
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Leeway == 0 {
		o.Leeway = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// Verifier turns tokens into evidence by a fixed set of rules. It is safe for
// concurrent use; a changed configuration makes a new one.
type Verifier struct {
	issuers  map[string]*issuer
	accounts map[string]identity.ServiceAccount
	leeway   time.Duration
	now      func() time.Time
}

// issuer is everything about one "iss": its rules share profile, keys and
// algorithms, so that a signature is verified before a rule is chosen.
type issuer struct {
	name    string
	profile profile
	keys    *keys
	keyfunc keyfunc.Keyfunc
	parsers map[string]*jwt.Parser // by algorithm: each parser knows only one
	rules   []Rule
}

// NewVerifier builds a verifier, and reports every fault of the rules at once.
// Files are read; key sets are fetched when they are first needed, or by Check.
// Fetching ends with ctx.
func NewVerifier(ctx context.Context, rules []Rule, o Options) (*Verifier, error) {
	o = o.fill()
	v := &Verifier{issuers: map[string]*issuer{}, accounts: map[string]identity.ServiceAccount{}, leeway: o.Leeway, now: o.Now}
	var faults []error
	filled := make([]Rule, 0, len(rules))
	for _, r := range rules {
		r = r.fill()
		for _, err := range r.faults() {
			faults = append(faults, fmt.Errorf("service account %q: %w", r.Name, err))
		}
		if _, twice := v.accounts[r.Name]; twice {
			faults = append(faults, fmt.Errorf("service account %q stands twice", r.Name))
		}
		v.accounts[r.Name] = r.ServiceAccount
		filled = append(filled, r)
	}
	faults = append(faults, coverFaults(filled)...)
	for _, r := range filled {
		if err := v.add(ctx, r, o); err != nil {
			faults = append(faults, fmt.Errorf("service account %q: %w", r.Name, err))
		}
	}
	faults = append(faults, v.keyFaults()...)
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	for _, is := range v.issuers {
		if err := is.arm(o); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// coverFaults finds rules that could never be the only one to match.
func coverFaults(rules []Rule) []error {
	var out []error
	for i, a := range rules {
		for _, b := range rules[i+1:] {
			switch {
			case a.covers(b):
				out = append(out, fmt.Errorf("service account %q: every token that matches it matches %q too, so it could never be told apart", b.Name, a.Name))
			case b.covers(a):
				out = append(out, fmt.Errorf("service account %q: every token that matches it matches %q too, so it could never be told apart", a.Name, b.Name))
			}
		}
	}
	return out
}

// add files a rule under its issuer, reading the keys for the issuer's first.
func (v *Verifier) add(ctx context.Context, r Rule, o Options) error {
	is, known := v.issuers[r.Issuer]
	if known {
		first := is.rules[0]
		is.rules = append(is.rules, r)
		if r.Profile != first.Profile || r.Keys != first.Keys || !slices.Equal(slices.Sorted(slices.Values(r.Algorithms)), slices.Sorted(slices.Values(first.Algorithms))) {
			return fmt.Errorf("it shares its issuer with %q, so profile, keys and algorithms must be the same", first.Name)
		}
		return nil
	}
	k, err := newKeys(ctx, r.Keys, o)
	v.issuers[r.Issuer] = &issuer{name: r.Issuer, profile: profiles[r.Profile], keys: k, rules: []Rule{r}}
	if err != nil {
		return err
	}
	for _, key := range k.static() {
		if !slices.ContainsFunc(r.Algorithms, func(alg string) bool { return fits(alg, key) }) {
			return errors.New("a registered key fits none of the algorithms")
		}
	}
	return nil
}

// keyFaults finds machines that could sign for each other: two issuers with one
// key, or with one address of keys unless both are third parties that may well
// run several issuers on one key set.
func (v *Verifier) keyFaults() []error {
	var out []error
	owner := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(v.issuers)) {
		is := v.issuers[name]
		if is.keys == nil {
			continue
		}
		ids := is.keys.thumbprints()
		if is.keys.url != "" {
			ids = []string{is.keys.url}
		}
		for _, id := range ids {
			other, taken := owner[id]
			if taken && (is.rules[0].Profile == "assertion" || v.issuers[other].rules[0].Profile == "assertion") {
				out = append(out, fmt.Errorf("service account %q: its keys are those of the issuer of %q; each machine needs its own",
					is.rules[0].Name, v.issuers[other].rules[0].Name))
			}
			owner[id] = name
		}
	}
	return out
}

// arm builds the library's parsers. Every argument was found not to be empty:
// the library takes an empty one for "do not check".
func (is *issuer) arm(o Options) error {
	var audiences []string
	for _, r := range is.rules {
		audiences = append(audiences, r.Audience)
	}
	is.parsers = map[string]*jwt.Parser{}
	for _, alg := range is.rules[0].Algorithms {
		is.parsers[alg] = jwt.NewParser(jwt.WithValidMethods([]string{alg}), jwt.WithStrictDecoding(),
			jwt.WithIssuer(is.name), jwt.WithAudience(audiences...), jwt.WithExpirationRequired(),
			jwt.WithIssuedAt(), jwt.WithLeeway(o.Leeway), jwt.WithTimeFunc(o.Now))
	}
	var err error
	is.keyfunc, err = keyfunc.New(keyfunc.Options{Storage: is.keys, UseWhitelist: []jwkset.USE{jwkset.UseSig, ""}})
	return err
}

// Account returns the service account of the rule with the given name.
func (v *Verifier) Account(name string) (identity.ServiceAccount, bool) {
	a, ok := v.accounts[name]
	return a, ok
}

// Check fetches every key set that is not at hand and reports the issuers
// whose tokens cannot be verified now. It wraps ErrKeysUnavailable.
func (v *Verifier) Check(ctx context.Context) error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(v.issuers)) {
		if err := v.issuers[name].keys.ready(ctx); err != nil {
			faults = append(faults, fmt.Errorf("issuer %s: %w", name, err))
		}
	}
	return errors.Join(faults...)
}

// Verify returns what a token proves. It fails with ErrInvalid, whose text may
// be shown to the caller, or with ErrKeysUnavailable. One-time ids are reported,
// not consumed.
func (v *Verifier) Verify(ctx context.Context, raw string) (identity.Evidence, error) {
	d, err := dissect(raw)
	if err != nil {
		return identity.Evidence{}, err
	}
	name, _ := d.claims.str("iss")
	is, known := v.issuers[name]
	if !known {
		return identity.Evidence{}, invalid("no service account trusts its issuer")
	}
	key, err := is.verify(ctx, d, raw)
	if err != nil {
		return identity.Evidence{}, err
	}
	e, err := is.profile.evidence(is.name, d.claims)
	if err != nil {
		return identity.Evidence{}, err
	}
	r, err := is.choose(d.claims)
	if err != nil {
		return identity.Evidence{}, err
	}
	e.ServiceAccount = r.Name
	if e.Token, err = v.oneTime(r, d.claims); err != nil {
		return identity.Evidence{}, err
	}
	if e.Binding == "" {
		thumb, err := Thumbprint(key)
		if err != nil {
			return identity.Evidence{}, invalid("its key cannot be used")
		}
		e.Binding = identity.Binding("key:" + thumb)
	}
	return e, nil
}

// verify checks everything that does not depend on a rule, and returns the key
// that signed.
func (is *issuer) verify(ctx context.Context, d dissected, raw string) (crypto.PublicKey, error) {
	if err := d.restrict(is.profile.header...); err != nil {
		return nil, err
	}
	if d.typ != "" && !slices.ContainsFunc(is.profile.types, func(t string) bool { return strings.EqualFold(t, d.typ) }) {
		return nil, invalid("its typ is that of another kind of token; wanted is " + strings.Join(is.profile.types, " or ") + " or none")
	}
	parser, ok := is.parsers[d.alg]
	if !ok {
		return nil, invalid("its alg is not one that the issuer is trusted with")
	}
	if _, ok := d.claims.str("aud"); !ok {
		return nil, invalid("aud must be a single string")
	}
	var key crypto.PublicKey
	var fault error
	_, err := parser.Parse(raw, func(t *jwt.Token) (any, error) {
		key, fault = is.key(ctx, t, d.alg)
		return key, fault
	})
	if fault != nil {
		return nil, fault
	}
	if err != nil {
		return nil, refusal(err)
	}
	return key, nil
}

// key returns the issuer's key of the token's kid, if it is for the algorithm.
func (is *issuer) key(ctx context.Context, t *jwt.Token, alg string) (crypto.PublicKey, error) {
	key, err := is.keyfunc.KeyfuncCtx(ctx)(t)
	switch {
	case errors.Is(err, ErrKeysUnavailable) && ctx.Err() != nil:
		return nil, fmt.Errorf("%w: %w", ErrKeysUnavailable, ctx.Err())
	case errors.Is(err, ErrKeysUnavailable):
		return nil, ErrKeysUnavailable
	case errors.Is(err, jwkset.ErrKeyNotFound):
		return nil, invalid("the issuer has no usable key with its kid; a key published just now is seen within a minute")
	case err != nil || !fits(alg, key):
		return nil, invalid("its alg is not that of the key with its kid")
	}
	return key, nil
}

// refusal says in our words why the library refused. The library's own text may
// repeat the token.
func refusal(err error) error {
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return invalid("the signature is wrong")
	case errors.Is(err, jwt.ErrTokenExpired):
		return invalid("it has expired")
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return invalid("it is not valid yet; check the clocks")
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return invalid("aud is not the audience configured for this issuer")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return invalid("exp, iat, iss and aud must all be there")
	}
	return invalid("its claims are malformed")
}

// choose returns the one rule that the verified claims match.
func (is *issuer) choose(claims members) (Rule, error) {
	audience, _ := claims.str("aud")
	var chosen []Rule
	var near []string
	for _, r := range is.rules {
		if r.Audience != audience {
			continue
		}
		wrong := r.mismatches(claims)
		switch {
		case len(wrong) == 0:
			chosen = append(chosen, r)
		case !slices.Contains(wrong, "repository_id") && !slices.Contains(wrong, "repository_owner_id"):
			// Only a caller from the operator's own repositories learns what a
			// rule wants.
			near = append(near, fmt.Sprintf("for %q not %s", r.Name, strings.Join(wrong, ", ")))
		}
	}
	switch {
	case len(chosen) == 1:
		return chosen[0], nil
	case len(chosen) > 1:
		return Rule{}, invalid(fmt.Sprintf("the service accounts %q and %q both match; the operator has to tell them apart", chosen[0].Name, chosen[1].Name))
	case len(near) > 0:
		return Rule{}, invalid("no service account matches its claims: " + strings.Join(near, "; "))
	}
	return Rule{}, invalid("no service account matches its claims")
}

// oneTime checks what the library does not: an issue time and an id are there,
// and the life is not longer than the rule allows.
func (v *Verifier) oneTime(r Rule, claims members) (identity.OneTime, error) {
	exp, ok := claims.date("exp")
	iat, issued := claims.date("iat")
	if !ok || !issued {
		return identity.OneTime{}, invalid("exp and iat must be there as numbers of seconds")
	}
	longest := r.MaxLife + v.leeway
	if exp.Sub(iat) > longest || exp.Sub(v.now()) > longest {
		return identity.OneTime{}, invalid("it lives too long; at most " + r.MaxLife.String() + " is allowed")
	}
	if !exp.After(iat) {
		return identity.OneTime{}, invalid("exp must be after iat")
	}
	jti, ok := claims.str("jti")
	if !ok || jti == "" || len(jti) > 256 {
		return identity.OneTime{}, invalid("jti must be a string of 1 to 256 bytes")
	}
	return identity.OneTime{Issuer: r.Issuer, ID: jti, Expires: exp.Add(v.leeway)}, nil
}
