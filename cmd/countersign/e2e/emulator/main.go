// Command emulator runs the local Slack for the scripts beside it. It prints one
// line of JSON with its address and its secrets, which are random and worth
// nothing outside this process, and runs until it is interrupted or its standard
// input ends.
//
// With -app it also runs a very small app, so that the page can be looked at and
// the browser's selectors checked without a Countersign.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/countersign/countersign/adapters/emulator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "emulator:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("emulator", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "loopback address to listen on")
	socket := flags.Bool("socket", false, "deliver over Socket Mode")
	app := flags.Bool("app", false, "run the small app too")
	to := flags.String("deliver", "", "base URL of the app; /interactions, /commands and /events are below it")
	skew := flags.Duration("skew", 0, "how far the workspace's clock is ahead")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s := emulator.New(emulator.Options{
		SocketMode: *socket,
		Events:     []string{"app_mention"},
		Now:        func() time.Time { return time.Now().Add(*skew) },
	})
	ln, err := s.Listen(*listen)
	if err != nil {
		return err
	}
	base := "http://" + ln.Addr().String()
	if *app {
		stopApp, err := startApp(ctx, s, base+"/api/")
		if err != nil {
			return err
		}
		defer stopApp()
	} else if *to != "" {
		s.SetRequestURLs(*to+"/interactions", *to+"/commands", *to+"/events")
	}
	if err := json.NewEncoder(stdout).Encode(map[string]string{
		"url": base, "bot_token": s.BotToken(), "app_token": s.AppToken(), "signing_secret": s.SigningSecret(), "team": s.TeamID(), "app": s.AppID(),
	}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // whoever started this is gone
		cancel()
	}()
	return s.Serve(ctx, ln)
}
