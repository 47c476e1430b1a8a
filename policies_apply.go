package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"weir/config"
)

func policiesApplyCommand() *cobra.Command {
	var fleet fleetFlags
	var paths []string
	c := &cobra.Command{
		Use: "apply -f FILE|DIR|-", Short: "Create or change policies from files", Args: args(cobra.NoArgs),
		Long: `Create or change policies from files: one policy a file, as JSON or YAML; of a directory all .yaml, .yml and .json in it. The
same again changes nothing. Parents may stand in any file. If one file can't be applied, the others still are, every fault is
shown with file, line and column, and the exit code is 1. Nothing is deleted.`,
		Example: `  weir policies apply -f policies/
  weir policies apply -f plan.yaml -f users.yaml --admin http://10.0.0.1:8080 --admin http://10.0.0.2:8080
  echo '{"name": "per-user", "dimensions": ["user_id"], "limit": 100, "window": "1m"}' | weir policies apply -f -`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(paths) == 0 {
				return usageError{errors.New("policies apply: which? Write -f FILE, -f DIR or -f - for stdin")}
			}
			sources, failed := readPolicies(paths, cmd.InOrStdin())
			err := fleet.each(func(api *apiFlags, prefix string) []error {
				b := applying{api, cmd.OutOrStdout(), prefix}
				return b.run(cmd.Context(), sources)
			})
			var usage usageError
			if errors.As(err, &usage) {
				return err
			}
			return errors.Join(errors.Join(failed...), err)
		},
	}
	fleet.add(c)
	c.Flags().StringArrayVarP(&paths, "file", "f", nil, "file or directory of policies, - is stdin; may be given several times")
	return c
}

// policySource is a file with the text of one policy.
type policySource struct {
	file   string // for messages
	policy string // its name; empty if that can't be read
	text   []byte
}

// maxSource bounds what is read of a file: more than any policy has, so that the gateway says that it is too long.
const maxSource = 1 << 20

// readPolicies reads files, directories and stdin, in order and each once, and returns what could not be read.
func readPolicies(paths []string, stdin io.Reader) (sources []policySource, failed []error) {
	read := func(name string, open func() (io.ReadCloser, error)) {
		if slices.ContainsFunc(sources, func(s policySource) bool { return s.file == name }) {
			return
		}
		f, err := open()
		if err != nil {
			failed = append(failed, err)
			return
		}
		defer f.Close() //nolint:errcheck // it is only read
		text, err := io.ReadAll(io.LimitReader(f, maxSource))
		s := policySource{name, config.ExtraName(text), text}
		twin := slices.IndexFunc(sources, func(o policySource) bool { return s.policy != "" && o.policy == s.policy })
		switch {
		case err != nil:
			failed = append(failed, err)
		case twin >= 0:
			failed = append(failed, fmt.Errorf("%s: the policy %s is in %s too: each needs a name of its own", name, s.policy, sources[twin].file))
		default:
			sources = append(sources, s)
		}
	}
	for _, p := range paths {
		if p == "-" {
			read("stdin", func() (io.ReadCloser, error) { return io.NopCloser(stdin), nil })
			continue
		}
		files, err := policyFiles(p)
		if err != nil {
			failed = append(failed, err)
		}
		for _, f := range files {
			read(f, func() (io.ReadCloser, error) { return os.Open(f) })
		}
	}
	return sources, failed
}

// policyFiles returns the files that a path stands for: itself, or those of a directory, by name.
func policyFiles(name string) ([]string, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no file of that name", name)
	}
	if err != nil || !info.IsDir() {
		return []string{filepath.Clean(name)}, err
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
			files = append(files, filepath.Join(name, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: there is no .yaml, .yml or .json in it", name)
	}
	return files, nil
}

// applying brings policies to one gateway.
type applying struct {
	api    *apiFlags
	out    io.Writer
	prefix string
}

// errRefused is the faults that a gateway found in a text.
type errRefused struct{ error }

// run applies all.
func (b *applying) run(ctx context.Context, sources []policySource) []error {
	return inTurn(sources, func(s policySource) (again bool, err error) {
		what, err := b.apply(ctx, &s)
		if err == nil {
			fmt.Fprintf(b.out, "%s%-10s %s\n", b.prefix, what, s.policy)
		}
		var refused errRefused
		return errors.As(err, &refused), err
	})
}

// apply brings one policy in force. It is tried again when somebody else changes that at the same moment.
func (b *applying) apply(ctx context.Context, s *policySource) (what string, err error) {
	for tries := 1; ; tries++ {
		before := &apiAnswer{status: http.StatusNotFound}
		if s.policy != "" {
			if before, err = b.send(ctx, nil, http.MethodGet, policyPath(s.policy), nil); err != nil {
				return "", err
			}
		}
		var after *apiAnswer
		switch before.status {
		case http.StatusOK:
			after, err = b.send(ctx, s, http.MethodPut, policyPath(s.policy), before.header.Values("ETag"))
		case http.StatusNotFound:
			after, err = b.send(ctx, s, http.MethodPost, "/api/v1/policies", nil)
		default:
			return "", b.problem(before, s)
		}
		switch {
		case err != nil:
			return "", err
		case after.status == http.StatusCreated:
			return "created", nil
		case after.status == http.StatusOK && bytes.Equal(before.body, after.body):
			return "unchanged", nil
		case after.status == http.StatusOK:
			return "updated", nil
		}
		meanwhile := after.status == http.StatusPreconditionFailed || after.status == http.StatusConflict && before.status == http.StatusNotFound
		if !meanwhile || tries == 3 {
			return "", b.problem(after, s)
		}
	}
}

// send sends the text of s, nil: none. match is If-Match.
func (b *applying) send(ctx context.Context, s *policySource, method, at string, match []string) (*apiAnswer, error) {
	var body []byte
	var header http.Header
	if s != nil {
		body = s.text
		header = http.Header{"Content-Type": {"application/yaml"}, "If-Match": match} // JSON is YAML
	}
	a, err := b.api.send(ctx, method, at, body, header)
	if err != nil {
		return nil, err
	}
	if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden || a.status == http.StatusNotFound && method == http.MethodPost {
		return nil, errUnreachable{a.problem()}
	}
	return a, nil
}

// problem returns what an answer says is wrong with s, in its file.
func (b *applying) problem(a *apiAnswer, s *policySource) error {
	faults := a.faults()
	if len(faults) == 0 {
		return fmt.Errorf("%s: %w", s.file, a.problem())
	}
	var lines []error
	for _, f := range faults {
		if f.File == "body" || f.File == "" {
			f.File, f.Line, f.Col = s.file, cmp.Or(f.Line, 1), cmp.Or(f.Col, 1)
		}
		lines = append(lines, errors.New(f.String()))
	}
	return errRefused{errors.Join(lines...)}
}
