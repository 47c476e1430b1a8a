package gateway

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
)

func TestSplitHost(t *testing.T) {
	f := func(authority, want string) {
		t.Helper()
		host, ok := splitHost([]byte(authority))
		if ok != (want != "") || ok && string(host) != want {
			t.Errorf("%q: %q, %v; want %q", authority, host, ok, want)
		}
	}
	f("example.com", "example.com")
	f("example.com:80", "example.com")
	f("example.com:", "example.com") // RFC 3986: an empty port is the default one
	f("Example.COM", "Example.COM")
	f("example.com.", "example.com.")
	f("192.0.2.1:8080", "192.0.2.1")
	f("[2001:db8::1]", "[2001:db8::1]")
	f("[2001:db8::1]:443", "[2001:db8::1]")
	f("a_b", "a_b")
	f("", "")
	f(":80", "")
	f("example.com:0", "")
	f("example.com:65536", "")
	f("example.com:65535", "example.com")
	f("example.com:+80", "")
	f("example.com:-1", "")
	f("example.com:8o", "")
	f("example.com:80:80", "")
	f("user@example.com", "")
	f("user:pass@example.com", "")
	f("example.com/path", "")
	f("example.com?q", "")
	f("example.com#f", "")
	f(`example.com\evil`, "")
	f("exa mple.com", "")
	f("example.com ", "")
	f("example.com\t", "")
	f("exam\r\nple.com", "")
	f("exam\x00ple.com", "")
	f("exämple.com", "")
	f("2001:db8::1", "")
	f("[2001:db8::1", "")
	f("[192.0.2.1]", "")
	f("[fe80::1%25eth0]", "")
	f("[fe80::1%eth0]", "")
	f("[]", "")
	f("[::1]x", "")
	f("[::1]80", "")
	f(strings.Repeat("a", 255)+":65535", strings.Repeat("a", 255))
	f(strings.Repeat("a", 262), "")
}

// FuzzSplitHost: what is taken for an authority can neither end the line it is written to, nor name somebody else.
func FuzzSplitHost(f *testing.F) {
	for _, s := range []string{"example.com", "example.com:80", "[::1]:80", "a@b", "a\r\nb", "a b", "[::ffff:1.2.3.4]", "a:", "%41", "[fe80::1%a]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		host, ok := splitHost(b)
		if !ok {
			return
		}
		for _, c := range b {
			if c <= ' ' || c >= 0x7f || strings.IndexByte("@/\\?#\"<>^`{|}", c) >= 0 {
				t.Fatalf("%q has the byte %q", b, c)
			}
		}
		if len(host) == 0 || !bytes.HasPrefix(b, host) {
			t.Fatalf("the host of %q is %q", b, host)
		}
		if host[0] == '[' {
			if a, err := netip.ParseAddr(string(host[1 : len(host)-1])); err != nil || !a.Is6() {
				t.Fatalf("the host of %q is %q", b, host)
			}
		} else if bytes.IndexByte(host, ':') >= 0 {
			t.Fatalf("the host of %q is %q", b, host)
		}
		if rest := b[len(host):]; len(rest) > 0 && (rest[0] != ':' || strings.Trim(string(rest[1:]), "0123456789") != "") {
			t.Fatalf("%q stands behind the host of %q", rest, b)
		}
		again, ok := splitHost(host)
		if !ok || !bytes.Equal(again, host) {
			t.Fatalf("the host %q of %q is no host", host, b)
		}
	})
}

func TestSpoofedNames(t *testing.T) {
	x := &h1{}
	x.snap = &Snapshot{spoofable: []string{"x-tenant", "x-user-id"}}
	f := func(name string, want bool) {
		t.Helper()
		if got := x.spoofs([]byte(name)); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
	for _, name := range []string{"X_Forwarded_For", "x_forwarded-for", "X_FORWARDED_PROTO", "X-Forwarded_Host", "X_Request_Id",
		"Content_Length", "Transfer_Encoding", "X_Tenant", "x_tenant", "X-User_Id"} {
		f(name, true)
	}
	for _, name := range []string{"X_Custom", "x_tenants", "my_field", strings.Repeat("x_", 40)} {
		f(name, false)
	}
}
