package token

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxToken is the longest token that is looked at, in bytes. The library has
// no limit of its own.
const maxToken = 16 << 10

// members is a JSON object as it stands in a token, by exact name.
type members map[string]jsontext.Value

// text returns a member as text: a string as it is, an integer as its digits,
// a boolean as "true" or "false". Anything else, and an absent member, is none.
func (m members) text(name string) (string, bool) {
	v, ok := m[name]
	if !ok {
		return "", false
	}
	switch v.Kind() {
	case jsontext.KindString:
		return m.str(name)
	case jsontext.KindNumber:
		if strings.ContainsAny(string(v), ".eE-") {
			return "", false
		}
		return string(v), true
	case jsontext.KindTrue, jsontext.KindFalse:
		return string(v), true
	}
	return "", false
}

// str returns a member that is a JSON string.
func (m members) str(name string) (string, bool) {
	v, ok := m[name]
	if !ok || v.Kind() != jsontext.KindString {
		return "", false
	}
	if s := string(v[1 : len(v)-1]); !strings.Contains(s, `\`) {
		return s, true
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		return "", false
	}
	return s, true
}

// maxDate is the end of the year 9999, in seconds: a time beyond it cannot be
// written as RFC 3339.
const maxDate = 253402300799

// date returns a NumericDate (RFC 7519 section 2), cut to whole seconds.
func (m members) date(name string) (time.Time, bool) {
	v, ok := m[name]
	if !ok || v.Kind() != jsontext.KindNumber {
		return time.Time{}, false
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f < 0 || f > maxDate {
		return time.Time{}, false
	}
	return time.Unix(int64(f), 0).UTC(), true
}

// dissected is a token taken apart and not yet verified. Only what is needed
// to choose the key may be read from it.
type dissected struct {
	alg, kid, typ string
	header        members
	claims        members
}

// dissect takes a compact JWS (RFC 7515 section 7.1) apart, and refuses every
// spelling that two parsers could read differently. It judges nothing else.
func dissect(raw string) (dissected, error) {
	if len(raw) > maxToken {
		return dissected{}, invalid("it is longer than 16 KiB")
	}
	if strings.Count(raw, ".") != 2 {
		return dissected{}, invalid("it must have three segments")
	}
	head, rest, _ := strings.Cut(raw, ".")
	body, signature, _ := strings.Cut(rest, ".")
	header, err := object(head, "header")
	if err != nil {
		return dissected{}, err
	}
	claims, err := object(body, "payload")
	if err != nil {
		return dissected{}, err
	}
	if _, ok := segment(signature); !ok {
		return dissected{}, invalid("the signature is not base64url as RFC 7515 wants it")
	}
	d := dissected{header: header, claims: claims}
	for name, into := range map[string]*string{"alg": &d.alg, "kid": &d.kid, "typ": &d.typ} {
		if _, there := header[name]; !there {
			continue
		}
		s, ok := header.str(name)
		if !ok || s == "" {
			return dissected{}, invalid("the header's " + name + " must be a string that is not empty")
		}
		*into = s
	}
	return d, nil
}

// segment decodes base64url without padding in its only spelling: the decoder
// skips line breaks and leftover bits, also where the library calls it strict,
// so what it read is written again and compared.
func segment(s string) ([]byte, bool) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	return b, err == nil && s != "" && base64.RawURLEncoding.EncodeToString(b) == s
}

// object decodes a segment that must be one JSON object without duplicate
// members at any depth, invalid UTF-8, or anything after it (RFC 8725 section
// 2.4: parsers disagree about all of these). Members that differ only in case
// are duplicates as well: encoding/json takes them for one.
func object(seg, which string) (members, error) {
	b, ok := segment(seg)
	if !ok {
		return nil, invalid("the " + which + " is not base64url as RFC 7515 wants it")
	}
	var m members
	if json.Unmarshal(b, &m) != nil || m == nil {
		return nil, invalid("the " + which + " is not one JSON object with every member once, in UTF-8")
	}
	var folded map[string]bool
	for name := range m {
		f := fold(name)
		if f == name {
			continue
		}
		if _, twice := m[f]; twice || folded[f] {
			return nil, invalid("the " + which + " has members that differ only in case")
		}
		if folded == nil {
			folded = map[string]bool{}
		}
		folded[f] = true
	}
	return m, nil
}

// fold returns the name that all spellings of one name have in common. Going
// by upper case joins U+017F and U+212A to s and k, as encoding/json does.
func fold(name string) string {
	for i := range len(name) {
		if c := name[i]; c >= 0x80 || c >= 'A' && c <= 'Z' {
			return strings.ToLower(strings.ToUpper(name))
		}
	}
	return name
}

// forbidden are the header members that would let a token bring its own key or
// change how it is read, with the reason to give. The library ignores them.
var forbidden = []string{"crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "enc"}

// restrict refuses header members other than the allowed ones. A member is
// named only where we know it: an unknown name is the token's own text.
func (d dissected) restrict(allowed ...string) error {
	for _, name := range forbidden {
		if _, there := d.header[name]; there && !slices.Contains(allowed, name) {
			return invalid("the header must not have " + name)
		}
	}
	for name := range d.header {
		if !slices.Contains(allowed, name) {
			return invalid("the header has a member that is not allowed here; alg, kid and typ are")
		}
	}
	if d.alg == "" {
		return invalid("the header has no alg")
	}
	if d.kid == "" {
		return invalid("the header has no kid; it says which of the registered keys signed")
	}
	return nil
}
