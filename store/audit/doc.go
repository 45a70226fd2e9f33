// Package audit owns the form of the audit log: the leaf that stands for one
// entry, the commitments by which a leaf speaks of private text, the RFC 6962
// Merkle tree over the leaves, the signed checkpoint (C2SP tlog-checkpoint),
// the receipt for one entry (C2SP tlog-proof@v1), the export that an auditor
// takes away, and the verification of all of these.
//
// Its rule: there is exactly one encoding of everything that is hashed or
// signed. A parser here refuses whatever it would not have written itself, byte
// for byte. The package knows nothing of engines, requests or policies, so that
// the auditor's program can be built from it alone.
package audit
