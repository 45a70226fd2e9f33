package audit

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"unicode/utf8"
)

// SaltSize is the length of a commitment's salt in bytes.
const SaltSize = 16

// Commitment is SHA-256(salt || text). Without the salt it says nothing about
// the text, even where all possible texts could be tried.
type Commitment [sha256.Size]byte

// Opening is what opens a commitment. It lies beside the log and can be erased
// without breaking any proof; the salt goes with the text.
type Opening struct {
	Salt []byte `json:"salt"`
	Text string `json:"text"`
}

// Commit commits to the text under a fresh random salt.
func Commit(text string) (Commitment, Opening) {
	o := Opening{Salt: make([]byte, SaltSize), Text: text}
	_, _ = rand.Read(o.Salt) // never fails: crypto/rand ends the program instead
	return o.commitment(), o
}

func (o Opening) commitment() Commitment {
	h := sha256.New()
	h.Write(o.Salt)
	h.Write([]byte(o.Text))
	return Commitment(h.Sum(nil))
}

// Opens reports whether o opens c. A salt of another length than SaltSize opens
// nothing: salt and text could be divided in another place.
func (o Opening) Opens(c Commitment) bool {
	got := o.commitment()
	return len(o.Salt) == SaltSize && subtle.ConstantTimeCompare(got[:], c[:]) == 1
}

// isID reports whether s may stand as an id; empty means none.
func isID(s string) bool { return len(s) <= maxID && utf8.ValidString(s) }
