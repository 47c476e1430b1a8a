package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"weir/admin"
)

func checkCommand() *cobra.Command {
	var api apiFlags
	var key, endpoint string
	var tokens int64
	var metadata []string
	var asJSON bool
	c := &cobra.Command{
		Use: "check --key KEY", Short: "Ask a running gateway whether somebody may spend", Args: args(cobra.NoArgs),
		Long: `Ask a running gateway whether somebody may spend, and spend it: what POST /api/v1/check does. With --tokens 0 nothing is spent.
Dimensions get their values from -m; those without one have none, and policies on them do not apply. Exits 0 if it is allowed,
else 1.`,
		Example: `  weir check --key user:12345 -m user_id=12345 -m tenant=acme
  weir check --key user:12345 --tokens 0 -m user_id=12345 --endpoint /api/data --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if key == "" {
				return usageError{errors.New("check: who? Write --key, for example --key user:12345")}
			}
			values, err := parseMetadata(metadata, endpoint)
			if err != nil {
				return err
			}
			body, err := json.Marshal(admin.CheckRequest{Key: key, Tokens: &tokens, Metadata: values})
			if err != nil {
				return err
			}
			a, err := api.send(cmd.Context(), http.MethodPost, "/api/v1/check", body, nil)
			if err != nil {
				return err
			}
			if a.status >= 300 && a.status != http.StatusTooManyRequests {
				return a.problem()
			}
			var result admin.CheckResult
			if err := a.decode(&result); err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), result)
			} else {
				err = printCheck(cmd.OutOrStdout(), &result)
			}
			if err == nil && !result.Allowed {
				err = fmt.Errorf("%s may not spend %d: %s", key, tokens, result.Reason)
			}
			return err
		},
	}
	api.add(c)
	c.Flags().StringVar(&key, "key", "", "who spends, for example user:12345")
	c.Flags().Int64Var(&tokens, "tokens", 1, "how much; 0 only looks")
	c.Flags().StringArrayVarP(&metadata, "metadata", "m", nil, "value of a dimension, name=value; may be given several times")
	c.Flags().StringVar(&endpoint, "endpoint", "", "path, for policies and routes that go by it")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// parseMetadata reads name=value pairs, and the endpoint, which is one of them.
func parseMetadata(pairs []string, endpoint string) (map[string]string, error) {
	values := map[string]string{}
	if endpoint != "" {
		values["endpoint"] = endpoint
	}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usageError{fmt.Errorf("check: -m %q: write name=value", pair)}
		}
		if _, twice := values[name]; twice {
			return nil, usageError{fmt.Errorf("check: %s is given twice", name)}
		}
		values[name] = value
	}
	return values, nil
}

// printCheck writes the answer to a check for people.
func printCheck(out io.Writer, r *admin.CheckResult) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	switch {
	case !r.Allowed && r.RetryAfterMS > 0:
		fmt.Fprintf(w, "refused\t%s: next in %d ms\n", r.Key, r.RetryAfterMS)
	case !r.Allowed && r.RetryAfterMS == -1:
		fmt.Fprintf(w, "refused\t%s: until others are done\n", r.Key)
	case !r.Allowed && r.RetryAfterMS == -2:
		fmt.Fprintf(w, "refused\t%s: so much is never allowed at once\n", r.Key)
	case !r.Allowed:
		fmt.Fprintf(w, "refused\t%s\n", r.Key)
	case len(r.Decisions) == 0:
		fmt.Fprintf(w, "allowed\t%s: no policy applies\n", r.Key)
	default:
		fmt.Fprintf(w, "allowed\t%s: %d left\n", r.Key, r.Remaining)
	}
	if r.WaitMS > 0 {
		fmt.Fprintf(w, "wait\t%d ms first\n", r.WaitMS)
	}
	for _, d := range r.Decisions {
		verdict := "allows"
		if !d.Allowed {
			verdict = "refuses"
		}
		how := d.Mode
		if d.Action != "" {
			how += ", " + d.Action
		}
		fmt.Fprintf(w, "policy\t%s%s (%s): %s, %d left, limit %d\n", strings.Repeat("  ", d.Level), d.Policy, how, verdict, d.Remaining, d.Limit)
	}
	if len(r.Unknown) > 0 {
		fmt.Fprintf(w, "note\tno dimension is called %s\n", strings.Join(r.Unknown, ", "))
	}
	return w.Flush()
}
