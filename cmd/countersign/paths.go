package main

import "path/filepath"

// What lies in the state folder.
const (
	databaseFile     = "countersign.db"
	auditKey         = "audit.key"  // signs the log's checkpoints; mode 0600
	auditVerifierKey = "audit.vkey" // its public half, for auditors
	keyFolder        = "keys"       // ALGORITHM.pem: keys that sign credentials
	adminSocket      = "admin.sock" // while a server runs; mode 0600
)

// statePath is a path in the state folder; without names, the folder itself.
func (c *config) statePath(names ...string) string {
	return filepath.Join(append([]string{c.path(c.State)}, names...)...)
}
