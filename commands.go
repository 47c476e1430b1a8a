package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"weir/cluster"
	"weir/config"
	"weir/gateway"
	"weir/telemetry"
	"weir/tls"
)

func runCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "run", Short: "Start the gateway", Args: args(cobra.NoArgs),
		Long: `Start the gateway. It reloads when the file changes, on SIGHUP, and by POST /api/v1/config/reload; a file with faults
changes nothing. SIGTERM and SIGINT finish what is in flight and exit.`,
		Example: "  weir run -c config.yaml",
		RunE:    func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), path) },
	}
	configFlag(c, &path)
	return c
}

func keygenCommand() *cobra.Command {
	return &cobra.Command{
		Use: "keygen", Short: "Make a key for cluster.key", Args: args(cobra.NoArgs),
		Long:    "Write 32 random bytes in base64: the key with which the gateways of a cluster encrypt what they tell each other.",
		Example: "  export WEIR_CLUSTER_KEY=$(weir keygen)",
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintln(cmd.OutOrStdout(), cluster.NewKey()) //nolint:errcheck // nobody is there to be told
			return nil
		},
	}
}

func configFlag(c *cobra.Command, path *string) {
	c.Flags().StringVarP(path, "config", "c", "config.yaml", "configuration file")
}

func validateCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "validate", Short: "Check a configuration file", Args: args(cobra.NoArgs),
		Long:    "Check a configuration file and everything it names. All faults are shown at once, as file:line:col: message.",
		Example: "  weir validate -c config.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := config.Load(path, os.LookupEnv)
			if err != nil {
				return err
			}
			snap, _, err := compile(conf)
			if err != nil {
				return err
			}
			snap.Discard()
			fmt.Fprintf(cmd.OutOrStdout(), "%s: fine (%d listeners, %d routes, %d pools, %d policies)\n", path, len(conf.Listeners), len(conf.Routes), len(conf.Pools), len(conf.Policies))
			return nil
		},
	}
	configFlag(c, &path)
	return c
}

// compile checks what config cannot: it builds everything and starts nothing.
func compile(conf *config.Config) (*gateway.Snapshot, *gateway.Gateway, error) {
	if err := checkCluster(conf); err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.DiscardHandler)
	gw := gateway.New(gateway.Options{Hub: telemetry.NewHub(), Log: log})
	snap, err := gw.Compile(conf)
	if err != nil {
		return nil, nil, err
	}
	if servesTLS(conf) {
		if _, err := tls.NewStore(tlsOptions(conf, log)); err != nil {
			snap.Discard()
			return nil, nil, err
		}
	}
	return snap, gw, nil
}

func explainCommand() *cobra.Command {
	var path, remote string
	var headers []string
	var asJSON bool
	var api apiFlags
	c := &cobra.Command{
		Use: "explain METHOD URL", Short: "Say what would become of a request", Args: args(cobra.ExactArgs(2)),
		Long: `Say what would become of a request: which route takes it and why, its dimensions, every policy with what remains, and the
state of the pools. Nothing is sent and nothing is spent. With -c the file is asked, with --admin a running gateway. What
belongs to a listener (redirect_https, size and connection limits) is not looked at.`,
		Example: `  weir explain -c config.yaml GET http://localhost:8000/limited/a -H 'X-Api-Key: demo'
  weir explain --admin http://127.0.0.1:8080 GET http://localhost:8000/limited/a`,
		RunE: func(cmd *cobra.Command, a []string) error {
			header, err := parseHeaders(headers)
			if err != nil {
				return err
			}
			var e *gateway.Explanation
			if cmd.Flags().Changed("admin") && cmd.Flags().Changed("config") {
				return usageError{errors.New("explain: -c asks a file and --admin a running gateway: give one of them")}
			}
			if cmd.Flags().Changed("admin") {
				e = new(gateway.Explanation)
				err = api.call(cmd.Context(), http.MethodPost, "/api/v1/explain", map[string]any{"method": a[0], "url": a[1], "headers": header, "remote": remote}, e)
			} else {
				e, err = explainFile(path, gateway.Question{Method: a[0], URL: a[1], Header: header, Remote: remote})
			}
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), e)
			}
			return printExplanation(cmd.OutOrStdout(), e)
		},
	}
	configFlag(c, &path)
	api.add(c)
	c.Flags().StringArrayVarP(&headers, "header", "H", nil, "header field, as curl takes it")
	c.Flags().StringVar(&remote, "remote", "", "address of the client (default 127.0.0.1)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func explainFile(path string, q gateway.Question) (*gateway.Explanation, error) {
	conf, err := config.Load(path, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	snap, gw, err := compile(conf)
	if err != nil {
		return nil, err
	}
	defer snap.Discard()
	e, err := gw.Explain(snap, q)
	if err != nil {
		return nil, err
	}
	for _, p := range e.Pools {
		for i := range p.Endpoints {
			p.Endpoints[i].State = "not probed"
		}
	}
	return e, nil
}

func parseHeaders(lines []string) (http.Header, error) {
	h := http.Header{}
	for _, l := range lines {
		name, value, ok := strings.Cut(l, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, usageError{fmt.Errorf("header %q: write 'Name: value'", l)}
		}
		h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return h, nil
}

func statusCommand() *cobra.Command {
	var api apiFlags
	c := &cobra.Command{
		Use: "status", Short: "Show whether a running gateway is well", Args: args(cobra.NoArgs),
		Long:    "Show whether a running gateway is ready, and its pools. Exits 0 if it is ready, else 1.",
		Example: "  weir status --admin http://127.0.0.1:8080",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := api.call(cmd.Context(), http.MethodGet, "/readyz", nil, nil); err != nil {
				return err
			}
			var pools []gateway.PoolView
			if err := api.call(cmd.Context(), http.MethodGet, "/api/v1/pools", nil, &pools); err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ready\nPOOL\tENDPOINT\tSTATE\tBREAKER\tIN FLIGHT\tTUNNELS\tREQUESTS\tFAILURES")
			for _, p := range pools {
				for _, e := range p.Endpoints {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\n", p.Name, e.Name, e.State, e.Breaker, e.InFlight, e.Tunnels, e.Requests, e.Failures)
				}
			}
			return w.Flush()
		},
	}
	api.add(c)
	return c
}

func reloadCommand() *cobra.Command {
	var api apiFlags
	c := &cobra.Command{
		Use: "reload", Short: "Make a running gateway read its file again", Args: args(cobra.NoArgs),
		Example: "  weir reload --admin http://127.0.0.1:8080",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var answer reloaded
			if err := api.call(cmd.Context(), http.MethodPost, "/api/v1/config/reload", nil, &answer); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "reloaded, configuration %s\n", answer.Hash)
			return nil
		},
	}
	api.add(c)
	return c
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version", Args: args(cobra.NoArgs), Example: "  weir version",
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "weir %s %s %s/%s\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of the configuration", Args: args(cobra.NoArgs), Example: "  weir schema > weir.schema.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(config.Schema())
			return err
		},
	}
}

// apiFlags say how to reach a running gateway's admin API.
type apiFlags struct{ admin, token string }

func (f *apiFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.admin, "admin", "http://127.0.0.1:8080", "admin address of a running gateway")
	c.Flags().StringVar(&f.token, "token", "", "admin token (default $WEIR_TOKEN)")
}

// call asks the admin API. A problem it answers with becomes the error.
func (f *apiFlags) call(ctx context.Context, method, path string, in, out any) error {
	_, err := f.ask(ctx, method, path, in, out)
	return err
}

// ask is call, and returns the answer too.
func (f *apiFlags) ask(ctx context.Context, method, path string, in, out any) (*apiAnswer, error) {
	var body []byte
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = b
	}
	a, err := f.send(ctx, method, path, body, nil)
	if err != nil {
		return nil, err
	}
	if a.status >= 300 {
		return nil, a.problem()
	}
	return a, a.decode(out)
}

// apiAnswer is what the admin API at url answered.
type apiAnswer struct {
	url, path string
	status    int
	header    http.Header
	body      []byte
}

// errUnreachable is an error that whatever else is asked of the gateway would meet too.
type errUnreachable struct{ error }

// send asks the admin API. A body is JSON, unless header says otherwise.
func (f *apiFlags) send(ctx context.Context, method, path string, body []byte, header http.Header) (*apiAnswer, error) {
	if !strings.Contains(f.admin, "://") {
		f.admin = "http://" + f.admin
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(f.admin, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, usageError{err}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(req.Header, header)
	token := f.token
	if token == "" {
		token = os.Getenv("WEIR_TOKEN")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, errUnreachable{fmt.Errorf("no gateway answers at %s: %w", f.admin, err)}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	return &apiAnswer{f.admin, path, resp.StatusCode, resp.Header, b}, nil
}

// decode reads the answer into out, unless that is nil.
func (a *apiAnswer) decode(out any) error {
	if out == nil || json.Unmarshal(a.body, out) == nil {
		return nil
	}
	return fmt.Errorf("%s is not the admin address of a weir gateway: it answers %s with something else", a.url, a.path)
}

// fault is one of a problem's.
type fault struct {
	File, Path, Message string
	Line, Col           int
}

// faults returns those of a problem, if it has any.
func (a *apiAnswer) faults() []fault {
	var p struct {
		Faults []fault `json:"faults"`
	}
	if json.Unmarshal(a.body, &p) != nil {
		return nil
	}
	return p.Faults
}

// problem returns what the answer says is wrong, a line for every fault.
func (a *apiAnswer) problem() error {
	var lines []string
	for _, f := range a.faults() {
		lines = append(lines, f.String())
	}
	if len(lines) > 0 {
		return errors.New(strings.Join(lines, "\n"))
	}
	var p struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(a.body, &p) == nil && p.Detail != "" {
		return errors.New(p.Detail)
	}
	return fmt.Errorf("status %d %s", a.status, http.StatusText(a.status))
}

// String returns where the fault is and what it is. A fault of a JSON body has no file.
func (f fault) String() string {
	switch {
	case f.File != "":
		return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Col, f.Message)
	case f.Path != "":
		return f.Path + ": " + f.Message
	}
	return f.Message
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
