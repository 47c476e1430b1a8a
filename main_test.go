package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"weir/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// write makes a file with that content and returns its path.
func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const smallFile = `
admin: {address: "127.0.0.1:0"}
listeners: [{name: web, address: "127.0.0.1:0"}]
dimensions: [{name: key, from: "header:x-key"}]
routes:
  - {name: hello, match: {path: "/hello"}, respond: {body: hello}}
  - {name: posts, match: {path: "/*", methods: [POST]}, respond: {body: posted}}
policies: [{name: by-key, dimensions: [key], limit: 5, window: 1m}]
`

// weir runs a command in this process.
func weir(args ...string) (out string, err error) {
	var b bytes.Buffer
	root := rootCommand()
	root.SetOut(&b)
	root.SetErr(&b)
	root.SetArgs(args)
	err = root.Execute()
	return b.String(), err
}

func TestCommandsThatWork(t *testing.T) {
	path := write(t, smallFile)
	f := func(want string, args ...string) {
		t.Helper()
		out, err := weir(args...)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%q: %v, %q; want %q in it", args, err, out, want)
		}
	}
	f("weir validate -c config.yaml")
	f("Usage:", "--help")
	f("Examples:", "run", "--help")
	f("weir ", "version")
	f("weir ", "--version")
	f("fine (1 listeners, 2 routes, 0 pools, 1 policies)", "validate", "-c", path)
	f("route      hello: matches", "explain", "-c", path, "GET", "http://a/hello")
	f("policy     by-key (enforce): allows, 5 of 5 left (5 per 1m)", "explain", "-c", path, "GET", "/hello", "-H", "X-Key: k")
	f("does not apply: the request has no key", "explain", "-c", path, "GET", "/hello")
	f("no_route: 404", "explain", "-c", path, "GET", "/nothing")
	f(`no: method "GET" is not one of POST`, "explain", "-c", path, "GET", "/nothing")
	f("from 192.0.2.1", "explain", "-c", path, "--remote", "192.0.2.1", "GET", "/hello")
	f(`"verdict": "pass"`, "explain", "--json", "-c", path, "GET", "/hello")
	out, err := weir("schema")
	if err != nil || !json.Valid([]byte(out)) {
		t.Errorf("schema: %v, %.80q", err, out)
	}
}

// TestCommandsThatFail: what was typed wrong is told apart from what went wrong.
func TestCommandsThatFail(t *testing.T) {
	path := write(t, smallFile)
	f := func(usage bool, want string, args ...string) {
		t.Helper()
		_, err := weir(args...)
		var u usageError
		if err == nil || errors.As(err, &u) != usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v (usage %v), want %q", args, err, errors.As(err, &u), want)
		}
	}
	f(true, `unknown command "bogus"`, "bogus")
	f(true, `did you mean "validate"?`, "validat")
	f(true, "unknown flag: --nope", "run", "--nope")
	f(true, "unknown shorthand flag", "run", "-x")
	f(true, "run: ", "run", "config.yaml")
	f(true, "explain: ", "explain", "GET")
	f(true, `header "nocolon": write 'Name: value'`, "explain", "-c", path, "GET", "/", "-H", "nocolon")
	f(true, "", "status", "--admin", "http://a b")
	f(true, "", "policies", "ls", "--admin", "http://a b")
	f(true, `unknown command "aply"; did you mean "apply"?`, "policies", "aply")
	f(true, "Write -f FILE", "policies", "apply")
	f(true, "get: ", "policies", "get")
	f(true, "Write --key", "check")
	f(true, "unknown flag: --keys", "check", "--keys", "k")
	f(true, "write name=value", "check", "--key", "k", "-m", "x")
	f(false, "no gateway answers at http://127.0.0.1:1", "check", "--key", "k", "--admin", "127.0.0.1:1")
	f(false, "there is no file", "policies", "apply", "-f", "/nonexistent.yaml")
	f(false, "there is no file", "validate", "-c", "/nonexistent.yaml")
	f(false, "there is no file", "run", "-c", "/nonexistent.yaml")
	f(false, "nobody", "explain", "-c", path, "--remote", "nobody", "GET", "/")
	f(false, ":3:1: ", "validate", "-c", write(t, "listeners: [{name: web, address: ':0'}]\nroutes: [{name: r, respond: {}}]\nbogus: 1\n"))
	f(false, "no gateway answers at http://127.0.0.1:1", "status", "--admin", "http://127.0.0.1:1")
	f(false, "no gateway answers at", "reload", "--admin", "http://127.0.0.1:1/")
}

func TestExitCodes(t *testing.T) {
	stderr := os.Stderr
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	os.Stderr = null
	defer func() {
		os.Stderr = stderr
		null.Close()
	}()
	f := func(want int, args ...string) {
		t.Helper()
		if got := execute(args); got != want {
			t.Errorf("%q exits %d, want %d", args, got, want)
		}
	}
	f(exitUsage, "bogus")
	f(exitUsage, "run", "--nope")
	f(exitFailed, "validate", "-c", "/nonexistent.yaml")
}

func TestParseHeaders(t *testing.T) {
	h, err := parseHeaders([]string{"X-A: 1", "x-a:2", "Empty:", "  Spaced  :  a b: c "})
	if err != nil || !slices.Equal(h["X-A"], []string{"1", "2"}) || h.Get("Spaced") != "a b: c" || len(h["Empty"]) != 1 {
		t.Errorf("%v, %v", h, err)
	}
	for _, bad := range []string{"", "a", ":", " : b"} {
		if _, err := parseHeaders([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if h, err := parseHeaders(nil); err != nil || h == nil || len(h) != 0 {
		t.Errorf("%v, %v", h, err)
	}
}

func TestTrustedPrefixes(t *testing.T) {
	is := trusted(&config.Config{TrustedProxies: []string{"10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"}})
	f := func(addr string, want bool) {
		t.Helper()
		if got := is(mustAddr(t, addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
	f("10.1.2.3", true)
	f("11.1.2.3", false)
	f("192.0.2.1", true)
	f("192.0.2.2", false)
	f("2001:db8::1", true)
	f("2001:db9::1", false)
}
