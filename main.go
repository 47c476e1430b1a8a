// Command weir is an API gateway: one binary in front of upstream APIs.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	_ "time/tzdata" // quotas name time zones, whatever the machine has

	"github.com/spf13/cobra"
)

// version is set at link time; a build without that says what the module system knows.
var version = ""

// Exit codes.
const (
	exitFine   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is an error of whoever typed the command.
type usageError struct{ error }

func main() { os.Exit(execute(os.Args[1:])) }

func execute(args []string) int {
	root := rootCommand()
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return exitFine
	}
	fmt.Fprintln(os.Stderr, err)
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintln(os.Stderr, "see weir --help")
		return exitUsage
	}
	return exitFailed
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "weir",
		Short: "An API gateway with limits that hold",
		Long: `Weir stands in front of upstream APIs: it terminates TLS, routes requests to health-checked pools, and limits
what clients may spend. One binary, one configuration file.`,
		Example: `  weir run -c config.yaml
  weir validate -c config.yaml
  weir explain -c config.yaml GET http://localhost:8000/v1/items -H 'X-Api-Key: demo'`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       buildVersion(),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q%s", args[0], suggest(cmd, args[0]))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(runCommand(), validateCommand(), explainCommand(), checkCommand(), policiesCommand(), purgeCommand(), statusCommand(), reloadCommand(), versionCommand(), schemaCommand(), keygenCommand())
	return root
}

func suggest(cmd *cobra.Command, arg string) string {
	cmd.SuggestionsMinimumDistance = 2
	if s := cmd.SuggestionsFor(arg); len(s) > 0 {
		return fmt.Sprintf("; did you mean %q?", s[0])
	}
	return ""
}

// args wraps a check of arguments so that its errors count as usage errors.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%s: %w", cmd.Name(), err)}
		}
		return nil
	}
}

func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
