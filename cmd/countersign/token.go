package main

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/countersign/countersign/identity"
	"github.com/countersign/countersign/identity/token"
)

const maxAssertionLife = 5 * time.Minute // RFC 7523 leaves it to the server; ours says five minutes

func newTokenCommand(env environment) *cobra.Command {
	var key, issuer, audience string
	life := time.Minute
	cmd := &cobra.Command{
		Use:   "token --key FILE --issuer NAME --audience URL",
		Short: "Sign an assertion: the token by which a machine with a key asks",
		Long: `Sign an assertion and print it on standard output, for clients that do not sign
for themselves:

  curl -H "Authorization: Bearer $(countersign token --key bot.pem --issuer deploy-bot --audience https://countersign.example.com)" …

An assertion that submits a request is good for that one call. Whoever has it can
ask in the machine's name while it lasts: do not print it in logs.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if life < time.Second || life > maxAssertionLife {
				return usageError("--life must be 1s to %s", maxAssertionLife)
			}
			k, err := token.LoadKey(key)
			if err != nil {
				return err
			}
			t, err := assertion(k, issuer, audience, life)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.stdout, t.Reveal()) // the credential that was asked for
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&key, "key", "", "the machine's private key `file` (see countersign keys new)")
	f.StringVar(&issuer, "issuer", "", "the machine's `name`, as the server's configuration has it")
	f.StringVar(&audience, "audience", "", "the server's public `URL`")
	f.DurationVar(&life, "life", life, "how long the assertion lasts, at most 5m")
	for _, name := range []string{"key", "issuer", "audience"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag stands three lines above
		}
	}
	return cmd
}

// assertion signs a fresh one-time token.
func assertion(k token.SigningKey, issuer, audience string, life time.Duration) (identity.Secret, error) {
	return token.Sign(k, token.AssertionClaims{Issuer: issuer, Audience: audience, Life: life, Now: time.Now(), ID: rand.Text()})
}
