package policies

import (
	"embed"
	"io/fs"
)

//go:embed bundle
var bundle embed.FS

//go:embed samples
var samples embed.FS

// InputSchema is the JSON schema (draft-07) of Input. OPA's type checker reads
// it while it compiles a policy, so that a misspelt member fails to load.
//
//go:embed input.schema.json
var InputSchema []byte

// Bundle returns the default bundle: the policy in Rego, its tests, and the
// data document that an operator's own data is laid over.
func Bundle() fs.FS { return sub(bundle, "bundle") }

// Samples returns requests with the decisions that the default bundle must
// give while its data is unchanged.
func Samples() fs.FS { return sub(samples, "samples") }

// sub cannot fail: the names are those of the embedded directories.
func sub(f embed.FS, dir string) fs.FS {
	s, err := fs.Sub(f, dir)
	if err != nil {
		panic(err)
	}
	return s
}
