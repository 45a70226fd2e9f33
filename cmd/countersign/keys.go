package main

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/countersign/countersign/identity/token"
)

// publicFile is where the public half of a key goes: FILE.pub.pem, where FILE
// loses an ending .pem.
func publicFile(private string) string { return strings.TrimSuffix(private, ".pem") + ".pub.pem" }

// keyInfo is what is printed of a key.
type keyInfo struct {
	Thumbprint string `json:"thumbprint"` // RFC 7638: the key's kid
	Private    string `json:"private_key_file,omitzero"`
	Public     string `json:"public_key_file,omitzero"`
}

func newKeysCommand(env environment) *cobra.Command {
	return group("keys", "Make and name the keys of machines that sign for themselves", newKeysNewCommand(env), newThumbprintCommand(env))
}

func newKeysNewCommand(env environment) *cobra.Command {
	var out string
	algorithm := newChoice("ES256", "EdDSA", "PS256")
	cmd := &cobra.Command{
		Use:   "new --out FILE",
		Short: "Make a private key (mode 0600) and, beside it, FILE.pub.pem for the server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, err := makeKey(out, algorithm.value)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return writeJSON(env.stdout, info)
			}
			_, err = fmt.Fprintf(env.stdout, "private key  %s (keep it on the machine that asks)\npublic key   %s (for public_key_file in the server's configuration)\nthumbprint   %s\n",
				info.Private, info.Public, info.Thumbprint)
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the private key's `file`; it must not exist")
	cmd.Flags().Var(algorithm, "algorithm", "what the key signs with")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag stands two lines above
	}
	return cmd
}

// makeKey writes both halves, or neither. No file is overwritten.
func makeKey(path, algorithm string) (keyInfo, error) {
	key, err := token.GenerateKey(algorithm)
	if err != nil {
		return keyInfo{}, err
	}
	public, err := token.PublicPEM(key.Public())
	if err != nil {
		return keyInfo{}, err
	}
	if err := token.WriteKey(path, key); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return keyInfo{}, fmt.Errorf("%s exists already, and a key is never overwritten: choose another name", path)
		}
		return keyInfo{}, err
	}
	if err := writeNew(publicFile(path), public, 0o644); err != nil {
		return keyInfo{}, errors.Join(err, os.Remove(path))
	}
	return keyInfo{Thumbprint: key.KID(), Private: path, Public: publicFile(path)}, nil
}

// writeNew writes a file that must not exist yet.
func writeNew(path string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already and is not overwritten: move it away or choose another name", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func newThumbprintCommand(env environment) *cobra.Command {
	return &cobra.Command{
		Use:   "thumbprint FILE",
		Short: "Print the RFC 7638 thumbprint of a private or public key file",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			public, err := readPublic(args[0])
			if err != nil {
				return err
			}
			thumbprint, err := token.Thumbprint(public)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if wantsJSON(cmd) {
				return writeJSON(env.stdout, keyInfo{Thumbprint: thumbprint})
			}
			_, err = fmt.Fprintln(env.stdout, thumbprint)
			return err
		},
	}
}

// readPublic returns the public key of a PEM file that holds either half.
func readPublic(path string) (crypto.PublicKey, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PUBLIC KEY" {
		key, err := token.LoadKey(path)
		if err != nil {
			return nil, err
		}
		return key.Public(), nil
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: is no public key in PEM", path)
	}
	return public, nil
}
