package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/countersign/countersign/adapters/rest/client"
)

// A deployment asks, shows the code that people compare with the card, waits,
// and uses its credential.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	c, err := client.New(client.Config{
		URL: "https://countersign.example.com",
		Token: func(context.Context) (string, error) {
			return os.Getenv("ASSERTION"), nil // sign a fresh one, or ask the CI platform for one
		},
		OnRetry: func(err error, next time.Duration) { fmt.Fprintln(os.Stderr, err, "again in", next) },
	})
	if err != nil {
		fmt.Println("configuration:", err)
		return
	}
	r, err := c.Submit(ctx, client.Ask{
		Action: "deploy", Resource: "payments", Audience: "https://deploy.example.com", Scopes: []string{"deploy:payments"},
		TTL: client.Duration(10 * time.Minute), Reason: "release 7", Context: client.Context{Environment: "production"},
	})
	var p *client.Problem
	if errors.As(err, &p) && p.Type == client.Denied {
		fmt.Println("denied by policy:", p.Reasons)
		return
	}
	if err == nil {
		fmt.Println("compare this code with the card:", r.Code)
		r, err = c.Wait(ctx, r.ID)
	}
	if err != nil || r.State != client.Approved {
		fmt.Println("not approved:", r.State, err)
		return
	}
	credential, err := c.Redeem(ctx, r.ID)
	if err != nil {
		fmt.Println("no credential:", err)
		return
	}
	use(credential.Token.Reveal())
}

func use(string) {}
