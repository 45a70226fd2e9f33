package rest

import (
	_ "embed"
	"net/http"
)

// openAPI31 describes every route of this package.
//
//go:embed openapi.json
var openAPI31 []byte

// cacheable is how long others may keep public documents. Keys are published at
// least this long before they sign.
const cacheable = "public, max-age=3600"

func (a *API) jwks(c *call, _ *http.Request) error {
	return public(c, a.Minter.JWKS())
}

func (a *API) discovery(c *call, _ *http.Request) error {
	return public(c, a.Minter.Discovery())
}

func (a *API) openAPI(c *call, _ *http.Request) error {
	return public(c, openAPI31)
}

func public(c *call, document []byte) error {
	c.Header().Set("Cache-Control", cacheable)
	writeBytes(c, "application/json", http.StatusOK, document)
	return nil
}

// health is the answer of both probes.
type health struct {
	Status   string    `json:"status"` // ok, or unready
	Problems []Problem `json:"problems"`
}

// healthz answers as long as the process can.
func (a *API) healthz(c *call, _ *http.Request) error {
	return writeJSON(c, http.StatusOK, health{Status: "ok"})
}

// readyz answers 503 and tells why while the server cannot do its work.
func (a *API) readyz(c *call, r *http.Request) error {
	if problems := a.Ready(r.Context()); len(problems) > 0 {
		return writeJSON(c, http.StatusServiceUnavailable, health{Status: "unready", Problems: problems})
	}
	return writeJSON(c, http.StatusOK, health{Status: "ok"})
}
