// Command countersign is the one binary: the server, and everything that
// machines, operators and auditors do from a shell.
//
// It owns the object graph (serve.go), the configuration file, the exit codes
// and what is printed where. Its rule: standard output is for the answer alone,
// everything said to people goes to standard error, and no secret goes to
// either but the credential that was asked for.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes. They are part of the public contract: scripts branch on them, and
// exitHelp tells them. Zero never means anything but approved or done.
const (
	exitOK             = 0
	exitError          = 1
	exitUsage          = 2
	exitDeniedByPolicy = 10
	exitDeniedByPerson = 11
	exitExpired        = 12
	exitUndeliverable  = 13
	exitCancelled      = 14
	exitRevoked        = 15
	exitUndecided      = 20
)

// codedError is an error that ends the program with an exit code of its own.
type codedError struct {
	code int
	err  error
}

// Error implements error.
func (e *codedError) Error() string { return e.err.Error() }

// Unwrap returns what happened.
func (e *codedError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &codedError{exitUsage, fmt.Errorf(format, args...)}
}

// exitCode is the exit code that an error of run ends the program with.
func exitCode(err error) int {
	var coded *codedError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	}
	return exitError
}

// environment is the part of the world that commands see.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program the hard way
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "countersign: "+printableLines(err.Error()))
	}
	os.Exit(exitCode(err))
}

// run is the whole program. An error that did not come from a command's own
// work is a mistake in the arguments.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) error {
	root := newRoot(environment{stdin: stdin, stdout: stdout, stderr: stderr, getenv: getenv})
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	ran := false
	markRuns(root, &ran)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !ran {
		return usageError("%w\nRun '%s --help' for usage.", err, cmd.CommandPath())
	}
	return err
}

// markRuns notes in ran whether a command was started at all.
func markRuns(cmd *cobra.Command, ran *bool) {
	if f := cmd.RunE; f != nil {
		cmd.RunE = func(c *cobra.Command, args []string) error {
			*ran = true
			return f(c, args)
		}
	}
	for _, sub := range cmd.Commands() {
		markRuns(sub, ran)
	}
}

func newRoot(env environment) *cobra.Command {
	root := &cobra.Command{
		Use:           "countersign",
		Short:         "A machine asks, a person signs",
		Long:          "Countersign lets machines ask for privileged actions, lets a policy decide which\nof them people must approve in chat, and turns approvals into short-lived credentials.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().VarP(newChoice("human", "json"), "output", "o", "the `format` of what is printed: human or json")
	root.AddCommand(
		newServeCommand(env),
		newDemoCommand(env),
		newRequestCommand(env),
		newTokenCommand(env),
		newKeysCommand(env),
		newConfigCommand(env),
		newAuditCommand(env),
		newPolicyCommand(env),
		newDoctorCommand(env),
		newSlackCommand(env),
		newVersionCommand(env),
	)
	return root
}

// group is a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return errors.New("which one? name a command of " + cmd.CommandPath())
		},
		RunE: func(*cobra.Command, []string) error { return nil }, // Args lets nothing through
	}
	cmd.AddCommand(subs...)
	return cmd
}
