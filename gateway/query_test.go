package gateway

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestQueryParam(t *testing.T) {
	f := func(raw, name, want string, ok bool) {
		t.Helper()
		if got, found := queryParam(raw, name); got != want || found != ok {
			t.Errorf("%s of %.60q: %q %v, want %q %v", name, raw, got, found, want, ok)
		}
	}
	f("", "a", "", false)
	f("a", "a", "", true)
	f("a=", "a", "", true)
	f("b=1&a=2&a=3", "a", "2", true)
	f("%61=%62+c", "a", "b c", true)
	f("a=%zz%4", "a", "%zz%4", true)
	f("a=1;b=2", "a", "1;b=2", true)
	f("a=1;b=2", "b", "", false)
	f(strings.Repeat("&", 20_000)+"a=1", "a", "1", true)
	f("aa=1&=2", "", "2", true)
}

// TestAmbiguousParam: what servers could read differently is found, and nothing else.
func TestAmbiguousParam(t *testing.T) {
	f := func(raw, want string) {
		t.Helper()
		if name, why := ambiguousParam(raw, []string{"k", "l"}); strings.TrimSpace(name+" "+why) != want {
			t.Errorf("%q: %q %q, want %q", raw, name, why, want)
		}
	}
	f("", "")
	f("k=1&l=2&m=3&m=4;5&n=%zz", "")
	f("k=1&k=1&%6b=1", "")
	f("k=a%3Bb&l=%25", "")
	f("k=1&k=2", "k comes more than once, with different values")
	f("k&k=2", "k comes more than once, with different values")
	f("x=1&l=1&%6C=2", "l comes more than once, with different values")
	f("k=1;", "k stands beside a ; that is not escaped")
	f("a=1;k=2", "k is spelled so that only some servers read it")
	f("k=1;b=2", "k stands beside a ; that is not escaped")
	f("k=%zz", "k is malformed: servers may read different values")
	f("k=%4", "k is malformed: servers may read different values")
	f("k=a%00b", "k is malformed: servers may read different values")
	f("k=1]=2", "k is malformed: servers may read different values")
	f("k=1%5d=2", "k is malformed: servers may read different values")
	f("k=[1]&k=[1]&l=1%5D", "")
	f("k=1&a=1;k=1", "")
	for _, q := range []string{"k[]=1", "k%5B0%5D=1", "+k=1", "k%00x=1", "%6b[a=1", "[k=1", "[k]=1", "%5Bk%5d=1", "k]=1", "]k=1", "[][[k]][x]=1",
		"+[+k=1", "[k]x=1"} {
		f(q, "k is spelled so that only some servers read it")
		f("k=1&"+q, "")
		f(q+"&k=2", "k comes more than once, with different values")
	}
	f("k=1&k;", "k stands beside a ; that is not escaped")
	f("K=1&kk=2&k.=3&xk=4&k-=5&[kk]=6&[=7&]=8&x[k]=9", "")
}

// TestAmbiguousPresence: where it only matters whether a parameter is there, that servers disagree on this is found, and nothing else.
func TestAmbiguousPresence(t *testing.T) {
	f := func(raw, want string) {
		t.Helper()
		if name, why := ambiguousParam(raw, []string{presence + "k"}); why != want || (name == "k") != (why != "") {
			t.Errorf("%q: %q %q, want %q", raw, name, why, want)
		}
	}
	f("", "")
	f("k&a=1;2", "")
	f("k=1&k=2&%6b=3&k[]=4", "")
	for _, q := range []string{"a=1;k=1", "k[]=1", "+k=1", "[k]=1", "k;a=1"} {
		f(q, faultHidden)
	}
	f("k=1;a=2", faultSemicolon) // net/url passes over these
	f("k=%zz", faultBroken)
	f("k=1]=2", faultBroken)
}

// TestWhatRoutesGoByIsGuarded: by a parameter's value, or by its presence alone unless something else reads its value too.
func TestWhatRoutesGoByIsGuarded(t *testing.T) {
	g := newGateway(t, "dimensions: [{name: both, from: 'query:both'}]\nroutes:\n"+
		"  - {name: a, match: {query: [{name: there}]}, respond: {body: x}}\n"+
		"  - {name: b, match: {query: [{name: value, value: '1'}]}, respond: {body: x}}\n"+
		"  - {name: c, match: {query: [{name: regex, regex: '1'}]}, respond: {body: x}}\n"+
		"  - {name: d, match: {query: [{name: both}]}, respond: {body: x}}\n")
	f := func(query, want string) {
		t.Helper()
		c := request("GET", "/")
		c.query = query
		if got := (&Exchange{snap: g.snap.Load(), car: c}).ambiguous(); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for _, name := range []string{"there", "value", "regex", "both"} {
		f("["+name+"]=1", "query parameter "+name+" "+faultHidden)
		want := "query parameter " + name + " " + faultTwice
		if name == "there" {
			want = ""
		}
		f(name+"=1&"+name+"=2", want)
	}
	f("other[]=1&other=2", "")
}

// Where net/url reads a query, queryParam reads the same.
func TestQueryParamIsNetURLs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.StringMatching(`([ab]|%6[12]|=|&|\+|%25|%zz|;){0,12}`).Draw(t, "query")
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		for _, name := range []string{"a", "b", "ab", ""} {
			want, ok := values[name]
			got, found := queryParam(raw, name)
			if name == "" { // net/url passes over pairs that are empty
				continue
			}
			if found != ok || ok && got != want[0] {
				t.Fatalf("%s of %q: %q %v, want %q", name, raw, got, found, want)
			}
		}
	})
}

func TestQueryDoesNotAllocate(t *testing.T) {
	const raw = "page=2&sort=name&api_key=k-3f9a1c77e2"
	if n := testing.AllocsPerRun(100, func() {
		queryParam(raw, "api_key")
		ambiguousParam(raw, []string{"api_key"})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{"a=1&a=2", "%61=%zz;b", "a;a;;=&&=%2", "a=1&[a]=2", "]%5Ba]x=1"} {
		f.Add(s, "a")
	}
	f.Fuzz(func(t *testing.T, raw, name string) {
		name = strings.TrimPrefix(name, presence)
		value, ok := queryParam(raw, name)
		bad, why := ambiguousParam(raw, []string{name})
		if (bad == "") != (why == "") && name != "" {
			t.Fatalf("%q %q", bad, why)
		}
		if name == "" || strings.ContainsAny(name, "&;=+% ._[]\x00") {
			return
		}
		_, unsure := ambiguousParam(raw, []string{presence + name})
		for pair := range strings.SplitSeq(raw, "&") { // every server reads what is counted
			for at, part := range append(strings.Split(pair, ";"), pair) {
				k, v, _ := strings.Cut(part, "=")
				if unescape(k, true) != name && rackName(k) != name {
					continue
				}
				if unsure == "" && !ok {
					t.Fatalf("%q is in %q to some servers", name, raw)
				}
				if why == "" && (!ok || unescape(v, true) != value) {
					t.Fatalf("%q of %q: counted %q %v, a server may read %q (%d)", name, raw, value, ok, v, at)
				}
			}
		}
	})
}

var rack = regexp.MustCompile(`\A[\[\]]*([^\[\]]+)\]*`)

// rackName is the name that Rack before 3 makes of a raw one.
func rackName(raw string) string {
	if m := rack.FindStringSubmatch(unescape(raw, true)); m != nil {
		return m[1]
	}
	return ""
}

func TestSpellings(t *testing.T) {
	f := func(raw, name string, want likeness) {
		t.Helper()
		if got := resemble(raw, name); got != want {
			t.Errorf("%q for %q: %v, want %v", raw, name, got, want)
		}
	}
	f("a_b", "a_b", same)
	f("%61_b", "a_b", same)
	f("a.b", "a_b", alike)
	f("a+b", "a_b", alike)
	f("a[b", "a_b", alike)
	f("a_b", "a.b", alike)
	f("a.b", "a.b", same)
	f("++a_b[x]", "a_b", alike)
	f("a_b_", "a_b", other)
	f("A_b", "a_b", other)
	f("a", "a_b", other)
	f("", "a_b", other)
	f("a%2", "a", other)
	f("+_b", "_b", alike)
	f("[_b]", "_b", alike)
	f("[a", "[a", same)
	f("]a[", "]a", alike)
	f("[", "a", other)
	f("[]", "a", other)
	f("[b]", "a", other)
	f("[a]", "ab", other)
	f("[ab]", "a", other)
}

func TestCookieFault(t *testing.T) {
	f := func(list, want string) {
		t.Helper()
		if got := cookieFault(list, "sid"); got != want {
			t.Errorf("%q: %q, want %q", list, got, want)
		}
	}
	f("", "")
	f("a=1; sid=2; b=3", "")
	f(`sid=2; sid="2";sid = 2 ; sid=%32`, "")
	f(`a="1, 2"; b=x y; sid="a b"; c=sid; d=-sid=1; e=a\b`, "")
	f("sid=1; sid=2", faultTwice)
	f("sid=1; sid", faultTwice)
	f("sid=1; s%69d=2", faultTwice)
	f("s%69d=2", faultHidden)
	f("sid[]=2", faultHidden)
	f("a=1, sid=2", faultHidden)
	f("a=1 sid =2", faultHidden)
	f("sid=1, x", faultBroken)
	f("sid=1 2", faultBroken)
	f(`sid="a\b"`, faultBroken)
	f(`sid=a"b`, faultBroken)
	f("sid=a%00b", faultBroken)
}

func FuzzCookie(f *testing.F) {
	for _, s := range []string{"a=1; sid=2", `sid="1"; sid=1`, "a=1,sid=%32", "sid =1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		if strings.ContainsFunc(list, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return // no such field is taken
		}
		c := request("GET", "/")
		c.fields = map[string]string{"cookie": list}
		value := cookie(&Exchange{car: c}, "sid")
		if cookieFault(list, "sid") != "" {
			return
		}
		for pair := range strings.SplitSeq(list, ";") {
			k, v, _ := strings.Cut(pair, "=")
			if strings.Trim(k, " \t") != "sid" {
				continue
			}
			v, _ = unquote(v)
			if got := unescape(v, false); got != value {
				t.Fatalf("%q: counted %q, a server may read %q", list, value, got)
			}
		}
	})
}

func TestMistakable(t *testing.T) {
	f := func(name, field string, want bool) {
		t.Helper()
		if got := mistakable([]byte(name), field); got != want {
			t.Errorf("%q for %q: %v", name, field, got)
		}
	}
	f("X_Api-Key", "x-api-key", true)
	f("X.Api~Key", "x-api-key", true)
	f("X-Api-Key", "x_api_key", true)
	f("XaApi-Key", "x-api-key", false)
	f("X-Api_Keys", "x-api-key", false)
	f("X-Api-Kez", "x-api-key", false)
}

func TestMiscased(t *testing.T) {
	for _, m := range []string{"get", "Post", "tRACE", "cONNECT", "patch"} {
		if !miscased(m) {
			t.Errorf("%s is let pass", m)
		}
	}
	for _, m := range []string{"GET", "POST", "PROPFIND", "propfind", "gets", "M-SEARCH"} {
		if miscased(m) {
			t.Errorf("%s is refused", m)
		}
	}
}

func BenchmarkQueryDimension(b *testing.B) {
	f := func(name, query, want string) {
		b.Run(name, func(b *testing.B) {
			x, names := new(h1), []string{"key"}
			b.ReportAllocs()
			for b.Loop() {
				x.query = query
				_, why := ambiguousParam(query, names)
				if v, ok := x.Query("key"); !ok || v != want || why != "" {
					b.Fatal(v)
				}
			}
		})
	}
	f("plain", "page=2&sort=name&key=0123456789abcdef", "0123456789abcdef")
	f("encoded", "page=2&sort=name&key=0123456789%61bcdef", "0123456789abcdef")
	f("16 KiB of others", strings.Repeat("a&", 4000)+strings.Repeat("k%65y&", 1300)+"key", "")
	f("16 KiB of brackets", strings.Repeat("[", 16_000)+"x&key", "")
}

// TestCountingDoesNotAllocate: what limits go by is found without allocating where it needs no decoding.
func TestCountingDoesNotAllocate(t *testing.T) {
	g := newGateway(t, "dimensions: [{name: s, from: 'cookie:sid'}, {name: q, from: 'query:key'}]\nroutes: [{name: a, respond: {body: x}}]\n"+
		"policies: [{name: p, dimensions: [s, q], limit: 9}]\n")
	x := new(h1)
	x.car, x.snap, x.query = x, g.snap.Load(), "page=1&key=k"
	x.req.Reset()
	x.req.ParseRequest([]byte("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1; sid=xyz\r\n\r\n"), x.snap.listeners["web"].Limits)
	if n := testing.AllocsPerRun(1000, func() {
		if why := x.ambiguous(); why != "" || cookie(&x.Exchange, "sid") != "xyz" {
			t.Fatal(why)
		}
		x.Query("key")
	}); n != 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}
