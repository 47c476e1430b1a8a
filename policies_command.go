package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func policiesCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "policies", Short: "Show and change the policies of running gateways",
		Long: `Show and change the policies of running gateways. Policies of the configuration file are shown here and changed there.
With several --admin, each gateway gets the same.`,
		Example: `  weir policies ls
  weir policies apply -f policies/ --admin http://10.0.0.1:8080 --admin http://10.0.0.2:8080`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("policies: unknown command %q%s", args[0], suggest(cmd, args[0]))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(policiesLsCommand(), policiesGetCommand(), policiesApplyCommand(), policiesDeleteCommand())
	return c
}

// fleetFlags say how to reach the admin APIs of several gateways.
type fleetFlags struct {
	admins []string
	token  string
}

func (f *fleetFlags) add(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.admins, "admin", []string{"http://127.0.0.1:8080"}, "admin address of a running gateway; may be given several times")
	c.Flags().StringVar(&f.token, "token", "", "admin token of all of them (default $WEIR_TOKEN)")
}

// each calls do for every gateway in turn, with what its lines of output begin with, and returns everything that went wrong.
func (f *fleetFlags) each(do func(api *apiFlags, prefix string) []error) error {
	var all failures
	for _, admin := range f.admins {
		prefix := ""
		if len(f.admins) > 1 {
			prefix = admin + "  "
		}
		for _, err := range do(&apiFlags{admin: admin, token: f.token}, prefix) {
			var usage usageError
			if errors.As(err, &usage) {
				return err
			}
			all.add(admin, err)
		}
	}
	return all.err(len(f.admins))
}

// failures are lines of errors, with the gateways that said it.
type failures struct {
	texts []string
	at    map[string][]string
}

func (f *failures) add(gateway string, err error) {
	if f.at == nil {
		f.at = map[string][]string{}
	}
	for _, text := range strings.Split(err.Error(), "\n") {
		if f.at[text] == nil {
			f.texts = append(f.texts, text)
		}
		f.at[text] = append(f.at[text], gateway)
	}
}

// err returns all failures. What not all of n gateways said is followed by who did.
func (f *failures) err(n int) error {
	var all []error
	for _, text := range f.texts {
		if at := f.at[text]; len(at) < n && !strings.Contains(text, at[0]) {
			text += " (" + strings.Join(at, ", ") + ")"
		}
		all = append(all, errors.New(text))
	}
	return errors.Join(all...)
}

// policyRow is what `policies ls` shows of a policy. Limit and Burst are numbers or shares.
type policyRow struct {
	Name, Algorithm, Window, Mode, Source string
	Limit, Burst                          any
	Dimensions                            []string
}

func policiesLsCommand() *cobra.Command {
	var fleet fleetFlags
	var asJSON bool
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the policies in force", Args: args(cobra.NoArgs),
		Long: "List the policies in force, those of the file and those made by API, in the order of the file, then those made by API.",
		Example: `  weir policies ls --admin http://127.0.0.1:8080
  weir policies ls --json | jq -r '.[].name'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			return fleet.each(func(api *apiFlags, prefix string) []error {
				var all json.RawMessage
				var rows []policyRow
				a, err := api.ask(cmd.Context(), http.MethodGet, "/api/v1/policies", nil, &all)
				if err == nil {
					err = a.decode(&rows)
				}
				if err != nil {
					return []error{err}
				}
				if asJSON {
					return only(writeJSON(out, all))
				}
				if prefix != "" {
					fmt.Fprintln(out, strings.TrimSpace(prefix))
				}
				return only(printPolicies(out, rows))
			})
		},
	}
	fleet.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, all that each policy says")
	return c
}

func printPolicies(out io.Writer, rows []policyRow) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tALGORITHM\tLIMIT\tWINDOW\tBURST\tDIMENSIONS\tMODE\tSOURCE")
	for _, r := range rows {
		window := r.Window
		if r.Algorithm == "concurrency" {
			window = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Algorithm, amount(r.Limit), cmp.Or(window, "-"), amount(r.Burst),
			cmp.Or(strings.Join(r.Dimensions, ","), "-"), r.Mode, r.Source)
	}
	return w.Flush()
}

// amount shows a limit or burst: "-" for one that the policy does not have.
func amount(v any) string {
	switch v := v.(type) {
	case float64:
		if v != 0 {
			return fmt.Sprintf("%.0f", v)
		}
	case string:
		return cmp.Or(v, "-")
	}
	return "-"
}

func policiesGetCommand() *cobra.Command {
	var api apiFlags
	c := &cobra.Command{
		Use: "get NAME", Short: "Print a policy as it is in force", Args: args(cobra.ExactArgs(1)),
		Long: `Print a policy as it is in force, every default filled in, in the form that apply takes. JSON is also YAML, so that it may
stand in a configuration file.`,
		Example: `  weir policies get tenant-plan > tenant-plan.json
  weir policies apply -f tenant-plan.json --admin http://10.0.0.2:8080`,
		RunE: func(cmd *cobra.Command, a []string) error {
			var view json.RawMessage
			if err := api.call(cmd.Context(), http.MethodGet, policyPath(a[0]), nil, &view); err != nil {
				return err
			}
			text, err := policyText(view)
			if err != nil {
				return err
			}
			return writeJSON(cmd.OutOrStdout(), text)
		},
	}
	api.add(c)
	return c
}

// policyText returns a policy of the API without what it says about it: where it is from. Members stay in order.
func policyText(view json.RawMessage) (json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(view))
	var b bytes.Buffer
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return nil, errors.New("the gateway shows a policy that is no object")
	}
	b.WriteByte('{')
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		if key == "source" || key == "durable" {
			continue
		}
		name, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s:%s", name, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func policiesDeleteCommand() *cobra.Command {
	var fleet fleetFlags
	c := &cobra.Command{
		Use: "delete NAME...", Aliases: []string{"rm"}, Short: "Delete policies made by API", Args: args(cobra.MinimumNArgs(1)),
		Long: `Delete policies made by API, in any order; what was spent under them is forgotten. If one can't be deleted, the others still
are, and the exit code is 1.`,
		Example: "  weir policies delete user-in-tenant tenant-plan",
		RunE: func(cmd *cobra.Command, names []string) error {
			return fleet.each(func(api *apiFlags, prefix string) []error {
				return inTurn(names, func(name string) (again bool, err error) {
					a, err := api.send(cmd.Context(), http.MethodDelete, policyPath(name), nil, nil)
					if err != nil {
						return false, err
					}
					if a.status >= 300 {
						return a.status == http.StatusConflict, a.problem()
					}
					fmt.Fprintf(cmd.OutOrStdout(), "%s%-10s %s\n", prefix, "deleted", name)
					return false, nil
				})
			})
		},
	}
	fleet.add(c)
	return c
}

// inTurn does all, and once more those that may go better after others, for as long as that is so: children stand before their
// parents, or behind. What is unreachable ends it.
func inTurn[T any](all []T, do func(T) (again bool, err error)) (failed []error) {
	for {
		var left []T
		var why []error
		for _, v := range all {
			again, err := do(v)
			var unreachable errUnreachable
			switch {
			case err == nil:
			case errors.As(err, &unreachable):
				return append(failed, err)
			case again:
				left, why = append(left, v), append(why, err)
			default:
				failed = append(failed, err)
			}
		}
		if len(left) == 0 || len(left) == len(all) {
			return append(failed, why...)
		}
		all = left
	}
}

func policyPath(name string) string { return "/api/v1/policies/" + url.PathEscape(name) }

func only(err error) []error {
	if err == nil {
		return nil
	}
	return []error{err}
}
