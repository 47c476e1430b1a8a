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
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
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
				b := applying{api: api, out: cmd.OutOrStdout(), prefix: prefix, from: map[string]string{}}
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
	name string // for messages
	text []byte
}

// maxSource bounds what is read of a file: more than any policy has, so that the gateway says that it is too long.
const maxSource = 1 << 20

// readPolicies reads files, directories and stdin, in order and each once, and returns what could not be read.
func readPolicies(paths []string, stdin io.Reader) (sources []policySource, failed []error) {
	read := func(name string, open func() (io.ReadCloser, error)) {
		if slices.ContainsFunc(sources, func(s policySource) bool { return s.name == name }) {
			return
		}
		f, err := open()
		if err == nil {
			var text []byte
			text, err = io.ReadAll(io.LimitReader(f, maxSource))
			f.Close() //nolint:errcheck // it was read only
			sources = append(sources, policySource{name, text})
		}
		if err != nil {
			failed = append(failed, err)
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
	from   map[string]string // the file that a policy came from, by name
}

// errUnreachable is an error that all other policies would meet too.
type errUnreachable struct{ error }

// run applies all, and those that the gateway found faults in again for as long as another one succeeds: a parent may come
// after its child.
func (b *applying) run(ctx context.Context, sources []policySource) (failed []error) {
	for {
		var again []policySource
		var faults []error
		for _, s := range sources {
			what, name, err := b.apply(ctx, s)
			var unreachable errUnreachable
			var refused errRefused
			switch {
			case err == nil:
				fmt.Fprintf(b.out, "%s%-10s %s\n", b.prefix, what, name)
			case errors.As(err, &unreachable):
				return append(failed, unreachable.error)
			case errors.As(err, &refused):
				again, faults = append(again, s), append(faults, refused.error)
			default:
				failed = append(failed, err)
			}
		}
		if len(again) == 0 || len(again) == len(sources) {
			return append(failed, faults...)
		}
		sources = again
	}
}

// errRefused is the faults that a gateway found in a text.
type errRefused struct{ error }

// apply brings one policy in force. Its name is not read here, where nothing knows YAML: a gateway that is asked to create a
// policy whose name is taken says where that one is.
func (b *applying) apply(ctx context.Context, s policySource) (what, name string, err error) {
	a, err := b.send(ctx, s, http.MethodPost, "/api/v1/policies", nil)
	if err != nil {
		return "", "", err
	}
	at := a.header.Get("Location")
	if name, err = url.PathUnescape(path.Base(at)); at == "" || err != nil {
		return "", "", b.problem(a, s)
	}
	if other, twice := b.from[name]; twice {
		return "", "", fmt.Errorf("%s: the policy %s is in %s too: each needs a name of its own", s.name, name, other)
	}
	b.from[name] = s.name
	if a.status == http.StatusCreated {
		return "created", name, nil
	}
	what, err = b.change(ctx, s, at)
	if refused := (errRefused{}); errors.As(err, &refused) {
		delete(b.from, name) // it is tried again
	}
	return what, name, err
}

// change replaces the policy at a path. It is tried again when somebody else changes that at the same moment.
func (b *applying) change(ctx context.Context, s policySource, at string) (what string, err error) {
	for range 3 {
		before, err := b.send(ctx, policySource{}, http.MethodGet, at, nil)
		if err != nil {
			return "", err
		}
		if before.status != http.StatusOK {
			return "", b.problem(before, s)
		}
		after, err := b.send(ctx, s, http.MethodPut, at, before.header.Values("ETag"))
		switch {
		case err != nil:
			return "", err
		case after.status == http.StatusPreconditionFailed:
			continue
		case after.status >= 300:
			return "", b.problem(after, s)
		case bytes.Equal(before.body, after.body):
			return "unchanged", nil
		}
		return "updated", nil
	}
	return "", fmt.Errorf("%s: somebody else is changing the policy: apply it again", s.name)
}

// send sends s's text, if it has a name. match is If-Match.
func (b *applying) send(ctx context.Context, s policySource, method, at string, match []string) (*apiAnswer, error) {
	var body []byte
	var header http.Header
	if s.name != "" {
		body = s.text
		header = http.Header{"Content-Type": {"application/yaml"}, "If-Match": match} // JSON is YAML
	}
	a, err := b.api.send(ctx, method, at, body, header)
	switch {
	case err != nil:
		return nil, errUnreachable{err}
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden || a.status == http.StatusNotFound && method == http.MethodPost:
		return nil, errUnreachable{a.problem()}
	}
	return a, nil
}

// problem returns what an answer says is wrong with s, in its file.
func (b *applying) problem(a *apiAnswer, s policySource) error {
	faults := a.faults()
	if len(faults) == 0 {
		return fmt.Errorf("%s: %w", s.name, a.problem())
	}
	var lines []error
	for _, f := range faults {
		if f.File == "body" || f.File == "" {
			f.File, f.Line, f.Col = s.name, cmp.Or(f.Line, 1), cmp.Or(f.Col, 1)
		}
		lines = append(lines, errors.New(f.String()))
	}
	return errRefused{errors.Join(lines...)}
}
