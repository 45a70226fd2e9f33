// Package bot is the heart of Countersign. It owns a request's life: what is
// frozen when a machine asks, which transitions are legal, who may review, when
// a credential may be released, what a card says, and the reconciler that makes
// the world outside match the record.
//
// Its rule: nothing of consequence lives in memory. Every transition is one
// atomic store update of record and audit entries; all that must then be true
// outside is derived from the record, again and again, until it is true.
//
// The crash order of a request: (1) the request is frozen and committed with
// its deliveries, then cards are posted; (2) a review is committed, then the
// click is answered; (3) a credential is signed in memory, "issued" is
// committed, then the credential is released. A crash between any two of these
// loses an answer, never a decision.
package bot
