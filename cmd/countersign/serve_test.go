package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/adapters/rest/client"
	"github.com/countersign/countersign/identity/token"
)

// serverWith starts a server without chat; extra is added to its configuration.
func serverWith(t *testing.T, dir, scheme, extra string) (c *config, stop func() error) {
	t.Helper()
	key, err := loadOrMakeKey(filepath.Join(dir, "ci.key.pem"), "ES256")
	if err != nil {
		t.Fatal(err)
	}
	public, err := token.PublicPEM(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ci.pub.pem"), public, 0o600); err != nil {
		t.Fatal(err)
	}
	addr, err := freePort("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err = parseConfig(fmt.Appendf(nil, `
public_url: %s://%s
listen: %s
state: state
service_accounts:
  - {name: ci, profile: assertion, issuer: ci, keys: {public_key_file: ci.pub.pem}, actions: [deploy], audiences: [shop], scopes: ["deploy:shop"], labels: {environment: test}}
audiences: [{name: shop}]
%s`, scheme, addr, addr, extra), dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newServer(t.Context(), c, os.Getenv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.http.ReadTimeout = time.Second // as in production, but sooner
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return c, stop
}

func TestServeTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool := certificate(t, dir)
	c, _ := serverWith(t, dir, "https", "tls: {cert_file: tls.cert.pem, key_file: tls.key.pem}")
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	resp, err := (&http.Client{Transport: transport}).Get(c.PublicURL + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	transport.CloseIdleConnections()
	if resp.StatusCode != http.StatusOK || resp.TLS == nil {
		t.Errorf("status %d over TLS %v", resp.StatusCode, resp.TLS != nil)
	}
}

// certificate writes a certificate for 127.0.0.1 that signs itself.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.cert.pem": {Type: "CERTIFICATE", Bytes: der}, "tls.key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}

// TestStopsAndGoesOn stops a server and starts it again on its state: what was
// approved before can be redeemed after, once.
func TestStopsAndGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, stop := serverWith(t, dir, "http", "")
	r := submitRoutine(t, c, dir)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "state", auditVerifierKey))
	if err != nil {
		t.Fatal(err)
	}
	again, _ := serverWith(t, dir, "http", "audit: {origin: "+strings.SplitN(string(text), "+", 2)[0]+"}")
	cred, err := machineClient(t, again, dir).Redeem(t.Context(), r.ID)
	if err != nil || cred.Token == "" {
		t.Fatalf("redeem after a restart: %v", err)
	}
}

func submitRoutine(t *testing.T, c *config, dir string) client.Request {
	t.Helper()
	r, err := machineClient(t, c, dir).Submit(t.Context(), client.Ask{
		Action: "deploy", Resource: "shop/api", Audience: "shop", Scopes: []string{"deploy:shop"}, TTL: client.Duration(5 * time.Minute),
		Reason: "nightly", Context: client.Context{Environment: "test"},
	})
	if err != nil || r.State != client.Approved {
		t.Fatalf("submit: %s %v", r.State, err)
	}
	return r
}

func machineClient(t *testing.T, c *config, dir string) *client.Client {
	t.Helper()
	cl, err := client.New(client.Config{URL: c.PublicURL, Token: func(context.Context) (string, error) { return machineToken(c, dir) }})
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

func machineToken(c *config, dir string) (string, error) {
	key, err := token.LoadKey(filepath.Join(dir, "ci.key.pem"))
	if err != nil {
		return "", err
	}
	raw, err := token.Sign(key, token.AssertionClaims{Issuer: "ci", Audience: c.PublicURL, Now: time.Now(), ID: newSecretID()})
	return raw.Reveal(), err
}

// TestWithoutItsKeyTheLogDoesNotGoOn: a new key for an old log would start
// another history.
func TestWithoutItsKeyTheLogDoesNotGoOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, stop := serverWith(t, dir, "http", "")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.statePath(auditKey)); err != nil {
		t.Fatal(err)
	}
	_, err := newServer(t.Context(), c, os.Getenv, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "restore the key") {
		t.Errorf("without its key: %v", err)
	}
}

// TestOneServerPerState: the second is told, and the first goes on.
func TestOneServerPerState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, _ := serverWith(t, dir, "http", "")
	second := *c
	second.Listen = "127.0.0.1:0"
	if _, err := newServer(t.Context(), &second, os.Getenv, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "in use by another") {
		t.Errorf("a second server on one state: %v", err)
	}
	if r := submitRoutine(t, c, dir); r.ID == "" {
		t.Error("the first does not answer")
	}
}

// TestSlowBodiesAreCutOff: who sends no body holds no connection, and a wait
// that is longer than a body may take goes on all the same.
func TestSlowBodiesAreCutOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, _ := serverWith(t, dir, "http", "")
	for _, path := range []string{"/v1/requests", "/slack/interactions", "/nowhere"} {
		conn, err := net.Dial("tcp", c.Listen)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nslow", path)
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("%s: the connection is still open: %v", path, err)
		}
		conn.Close()
	}
	r := submitRoutine(t, c, dir)
	raw, err := machineToken(c, dir)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.PublicURL+"/v1/requests/"+r.ID+"?after=1&wait=2s", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+raw)
	begun := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || time.Since(begun) < 2*time.Second {
		t.Errorf("status %d after %s", resp.StatusCode, time.Since(begun))
	}
}
