package route

import (
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	f := func(pattern, want string) {
		t.Helper()
		err := ParsePath(pattern)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", pattern, err, want)
		}
	}
	for _, ok := range []string{"", "/", "/*", "/a", "/a/", "/a/*", "/users/:id", "/users/:id/orders", "/:a/:b/*", "/a:b", "/v1/x:batch",
		"/%3Ax", "/@me", "/a;b=c", "/caf%C3%A9", "~^/v[12]/", "~a|b"} {
		f(ok, "")
	}
	f("a", `begins with neither "/" nor "~": write "/a"`)
	f("*", `write "/*"`)
	f("~", "has no regular expression")
	f("~[", "not a regular expression (RE2)")
	f("/a*", `write "/prefix/*"`)
	f("/*/a", `"*" that is not its last segment`)
	f("/a/*/", `"*" that is not its last segment`)
	f("/**", `"*" that is not its last segment`)
	f("/:", "needs a name")
	f("/:a-b", "needs a name")
	f("/:1a", `write "%3A" for a segment that begins with a colon`)
	f("/:a/:a", `two parameters ":a"`)
	f("/a//b", `paths are normalised first: write "/a/b"`)
	f("/a/../b", `write "/b"`)
	f("/%61", `write "/a"`)
	f("/%c3%a9", `write "/%C3%A9"`)
	f("/café au lait", `as in "/caf%C3%A9%20au%20lait"`)
	f("/a?b=c", `as in "/a%3Fb=c"`)
	f("/a%2Fb", "such a request is refused: path has an encoded slash")
	f("/../a", "such a request is refused: path climbs above the root")
}

func TestParseHost(t *testing.T) {
	f := func(pattern, want string) {
		t.Helper()
		err := ParseHost(pattern)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", pattern, err, want)
		}
	}
	f("api.example.com", "")
	f("API.Example.com", "")
	f("*.example.org", "")
	f("*.com", "")
	f("localhost", "")
	f("my_host", "")
	f("10.0.0.1", "")
	f("[2001:db8::1]", "")
	f("xn--caf-dma.example", "")
	f("", "leave hosts out")
	f("*", "leave hosts out")
	f("*.", "between two dots")
	f("a.*.b", "whole first label")
	f("*a.b", "whole first label")
	f("a.b:80", "without port")
	f("[::1]:80", "not an IPv6 address in brackets")
	f("[::1", "not an IPv6 address in brackets")
	f("::1", "in brackets")
	f("http://a.b", "is a URL")
	f("a.b/c", "is a URL")
	f("a.b.", "without the final dot")
	f("a..b", "between two dots")
	f(".a", "between two dots")
	f(strings.Repeat("a", 64)+".b", "between two dots")
	f(strings.Repeat("a.", 130)+"b", "longer than the 253")
	f("café.example", "ASCII form, xn--")
	f("a b", "cannot stand in a host name")
}

func TestLiteralPrefix(t *testing.T) {
	f := func(src, want string) {
		t.Helper()
		if got := literalPrefix(src); got != want {
			t.Errorf("%s: %q, want %q", src, got, want)
		}
	}
	f("^/users/[0-9]+$", "/users/")
	f("^/users/x?", "/users/")
	f("^/users/17$", "/users/17")
	f("^/a/b|c", "")
	f("^/a/(b|c)", "/a/")
	f("^/a(?:b)*", "/a")
	f("/users/", "")
	f("(?i)^/users/[0-9]", "")
	f("(?m)^/users/[0-9]", "")
	f("^(/a)+", "")
	f("[", "")
}
