package main

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/countersign/countersign/adapters/slack"
)

func newSlackCommand(env environment) *cobra.Command {
	var file, publicURL string
	var socket bool
	manifest := &cobra.Command{
		Use:   "manifest (--config FILE | --public-url URL [--socket])",
		Short: "Print the manifest to create the Slack app from",
		Long:  "Print the manifest to create the Slack app from: at api.slack.com/apps choose\nCreate New App, From a manifest, and paste it as JSON.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if file != "" {
				c, err := loadConfig(file)
				if err != nil {
					return err
				}
				publicURL, socket = c.PublicURL, c.Slack != nil && c.Slack.SocketMode
			}
			publicURL = strings.TrimRight(publicURL, "/")
			if u, err := url.Parse(publicURL); !socket && (err != nil || u.Scheme != "https" || u.Host == "") {
				return usageError("Slack calls an https address only, and this is none: %q; use --socket where there is no public address", publicURL)
			}
			m, err := slack.Manifest(publicURL, socket)
			if err != nil {
				return err
			}
			_, err = env.stdout.Write(append([]byte(strings.TrimSpace(string(m))), '\n'))
			return err
		},
	}
	manifest.Flags().StringVarP(&file, "config", "c", "", "take the address and the mode from this configuration `file`")
	manifest.Flags().StringVar(&publicURL, "public-url", "", "the server's public `URL`")
	manifest.Flags().BoolVar(&socket, "socket", false, "use Socket Mode, which needs no public address")
	manifest.MarkFlagsOneRequired("config", "public-url", "socket")
	manifest.MarkFlagsMutuallyExclusive("config", "public-url")
	manifest.MarkFlagsMutuallyExclusive("config", "socket")
	return group("slack", "Set up the Slack app", manifest)
}
