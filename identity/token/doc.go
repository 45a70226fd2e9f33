// Package token owns everything that is a JSON Web Token: the verifier that
// turns a machine's token into identity.Evidence, the key sets of issuers, and
// the minter that turns an identity.Grant into an identity.Credential. It is
// the only importer of golang-jwt.
//
// Its rule: nothing of a token is believed before the token has been dissected
// strictly, its key has been chosen by the operator's configuration alone, and
// its signature, times and audience hold. The token chooses nothing: not its
// algorithm, not where keys come from, not which service account it is. What
// fails, fails closed, and no error or log line repeats what a token says.
//
// The library is only asked once the checks that it leaves out have passed:
// size, alphabet, duplicate members, header members, type and algorithm of the
// key. RFC 8725 is the list of the attacks meant.
package token

import (
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

var (
	// ErrInvalid: the token proves nothing here. The text that follows it says
	// why, and may be shown to the caller.
	ErrInvalid = errors.New("the token is not valid")
	// ErrKeysUnavailable: the issuer's keys cannot be had at the moment, so
	// nothing can be said of the token. Trying again later may help.
	ErrKeysUnavailable = errors.New("the issuer's keys cannot be had at the moment, try again in a minute")
)

// invalid returns ErrInvalid with a reason, which must be a fixed text or come
// from the configuration, never from a token.
func invalid(reason string) error { return fmt.Errorf("%w: %s", ErrInvalid, reason) }

// init makes the library hold PSS signatures to RFC 7518 section 3.5: the salt
// is as long as the hash. As it comes, the library accepts any salt length.
func init() {
	for _, m := range []*jwt.SigningMethodRSAPSS{jwt.SigningMethodPS256, jwt.SigningMethodPS384, jwt.SigningMethodPS512} {
		m.VerifyOptions = nil
	}
}
