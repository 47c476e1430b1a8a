package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const examplePath = "../config.example.yaml"

func noEnv(string) (string, bool) { return "", false }

// mustParse parses a file that has a listener already.
func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("test.yaml", []byte("listeners: [{name: web, address: \":8000\"}]\n"+text), corpusEnv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestExampleLoads(t *testing.T) {
	c, err := Load(examplePath, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if c.Pools[0].Demo == nil || c.Pools[0].Demo.Status != 200 {
		t.Errorf("demo pool is %+v", c.Pools[0].Demo)
	}
	for _, l := range c.Listeners {
		if l.TLS {
			t.Errorf("listener %s needs certificates, so the example does not run as it stands", l.Name)
		}
	}
}

func TestDefaults(t *testing.T) {
	c := mustParse(t, "pools: [{name: api, demo: {}}]\nroutes: [{name: r, pool: api}]\npolicies: [{name: p, limit: 7}]\n")
	host, _ := os.Hostname()
	l, p, r, q := c.Listeners[0], c.Pools[0], c.Routes[0], c.Policies[0]
	f := func(name string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	f("node.name", c.Node.Name, host)
	f("admin.address", c.Admin.Address, "127.0.0.1:8080")
	f("limits.header_bytes", l.Limits.HeaderBytes, Size(16<<10))
	f("limits.header_timeout", l.Limits.HeaderTimeout, 5*time.Second)
	f("headers.reason", c.Headers.Reason, true)
	f("retry.on", p.Retry.On, []string{"connect", "reset", "503"})
	f("health.panic", float64(p.Health.Panic), 0.3)
	f("breaker.max_timeout", p.Breaker.MaxTimeout, 5*time.Minute)
	f("route.timeout", r.Timeout, 30*time.Second)
	f("route.body", r.Body == nil, true)
	f("route.priority", r.Priority, Priority{Default: "normal"})
	f("route.hold", r.Hold, "body")
	f("backpressure", c.Backpressure == nil && c.Shaping == nil, true)
	f("policy.burst is the limit", q.Burst, Amount{Units: 7})
	f("policy.window", q.Window, time.Second)
	f("policy.cost", q.Cost, "1")
	f("policy.timezone", q.Timezone, "UTC")
	f("node.limiter_memory", c.Node.LimiterMemory, Size(256<<20))
	f("jwt.refresh", c.JWT.Refresh, 5*time.Minute)
	f("sample", float64(c.Telemetry.AccessLog.Sample), 1)
}

func TestDefaultsAreNotShared(t *testing.T) {
	a := mustParse(t, "pools: [{name: a, demo: {}, retry: {on: [timeout]}}, {name: b, demo: {}}]\n")
	if got := a.Pools[1].Retry.On; len(got) != 3 || got[0] != "connect" {
		t.Errorf("the second pool's retry.on is %v", got)
	}
}

func TestValues(t *testing.T) {
	c, err := Load("testdata/valid/everything.yaml", corpusEnv)
	if err != nil {
		t.Fatal(err)
	}
	f := func(got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	f(c.Node.Name, "gw-set")
	f(c.Node.Zone, "here")
	f(string(c.Admin.Tokens[0].Token), "a-token-of-many-characters")
	f(string(c.Admin.Tokens[1].Token), "0123456789abcdef")
	f(c.Listeners[2].Limits.Connections, 10)
	f(c.Listeners[2].Limits.HeaderTimeout, 90*time.Second)
	f(c.Listeners[0].Limits.HeaderTimeout, 5*time.Second)
	f(c.TLS.MinVersion, "1.3")
	f(c.Pools[1].Name, "canary")
	f(c.Pools[1].Balance, "random")
	f(len(c.Pools[1].Endpoints), 3)
	f(float64(c.Pools[0].Retry.Budget), 0.125)
	f(c.Pools[2].Demo.Body, "short and stout: ${HANDLE} set")
	f(c.Pools[2].Demo.Headers[0].Value, "${leaf}")
	f(c.Pools[3].Health.Active.GRPC.Service, "shop.Cart")
	f(c.Routes[0].Request.Set[0].Value, "${user} via ${route} for ${uri} $${user}")
	f(c.Routes[0].Rewrite.To, "/users/${id}/$1/$$")
	f(c.Routes[0].Fallback.Respond.Body, "<p>hello</p>\n")
	f(*c.Routes[0].Body, Size(0))
	f(c.Routes[0].Match.Headers[1].Value, "1")
	f(c.Policies[len(c.Policies)-2].Burst, Amount{Units: 10})
	f(c.ShutdownTimeout, time.Duration(0))
}

func TestLoadOfAMissingFile(t *testing.T) {
	_, err := Load("testdata/none.yaml", noEnv)
	if err == nil || err.Error() != "testdata/none.yaml:1:1: there is no file testdata/none.yaml" {
		t.Errorf("got %v", err)
	}
}

func TestPos(t *testing.T) {
	text := "listeners: [{name: web, address: \":8000\"}]\npools:\n  - &a\n    name: api\n    demo: {}\n  - {<<: *a, name: b}\n"
	c, err := Parse("x", []byte(text), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	f := func(path string, line, col int) {
		t.Helper()
		if l, c := c.Pos(path); l != line || c != col {
			t.Errorf("%s: got %d:%d, want %d:%d", path, l, c, line, col)
		}
	}
	f("", 1, 1)
	f("listeners[0].address", 1, 34)
	f("pools[0].name", 4, 11)
	f("pools[0].retry.attempts", 3, 5) // not in the file: the pool
	f("pools[1].name", 6, 20)
	f("pools[1].demo", 5, 11) // merged
	f("pools[9].name", 3, 3)  // the list
	f("nothing", 1, 1)
}

// TestAliasFlood holds small files that stand for millions of values to time and to a fault.
func TestAliasFlood(t *testing.T) {
	items := strings.TrimSuffix(strings.Repeat("connect,", 2000), ",")
	pools := strings.Repeat("  - {<<: *p}\n", 2000)
	c, err := Parse("x", []byte("pools:\n  - &p {name: a, demo: {}, retry: {on: ["+items+"]}}\n"+pools), noEnv)
	if err == nil || !strings.Contains(err.Error(), "stand for more than 1000000 values") {
		t.Errorf("got %v, %.200v", c, err)
	}
}

func TestFaultsAreBounded(t *testing.T) {
	_, err := Parse("x", []byte("pools:\n"+strings.Repeat("  - {}\n", 20_000)), noEnv)
	var faults Faults
	if !errors.As(err, &faults) || len(faults) != maxFaults {
		t.Errorf("%d faults", len(faults))
	}
}

func TestFileIsBounded(t *testing.T) {
	_, err := Parse("x", bytes.Repeat([]byte("#"), maxFile+1), noEnv)
	if err == nil || !strings.Contains(err.Error(), "at most 64MiB") {
		t.Errorf("got %v", err)
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	const hidden = "hunter2-hunter2-hunter2"
	c := mustParse(t, "admin: {tokens: [{name: ops, token: "+hidden+"}]}\n")
	s := c.Admin.Tokens[0].Token
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	direct, err := json.Marshal(c.Admin.Tokens)
	if err != nil {
		t.Fatal(err)
	}
	directYAML, err := yaml.Marshal(c.Admin.Tokens)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "token", c.Admin.Tokens[0])
	for i, text := range []string{
		string(asJSON), string(asYAML), string(direct), string(directYAML), log.String(), s.String(),
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s), fmt.Sprintf("%+v %#v", c.Admin, c.Admin),
	} {
		if strings.Contains(text, hidden) || strings.Contains(text, fmt.Sprintf("%x", hidden)) {
			t.Errorf("text %d shows the secret: %s", i, text)
		}
		if !strings.Contains(text, redacted) {
			t.Errorf("text %d has no %s: %s", i, redacted, text)
		}
	}
	if got := fmt.Sprint(Secret("")); got != "" {
		t.Errorf("no secret is shown as %q", got)
	}
}

func TestRedactedReadsAsTheFile(t *testing.T) {
	c := mustParse(t, "pools: [{name: api, demo: {}, slow_start: 90s, health: {panic: 12.5%}}]\nshutdown_timeout: 24h\n")
	text, err := json.Marshal(c.Redacted())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"slow_start":"1m30s"`, `"panic":"12.5%"`, `"shutdown_timeout":"24h"`, `"header_bytes":"16KiB"`, `"attempts":2`, `"on":["connect","reset","503"]`,
		`{"node":{"name":`, `"demo":{"status":200,"body":"","file":"","headers":[]}`, `"trusted_proxies":[]`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(string(text), "backpressure") {
		t.Errorf("what is not there is shown: %s", text)
	}
}

func TestHash(t *testing.T) {
	base := "pools: [{name: api, demo: {}}]\n"
	same, other := mustParse(t, base), func(text string) string { return mustParse(t, base+text).Hash() }
	if got := mustParse(t, "# the same\npools:\n  - demo: {}\n    name: api\nshutdown_timeout: 30s\n").Hash(); got != same.Hash() || len(got) != 12 {
		t.Errorf("got %s, want %s", got, same.Hash())
	}
	page := filepath.Join(t.TempDir(), "page")
	respond := "routes: [{name: r, respond: {file: " + page + "}}]\n"
	write := func(text string) string {
		if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return other(respond)
	}
	hashes := map[string]bool{same.Hash(): true}
	for _, h := range []string{
		other("shutdown_timeout: 31s\n"), other("admin: {tokens: [{name: a, token: 0123456789abcdef}]}\n"),
		other("admin: {tokens: [{name: a, token: 0123456789abcdeg}]}\n"), write("one"), write("two"),
	} {
		if hashes[h] {
			t.Errorf("the hash %s comes twice", h)
		}
		hashes[h] = true
	}
}
