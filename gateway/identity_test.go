package gateway

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCookie(t *testing.T) {
	f := func(header, name, want string) {
		t.Helper()
		c := request("GET", "/")
		c.fields = map[string]string{"cookie": header}
		if got := cookie(&Exchange{car: c}, name); got != want {
			t.Errorf("%q in %q is %q, want %q", name, header, got, want)
		}
	}
	f("a=1", "a", "1")
	f("a=1; b=2", "b", "2")
	f("a=1;b=2", "b", "2")
	f("a=1; a=2", "a", "1")
	f(`a="1 2"`, "a", "1 2")
	f("a=b=c", "a", "b=c")
	f("a=", "a", "")
	f("a", "a", "")
	f("aa=1; a=2", "a", "2")
	f("A=1", "a", "")
	f(";;; a=1 ;", "a", "1")
	f("", "a", "")
	if cookie(&Exchange{car: request("GET", "/")}, "a") != "" {
		t.Error("a cookie out of nowhere")
	}
}

func TestParseAddr(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		a, ok := parseAddr(s)
		if got := a.String(); ok != (want != "") || ok && got != want {
			t.Errorf("%q is %q, want %q", s, got, want)
		}
	}
	f("192.0.2.1", "192.0.2.1")
	f("192.0.2.1:80", "192.0.2.1")
	f("2001:db8::1", "2001:db8::1")
	f("[2001:db8::1]", "2001:db8::1")
	f("[2001:db8::1]:443", "2001:db8::1")
	f("::ffff:192.0.2.1", "192.0.2.1")
	f("[::ffff:192.0.2.1]:80", "192.0.2.1")
	f("fe80::1%eth0", "fe80::1")
	f("[fe80::1%eth0]", "fe80::1")
	f("", "")
	f("unknown", "")
	f("_hidden", "")
	f("192.0.2.1:", "")
	f("192.0.2.256", "")
	f("192.0.2.01", "")
	f("[]", "")
	f("[192.0.2.1", "")
}

func trusting(prefixes ...string) *Snapshot {
	s := &Snapshot{}
	for _, p := range prefixes {
		s.trusted = append(s.trusted, netip.MustParsePrefix(p))
	}
	return s
}

// lists yields fields as an edge does: the last first.
func lists(fields []string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, f := range slices.Backward(fields) {
			if !yield(f) {
				return
			}
		}
	}
}

func TestClientAddr(t *testing.T) {
	s := trusting("10.0.0.0/8", "2001:db8:1::/48")
	const peer = "10.0.0.1" // a trusted proxy: what it reports last is what it saw itself
	f := func(want string, fields ...string) {
		t.Helper()
		if got := s.clientAddr(netip.MustParseAddr(peer), lists(fields)).String(); got != want {
			t.Errorf("%q: client is %s, want %s", fields, got, want)
		}
	}
	f(peer)
	f(peer, "")
	f("192.0.2.1", "192.0.2.1")
	f("192.0.2.1", "198.51.100.9, 192.0.2.1")               // the client made up the left one
	f("192.0.2.1", "198.51.100.9, 192.0.2.1, 10.0.0.2")     // through two proxies
	f("192.0.2.1", "198.51.100.9", "192.0.2.1", "10.0.0.2") // in fields of their own
	f("192.0.2.1", "198.51.100.9,192.0.2.1", "10.0.0.2,10.0.0.3")
	f("192.0.2.1", "192.0.2.1,2001:db8:1::5")
	f("10.0.0.3", "10.0.0.3, 10.0.0.2")           // all trusted: the farthest
	f("10.0.0.2", "192.0.2.1, unknown, 10.0.0.2") // what stands left of nonsense is worth nothing
	f(peer, "192.0.2.1, ")
	f(peer, "192.0.2.1", "nonsense")
	f("2001:db8:2::1", "[2001:db8:2::1]:4711, 10.0.0.2")
	f("192.0.2.1", "::ffff:192.0.2.1")
	f("192.0.2.1", "192.0.2.1", "")           // a field that says nothing
	f("10.0.0.2", "<script>,::ffff:10.0.0.2") // a mapped address is no way around the trust
}

// TestClientAddrModel compares with the rule said the other way round: write down everybody from near to far, and take the
// first who is not trusted.
func TestClientAddrModel(t *testing.T) {
	s := trusting("10.0.0.0/8")
	words := []string{"10.0.0.2", "10.9.9.9", "192.0.2.1", "198.51.100.2", "x"}
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.SliceOfN(rapid.Map(rapid.SliceOfN(rapid.SampledFrom(words), 1, 4), func(w []string) string { return strings.Join(w, ", ") }), 0, 3).Draw(t, "fields")
		want := "10.0.0.1"
		for _, w := range slices.Backward(strings.Split(strings.Join(fields, ","), ",")) {
			if w = strings.TrimSpace(w); w == "x" || w == "" {
				break
			}
			if want = w; !strings.HasPrefix(w, "10.") {
				break
			}
		}
		if got := s.clientAddr(netip.MustParseAddr("10.0.0.1"), lists(fields)).String(); got != want {
			t.Fatalf("client of %q is %s, want %s", fields, got, want)
		}
	})
}

func TestIPDimensions(t *testing.T) {
	f := func(addr, full, prefix string) {
		t.Helper()
		var p peerText
		for range 2 {
			got := p.of(netip.MustParseAddr(addr))
			if got.full != full || got.prefix != prefix {
				t.Errorf("%s is %q and %q, want %q and %q", addr, got.full, got.prefix, full, prefix)
			}
		}
	}
	f("192.0.2.1", "192.0.2.1", "192.0.2.1")
	f("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1")
	f("2001:db8:1:2:ff34:4:5:6", "2001:db8:1:2:ff34:4:5:6", "2001:db8:1:2::")
	f("2001:db8:1:2::", "2001:db8:1:2::", "2001:db8:1:2::")
	f("::1", "::1", "::")
	var p peerText // the address behind a trusted proxy changes from request to request
	p.of(netip.MustParseAddr("192.0.2.1"))
	if p.of(netip.MustParseAddr("2001:db8::1")); p.full != "2001:db8::1" || p.prefix != "2001:db8::" {
		t.Errorf("the second address is %q and %q", p.full, p.prefix)
	}
}

func TestPlainID(t *testing.T) {
	f := func(id string, want bool) {
		t.Helper()
		if got := plainID(id); got != want {
			t.Errorf("%q: %v", id, got)
		}
	}
	f("a-b_c.1:2/3", true)
	f("0af7651916cd43dd", true)
	f("", false)
	for _, bad := range []string{`a"b`, `a\b`, "a;b", "a,b", "a b", "a\tb", "a\x00", "a\x7f", "é"} {
		f(bad, false)
	}
}
