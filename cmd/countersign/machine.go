package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/countersign/countersign/identity/token"
)

// assertionLife is how long the assertions of countersign request last: long
// enough for a slow upload, short enough to be worth nothing soon after.
const assertionLife = time.Minute

// tokenSource returns a fresh token for each call.
type tokenSource func(ctx context.Context) (string, error)

// machineToken chooses how the machine proves who it is: by its key if one is
// given, else by the token of its GitHub Actions job.
func (f *requestFlags) machineToken(getenv func(string) string) (tokenSource, error) {
	switch {
	case f.key != "" && f.issuer == "":
		return nil, usageError("--key needs --issuer: the machine's name, as the server's configuration has it")
	case f.key != "":
		key, err := token.LoadKey(f.key)
		if err != nil {
			return nil, err
		}
		return func(context.Context) (string, error) {
			t, err := assertion(key, f.issuer, f.audienceURL, assertionLife)
			return t.Reveal(), err
		}, nil
	case getenv("ACTIONS_ID_TOKEN_REQUEST_URL") != "":
		return actionsToken(getenv, f.audienceURL)
	case getenv("GITHUB_ACTIONS") == "true":
		return nil, usageError("this job may not ask for its token: give it \"permissions: id-token: write\", or use --key and --issuer")
	}
	return nil, usageError("nothing proves who asks: give --key and --issuer (or COUNTERSIGN_KEY and COUNTERSIGN_ISSUER), or run in a GitHub Actions job with \"permissions: id-token: write\"")
}

// actionsToken asks the runner for the job's OIDC token. GitHub documents the
// call under "Updating your actions for OIDC": the audience is one more query
// parameter, and the runner's own token the bearer.
func actionsToken(getenv func(string) string, audience string) (tokenSource, error) {
	u, err := url.Parse(getenv("ACTIONS_ID_TOKEN_REQUEST_URL"))
	if err != nil || u.Host == "" || (u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname()))) {
		return nil, errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is not an https address: the runner's environment is broken")
	}
	q := u.Query()
	q.Set("audience", audience)
	u.RawQuery = q.Encode()
	bearer := getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if bearer == "" {
		return nil, usageError("ACTIONS_ID_TOKEN_REQUEST_TOKEN is empty: give the job \"permissions: id-token: write\"")
	}
	client := &http.Client{
		Timeout:       15 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) (string, error) {
		return backoff.Retry(ctx, func() (string, error) {
			return fetchActionsToken(ctx, client, u.String(), bearer)
		}, backoff.WithBackOff(backoff.NewExponentialBackOff()), backoff.WithMaxElapsedTime(2*time.Minute))
	}, nil
}

// fetchActionsToken makes one try. The address may hold ids of the job, and the
// answer holds the token: neither stands in an error.
func fetchActionsToken(ctx context.Context, client *http.Client, address, bearer string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", backoff.Permanent(errors.New("the runner's token address cannot be used"))
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Accept", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("the runner does not give the job's token: %w", netCause(err))
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return "", fmt.Errorf("the runner does not give the job's token: %w", netCause(err))
	}
	if res.StatusCode != http.StatusOK {
		err := fmt.Errorf("the runner does not give the job's token: %s", res.Status)
		if res.StatusCode < 500 && res.StatusCode != http.StatusTooManyRequests {
			return "", backoff.Permanent(err)
		}
		return "", err
	}
	var answer struct {
		Value string `json:"value"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Value == "" {
		return "", backoff.Permanent(errors.New("the runner's answer holds no token"))
	}
	return answer.Value, nil
}

// netCause is a network error without the address that was called.
func netCause(err error) error {
	var address *url.Error
	if errors.As(err, &address) {
		err = address.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
