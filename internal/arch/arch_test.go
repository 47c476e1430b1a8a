// Package arch holds the rules of which package may import which.
package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "weir"

// floors says what each package may import beside the standard library. A name of ours stands for that package alone,
// internal/... for all of floor 0, and any other name for the module of that path and what is below it.
//
//	0  internal/...
//	1  limiter  shaping  balancer  gateway/{body,cache,compress,route}    floor 0 only, nothing sideways
//	2  cluster  config  jwt  store  strict  tls  telemetry    lower floors, and a library each
//	3  gateway  admin
//	4  the command
var floors = map[string][]string{
	"internal/mono":      {},
	"internal/socket":    {},
	"internal/http1":     {},
	"internal/expr":      {"cel.dev/cel-go"},
	"internal/arch":      {},
	"internal/websocket": {},
	"internal/fleetsim":  {},
	"internal/h2":        {"internal/mono", "internal/socket", "golang.org/x/net"},

	"limiter":          {"internal/...", "golang.org/x", "github.com/dchest/siphash"},
	"shaping":          {"internal/...", "golang.org/x"},
	"balancer":         {"internal/...", "golang.org/x"},
	"gateway/route":    {"internal/...", "golang.org/x"},
	"gateway/body":     {"internal/...", "golang.org/x"},
	"gateway/compress": {"internal/...", "golang.org/x", "github.com/klauspost/compress", "github.com/andybalholm/brotli"},
	"gateway/cache":    {"internal/...", "golang.org/x", "github.com/maypok86/otter/v2"},

	"config":    {"internal/...", "limiter", "shaping", "balancer", "gateway/body", "gateway/compress", "gateway/route", "golang.org/x", "go.yaml.in/yaml/v3", "github.com/fsnotify/fsnotify"},
	"tls":       {"internal/...", "limiter", "shaping", "balancer", "gateway/route", "golang.org/x", "github.com/pires/go-proxyproto", "github.com/fsnotify/fsnotify"},
	"telemetry": {"internal/...", "limiter", "shaping", "balancer", "gateway/route", "golang.org/x", "github.com/prometheus/client_golang"},
	"jwt":       {"internal/...", "golang.org/x", "github.com/golang-jwt/jwt/v5", "github.com/MicahParks/jwkset", "github.com/fsnotify/fsnotify"},
	"store":     {"internal/...", "golang.org/x", "go.etcd.io/bbolt"},
	"strict":    {"internal/...", "limiter", "golang.org/x", "github.com/redis/go-redis/v9"},
	"cluster":   {"internal/...", "golang.org/x", "github.com/hashicorp/memberlist"},

	"gateway": {"internal/...", "limiter", "shaping", "balancer", "gateway/body", "gateway/cache", "gateway/compress", "gateway/route", "config", "jwt", "store", "strict", "tls", "telemetry", "golang.org/x"},
	"admin":   {"internal/...", "config", "telemetry", "golang.org/x"},

	"": {"internal/...", "limiter", "admin", "cluster", "config", "gateway", "store", "strict", "telemetry", "tls", "golang.org/x", "github.com/spf13/cobra"},
}

// owners says which package is the only one to import a big dependency.
var owners = map[string]string{
	"cel.dev/cel-go":                      "internal/expr",
	"github.com/prometheus/client_golang": "telemetry",
	"golang.org/x/crypto/acme":            "tls",
	"github.com/pires/go-proxyproto":      "tls",
	"github.com/klauspost/compress":       "gateway/compress",
	"github.com/andybalholm/brotli":       "gateway/compress",
	"github.com/maypok86/otter/v2":        "gateway/cache",
	"go.yaml.in/yaml/v3":                  "config",
	"github.com/spf13/cobra":              "",
	"github.com/dchest/siphash":           "limiter",
	"go.etcd.io/bbolt":                    "store",
	"github.com/redis/go-redis/v9":        "strict",
	"github.com/hashicorp/memberlist":     "cluster",
	"github.com/golang-jwt/jwt/v5":        "jwt",
	"github.com/MicahParks/jwkset":        "jwt",
}

type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

// name returns a package's path within the module.
func (p *pkg) name() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

// apart reports whether a package is none of the gateway's: black-box tests and what helps to develop.
func apart(name string) bool {
	for _, top := range []string{"tests", "scripts", "examples"} {
		if under(name, top) {
			return true
		}
	}
	return false
}

func under(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }

// list returns the packages of the module with their imports, without those of tests.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-pgo=off", "-json=ImportPath,Imports,Standard", "./...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := d.Decode(&p)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// allowed reports whether imp stands in what a package may import.
func allowed(imp string, may []string) bool {
	if first, _, _ := strings.Cut(imp, "/"); imp != module && !under(imp, module) && !strings.Contains(first, ".") {
		return true // the standard library
	}
	ours, isOurs := strings.CutPrefix(imp, module+"/")
	return slices.ContainsFunc(may, func(m string) bool {
		if isOurs {
			return ours == m || m == "internal/..." && under(ours, "internal")
		}
		return under(imp, m)
	})
}

// breaches returns what of the packages goes against the tables.
func breaches(all []pkg) []string {
	var bad []string
	for i := range all {
		p := &all[i]
		name := p.name()
		if apart(name) {
			continue
		}
		may, known := floors[name]
		if !known {
			bad = append(bad, fmt.Sprintf("package %s stands on no floor: give it a line in the table", p.ImportPath))
			continue
		}
		for _, imp := range p.Imports {
			if !allowed(imp, may) {
				bad = append(bad, fmt.Sprintf("package %s imports %s; it may import the standard library and %s", p.ImportPath, imp, strings.Join(may, ", ")))
			}
			for dep, owner := range owners {
				if under(imp, dep) && name != owner {
					bad = append(bad, fmt.Sprintf("package %s imports %s, which is for %s alone", p.ImportPath, imp, strings.TrimSuffix(module+"/"+owner, "/")))
				}
			}
		}
	}
	return bad
}

func TestFloors(t *testing.T) {
	all := list(t)
	for _, b := range breaches(all) {
		t.Error(b)
	}
	for name := range floors {
		if !slices.ContainsFunc(all, func(p pkg) bool { return p.name() == name }) {
			t.Errorf("there is no package %q: take its line out of the table", name)
		}
	}
	for dep, owner := range owners {
		if !slices.ContainsFunc(all, func(p pkg) bool {
			return p.name() == owner && slices.ContainsFunc(p.Imports, func(i string) bool { return under(i, dep) })
		}) {
			t.Errorf("package %q does not import %s: take it out of the table", owner, dep)
		}
	}
}

// TestBreachesAreSeen: the check itself says no when it must.
func TestBreachesAreSeen(t *testing.T) {
	f := func(from, imp string, want int) {
		t.Helper()
		if got := breaches([]pkg{{ImportPath: from, Imports: []string{imp}}}); len(got) != want {
			t.Errorf("%s imports %s: %q, want %d breaches", from, imp, got, want)
		}
	}
	f("weir/limiter", "sync/atomic", 0)
	f("weir/limiter", "weir/internal/mono", 0)
	f("weir/limiter", "golang.org/x/sys/cpu", 0)
	f("weir/limiter", "weir/shaping", 1) // sideways
	f("weir/balancer", "weir/gateway", 1)
	f("weir/balancer", "weir/config", 1)
	f("weir/internal/http1", "weir/internal/mono", 1)
	f("weir/internal/http1", "golang.org/x/net/http/httpguts", 1)
	f("weir/config", "weir/telemetry", 1) // sideways
	f("weir/admin", "weir/gateway", 1)
	f("weir/gateway", "weir/admin", 1)
	f("weir/gateway", "github.com/valyala/fasthttp", 1)
	f("weir/gateway", "cel.dev/cel-go/cel", 2)
	f("weir/tls", "golang.org/x/crypto/acme/autocert", 0)
	f("weir/gateway", "golang.org/x/crypto/acme", 1)
	f("weir", "github.com/spf13/cobra", 0)
	f("weir/admin", "github.com/spf13/cobra", 2)
	f("weir/cluster", "weir/limiter", 1) // it never decodes what it carries
	f("weir/gateway", "github.com/hashicorp/memberlist", 2)
	f("weir/nowhere", "sync", 1) // on no floor
	f("weir/tests/bench", "github.com/spf13/cobra", 0)
}

// TestContributing: CONTRIBUTING.md tells of every package.
func TestContributing(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range floors {
		if name != "" && !bytes.Contains(text, []byte("`"+name+"`")) {
			t.Errorf("CONTRIBUTING.md does not say on which floor %s is", name)
		}
	}
}
