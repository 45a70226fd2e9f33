package token

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/identity"
)

func TestKeyFileRoundTrip(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "EdDSA", "RS256"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			k, err := GenerateKey(alg)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "key.pem")
			if err := WriteKey(path, k); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, error %v", info.Mode(), err)
			}
			got, err := LoadKey(path)
			if err != nil || got.KID() != k.KID() || got.Algorithm() != alg {
				t.Errorf("%v %s, error %v", got, got.Algorithm(), err)
			}
			if err := WriteKey(path, generate("EdDSA")); !errors.Is(err, fs.ErrExist) {
				t.Errorf("overwriting says %v", err)
			}
			if again, err := LoadKey(path); err != nil || again.KID() != k.KID() {
				t.Errorf("the file changed: %v, %v", again, err)
			}
		})
	}
	if k := generate("PS256"); k.Algorithm() != "RS256" {
		t.Errorf("an RSA key is for %s", k.Algorithm())
	}
	if _, err := GenerateKey("HS256"); err == nil {
		t.Error("a symmetric key was made")
	}
	if err := WriteKey(filepath.Join(t.TempDir(), "none"), SigningKey{}); err == nil || (SigningKey{}).Algorithm() != "" {
		t.Error("an empty key was written")
	}
}

func TestKeyFilePermissions(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := WriteKey(path, edKey()); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o660, 0o644, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %04o: error %v", mode, err)
		}
	}
	for _, mode := range []os.FileMode{0o600, 0o400} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(path); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	t.Parallel()
	block := func(kind string, key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	good := block("PRIVATE KEY", es256Key().raw())
	if _, err := LoadKey(write(t, good+"\n")); err != nil {
		t.Error(err)
	}
	public, err := PublicPEM(es256Key().Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string][2]string{
		"two keys":       {good + good, "one PEM block"},
		"old form":       {block("EC PRIVATE KEY", es256Key().raw()), "openssl pkcs8"},
		"encrypted":      {block("ENCRYPTED PRIVATE KEY", es256Key().raw()), "one PEM block"},
		"public":         {string(public), "one PEM block"},
		"empty":          {"", "one PEM block"},
		"malformed":      {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "malformed"},
		"another curve":  {block("PRIVATE KEY", curveKey(elliptic.P384())), "other than P-256"},
		"a weak curve":   {block("PRIVATE KEY", curveKey(elliptic.P224())), "elliptic curve"},
		"short RSA":      {block("PRIVATE KEY", rsaOf(1024)), "1024 bits"},
		"past the limit": {strings.Repeat("\n", maxKeyFile) + good, "one PEM block"},
	} {
		if _, err := LoadKey(write(t, c[0])); err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: error %v; want %q", name, err, c[1])
		}
	}
	if _, err := LoadKey(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error("a directory is a key")
	}
	if _, err := LoadKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file says %v", err)
	}
}

// TestKeyDoesNotPrint prints keys in every way that may happen by accident.
func TestKeyDoesNotPrint(t *testing.T) {
	t.Parallel()
	for _, k := range []SigningKey{es256Key(), edKey(), rsaKey()} {
		der, err := x509.MarshalPKCS8PrivateKey(k.raw())
		if err != nil {
			t.Fatal(err)
		}
		want := "key:" + k.KID()
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
			if got := fmt.Sprintf(verb, k); got != want {
				t.Errorf("%s prints %q", verb, got)
			}
			// Inside another struct no method is called on unexported fields.
			if got := fmt.Sprintf(verb, struct{ key SigningKey }{k}); len(got) > 200 {
				t.Errorf("%s of a struct around prints %q", verb, got)
			}
		}
		if b, err := json.Marshal(k); err != nil || len(b) > 2 || len(der) < 32 {
			t.Errorf("JSON is %s, error %v", b, err)
		}
	}
}

func TestSign(t *testing.T) {
	t.Parallel()
	for _, k := range []SigningKey{es256Key(), edKey(), rsaKey()} {
		raw, err := Sign(k, AssertionClaims{Issuer: machine, Audience: audience, Life: 5 * time.Minute, Now: noon, ID: "7"})
		if err != nil {
			t.Fatal(err)
		}
		e := accepted(t, verifier(t, machineRule(t, k)), raw.Reveal())
		if e.Token.ID != "7" || e.Token.Expires != noon.Add(6*time.Minute) || e.Binding != identity.Binding("key:"+k.KID()) {
			t.Errorf("got %+v", e)
		}
		if raw.String() != "[redacted]" {
			t.Errorf("the assertion prints as %s", raw)
		}
	}
	good := AssertionClaims{Issuer: machine, Audience: audience, Now: noon, ID: "7"}
	for name, change := range map[string]func(*AssertionClaims){
		"no issuer":   func(c *AssertionClaims) { c.Issuer = "" },
		"no audience": func(c *AssertionClaims) { c.Audience = "" },
		"no id":       func(c *AssertionClaims) { c.ID = "" },
		"no time":     func(c *AssertionClaims) { c.Now = time.Time{} },
		"long life":   func(c *AssertionClaims) { c.Life = 5*time.Minute + 1 },
		"no life":     func(c *AssertionClaims) { c.Life = -time.Second },
	} {
		c := good
		change(&c)
		if raw, err := Sign(es256Key(), c); err == nil || raw != "" {
			t.Errorf("%s: signed", name)
		}
	}
	if _, err := Sign(SigningKey{}, good); err == nil {
		t.Error("no key signed")
	}
	if _, err := Sign(es256Key(), good); err != nil {
		t.Error(err)
	}
}
