package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/countersign/countersign/identity/token"
	"github.com/countersign/countersign/store/audit"
)

// clockTolerance is how far the clock may be off before tokens and deliveries
// of others are refused: the tightest of them leave a minute.
const clockTolerance = 30 * time.Second

// checkSecretFiles looks at who else can read the secrets; that they are there
// is checked with the configuration.
func (d *doctor) checkSecretFiles() {
	good := 0
	for _, s := range d.config.secrets() {
		if s.ref.File == "" {
			continue
		}
		path := d.config.path(s.ref.File)
		info, err := os.Stat(path)
		switch {
		case err != nil: // told already
		case info.Mode().Perm()&0o077 != 0:
			d.warn("secrets", "chmod 600 "+path, "%s can be read by others (mode %04o)", path, info.Mode().Perm())
		default:
			good++
		}
	}
	if good > 0 {
		d.ok("secrets", "%d secret files are for their owner alone", good)
	}
}

// checkPeople finds groups by which nothing can ever be approved.
func (d *doctor) checkPeople() {
	accounts := map[string]bool{} // person id: has an account in a chat
	for _, p := range d.config.People {
		accounts[p.ID] = slices.ContainsFunc(p.Accounts, func(text string) bool {
			a, err := parseAccount(text)
			return err == nil && a.Kind == "slack"
		})
	}
	good := 0
	for _, name := range slices.Sorted(maps.Keys(d.config.Groups)) {
		if g := d.config.Groups[name]; !slices.ContainsFunc(g.People, func(id string) bool { return accounts[id] }) {
			d.warn("people", "add people with a chat account to the group", "nobody of the group %s has a chat account: a request that needs it is denied", name)
			continue
		}
		good++
	}
	if good > 0 {
		d.ok("people", "%d groups have people who can review", good)
	}
}

// certificateWarning is how long before its end a certificate is told of.
const certificateWarning = 14 * 24 * time.Hour

func (d *doctor) checkTLS() {
	t := d.config.TLS
	if t == nil || t.BehindProxy {
		return
	}
	raw, err := os.ReadFile(d.config.path(t.CertFile))
	if err != nil {
		d.fail("tls", "check tls.cert_file", "%s", err)
		return
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		d.fail("tls", "check tls.cert_file", "%s holds no certificate in PEM", t.CertFile)
		return
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		d.fail("tls", "check tls.cert_file", "%s holds no certificate that can be read", t.CertFile)
		return
	}
	u, err := url.Parse(d.config.PublicURL)
	switch left := cert.NotAfter.Sub(d.now()); {
	case err == nil && cert.VerifyHostname(u.Hostname()) != nil:
		d.fail("tls", "get a certificate for the host of public_url", "the certificate is not for %s", u.Hostname())
	case left < 0:
		d.fail("tls", "renew the certificate", "the certificate ended on %s", cert.NotAfter.Format(time.DateOnly))
	case left < certificateWarning:
		d.warn("tls", "renew the certificate", "the certificate ends on %s", cert.NotAfter.Format(time.DateOnly))
	default:
		d.ok("tls", "the certificate is good until %s", cert.NotAfter.Format(time.DateOnly))
	}
}

// checkState looks at the folder, the database or the server, and the clock.
func (d *doctor) checkState(ctx context.Context) {
	folder := d.config.statePath()
	info, err := os.Stat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		d.warn("state", "countersign serve makes it; check state if you expected it to be there", "%s does not exist yet", folder)
		return
	}
	if err != nil || !info.IsDir() {
		d.fail("state", "check state in the configuration", "%s is no folder that can be used", folder)
		return
	}
	probe, err := os.CreateTemp(folder, ".doctor-*")
	if err != nil {
		d.fail("state", "chown it to the server's user, and run the doctor as that user", "%s cannot be written: %s", folder, netCause(err))
	} else {
		if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
			d.warn("state", "remove the file", "%s", err)
		}
		d.ok("state", "%s can be written", folder)
	}
	if info.Mode().Perm()&0o077 != 0 {
		d.warn("state", "chmod 700 "+folder, "%s is open to others (mode %04o)", folder, info.Mode().Perm())
	}
	d.checkLog(ctx)
}

func (d *doctor) checkLog(ctx context.Context) {
	if _, err := os.Stat(d.config.statePath(databaseFile)); errors.Is(err, fs.ErrNotExist) {
		d.warn("database", "countersign serve makes it", "there is no database yet")
		return
	}
	l, err := d.config.openLog(ctx)
	if err != nil {
		d.fail("database", "the message says what is wrong; a damaged file is restored from its backup", "%s", err)
		return
	}
	defer func() { _ = l.Close() }() // only read
	if _, remote := l.(*socketLog); remote {
		d.ok("server", "runs and answers on its administration socket")
	} else {
		d.ok("database", "opens and is whole at its end; no server runs")
	}
	page, err := l.query(ctx, "", 1)
	if err != nil {
		d.fail("database", "run countersign audit verify", "the log cannot be read: %s", err)
		return
	}
	if len(page.Entries) == 0 {
		return
	}
	if ahead := page.Entries[0].Time.Sub(d.now()); ahead > clockTolerance {
		d.fail("clock", "set the clock: the server does not start while it stands before the log", "the newest entry of the log is %s ahead of this machine's clock", ahead.Round(time.Second))
	} else {
		d.ok("clock", "is not before the log's newest entry")
	}
}

// checkAuditKey looks at the key that signs the log, and at its public half.
func (d *doctor) checkAuditKey() {
	path := d.config.statePath(auditKey)
	key, err := audit.LoadKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(d.config.statePath(databaseFile)); err == nil {
			d.fail("audit key", "restore it from its backup: the log cannot go on under another key", "%s is missing, but the log that it signs is there", path)
			return
		}
		d.warn("audit key", "countersign serve makes it together with the database; then back it up", "there is no audit key yet")
		return
	}
	if err != nil {
		d.fail("audit key", "chmod 600 "+path+", or restore it from its backup", "%s", err)
		return
	}
	public, err := audit.LoadVerifier(d.config.statePath(auditVerifierKey))
	switch {
	case err != nil:
		d.warn("audit key", "write it anew: "+key.Public(), "the public half cannot be read: %s", err)
	case public.Name() != key.Name() || public.KeyHash() != key.KeyHash():
		d.fail("audit key", "find out who changed it; the key's own public half is "+key.Public(), "%s is not the public half of %s", auditVerifierKey, auditKey)
	case key.Name() != d.config.origin():
		d.fail("audit key", "set audit.origin to the log's name: a log keeps it for life", "the key is of the log %s, the configuration's is %s", key.Name(), d.config.origin())
	default:
		d.ok("audit key", "signs as %s; auditors need %s", key.Name(), key.Public())
	}
}

// checkTokenKeys looks at the keys that sign credentials.
func (d *doctor) checkTokenKeys() {
	seen := map[string]bool{}
	for _, a := range d.config.Audiences {
		alg := a.Algorithm
		if alg == "" {
			alg = "ES256"
		}
		if seen[alg] {
			continue
		}
		seen[alg] = true
		path := d.config.statePath(keyFolder, alg+".pem")
		key, err := token.LoadKey(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			d.warn("token keys", "countersign serve makes it", "there is no key for %s yet", alg)
		case err != nil:
			d.fail("token keys", "chmod 600 "+path+", or move it away to have a new one made", "%s", err)
		case key.Algorithm() != alg:
			d.fail("token keys", "move it away to have a new one made", "%s holds a key for %s", path, key.Algorithm())
		default:
			d.ok("token keys", "%s has key %s", alg, key.KID())
		}
	}
}
