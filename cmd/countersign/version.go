package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildVersion is what the binary knows of its own making.
type buildVersion struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitzero"`
	Time     string `json:"time,omitzero"` // of the commit, RFC 3339
	Modified bool   `json:"modified"`      // built from a tree with changes
	Go       string `json:"go"`
}

func newVersionCommand(env environment) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := readVersion(debug.ReadBuildInfo())
			if wantsJSON(cmd) {
				return writeJSON(env.stdout, v)
			}
			_, err := fmt.Fprintln(env.stdout, v)
			return err
		},
	}
}

func readVersion(info *debug.BuildInfo, ok bool) buildVersion {
	if !ok {
		return buildVersion{Version: "unknown", Go: "unknown"}
	}
	v := buildVersion{Version: info.Main.Version, Go: info.GoVersion}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// String is the version for people.
func (v buildVersion) String() string {
	s := "countersign " + v.Version
	if v.Commit != "" {
		s += " commit " + v.Commit[:min(12, len(v.Commit))]
	}
	if v.Modified {
		s += " (modified)"
	}
	return s + " " + v.Go
}
