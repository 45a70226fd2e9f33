package opa

import (
	"slices"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// loadLimit is how long a bundle's check of its own data may take. It runs once
// per load, over all of the data.
const loadLimit = 5 * time.Second

// withheld are builtins that reach outside of input and data, beside those that
// OPA itself marks as not deterministic (http.send, opa.runtime, time.now_ns,
// net.lookup_ip_addr, rand.intn, uuid.rfc4122 …). Without them a decision can be
// replayed from its input, and a policy can leak nothing.
var withheld = []string{
	"http.send", "net.lookup_ip_addr", "opa.runtime", "rego.parse_module",
	"time.now_ns", "rand.intn", "uuid.rfc4122", "trace",
	"io.jwt.decode_verify", "providers.aws.sign_req",
}

// capabilities are what a policy may use. A policy that uses more does not
// compile, also not by naming it as the target of "with".
var capabilities = sync.OnceValue(func() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(slices.Clone(c.Builtins), func(b *ast.Builtin) bool {
		return b.Nondeterministic || slices.Contains(withheld, b.Name)
	})
	c.AllowNet = []string{} // no host, also not for a remote $ref of a schema
	return c
})
