package token

import (
	"strings"
	"testing"
)

func BenchmarkVerify(b *testing.B) {
	for alg, k := range map[string]SigningKey{"ES256": es256Key(), "EdDSA": edKey(), "PS256": rsaKey()} {
		b.Run(alg, func(b *testing.B) {
			v := verifier(b, machineRule(b, k))
			raw := seal(alg, k.raw(), goodHeader(alg, k).json(), goodClaims().json())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("GitHub", func(b *testing.B) {
		v := verifier(b, githubRule(b, byRepository))
		raw := job(jobClaims())
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(b.Context(), raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("8 MB", func(b *testing.B) {
		v := verifier(b, machineRule(b, es256Key()))
		raw := strings.Repeat(".", 8<<20)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(b.Context(), raw); err == nil {
				b.Fatal("accepted")
			}
		}
	})
}

func BenchmarkMint(b *testing.B) {
	m := minter(b, ourKeys()...)
	for aud, alg := range map[string]string{"https://cluster.example": "ES256", "azure": "RS256", "ed": "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			g := goodGrant()
			g.Audience = aud
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Mint(g); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
